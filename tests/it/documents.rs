//! Documents that are made from the program: they say what the program says.

use std::path::Path;

use tidemill::Connectors;

const HEAD: &str = "# Connectors and their options

What stands behind `USING` in `CREATE STREAM`, `CREATE TABLE` and `CREATE SINK`, and in `.format(…)` in Rust. How they behave is in
[sql.md](sql.md#sources). `tidemill list sources csv` says the same on the command line, `tidemill list sinks --json` for programs. Every stream also has
the option `watermark.idleTimeout`, every table the option `refresh`.

This file is written by the program: `TIDEMILL_WRITE_DOCS=1 cargo test --test it documents`.

";

#[test]
fn the_options_of_connectors_are_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/connectors.md");
    let expected = format!("{HEAD}{}", Connectors::default().to_markdown());
    if std::env::var_os("TIDEMILL_WRITE_DOCS").is_some() {
        std::fs::write(&path, &expected).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == expected,
        "docs/connectors.md is not what the program says; its first line tells how to write it"
    );
}
