//! The rate source: numbered rows at a steady rate, each with the time it is due.
//!
//! Follows Spark's `RateStreamMicroBatchStream`: offsets are whole seconds since the start, which is kept in the
//! checkpoint, and the rows of a batch are spread evenly over its seconds.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;

use super::provider::{fixed_schema, timestamp_type};
use super::record_log::{io_error, write_atomically};
use super::rows_scan::GeneratedScan;
use super::{RangeScan, ReadLimit, Source, SourceContext, SourceMetrics, StreamProvider};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::options::{OptionReader, OptionSpec, OptionType, Options};

/// `CREATE STREAM … USING rate`.
#[derive(Debug, Clone)]
pub struct RateStream {
    schema: SchemaRef,
    rate: Rate,
    num_partitions: Option<usize>,
}

/// How many rows there are at which second.
#[derive(Debug, Clone, Copy)]
struct Rate {
    rows_per_second: i64,
    ramp_up_seconds: i64,
}

impl Rate {
    /// Number of rows before the end of second `seconds`: a sum over a speed that grows until the ramp is over.
    fn rows_until(self, seconds: i64) -> i64 {
        let ramp = self.ramp_up_seconds.min(seconds);
        let speed_step = (self.rows_per_second / (self.ramp_up_seconds + 1)).max(1);
        // The even one of the two factors is halved first, so that the product does not overflow early.
        let ramp_rows = match ramp % 2 {
            1 => ((ramp + 1) / 2).saturating_mul(speed_step).saturating_mul(ramp),
            _ => (ramp / 2).saturating_mul(speed_step).saturating_mul(ramp + 1),
        };
        ramp_rows.saturating_add((seconds - ramp).saturating_mul(self.rows_per_second))
    }
}

/// `timestamp TIMESTAMP, value BIGINT`.
pub fn rate_columns() -> [(&'static str, arrow::datatypes::DataType); 2] {
    [("timestamp", timestamp_type()), ("value", arrow::datatypes::DataType::Int64)]
}

/// The option `numPartitions`.
pub const NUM_PARTITIONS: OptionSpec = OptionSpec::new(
    "numPartitions",
    OptionType::COUNT,
    "How many partitions rows are made in; else those of the session.",
);

impl RateStream {
    /// The options.
    pub const OPTIONS: &[&[OptionSpec]] = &[&[
        OptionSpec::new("rowsPerSecond", OptionType::COUNT, "How many rows come in a second.").or("1"),
        OptionSpec::new(
            "rampUpTime",
            OptionType::Text,
            "How long it takes to become so many; a bare number is seconds.",
        )
        .or("0s"),
        NUM_PARTITIONS,
    ]];

    /// Reads the options.
    pub fn new(name: &str, declared: Option<SchemaRef>, options: &Options) -> Result<Self> {
        let reader = OptionReader::new("the rate source", options, Self::OPTIONS);
        let rows_per_second = reader.parse("rowsPerSecond")?.unwrap_or(1);
        let ramp_up = reader.string("rampUpTime").map(|text| {
            // Spark's bare numbers are seconds here.
            let seconds =
                text.trim().parse().ok().map(Duration::from_secs).or_else(|| crate::options::parse_duration(text));
            seconds.ok_or_else(|| reader.invalid("rampUpTime", text, "a duration such as '10 seconds'"))
        });
        let ramp_up_seconds = i64::try_from(ramp_up.transpose()?.unwrap_or_default().as_secs()).unwrap_or(i64::MAX);
        let num_partitions = reader.parse("numPartitions")?;
        reader.finish()?;
        if ramp_up_seconds > i64::MAX / rows_per_second {
            return Err(Error::invalid(
                "INCORRECT_RAMP_UP_RATE",
                format!(
                    "with {rows_per_second} rows a second, 'rampUpTime' of the rate source may be at most {} seconds",
                    i64::MAX / rows_per_second
                ),
            )
            .with_help("use a shorter rampUpTime or fewer rowsPerSecond")
            .with_span(options.span("rampUpTime")));
        }
        let schema = fixed_schema("rate", name, declared, &rate_columns())?;
        Ok(Self { schema, rate: Rate { rows_per_second, ramp_up_seconds }, num_partitions })
    }
}

#[async_trait]
impl StreamProvider for RateStream {
    fn format(&self) -> &'static str {
        "rate"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>> {
        let start_ms = start_time(&ctx)?;
        Ok(Arc::new(RateSource {
            stream: self.clone(),
            start_ms,
            latest_ms: AtomicI64::new(start_ms),
            available_now: AtomicI64::new(i64::MAX),
            ctx,
        }))
    }
}

/// The time of the first second: written once, so that the same offset is the same second in every process.
pub(super) fn start_time(ctx: &SourceContext) -> Result<i64> {
    let path = ctx.dir.join("start_time");
    match fs::read_to_string(&path) {
        Ok(text) => parse_start_time(&path, &text),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let now_ms = ctx.clock.now_ms();
            fs::create_dir_all(&ctx.dir).map_err(|e| io_error("making", &ctx.dir, &e))?;
            write_atomically(&path, format!("v1\n{now_ms}").as_bytes())?;
            Ok(now_ms)
        }
        Err(e) => Err(io_error("reading", &path, &e)),
    }
}

fn parse_start_time(path: &Path, text: &str) -> Result<i64> {
    text.strip_prefix("v1\n").and_then(|t| t.trim().parse().ok()).ok_or_else(|| {
        Error::checkpoint("CHECKPOINT_CORRUPT", format!("the source's start time '{}' is damaged", path.display()))
            .with_help("restore the checkpoint from a backup, or start the query with a new one")
    })
}

#[derive(Debug)]
struct RateSource {
    stream: RateStream,
    start_ms: i64,
    /// The latest time seen, so that a clock that is set back takes no rows back.
    latest_ms: AtomicI64,
    available_now: AtomicI64,
    ctx: SourceContext,
}

impl RateSource {
    fn seconds_now(&self) -> i64 {
        let now_ms = self.ctx.clock.now_ms();
        let latest_ms = self.latest_ms.fetch_max(now_ms, Ordering::SeqCst).max(now_ms);
        (latest_ms - self.start_ms) / 1000
    }
}

fn seconds(offset: &Offset) -> Result<i64> {
    offset.as_i64().ok_or_else(|| Error::corrupt_checkpoint(format!("'{offset}' is no offset of a rate source")))
}

#[async_trait]
impl Source for RateSource {
    fn schema(&self) -> SchemaRef {
        self.stream.schema.clone()
    }

    fn description(&self) -> String {
        let partitions = self.stream.num_partitions.map_or_else(|| "default".to_string(), |n| n.to_string());
        let Rate { rows_per_second, ramp_up_seconds } = self.stream.rate;
        format!(
            "RateStreamV2[rowsPerSecond={rows_per_second}, rampUpTimeSeconds={ramp_up_seconds}, numPartitions={partitions}]"
        )
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::from(0))
    }

    async fn latest_offset(&self, start: &Offset, _limit: ReadLimit) -> Result<Option<Offset>> {
        let end = self.seconds_now().min(self.available_now.load(Ordering::SeqCst));
        Ok((end > seconds(start)?).then(|| Offset::from(end)))
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let (start, end) = (seconds(start)?, seconds(end)?);
        // After a restart with a clock behind the log, time goes on from the log.
        self.latest_ms.fetch_max(self.start_ms.saturating_add(end.saturating_mul(1000)), Ordering::SeqCst);
        let (first, last) = (self.stream.rate.rows_until(start), self.stream.rate.rows_until(end));
        if last == i64::MAX {
            return Err(Error::execution(
                "INCORRECT_END_OFFSET",
                format!("second {end} of the rate source has no number that fits BIGINT"),
            )
            .with_help("its numbers are used up: start with a new CHECKPOINT LOCATION, or fewer rowsPerSecond"));
        }
        let from_ms = self.start_ms + start * 1000;
        let ms_per_row = ((end - start) * 1000) as f64 / (last - first).max(1) as f64;
        let schema = self.stream.schema.clone();
        Ok(GeneratedScan::of(schema.clone(), first..last, self.stream.num_partitions, move |rows| {
            // Spark rounds half up.
            let time_us = |v: i64| (from_ms + ((v - first) as f64 * ms_per_row + 0.5).floor() as i64) * 1000;
            let times = TimestampMicrosecondArray::from_iter_values(rows.clone().map(time_us)).with_timezone("UTC");
            let columns: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(Int64Array::from_iter_values(rows))];
            Ok(RecordBatch::try_new(schema.clone(), columns)?)
        }))
    }

    async fn commit(&self, _end: &Offset) -> Result<()> {
        Ok(())
    }

    fn is_replayable(&self, _start: &Offset, _end: &Offset) -> bool {
        true
    }

    async fn prepare_available_now(&self) -> Result<()> {
        self.available_now.store(self.seconds_now(), Ordering::SeqCst);
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    fn metrics(&self) -> SourceMetrics {
        SourceMetrics::default()
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{context_with, read};
    use crate::time::Clock;
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};

    fn advance(clock: &Clock, seconds: u64) {
        if let Clock::Manual(m) = clock {
            m.advance(Duration::from_secs(seconds));
        }
    }

    #[tokio::test]
    async fn rows_are_spread_over_the_seconds_and_survive_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::manual();
        advance(&clock, 100);
        let options = Options::from_iter([("rowsPerSecond", "3")]);
        let stream = RateStream::new("r", None, &options).unwrap();
        let source = stream.open(context_with(&dir.path().join("s"), clock.clone())).await.unwrap();
        let start = source.initial_offset().await.unwrap();
        assert_eq!(source.latest_offset(&start, ReadLimit::All).await.unwrap(), None);
        advance(&clock, 2);
        let source = stream.open(context_with(&dir.path().join("s"), clock)).await.unwrap();
        let end = source.latest_offset(&start, ReadLimit::All).await.unwrap().unwrap();
        assert_eq!(end, Offset::from(2));
        let batches = read(source.scan(&start, &end).await.unwrap(), 4).await;
        let values: Vec<_> =
            batches.iter().flat_map(|b| b.column(1).as_primitive::<Int64Type>().values().to_vec()).collect();
        let ms: Vec<_> = batches
            .iter()
            .flat_map(|b| {
                b.column(0).as_primitive::<TimestampMicrosecondType>().values().iter().map(|t| t / 1000 - 100_000)
            })
            .collect();
        assert_eq!(values, [0, 1, 2, 3, 4, 5]);
        assert_eq!(ms, [0, 333, 667, 1000, 1333, 1667]);
    }

    #[test]
    fn ramp_up_as_in_spark() {
        let rate = Rate { rows_per_second: 10, ramp_up_seconds: 4 };
        let rows: Vec<_> = (0..7).map(|s| rate.rows_until(s)).collect();
        assert_eq!(rows, [0, 2, 6, 12, 20, 30, 40]);
    }

    #[test]
    fn options_are_checked() {
        let bad = |k: &str, v: &str| RateStream::new("r", None, &Options::from_iter([(k, v)])).unwrap_err();
        assert_eq!(bad("rowsPerSecond", "0").condition(), "INVALID_OPTION");
        assert_eq!(bad("rowPerSecond", "1").help(), Some("did you mean 'rowsPerSecond'?"));
    }
}
