//! The rate-micro-batch source: the same rows in every batch, whatever the timing.
//!
//! Follows Spark's `RatePerMicroBatchStream`: all rows of a batch carry the time of its start.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, TimestampMicrosecondArray};
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::provider::fixed_schema;
use super::rate::{NUM_PARTITIONS, rate_columns};
use super::rows_scan::GeneratedScan;
use super::{RangeScan, ReadLimit, Source, SourceContext, StreamProvider};
use crate::error::{Error, Result};
use crate::offset::Offset;
use crate::options::{OptionReader, OptionSpec, OptionType, Options};

/// `CREATE STREAM … USING rate-micro-batch`.
#[derive(Debug, Clone)]
pub struct RateMicroBatchStream {
    schema: SchemaRef,
    rows_per_batch: i64,
    start_ms: i64,
    advance_ms: i64,
    num_partitions: Option<usize>,
}

/// Rows and time before the next row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Position {
    offset: i64,
    timestamp: i64,
}

impl Position {
    fn read(offset: &Offset) -> Result<Self> {
        serde_json::from_value(offset.clone()).map_err(|e| {
            Error::checkpoint(
                "MALFORMED_STATE_IN_RATE_PER_MICRO_BATCH_SOURCE.INVALID_OFFSET",
                format!("'{offset}' is no offset of a rate-micro-batch source: {e}"),
            )
            .with_help("restore the checkpoint's directory from a copy, or start with a new CHECKPOINT LOCATION")
        })
    }

    fn write(self) -> Offset {
        serde_json::json!({"offset": self.offset, "timestamp": self.timestamp})
    }
}

impl RateMicroBatchStream {
    /// The options.
    pub const OPTIONS: &[&[OptionSpec]] = &[&[
        OptionSpec::new("rowsPerBatch", OptionType::COUNT, "How many rows a batch has.").required(),
        OptionSpec::new(
            "startTimestamp",
            OptionType::WHOLE,
            "The time of the first batch, in milliseconds since 1970.",
        )
        .or("0"),
        OptionSpec::new("advanceMillisPerBatch", OptionType::WHOLE, "By how much each batch is later.").or("1000"),
        NUM_PARTITIONS,
    ]];

    /// Reads the options.
    pub fn new(name: &str, declared: Option<SchemaRef>, options: &Options) -> Result<Self> {
        let reader = OptionReader::new("the rate-micro-batch source", options, Self::OPTIONS);
        reader.required("rowsPerBatch")?;
        let rows_per_batch = reader.parse("rowsPerBatch")?.unwrap_or(1);
        let start_ms = reader.parse("startTimestamp")?.unwrap_or(0);
        let advance_ms = reader.parse("advanceMillisPerBatch")?.unwrap_or(1000);
        let num_partitions = reader.parse("numPartitions")?;
        reader.finish()?;
        let schema = fixed_schema("rate-micro-batch", name, declared, &rate_columns())?;
        Ok(Self { schema, rows_per_batch, start_ms, advance_ms, num_partitions })
    }
}

#[async_trait]
impl StreamProvider for RateMicroBatchStream {
    fn format(&self) -> &'static str {
        "rate-micro-batch"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn open(&self, _ctx: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(RateMicroBatchSource { stream: self.clone(), available_now: Mutex::default() }))
    }
}

#[derive(Debug, Default, Clone, Copy)]
enum AvailableNow {
    #[default]
    Off,
    /// The first batch after the trigger was chosen is the only one.
    NextBatch,
    Until(Position),
}

#[derive(Debug)]
struct RateMicroBatchSource {
    stream: RateMicroBatchStream,
    available_now: Mutex<AvailableNow>,
}

#[async_trait]
impl Source for RateMicroBatchSource {
    fn schema(&self) -> SchemaRef {
        self.stream.schema.clone()
    }

    fn description(&self) -> String {
        let s = &self.stream;
        let partitions = s.num_partitions.map_or_else(|| "default".to_string(), |n| n.to_string());
        format!(
            "RatePerMicroBatchStream[rowsPerBatch={}, numPartitions={partitions}, startTimestamp={}, advanceMsPerBatch={}]",
            s.rows_per_batch, s.start_ms, s.advance_ms
        )
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(Position { offset: 0, timestamp: self.stream.start_ms }.write())
    }

    async fn latest_offset(&self, start: &Offset, _limit: ReadLimit) -> Result<Option<Offset>> {
        let start = Position::read(start)?;
        let next = Position {
            offset: start.offset.saturating_add(self.stream.rows_per_batch),
            timestamp: start.timestamp.saturating_add(self.stream.advance_ms),
        };
        let mut available_now = self.available_now.lock();
        let end = match *available_now {
            AvailableNow::Off => next,
            AvailableNow::Until(end) => end,
            AvailableNow::NextBatch => {
                *available_now = AvailableNow::Until(next);
                next
            }
        };
        Ok((end.offset > start.offset).then(|| end.write()))
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let (start, end) = (Position::read(start)?, Position::read(end)?);
        let schema = self.stream.schema.clone();
        let rows = start.offset..end.offset.max(start.offset);
        Ok(GeneratedScan::of(schema.clone(), rows, self.stream.num_partitions, move |rows| {
            let times = TimestampMicrosecondArray::from_value(start.timestamp * 1000, (rows.end - rows.start) as usize);
            let columns: Vec<ArrayRef> =
                vec![Arc::new(times.with_timezone("UTC")), Arc::new(Int64Array::from_iter_values(rows))];
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
        *self.available_now.lock() = AvailableNow::NextBatch;
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(10))
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::{context, read};

    #[tokio::test]
    async fn every_batch_has_its_rows_and_its_time() {
        let options =
            Options::from_iter([("rowsPerBatch", "10"), ("startTimestamp", "5000"), ("advanceMillisPerBatch", "50")]);
        let stream = RateMicroBatchStream::new("r", None, &options).unwrap();
        let source = stream.open(context(std::path::Path::new("unused"))).await.unwrap();
        let start = source.initial_offset().await.unwrap();
        let one = source.latest_offset(&start, ReadLimit::Configured).await.unwrap().unwrap();
        assert_eq!(one, serde_json::json!({"offset": 10, "timestamp": 5050}));
        source.prepare_available_now().await.unwrap();
        let two = source.latest_offset(&one, ReadLimit::Configured).await.unwrap().unwrap();
        assert_eq!(source.latest_offset(&two, ReadLimit::Configured).await.unwrap(), None);
        let batches = read(source.scan(&one, &two).await.unwrap(), 3).await;
        assert_eq!(batches.iter().map(RecordBatch::num_rows).collect::<Vec<_>>(), [3, 3, 4]);
        assert_eq!(
            batches[0].column(0).as_any().downcast_ref::<TimestampMicrosecondArray>().map(|t| t.value(0)),
            Some(5_050_000)
        );
    }

    #[test]
    fn rows_per_batch_is_required() {
        assert_eq!(RateMicroBatchStream::new("r", None, &Options::new()).unwrap_err().condition(), "MISSING_OPTION");
    }
}
