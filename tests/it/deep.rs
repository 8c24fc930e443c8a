//! Expressions as large as generated SQL makes them: they work, or the error says that they are too deep and where.

use super::process::run_to_end;

/// The one value of `SELECT expr AS r FROM VALUES (1) AS t(v)`.
fn value(expr: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("deep.sql");
    std::fs::write(&file, format!("SELECT {expr} AS r FROM VALUES (1) AS t(v);")).unwrap();
    let ended = run_to_end(["run", file.to_str().unwrap()]);
    let shown = ended.stdout.lines().nth(3).map(|line| line.trim_matches(['|', ' ']).to_owned());
    shown.unwrap_or_else(|| ended.stderr.clone())
}

#[test]
fn long_chains_are_computed() {
    assert_eq!(value(&vec!["v"; 10_000].join(" + ")), "10000");
    assert_eq!(value(&vec!["1"; 10_000].join(" + ")), "10000");
    assert_eq!(value(&format!("v{}", " + 1 - 1".repeat(5_000))), "1");
    assert_eq!(value(&format!("length({})", vec!["'x'"; 5_000].join(" || "))), "5000");
    assert_eq!(value(&(0..10_000).map(|i| format!("v = {i}")).collect::<Vec<_>>().join(" OR ")), "true");
    assert_eq!(value(&(0..10_000).map(|i| format!("v <> {}", i + 2)).collect::<Vec<_>>().join(" AND ")), "true");
    assert!(value(&["2147483647"; 200].join(" + ")).contains("ARITHMETIC_OVERFLOW"));
}

#[test]
fn nested_calls_and_cases_are_computed() {
    assert_eq!(value(&format!("{}v{}", "abs(".repeat(500), ")".repeat(500))), "1");
    assert_eq!(value(&format!("{}v{}", "(".repeat(300), ")".repeat(300))), "1");
    let cases: String = (0..600).map(|k| format!("CASE WHEN v = {} THEN {k} ELSE ", k + 2)).collect();
    assert_eq!(value(&format!("{cases}-1{}", " END".repeat(600))), "-1");
    assert_eq!(value(&format!("{}v = 1", "NOT ".repeat(2_000))), "true");
}

#[test]
fn what_is_too_deep_is_refused_with_its_place() {
    for expr in [
        format!("{}v{}", "abs(".repeat(5_000), ")".repeat(5_000)),
        format!("{}1{}", "CASE WHEN v = 1 THEN 1 ELSE ".repeat(3_000), " END".repeat(3_000)),
        format!("{}v = 1", "NOT ".repeat(20_000)),
        vec!["v"; 50_000].join(" + "),
    ] {
        let error = value(&expr);
        let said = error.contains("too deeply") || error.contains("chain of more than");
        assert!(said && error.contains("deep.sql:1:") && error.contains("help:"), "{}", &error[..error.len().min(500)]);
    }
}
