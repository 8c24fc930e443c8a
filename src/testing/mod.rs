//! What tests need: failpoints, and the pipeline tests of `tidemill test`.

mod failpoint;

pub use failpoint::{Action, FAILPOINTS, Failpoints};
pub use crate::query::{Environment, MicroBatchExecution, QuerySpec};
