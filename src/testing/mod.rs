//! What tests need: failpoints, and the pipeline tests of `tidemill test`.

/// Crash points of a session.
#[derive(Debug, Clone, Default)]
pub struct Failpoints;
