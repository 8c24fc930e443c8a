//! What tests need: failpoints, and the pipeline tests of `tidemill test`.

#[cfg(feature = "cli")]
mod slt;

pub use crate::failpoint::{Action, FAILPOINTS, Failpoints};
pub use crate::query::{Environment, MicroBatchExecution, QuerySpec};
#[cfg(feature = "cli")]
pub use slt::{Breadth, SltFailure, SltOptions, SltReport, run_slt};
