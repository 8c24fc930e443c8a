//! Every documented example of Spark's functions, with what a running Spark answered, and our own reference of them.

use std::collections::BTreeSet;

use serde_json::Value;
use tidemill::{Session, StatementResult};

fn session() -> Session {
    Session::builder().target_partitions(1).build().unwrap()
}

/// The rows and the types of the columns, or the condition of the error.
async fn answer(session: &Session, sql: &str) -> Result<(Vec<Vec<String>>, Vec<String>), String> {
    match session.sql(sql).await {
        Ok(results) => match results.into_iter().next() {
            Some(StatementResult::Rows(rows)) => Ok((rows.texts("UTC"), rows.type_names())),
            other => Err(format!("no rows but {other:?}")),
        },
        Err(e) => Err(e.condition().to_owned()),
    }
}

async fn names(session: &Session, statement: &str) -> BTreeSet<String> {
    let (rows, _) = answer(session, statement).await.unwrap();
    rows.into_iter().map(|mut row| row.remove(0)).collect()
}

fn lines(text: &str) -> impl Iterator<Item = Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap())
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|v| v.as_str().unwrap().to_owned()).collect()
}

/// A line of `functions.jsonl` is a function, a query and Spark's answer. `differs` says why ours is another on purpose, or
/// not yet: then it must be another, so that no line stays behind.
#[tokio::test]
async fn documented_examples_give_what_spark_gives() {
    let session = session();
    let known = names(&session, "SHOW FUNCTIONS").await;
    let (mut alike, mut wrong) = (0, vec![]);
    for case in lines(include_str!("../data/functions.jsonl")) {
        let (function, sql) = (case["f"].as_str().unwrap(), case["sql"].as_str().unwrap());
        let expected = match case["error"].as_str() {
            Some(condition) => Err(condition.to_owned()),
            None => Ok((case["rows"].as_array().unwrap().iter().map(texts).collect(), texts(&case["types"]))),
        };
        let found = answer(&session, sql).await.map(|(rows, types)| (escaped(rows), types));
        if !known.contains(function) {
            if found.is_ok() {
                wrong.push(format!("{sql}\n  SHOW FUNCTIONS does not list '{function}', but it runs"));
            }
        } else if let Some(why) = case["differs"].as_str() {
            let by_chance = ["another each time", "the order is not fixed", "who runs the test"].contains(&why);
            if found == expected && !by_chance {
                wrong.push(format!("{sql}\n  is alike now: take 'differs' out of its line"));
            }
        } else if found != expected {
            wrong.push(format!("{sql}\n  expected {expected:?}\n  found    {found:?}"));
        } else {
            alike += 1;
        }
    }
    assert!(wrong.is_empty() && alike > 900, "{alike} are alike\n{}", wrong.join("\n"));
}

/// As Spark's console shows what would break a line.
fn escaped(rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    let cell = |c: String| c.replace('\n', "\\n").replace('\t', "\\t").replace('\r', "\\r");
    rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect()
}

/// The examples that docs/functions.md and DESCRIBE FUNCTION show.
#[tokio::test]
async fn examples_of_the_reference_give_what_it_says() {
    let session = session();
    let mut wrong = vec![];
    for line in include_str!("../../src/function/reference.txt").lines() {
        let cells: Vec<&str> = line.split('\t').collect();
        let [name, _, returns, _, example, result] = cells[..] else { continue };
        if let Err(e) = answer(&session, &format!("DESCRIBE FUNCTION `{name}`")).await {
            wrong.push(format!("DESCRIBE FUNCTION {name}: {e}"));
        }
        if example.is_empty() {
            continue;
        }
        match answer(&session, example).await {
            Ok((rows, types)) => {
                let shown = rows.iter().map(|row| row.join(", ")).collect::<Vec<_>>().join("; ");
                if (result != "-" && shown != result) || types.join(", ") != returns {
                    wrong.push(format!(
                        "{name}: {example}\n  says  {result} ({returns})\n  gives {shown} ({})",
                        types.join(", ")
                    ));
                }
            }
            Err(e) => wrong.push(format!("{name}: {example}: {e}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What has a name in the reference can be called, and what can be called is listed.
#[tokio::test]
async fn every_name_of_the_reference_is_a_function() {
    let session = session();
    let listed = names(&session, "SHOW FUNCTIONS").await;
    let mut wrong = vec![];
    for line in include_str!("../../src/function/reference.txt").lines().filter(|line| line.contains('\t')) {
        let name = line.split('\t').next().unwrap();
        if !listed.contains(name) {
            wrong.push(format!("{name} is not listed"));
        }
        let is_call = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if is_call && !["in", "case", "when", "cast"].contains(&name) {
            let call = format!("SELECT {name}(1, 2, 3, 4, 5, 6, 7, 8, 9, 10)");
            if answer(&session, &call).await == Err("UNRESOLVED_ROUTINE".to_owned()) {
                wrong.push(format!("{name} does not exist"));
            }
        }
    }
    for line in include_str!("../../src/function/missing.txt").lines().filter(|line| !line.starts_with('#')) {
        for name in line
            .split_once(": ")
            .unwrap()
            .1
            .split(' ')
            .filter(|name| !name.contains("time") && !name.starts_with("input_file"))
        {
            if answer(&session, &format!("SELECT {name}(1)")).await != Err("UNRESOLVED_ROUTINE".to_owned()) {
                wrong.push(format!("{name} is there"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn functions_are_shown_and_described() {
    let session = session();
    let like = names(&session, "SHOW FUNCTIONS LIKE 'a*s|map_k*'").await;
    assert!(like.contains("abs") && like.contains("map_keys") && !like.contains("array"), "{like:?}");
    assert_eq!(names(&session, "SHOW FUNCTIONS abs").await, BTreeSet::from(["abs".to_owned()]));
    assert!(names(&session, "SHOW USER FUNCTIONS").await.is_empty());
    let (rows, _) = answer(&session, "DESCRIBE FUNCTION EXTENDED ABS").await.unwrap();
    assert_eq!(rows[0], ["Function: abs"]);
    assert!(rows.iter().any(|row| row[0] == "Example: SELECT abs(-1)"), "{rows:?}");
    for operator in ["+", "<=>", "`case`", "'||'"] {
        answer(&session, &format!("DESC FUNCTION {operator}")).await.unwrap();
    }
    let error = session.sql("DESCRIBE FUNCTION array_jion").await.unwrap_err();
    assert_eq!((error.condition(), error.help()), ("UNRESOLVED_ROUTINE", Some("did you mean 'array_join'?")));
    let error = session.sql("SELECT cnt(*) FROM VALUES (1) AS t(a)").await.unwrap_err();
    assert_eq!(error.condition(), "UNRESOLVED_ROUTINE");
    let error = session.sql("SELECT parse_json('{}')").await.unwrap_err();
    assert!(error.help().unwrap().contains("VARIANT"), "{error}");
}
