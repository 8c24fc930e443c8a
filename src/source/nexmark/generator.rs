//! Which events there are: who comes, what is sold, who bids, and when.
//!
//! Of fifty events one is a person, three are auctions, and the rest are bids. What a row says depends on the seed and the number of its
//! event alone. Shares and names of the hot ones are those of the benchmark: every second bid is for the hot auction, three of four are by
//! the hot bidder, three of four auctions are by the hot seller; who is hot changes with every hundredth person or auction.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, RecordBatch, StringViewArray, StringViewBuilder, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::random::Random;
use super::{auction, bid, person};
use crate::error::Result;
use crate::source::provider::timestamp_type;

/// Events until their kinds come again.
pub const EPOCH: i64 = 50;
/// Persons among them, which come first.
const PERSONS: i64 = 1;
/// Auctions among them, which come next.
const AUCTIONS: i64 = 3;
/// The number of the first person, and of the first auction.
const FIRST_ID: i64 = 1000;
/// So many of the last persons do something.
const ACTIVE_PERSONS: i64 = 1000;
/// So many auctions are open at the same time.
pub const OPEN_AUCTIONS: i64 = 100;
/// Numbers of persons and auctions may be ahead of the events by so many.
const AHEAD: i64 = 10;
/// Every so many persons and auctions another one is hot.
const HOT_EVERY: i64 = 100;
/// One event of so many is late.
const LATE_ONE_OF: i64 = 10;

/// One of the three tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// Who sells and bids.
    Person,
    /// What is sold.
    Auction,
    /// What is offered for it.
    Bid,
}

impl Table {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Person, Self::Auction, Self::Bid];

    /// As the option and SQL call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Person => "person",
            Self::Auction => "auction",
            Self::Bid => "bid",
        }
    }

    /// Names and types of the columns.
    pub fn columns(self) -> Vec<(&'static str, DataType)> {
        let (long, text) = (DataType::Int64, DataType::Utf8View);
        let names: &[(&str, DataType)] = match self {
            Self::Person => person::COLUMNS,
            Self::Auction => auction::COLUMNS,
            Self::Bid => bid::COLUMNS,
        };
        // A zone is no constant.
        let full = |data_type: &DataType| match data_type {
            DataType::Int64 => long.clone(),
            DataType::Utf8View => text.clone(),
            _ => timestamp_type(),
        };
        names.iter().map(|(name, data_type)| (*name, full(data_type))).collect()
    }

    /// The columns as a schema.
    pub fn schema(self) -> SchemaRef {
        static SCHEMAS: LazyLock<[SchemaRef; 3]> = LazyLock::new(|| {
            Table::ALL.map(|table| {
                let fields = table.columns().into_iter().map(|(name, data_type)| Field::new(name, data_type, true));
                Arc::new(Schema::new(fields.collect::<Vec<_>>()))
            })
        });
        SCHEMAS[self as usize].clone()
    }

    /// Where its rows are among those of an epoch.
    fn place(self) -> Range<i64> {
        match self {
            Self::Person => 0..PERSONS,
            Self::Auction => PERSONS..PERSONS + AUCTIONS,
            Self::Bid => PERSONS + AUCTIONS..EPOCH,
        }
    }

    /// How many of the first `events` events are rows of it.
    pub fn rows_before(self, events: i64) -> i64 {
        let place = self.place();
        let len = place.end - place.start;
        (events / EPOCH).saturating_mul(len).saturating_add((events % EPOCH - place.start).clamp(0, len))
    }

    /// Which event its row of this number is.
    pub fn event_of(self, row: i64) -> i64 {
        let place = self.place();
        let len = place.end - place.start;
        (row / len).saturating_mul(EPOCH).saturating_add(place.start + row % len)
    }
}

/// What all rows depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Another one, other rows.
    pub seed: u64,
    /// The time of the first event, in milliseconds since 1970.
    pub start_ms: i64,
    /// Events in a second of event time.
    pub events_per_second: i64,
    /// By how much an event may be late.
    pub late_ms: i64,
}

impl Settings {
    /// 2026-01-01T00:00:00Z.
    pub const START_MS: i64 = 1_767_225_600_000;

    /// The numbers of an event.
    pub fn random(&self, event: i64) -> Random {
        Random::of(self.seed, event)
    }

    /// When it is an event's turn.
    fn due_ms(&self, event: i64) -> i64 {
        let rate = self.events_per_second.max(1);
        // Nearly always; the wider division is slow.
        let after = event
            .checked_mul(1000)
            .map(|thousand| thousand / rate)
            .unwrap_or_else(|| i64::try_from(i128::from(event) * 1000 / i128::from(rate)).unwrap_or(i64::MAX));
        self.start_ms.saturating_add(after)
    }

    /// The time that an event carries.
    pub fn time_ms(&self, event: i64, random: &mut Random) -> i64 {
        let due = self.due_ms(event);
        if self.late_ms == 0 || random.below(LATE_ONE_OF) > 0 {
            return due;
        }
        (due - random.below(self.late_ms + 1)).max(self.start_ms)
    }

    /// How long the auctions of so many events take that are open at the same time.
    pub fn horizon_ms(&self) -> i64 {
        (OPEN_AUCTIONS * EPOCH / AUCTIONS * 1000 / self.events_per_second.max(1)).max(1)
    }
}

/// The number of the person that came last before an event, or is it.
fn last_person(event: i64) -> i64 {
    event / EPOCH
}

/// The number of the auction that came last before an event, or is it.
fn last_auction(event: i64) -> i64 {
    Table::Auction.rows_before(event + 1) - 1
}

/// The number of the person that an event is.
pub fn person_id(event: i64) -> i64 {
    FIRST_ID + last_person(event)
}

/// The number of the auction that an event is.
pub fn auction_id(event: i64) -> i64 {
    FIRST_ID + last_auction(event)
}

/// A person who does something.
fn some_person(event: i64, random: &mut Random) -> i64 {
    let count = last_person(event) + 1;
    let active = count.min(ACTIVE_PERSONS);
    FIRST_ID + count - active + random.below(active + AHEAD)
}

/// Who sells: three times of four the hot one.
pub fn seller(event: i64, random: &mut Random) -> i64 {
    match random.below(4) {
        0 => some_person(event, random),
        _ => FIRST_ID + last_person(event) / HOT_EVERY * HOT_EVERY,
    }
}

/// Who bids: three times of four the hot one, who is not the seller.
pub fn bidder(event: i64, random: &mut Random) -> i64 {
    match random.below(4) {
        0 => some_person(event, random),
        _ => FIRST_ID + last_person(event) / HOT_EVERY * HOT_EVERY + 1,
    }
}

/// What is bid for: every second time the hot one.
pub fn auction(event: i64, random: &mut Random) -> i64 {
    let last = last_auction(event).max(0);
    if random.below(2) > 0 {
        return FIRST_ID + last / HOT_EVERY * HOT_EVERY;
    }
    let first = (last - OPEN_AUCTIONS).max(0);
    FIRST_ID + first + random.below(last - first + 1 + AHEAD)
}

/// Makes rows of one table.
#[derive(Debug, Clone)]
pub struct Generator {
    table: Table,
    settings: Settings,
    channels: Arc<bid::Channels>,
}

impl Generator {
    /// Rows of a table.
    pub fn new(table: Table, settings: Settings) -> Self {
        let channels = match table {
            Table::Bid => bid::Channels::new(settings.seed),
            Table::Person | Table::Auction => bid::Channels::default(),
        };
        Self { table, settings, channels: Arc::new(channels) }
    }

    /// The rows of these numbers.
    ///
    /// # Errors
    /// None; the columns fit the schema.
    pub fn rows(&self, rows: Range<i64>) -> Result<RecordBatch> {
        let events = rows.map(|row| self.table.event_of(row));
        let columns = match self.table {
            Table::Person => person::columns(&self.settings, events),
            Table::Auction => auction::columns(&self.settings, events),
            Table::Bid => bid::columns(&self.settings, &self.channels, events),
        };
        Ok(RecordBatch::try_new(self.table.schema(), columns)?)
    }
}

/// A column of texts that is filled row by row.
pub struct Texts {
    rows: StringViewBuilder,
    text: Vec<u8>,
}

impl Texts {
    /// For so many rows.
    pub fn new(rows: usize) -> Self {
        Self { rows: StringViewBuilder::with_capacity(rows), text: vec![] }
    }

    /// A row with this text.
    pub fn add(&mut self, text: &str) {
        self.rows.append_value(text);
    }

    /// A row with what `write` writes, which is ASCII.
    pub fn add_written(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        self.text.clear();
        write(&mut self.text);
        self.rows.append_value(std::str::from_utf8(&self.text).unwrap_or_default());
    }

    /// A row of random letters.
    pub fn add_letters(&mut self, count: usize, random: &mut Random) {
        self.add_written(|text| random.letters(count, text));
    }

    /// The column.
    pub fn finish(mut self) -> ArrayRef {
        let array: StringViewArray = self.rows.finish();
        Arc::new(array)
    }
}

/// A column of times, which are given in milliseconds.
pub fn times(ms: &[i64]) -> ArrayRef {
    let us = TimestampMicrosecondArray::from_iter_values(ms.iter().map(|ms| ms.saturating_mul(1000)));
    Arc::new(us.with_timezone("UTC"))
}
