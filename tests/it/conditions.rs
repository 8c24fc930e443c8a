//! Every condition that the source can give is in docs/errors.md, and nothing else is.

use std::collections::BTreeSet;
use std::path::Path;

use regex::Regex;

/// Words in capitals that are no conditions.
const OTHERS: [&str; 22] = [
    "BACK_TO_DELIMITER",
    "BINARY_OP_DIFF_TYPES",
    "BINARY_OP_WRONG_TYPE",
    "CARGO_MANIFEST_DIR",
    "CARGO_PKG_VERSION",
    "DAYOFWEEK_ISO",
    "DENSE_RANK",
    "DOW_ISO",
    "EXCEPT_KEY",
    "MATCH_RECOGNIZE",
    "NO_COLOR",
    "PERCENT_RANK",
    "RAISE_ERROR",
    "REGEXP_LIKE",
    "SKIP_VALUE",
    "STOP_AT_CLOSING_QUOTE",
    "STOP_AT_DELIMITER",
    "TIDEMILL_FAILPOINTS",
    "TIMESTAMP_LTZ",
    "TIMESTAMP_NTZ",
    "TRY_CAST",
    "UNEXPECTED_INPUT_TYPE",
];

fn sources(dir: &Path, texts: &mut Vec<String>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, texts);
            }
        } else if name != "tests" && path.extension().is_some_and(|e| e == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
            texts.push(code.to_owned());
        }
    }
}

fn found(pattern: &str, text: &str) -> BTreeSet<String> {
    Regex::new(pattern).unwrap().captures_iter(text).map(|c| c[1].to_owned()).collect()
}

#[test]
fn every_condition_is_documented_and_nothing_else_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = vec![];
    sources(&root.join("src"), &mut texts);
    let in_source = r#""((?:[A-Z][A-Z0-9]*_[A-Z0-9_]*)(?:\.[A-Z0-9_]+)*|DATATYPE_MISMATCH|FAILPOINT)""#;
    let given: BTreeSet<_> =
        found(in_source, &texts.concat()).into_iter().filter(|c| !OTHERS.contains(&c.as_str())).collect();
    let docs = std::fs::read_to_string(root.join("docs/errors.md")).unwrap();
    // The first cell of a row has nothing but conditions, each in full.
    let rows = docs.lines().filter_map(|line| line.strip_prefix("| `")?.split(" | ").next());
    let documented: BTreeSet<_> = rows
        .flat_map(|cell| found(r"([A-Z][A-Z0-9_]+(?:\.[A-Z0-9_]+)*)", &format!("`{cell}")))
        .filter(|c| c.len() > 3)
        .collect();
    let missing: Vec<_> = given.difference(&documented).collect();
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:?}");
    let invented: Vec<_> = documented.difference(&given).collect();
    assert!(invented.is_empty(), "docs/errors.md has {invented:?}, which no code gives");
}
