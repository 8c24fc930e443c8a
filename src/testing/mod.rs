//! What tests need: failpoints, and the pipeline tests of `tidemill test`.

mod failpoint;
#[cfg(feature = "cli")]
mod slt;

pub use crate::query::{Environment, MicroBatchExecution, QuerySpec};
pub use failpoint::{Action, FAILPOINTS, Failpoints};
#[cfg(feature = "cli")]
pub use slt::{SltFailure, SltOptions, SltReport, run_slt};
