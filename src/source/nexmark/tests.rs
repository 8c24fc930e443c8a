use std::sync::Arc;
use std::time::Duration;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::concat_batches;
use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
use async_trait::async_trait;
use proptest::prelude::*;

use super::generator::EPOCH;
use super::*;
use crate::source::testing::{context, context_with, read};
use crate::testing::source::{TestedSource, conforms};
use crate::time::{Clock, ManualClock};

fn settings(seed: u64) -> NexmarkSettings {
    NexmarkSettings { seed, start_ms: NexmarkSettings::START_MS, events_per_second: 1000, late_ms: 2000 }
}

/// Those of the events that are rows of the table.
fn of_events(table: NexmarkTable, settings: NexmarkSettings, events: std::ops::Range<i64>) -> RecordBatch {
    let rows = table.rows_before(events.start)..table.rows_before(events.end);
    NexmarkGenerator::new(table, settings).rows(rows).unwrap()
}

fn made(table: NexmarkTable, seed: u64, events: std::ops::Range<i64>) -> RecordBatch {
    of_events(table, settings(seed), events)
}

fn options(pairs: &[(&str, &str)]) -> Options {
    Options::from_iter(pairs.iter().copied())
}

fn stream(pairs: &[(&str, &str)]) -> NexmarkStream {
    NexmarkStream::new("s", None, &options(pairs)).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn rows_do_not_depend_on_the_ranges(
        seed: u64, start in 0_i64..1_000_000_000, mut cuts in prop::collection::vec(0_i64..400, 0..6), table in 0_usize..3
    ) {
        let (table, end) = (NexmarkTable::ALL[table], start + 400);
        let whole = made(table, seed, start..end);
        cuts.sort_unstable();
        let mut parts = vec![];
        let mut from = start;
        for to in cuts.into_iter().map(|cut| start + cut).chain([end]) {
            parts.push(made(table, seed, from..to));
            from = to;
        }
        prop_assert_eq!(concat_batches(&table.schema(), &parts).unwrap(), whole);
    }

    #[test]
    fn rows_and_events_are_numbered_alike(events in 0_i64..i64::MAX / 2) {
        let rows = NexmarkTable::ALL.map(|table| table.rows_before(events));
        prop_assert_eq!(rows.iter().sum::<i64>(), events);
        for (table, rows) in NexmarkTable::ALL.into_iter().zip(rows) {
            prop_assert!(table.event_of(rows) >= events && table.event_of(rows) < events + EPOCH);
            prop_assert_eq!(table.rows_before(table.event_of(rows)), rows);
        }
    }
}

#[test]
fn another_seed_makes_other_rows() {
    for table in NexmarkTable::ALL {
        assert_ne!(made(table, 1, 0..1000), made(table, 2, 0..1000));
        assert_eq!(made(table, 1, 0..1000).schema(), table.schema());
    }
}

/// The share of rows whose number is the most frequent one of them.
fn share_of_hot(numbers: &[i64]) -> f64 {
    let mut counts = std::collections::HashMap::<i64, usize>::new();
    numbers.iter().for_each(|n| *counts.entry(*n).or_default() += 1);
    counts.into_values().max().unwrap_or(0) as f64 / numbers.len() as f64
}

#[test]
fn rows_are_as_the_benchmark_wants_them() {
    // While the same ones are hot: auctions change with every hundredth.
    let bids = made(NexmarkTable::Bid, 3, 5000 * EPOCH..5033 * EPOCH);
    let long = |batch: &RecordBatch, column: usize| batch.column(column).as_primitive::<Int64Type>().values().to_vec();
    let near = |share: f64, expected: f64| assert!((share - expected).abs() < 0.05, "{share} is not {expected}");
    near(share_of_hot(&long(&bids, 0)), 0.5);
    near(share_of_hot(&long(&bids, 1)), 0.75);
    let bytes = |batch: &RecordBatch, column: usize| -> usize {
        batch.column(column).as_string_view().iter().map(|t| t.unwrap().len()).sum::<usize>() / batch.num_rows()
    };
    assert!((64..72).contains(&bytes(&bids, 6)), "{}", bytes(&bids, 6));
    let channels = bids.column(3).as_string_view();
    let hot = channels.iter().filter(|c| !c.unwrap().starts_with("channel-")).count();
    near(hot as f64 / bids.num_rows() as f64, 0.5);
    for (channel, url) in channels.iter().zip(bids.column(4).as_string_view()) {
        let (channel, url) = (channel.unwrap(), url.unwrap());
        assert_eq!(url.split('/').map(str::len).collect::<Vec<_>>()[2..6], [15, 5, 5, 5], "{url}");
        let number = channel.strip_prefix("channel-");
        let named = url.split_once("&channel_id=").map(|(_, id)| id);
        assert!(named.is_none() || named == number, "{channel} {url}");
    }
    let auctions = made(NexmarkTable::Auction, 3, 5000 * EPOCH..5099 * EPOCH);
    let many = long(&made(NexmarkTable::Auction, 3, 0..20_000 * EPOCH), 7);
    near(many.iter().filter(|seller| **seller % 100 == 0).count() as f64 / many.len() as f64, 0.75);
    assert!(long(&auctions, 8).iter().all(|category| (10..15).contains(category)));
    let total: usize = [1, 2, 9].map(|column| bytes(&auctions, column)).iter().sum::<usize>() + 56;
    assert!((480..520).contains(&total), "{total}");
    // The numbers of auctions and persons are dense.
    assert_eq!(long(&auctions, 0), (16_000..16_000 + 297).collect::<Vec<_>>());
    assert_eq!(long(&made(NexmarkTable::Person, 3, 0..EPOCH * 3), 0), [1000, 1001, 1002]);
}

#[test]
fn one_event_of_ten_is_late() {
    let times = |late_ms| {
        let bids = of_events(NexmarkTable::Bid, NexmarkSettings { late_ms, ..settings(5) }, 100_000..110_000);
        bids.column(5).as_primitive::<TimestampMicrosecondType>().values().to_vec()
    };
    let (late, due) = (times(2000), times(0));
    assert!(due.is_sorted() && due[0] == (NexmarkSettings::START_MS + 100_004) * 1000);
    let delays: Vec<_> = late.iter().zip(&due).map(|(late, due)| (due - late) / 1000).collect();
    assert!(delays.iter().all(|d| (0..=2000).contains(d)));
    let share = delays.iter().filter(|d| **d > 0).count() as f64 / delays.len() as f64;
    assert!((0.08..0.12).contains(&share), "{share}");
}

#[tokio::test]
async fn batches_have_their_number_of_events_until_the_last() {
    let stream = stream(&[("table", "person"), ("events", "130"), ("eventsPerTrigger", "30"), ("seed", "9")]);
    let source = stream.open(context(std::path::Path::new("unused"))).await.unwrap();
    let mut at = source.initial_offset().await.unwrap();
    let mut ends = vec![];
    while let Some(end) = source.latest_offset(&at, ReadLimit::Configured).await.unwrap() {
        ends.push(end.as_i64().unwrap());
        at = end;
    }
    // The batch without a person goes on to the next one; after event 101 there is none.
    assert_eq!(ends, [30, 60, 101]);
    let start = source.initial_offset().await.unwrap();
    assert_eq!(source.latest_offset(&start, ReadLimit::All).await.unwrap(), Some(Offset::from(130)));
    assert_eq!(source.latest_known(), Some(Offset::from(130)));
    let rows = read(source.scan(&start, &at).await.unwrap(), 2).await;
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 3);
    source.prepare_available_now().await.unwrap();
    assert_eq!(source.latest_offset(&start, ReadLimit::Configured).await.unwrap(), Some(Offset::from(30)));
}

#[tokio::test]
async fn endless_events_are_available_for_one_batch() {
    let stream = stream(&[("table", "bid"), ("eventsPerTrigger", "100")]);
    let source = stream.open(context(std::path::Path::new("unused"))).await.unwrap();
    source.prepare_available_now().await.unwrap();
    let end = source.latest_offset(&Offset::from(0), ReadLimit::Configured).await.unwrap();
    assert_eq!(end, Some(Offset::from(100)));
    assert_eq!(source.latest_offset(&Offset::from(100), ReadLimit::Configured).await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_lets_events_come_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::default());
    clock.advance(Duration::from_secs(77));
    let stream = stream(&[("table", "auction"), ("events", "1200"), ("eventsPerSecond", "500")]);
    let open = || stream.open(context_with(&dir.path().join("s"), Clock::Manual(clock.clone())));
    let start = Offset::from(0);
    assert_eq!(open().await.unwrap().latest_offset(&start, ReadLimit::All).await.unwrap(), None);
    clock.advance(Duration::from_millis(1500));
    let source = open().await.unwrap();
    assert_eq!(source.latest_offset(&start, ReadLimit::All).await.unwrap(), Some(Offset::from(750)));
    clock.advance(Duration::from_secs(60));
    assert_eq!(source.latest_offset(&start, ReadLimit::Configured).await.unwrap(), Some(Offset::from(1200)));
    assert_eq!(source.latest_offset(&Offset::from(1200), ReadLimit::All).await.unwrap(), None);
}

#[test]
fn options_are_checked() {
    let bad = |pairs: &[(&str, &str)]| NexmarkStream::new("s", None, &options(pairs)).unwrap_err();
    assert_eq!(bad(&[]).condition(), "MISSING_OPTION");
    assert_eq!(bad(&[("table", "bids")]).help(), Some("did you mean 'bid'?"));
    assert_eq!(bad(&[("table", "bid"), ("events", "0")]).condition(), "INVALID_OPTION");
    assert_eq!(bad(&[("table", "bid"), ("startTimestamp", "now")]).condition(), "INVALID_OPTION");
    assert_eq!(bad(&[("table", "bid"), ("evnts", "5")]).help(), Some("did you mean 'events'?"));
    assert_eq!(stream(&[("table", "BID")]).settings, NexmarkSettings { events_per_second: 10_000, ..settings(0) });
    let later = stream(&[("table", "bid"), ("startTimestamp", "1970-01-01T01:00:00+01:00"), ("outOfOrder", "5")]);
    assert_eq!((later.settings.start_ms, later.settings.late_ms), (0, 5));
}

#[test]
fn what_rows_depend_on_belongs_to_the_checkpoint() {
    let identity = |pairs: &[(&str, &str)]| stream(pairs).identity();
    let plain = identity(&[("table", "bid")]);
    assert_eq!(plain, identity(&[("table", "bid"), ("events", "5"), ("eventsPerTrigger", "1")]));
    assert_ne!(plain, identity(&[("table", "person")]));
    assert_ne!(plain, identity(&[("table", "bid"), ("seed", "1")]));
}

/// Events that come as time passes.
struct Tested(NexmarkTable, Arc<ManualClock>);

#[async_trait]
impl TestedSource for Tested {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(stream(&[("table", self.0.name()), ("eventsPerSecond", "100")])))
    }

    async fn add_rows(&mut self) -> Result<()> {
        self.1.advance(Duration::from_secs(3));
        Ok(())
    }

    fn clock(&self) -> Clock {
        Clock::Manual(self.1.clone())
    }
}

#[tokio::test]
async fn the_contract_is_kept() {
    for table in NexmarkTable::ALL {
        conforms(|| Box::new(Tested(table, Arc::default()))).await.unwrap_or_else(|e| panic!("{table:?}: {e}"));
    }
}
