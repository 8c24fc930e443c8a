//! The pipeline tests below `tests/slt` and beside the examples, under the settings of their own. `tests/run` runs them under more.
#![cfg(feature = "cli")]

use std::path::PathBuf;

use tidemill::testing::{SltOptions, run_slt};

#[tokio::test(flavor = "multi_thread")]
async fn pipeline_tests_pass() {
    let dirs = ["tests/slt", "sql-examples"].map(|d| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(d));
    let report = run_slt(&dirs, SltOptions::default()).await.unwrap();
    assert!(report.failures.is_empty(), "{report}");
    assert!(report.passed > 0, "no pipeline tests were found");
}
