//! Sinks: where results go, in two steps so that a transaction fits.

mod batch_rows;
mod console;
pub mod file;
mod foreach;
#[cfg(feature = "kafka")]
mod kafka;
mod memory;
mod noop;
mod rows;
mod table;
#[cfg(test)]
pub mod testing;

pub use batch_rows::BatchRows;
pub use console::{ConsoleSink, ConsoleWriter, console_on_stderr, set_several_flows};
pub use file::FileSink;
pub use foreach::{ForeachBatchSink, ForeachSink, ForeachWriter};
#[cfg(feature = "kafka")]
pub use kafka::KafkaSink;
pub use memory::MemorySink;
pub use noop::NoopSink;
pub use table::{Truncate, show_table};

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use uuid::Uuid;

use crate::error::Result;
use crate::failpoint::Failpoints;
use crate::output_mode::OutputMode;
use crate::time::Clock;
use crate::trigger::Delivery;

/// The query id of `INSERT INTO` from a batch query: all of them are one writer, whose batches follow each other.
pub const BATCH_INSERTS: Uuid = Uuid::nil();

/// Who writes, and what.
#[derive(Debug, Clone)]
pub struct SinkContext {
    /// Stable over restarts from one checkpoint.
    pub query_id: Uuid,
    /// The query's name, if it has one.
    pub query_name: Option<String>,
    /// Whether the query has a checkpoint that survives the process: only then a batch can come twice.
    pub is_durable: bool,
    /// Whether the rows of a batch come before its record is durable: then a crash of the machine may bring them again in other batches.
    pub delivery: Delivery,
    /// What the rows of a batch mean.
    pub output_mode: OutputMode,
    /// Columns of the rows.
    pub schema: SchemaRef,
    /// The clock of the query.
    pub clock: Clock,
    /// The session's time zone, for sinks that show times as text.
    pub time_zone: crate::time_zone::Tz,
    /// Crash points of the session.
    pub failpoints: Failpoints,
}

/// The identity of a batch's output: the same batch run again has the same identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchIdentity {
    /// Dense, from 0.
    pub batch_id: u64,
    /// Checksum of the batch's record in the checkpoint.
    pub record_hash: u32,
}

/// What a sink knows of a query's earlier batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastCommitted {
    /// The sink cannot tell: delivery is at least once.
    Unknown,
    /// The sink has nothing of this query. If it had a batch before, that is lost, and the query does not start.
    Nothing,
    /// The last batch of this query that is visible in the sink.
    Batch(BatchIdentity),
}

/// Where results go. The contract:
///
/// 1. `open` comes first, then `last_committed`, then one `prepare` → `commit` (or `abort`) at a time, batch ids rising.
/// 2. After `prepare` nothing of the batch is visible. `commit` is called once the batch is durable in the checkpoint (if delivery is at
///    least once, written there), and makes all of it visible at once, together with its identity.
/// 3. A batch whose identity the sink has already is not given to it again by the same checkpoint; a sink may still
///    see a batch id twice if it answers `Unknown`.
/// 4. Dropping the sink without `close` is a crash: nothing prepared becomes visible.
#[async_trait]
pub trait Sink: Send + Sync + fmt::Debug {
    /// One line for the progress, e.g. `FileSink[/out/hourly]`.
    fn description(&self) -> String;

    /// The format of what it keeps, such as `csv`: a query that goes on from a checkpoint writes that format.
    fn format(&self) -> Option<&str> {
        None
    }

    /// Whether it takes rows of these columns in this mode. Asked without any effect, before anything starts.
    fn check(&self, mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        let _ = (mode, schema);
        Ok(())
    }

    /// The rows that it has, as a table under its name, if they can be read from it.
    fn table(self: Arc<Self>) -> Option<Arc<dyn TableProvider>> {
        None
    }

    /// Whether the rows that are there already are those of this query, wherever the sink says that it is. Asked when the
    /// description is another than that in the checkpoint: the output may have been moved.
    fn holds_output_of(&self, query_id: Uuid) -> Result<bool> {
        let _ = query_id;
        Ok(false)
    }

    /// Whether it remembers, for longer than a process, which batch it has: it is written exactly once or not at all.
    fn is_exactly_once(&self) -> bool {
        false
    }

    /// Checks that rows of this schema and mode fit, and gets ready to write.
    async fn open(&self, context: &SinkContext) -> Result<()>;

    /// The last batch of this query that is visible.
    async fn last_committed(&self) -> Result<LastCommitted>;

    /// Takes the rows of a batch; nothing is visible yet. Reads them to their end, each partition by a writer of its own or all of
    /// them in order, as suits the sink. Returns the number of rows, or `None` if the sink does not count.
    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>>;

    /// Makes the prepared batch visible.
    async fn commit(&self, batch: BatchIdentity) -> Result<()>;

    /// Forgets the prepared batch, if there is one.
    async fn abort(&self) -> Result<()>;

    /// Whether a batch waits for a server that is away. A query that is stopped then leaves the batch, which runs when it is started
    /// again.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Closes everything. Nothing is called afterwards.
    async fn close(&self) -> Result<()>;
}
