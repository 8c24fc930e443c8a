//! The nexmark source: persons, auctions and bids of the benchmark of that name, made from the numbers of their events.
//!
//! An offset is the number of events so far, of all three tables; a stream gives the rows of one of them. So streams with the same options
//! fit each other, and a range has the same rows in every process, whatever the batches.

mod auction;
mod bid;
mod generator;
mod person;
mod random;
#[cfg(test)]
mod tests;

pub use generator::{Generator as NexmarkGenerator, Settings as NexmarkSettings, Table as NexmarkTable};

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::Mutex;

use super::provider::fixed_schema;
use super::rate::start_time;
use super::rows_scan::GeneratedScan;
use super::{RangeScan, ReadLimit, Source, SourceContext, StreamIdentity, StreamProvider};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::options::{OptionReader, OptionSpec, OptionType, Options};

/// `CREATE STREAM … USING nexmark`.
#[derive(Debug, Clone)]
pub struct NexmarkStream {
    schema: SchemaRef,
    table: NexmarkTable,
    settings: NexmarkSettings,
    /// How many events there are, if they end.
    events: Option<i64>,
    /// Events of a batch; else they come by the clock.
    per_trigger: Option<i64>,
}

impl NexmarkStream {
    /// The options.
    pub const OPTIONS: &[&[OptionSpec]] = &[&[
        OptionSpec::new("table", OptionType::Choice(&["person", "auction", "bid"]), "Which rows the stream gives.")
            .required(),
        OptionSpec::new(
            "events",
            OptionType::COUNT,
            "How many events there are, of all three tables together; without it they never end.",
        ),
        OptionSpec::new(
            "eventsPerSecond",
            OptionType::COUNT,
            "How many events a second of event time has, and how many come in a second where eventsPerTrigger does not say.",
        )
        .or("10000"),
        OptionSpec::new(
            "eventsPerTrigger",
            OptionType::COUNT,
            "How many events a batch takes, whatever the clock says.",
        ),
        OptionSpec::new("seed", OptionType::WHOLE, "Another number makes other rows.").or("0"),
        OptionSpec::new(
            "startTimestamp",
            OptionType::Text,
            "The time of the first event, with its zone, or in milliseconds since 1970.",
        )
        .or("2026-01-01T00:00:00Z"),
        OptionSpec::new(
            "outOfOrder",
            OptionType::Duration,
            "By how much one event of ten may be earlier than its turn; '0 seconds' is in order.",
        )
        .or("2 seconds"),
    ]];

    /// Reads the options.
    pub fn new(name: &str, declared: Option<SchemaRef>, options: &Options) -> Result<Self> {
        let reader = OptionReader::new("the nexmark source", options, Self::OPTIONS);
        reader.required("table")?;
        let chosen = reader.choice("table")?.unwrap_or_default();
        let table = NexmarkTable::ALL.into_iter().find(|t| t.name() == chosen).unwrap_or(NexmarkTable::Bid);
        let events = reader.parse("events")?;
        let events_per_second = reader.parse("eventsPerSecond")?.unwrap_or(1);
        let per_trigger = reader.parse("eventsPerTrigger")?;
        let seed = reader.parse("seed")?.unwrap_or_default();
        let start = reader.text("startTimestamp");
        let start_ms = milliseconds(start)
            .ok_or_else(|| reader.invalid("startTimestamp", start, "a time such as '2026-01-01T00:00:00Z'"))?;
        let late = reader.duration("outOfOrder")?.unwrap_or_default();
        reader.finish()?;
        let late_ms = i64::try_from(late.as_millis()).unwrap_or(i64::MAX - 1);
        let schema = fixed_schema("nexmark", name, declared, &table.columns())?;
        let settings = NexmarkSettings { seed, start_ms, events_per_second, late_ms };
        Ok(Self { schema, table, settings, events, per_trigger })
    }
}

/// A time as a text, or as a number of milliseconds.
fn milliseconds(text: &str) -> Option<i64> {
    let text = text.trim();
    let time = || chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis());
    text.parse().ok().or_else(time)
}

#[async_trait]
impl StreamProvider for NexmarkStream {
    fn format(&self) -> &'static str {
        "nexmark"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// All that rows depend on; how many there are and when they come may change.
    fn identity(&self) -> StreamIdentity {
        let NexmarkSettings { seed, start_ms, events_per_second, late_ms } = self.settings;
        let mut identity = StreamIdentity::of_format(self.format());
        let options = [
            ("table", self.table.name().to_owned()),
            ("seed", seed.to_string()),
            ("startTimestamp", start_ms.to_string()),
            ("eventsPerSecond", events_per_second.to_string()),
            ("outOfOrder", late_ms.to_string()),
        ];
        identity.options.extend(options.map(|(name, value)| (name.to_owned(), value)));
        identity
    }

    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>> {
        let start_ms = if self.per_trigger.is_some() { 0 } else { start_time(&ctx)? };
        Ok(Arc::new(NexmarkSource {
            generator: NexmarkGenerator::new(self.table, self.settings.clone()),
            stream: self.clone(),
            start_ms,
            latest_ms: AtomicI64::new(start_ms),
            available_now: Mutex::default(),
            ctx,
        }))
    }
}

/// Where `TRIGGER AVAILABLE NOW` ends.
#[derive(Debug, Default, Clone, Copy)]
enum AvailableNow {
    #[default]
    Off,
    /// With the next batch: events without an end are there as they are asked for.
    NextBatch,
    At(i64),
}

#[derive(Debug)]
struct NexmarkSource {
    stream: NexmarkStream,
    generator: NexmarkGenerator,
    /// When the first event came.
    start_ms: i64,
    /// The latest time seen, so that a clock that is set back takes no rows back.
    latest_ms: AtomicI64,
    available_now: Mutex<AvailableNow>,
    ctx: SourceContext,
}

fn events(offset: &Offset) -> Result<i64> {
    let count = offset.as_i64().filter(|count| *count >= 0);
    count.ok_or_else(|| Error::corrupt_checkpoint(format!("'{offset}' is no offset of a nexmark source")))
}

impl NexmarkSource {
    /// Events that the clock has let come.
    fn events_now(&self) -> i64 {
        let now_ms = self.ctx.clock.now_ms();
        let latest_ms = self.latest_ms.fetch_max(now_ms, Ordering::SeqCst).max(now_ms);
        let passed = i128::from(latest_ms) - i128::from(self.start_ms);
        let come = passed.max(0) * i128::from(self.stream.settings.events_per_second) / 1000;
        i64::try_from(come).unwrap_or(i64::MAX).min(self.total())
    }

    fn total(&self) -> i64 {
        self.stream.events.unwrap_or(i64::MAX)
    }

    /// The end of a batch that begins at `start`, by what the stream's options say.
    fn end_after(&self, start: i64, limit: ReadLimit) -> i64 {
        let table = self.stream.table;
        match (self.stream.per_trigger, limit) {
            (None, _) => self.events_now(),
            (Some(_), ReadLimit::All) if self.stream.events.is_some() => self.total(),
            (Some(count), _) => {
                // A batch without a row of the table would be no batch, and the next one as empty.
                let next_row = table.event_of(table.rows_before(start)).saturating_add(1);
                start.saturating_add(count).max(next_row).min(self.total())
            }
        }
    }
}

#[async_trait]
impl Source for NexmarkSource {
    fn schema(&self) -> SchemaRef {
        self.stream.schema.clone()
    }

    fn description(&self) -> String {
        let all = |count: Option<i64>, none: &str| count.map_or_else(|| none.to_owned(), |n| n.to_string());
        let NexmarkStream { table, settings, events, per_trigger, .. } = &self.stream;
        format!(
            "Nexmark[table={}, events={}, eventsPerSecond={}, eventsPerTrigger={}, seed={}]",
            table.name(),
            all(*events, "endless"),
            settings.events_per_second,
            all(*per_trigger, "by the clock"),
            settings.seed
        )
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::from(0))
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        let start = events(start)?;
        let mut end = self.end_after(start, limit);
        let mut available_now = self.available_now.lock();
        match *available_now {
            AvailableNow::Off => {}
            AvailableNow::At(last) => end = end.min(last),
            AvailableNow::NextBatch => *available_now = AvailableNow::At(end),
        }
        let rows = |events| self.stream.table.rows_before(events);
        Ok((end > start && rows(end) > rows(start)).then(|| Offset::from(end)))
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let (start, end) = (events(start)?, events(end)?);
        let rows = |events| self.stream.table.rows_before(events);
        let generator = self.generator.clone();
        let rows = rows(start)..rows(end.max(start));
        Ok(GeneratedScan::of(self.schema(), rows, None, move |rows| generator.rows(rows)))
    }

    async fn commit(&self, _end: &Offset) -> Result<()> {
        Ok(())
    }

    fn is_replayable(&self, _start: &Offset, _end: &Offset) -> bool {
        true
    }

    async fn prepare_available_now(&self) -> Result<()> {
        let end = match (self.stream.per_trigger, self.stream.events) {
            (None, _) => AvailableNow::At(self.events_now()),
            (Some(_), Some(total)) => AvailableNow::At(total),
            (Some(_), None) => AvailableNow::NextBatch,
        };
        *self.available_now.lock() = end;
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    fn latest_known(&self) -> Option<Offset> {
        self.stream.per_trigger.and(self.stream.events).map(Offset::from)
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}
