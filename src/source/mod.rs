//! Sources: where rows come from, as ranges between offsets.
//!
//! A source owns its connection and its position in the outside world. It does not own which range a batch reads: the
//! query decides that, writes it to the checkpoint, and asks for exactly that range, again after a crash.

mod file;
mod identity;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
mod nexmark;
mod provider;
mod rate;
mod rate_micro_batch;
mod record_log;
mod refreshing;
mod rows_scan;
mod scan;
mod socket;
mod static_table;
#[cfg(test)]
mod testing;

pub use file::FileStream;
pub use file::metadata_column::METADATA;
#[cfg(feature = "kafka")]
pub use file::zone_of;
pub use identity::StreamIdentity;
#[cfg(feature = "kafka")]
pub use kafka::{KafkaStream, KafkaTable};
pub use memory::MemoryStream;
pub use nexmark::{NexmarkGenerator, NexmarkSettings, NexmarkStream, NexmarkTable};
pub use provider::{PARTITION_KEY, StreamProvider, schema_needed, source_schema};
pub use rate::RateStream;
pub use rate_micro_batch::RateMicroBatchStream;
pub use refreshing::RefreshingTable;
pub use rows_scan::MemoryScan;
pub use scan::{RangeScan, ScanRequest};
pub(crate) use scan::{all_columns, pushdown};
pub use socket::SocketStream;
pub use static_table::{StaticFiles, table_with_hidden};

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::prelude::SessionContext;
use tokio::sync::Notify;

use crate::error::Result;
use crate::offset::Offset;
use crate::time::Clock;

/// How much [`Source::latest_offset`] may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadLimit {
    /// Everything there is (`TRIGGER ONCE`).
    All,
    /// At most what the source's own options say (`maxFilesPerTrigger`, …); everything if they say nothing.
    Configured,
}

/// What a source needs from the query that reads it.
#[derive(Clone)]
pub struct SourceContext {
    /// A directory of this source's own inside the checkpoint, which the source may create.
    pub dir: PathBuf,
    /// The query, for those outside who see that it reads: its name, or else its id.
    pub query: String,
    /// The clock of the query.
    pub clock: Clock,
    /// The source notifies this when rows may have arrived, so that an idle query wakes at once.
    pub wake: Arc<Notify>,
    /// The DataFusion session, for object stores, memory and settings.
    pub session: SessionContext,
}

crate::send_sync::send_sync!(SourceContext { dir, query, clock, wake, session });

impl fmt::Debug for SourceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceContext").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// An unbounded table. The contract:
///
/// 1. Offsets only grow. `scan(start, end)` gives the rows after `start` up to and including `end`; calling it again, and
///    executing its plan again, gives the same rows in the same order, until `commit(end)` was called, also in a later process
///    if [`Source::is_replayable`] says so.
/// 2. `latest_offset` is cheap and never blocks for data.
/// 3. Memory is bounded: a source that receives by itself stops receiving when its buffer is full of rows that no batch
///    has taken. `latest_offset(start)` says that batches have taken those before `start`; `commit` may come as late as
///    the next batch, so a source that waits for it with a full buffer waits for ever.
/// 4. A record that cannot be read is counted ([`SourceMetrics::bad_records`]), never skipped in silence.
#[async_trait]
pub trait Source: Send + Sync + fmt::Debug {
    /// Columns of the rows. Strings are `Utf8View`, times `Timestamp(Microsecond, "UTC")`; every column may be null.
    fn schema(&self) -> SchemaRef;

    /// One line for the progress, e.g. `TextSocketV2[host: localhost, port: 9999]`.
    fn description(&self) -> String;

    /// The position before the first row of a new query. Asked once in a query's life; the answer is in the checkpoint.
    async fn initial_offset(&self) -> Result<Offset>;

    /// The end of the next batch, or `None` if there is nothing after `start`.
    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>>;

    /// The same for a query that takes rows as they arrive (`TRIGGER CONTINUOUS`): the end of those that are here already, if asking for the
    /// newest would cost time. It stays within the source's options, and becomes the newest after a while.
    async fn arrived(&self, start: &Offset) -> Result<Option<Offset>> {
        self.latest_offset(start, ReadLimit::Configured).await
    }

    /// The rows after `start` up to `end`. Reading is what the plan of the scan does.
    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>>;

    /// What the next `count` batches will probably read, nearest first, as far as that is known cheaply. Nothing is decided by it.
    fn upcoming(&self, count: usize) -> Vec<Arc<dyn RangeScan>> {
        let _ = count;
        vec![]
    }

    /// Returns when what [`Source::latest_offset`] has answered survives a crash; the batch becomes durable after that.
    async fn settled(&self) -> Result<()> {
        Ok(())
    }

    /// Rows up to `end` will never be asked for again.
    async fn commit(&self, end: &Offset) -> Result<()>;

    /// Whether the rows of this range can still be read, possibly in another process than the one that saw them first.
    fn is_replayable(&self, start: &Offset, end: &Offset) -> bool;

    /// Fixes the end for `TRIGGER AVAILABLE NOW`: `latest_offset` never goes beyond what is there now.
    async fn prepare_available_now(&self) -> Result<()>;

    /// How often `latest_offset` must be asked when nothing notifies; `None` if the source always notifies.
    fn poll_interval(&self) -> Option<Duration>;

    /// Counters since the start of this process.
    fn metrics(&self) -> SourceMetrics {
        SourceMetrics::default()
    }

    /// Whether the first batch of a query's life runs without rows, so that the place where the query begins is kept: it must not be asked for again,
    /// as where it begins is not the first row that there is.
    fn begins_with_a_batch(&self) -> bool {
        false
    }

    /// The end of all rows that there were when [`Source::latest_offset`] was asked last, if a batch may end before it.
    fn latest_known(&self) -> Option<Offset> {
        None
    }

    /// The partitions up to `end` if they hold watermarks by themselves, and whether each has rows between the offsets.
    fn partitions(&self, _start: &Offset, _end: &Offset) -> Vec<(String, bool)> {
        vec![]
    }

    /// Whether a batch waits for rows that do not come, such as those of a server that is away. A query that is stopped then leaves the
    /// batch, which runs when it is started again.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Where the first record of the last batch that could not be read is, if that is known.
    fn first_bad_record(&self) -> Option<String> {
        None
    }

    /// Closes connections and ends tasks. Nothing is called afterwards.
    async fn stop(&self) -> Result<()>;
}

/// What a source counts.
#[derive(Debug, Clone, Default)]
pub struct SourceMetrics {
    /// Records that could not be read, by what `badRecords` did with them.
    pub bad_records: u64,
    /// Source-specific figures for the progress.
    pub custom: std::collections::BTreeMap<String, String>,
}
