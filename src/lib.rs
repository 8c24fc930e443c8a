//! Spark's Structured Streaming semantics in SQL and Rust, on DataFusion.
//!
//! Tidemill reads unbounded tables (a socket, a directory of files, …), runs an incremental query over the new rows and
//! the state at every trigger, and gives the result to a sink in append, update or complete mode, exactly once where the
//! source can be read again and the sink knows the batch it has.
//!
//! ```
//! use tidemill::prelude::*;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<()> {
//! let session = Session::new();
//! session
//!     .sql(
//!         "CREATE STREAM numbers (n BIGINT) USING memory;
//!          CREATE TABLE names (n BIGINT, name STRING) USING memory;
//!          INSERT INTO names VALUES (0, 'even'), (1, 'odd');",
//!     )
//!     .await?;
//! let counts = session.read_stream().table("numbers").await?;
//! let query = counts
//!     .aggregate(vec![(col("n") % lit(2)).alias("rest")], vec![count(lit(1)).alias("count")])?
//!     .write_stream()
//!     .format("memory")
//!     .query_name("counts")
//!     .output_mode(OutputMode::Complete)
//!     .start()
//!     .await?;
//! query.process_all_available().await?;
//! session.stop_all().await
//! # }
//! ```
//!
//! [`Session`] is the way in: SQL by [`Session::sql`], DataFrames by [`Session::read_stream`] and
//! [`WriteStreamExt::write_stream`]. A stream is DataFusion's [`DataFrame`](datafusion::prelude::DataFrame), and functions,
//! aggregates and tables that are registered with [`Session::context`] are seen by SQL and DataFrames alike. Sources and
//! sinks of your own implement [`Source`] with [`StreamProvider`], and [`Sink`]. The crates whose types this API shows are
//! re-exported: [`arrow`], [`datafusion`], [`serde_json`], and single names of others.
//!
//! The command line is the feature `cli`, which is on by default so that `cargo install` and `cargo run` give it. A program
//! that needs the library only leaves it out: `tidemill = { version = "…", default-features = false }`.
//!
//! Layers, from the outside in (each uses only those below it):
//!
//! ```text
//! bin/tidemill → session → sql   → plan → operator → state
//!                        ↘ query → checkpoint, source, sink → format
//! ```

mod checkpoint;
mod connector;
mod disk;
mod error;
mod failpoint;
mod format;
mod function;
mod glob;
mod interval;
#[cfg(feature = "kafka")]
mod kafka;
mod offset;
mod operator;
mod options;
mod output_mode;
mod plan;
mod query;
mod send_sync;
mod session;
mod sink;
mod source;
mod sql;
mod state;
mod store;
pub mod testing;
mod time;
mod time_zone;
mod trigger;
mod type_name;

pub use checkpoint::CheckpointDescription;
pub use connector::{Connector, ConnectorRequest, Connectors, Role};
pub use error::{Error, ErrorKind, Result, Span};
pub use function::reference::{Entry as FunctionReference, entries as function_reference};
pub use offset::Offset;
pub use operator::state_function::TimeMode;
pub use operator::state_function::group_state::{GroupState, GroupStateTimeout};
pub use operator::state_function::processor::{
    ListState, MapState, QueryInfo, StatefulProcessor, StatefulProcessorHandle, StatefulProcessorWithInitialState,
    TimerValues, ValueState, WithInitialState, WithoutInitialState,
};
pub use operator::state_function::rows::{GroupRows, OutputRows, Rows};
pub use options::{OptionReader, OptionSpec, OptionType, Options, did_you_mean};
pub use output_mode::OutputMode;
pub use plan::StreamTable;
pub use query::{
    QueryIdle, QueryStarted, QueryTerminated, SinkProgress, SourceProgress, StateOperatorProgress, StreamingQuery,
    StreamingQueryListener, StreamingQueryManager, StreamingQueryProgress, StreamingQueryStatus, Waiting, WaitingInput,
    WaitingOperator, checkpoint_describe,
};
pub use session::{
    Columns, DataStreamReader, DataStreamWriter, Delay, GroupedByKey, RowSet, RuntimeConf, Script, Session,
    SessionBuilder, StatementResult, StreamingDataFrameExt, Variables, WriteStreamExt,
};
#[doc(hidden)]
pub use sink::console_on_stderr;
pub use sink::{BatchIdentity, BatchRows, ForeachWriter, LastCommitted, MemorySink, NoopSink, Sink, SinkContext};
pub use source::{
    MemoryScan, MemoryStream, RangeScan, ReadLimit, ScanRequest, Source, SourceContext, SourceMetrics, StreamProvider,
};
pub use sql::diagnostic::{SourceText, render as render_error};
pub use sql::is_complete;
pub use time::{Clock, ManualClock};
pub use time_zone::{Tz, UnknownZone, ZoneOffset};
pub use trigger::{Delivery, Trigger};

/// Spark's functions as DataFusion expressions.
pub mod functions {
    pub use crate::function::expr_fn::*;
    pub use crate::plan::generators::{explode, explode_outer, inline, inline_outer, posexplode, posexplode_outer};
}

/// What most programs need: `use tidemill::prelude::*`.
pub mod prelude {
    pub use crate::functions::*;
    pub use crate::{
        Clock, DataStreamReader, DataStreamWriter, Error, GroupState, GroupStateTimeout, ListState, MapState,
        OutputMode, Result, Rows, Session, StatefulProcessor, StatefulProcessorHandle,
        StatefulProcessorWithInitialState, StreamingDataFrameExt, StreamingQuery, StreamingQueryListener,
        StreamingQueryManager, TimeMode, TimerValues, Trigger, ValueState, WriteStreamExt,
    };
    pub use datafusion::functions_aggregate::expr_fn::{avg, count, max, min, sum};
    pub use datafusion::prelude::{DataFrame, col, lit};
}

pub use arrow;
pub use async_trait::async_trait;
pub use datafusion;
pub use serde_json;
pub use tokio::sync::Notify;
pub use uuid::Uuid;

/// Compiles and runs the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;

/// Compiles the examples of the guide for Rust programs.
#[cfg(doctest)]
#[doc = include_str!("../docs/rust.md")]
struct RustExamples;

/// Compiles the examples of the guide to functions with state.
#[cfg(doctest)]
#[doc = include_str!("../docs/state-functions.md")]
struct StateFunctionExamples;
