//! Statements and what a running Spark answered: the names of columns, and the conditions of errors.
//!
//! Files below `tests/data` have the statements that make the tables, and a line for each case.

use serde_json::Value;
use tidemill::{Session, StatementResult};

struct Answers {
    session: Session,
    cases: Vec<Value>,
}

/// The cases of a file, and a session with its tables.
async fn answers(text: &str) -> Answers {
    let file: Value = serde_json::from_str(text).unwrap();
    let session = Session::builder().target_partitions(1).build().unwrap();
    for statement in file["setup"].as_array().unwrap() {
        session.sql(statement.as_str().unwrap()).await.unwrap();
    }
    Answers { session, cases: file["cases"].as_array().unwrap().clone() }
}

/// The names of the columns of a query, or the condition of its error.
async fn names(session: &Session, sql: &str) -> Vec<String> {
    match session.sql(sql).await {
        Ok(results) => match results.into_iter().next() {
            Some(StatementResult::Rows(rows)) => rows.schema().fields().iter().map(|f| f.name().clone()).collect(),
            _ => vec![],
        },
        Err(e) => vec![e.condition().to_owned()],
    }
}

#[tokio::test]
async fn columns_are_named_as_the_query_writes_them() {
    let Answers { session, cases } = answers(include_str!("../data/column-names.json")).await;
    let mut wrong = vec![];
    for case in &cases {
        let sql = case[0].as_str().unwrap();
        let expected: Vec<_> = case[1].as_array().unwrap().iter().map(|n| n.as_str().unwrap()).collect();
        let found = names(&session, sql).await;
        if found != expected {
            wrong.push(format!("{sql}\n  expected {expected:?}\n  found    {found:?}"));
        }
    }
    assert!(wrong.is_empty() && cases.len() > 150, "{}", wrong.join("\n"));
}

#[tokio::test]
async fn errors_have_sparks_conditions() {
    let Answers { session, cases } = answers(include_str!("../data/conditions.json")).await;
    let mut wrong = vec![];
    for case in &cases {
        let (sql, expected) = (case[0].as_str().unwrap(), case[1].as_str().unwrap());
        let Err(e) = session.sql(sql).await else {
            wrong.push(format!("{sql}: expected {expected}, but it ran"));
            continue;
        };
        if e.condition() != expected || e.help().is_none() {
            wrong.push(format!("{sql}: expected {expected} with help, found {e}"));
        }
    }
    assert!(wrong.is_empty() && cases.len() > 300, "{}", wrong.join("\n"));
}
