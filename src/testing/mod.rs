//! What tests need: suites that say whether a source or a sink keeps its contract, failpoints, and the pipeline tests of `tidemill test`.

mod clauses;
#[doc(hidden)]
pub mod nexmark;
#[doc(hidden)]
pub mod parts;
pub mod sink;
#[cfg(feature = "cli")]
mod slt;
pub mod source;

pub use crate::failpoint::{Action, FAILPOINTS, Failpoints};
pub use crate::query::{Environment, MicroBatchExecution, QuerySpec};
#[cfg(feature = "cli")]
pub use slt::{Breadth, SltFailure, SltOptions, SltReport, run_slt};
