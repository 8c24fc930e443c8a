//! Which queries with functions of state there are, by Spark's table.

use super::*;
use crate::prelude::*;

fn row(key: String) -> (String, i64, i64) {
    (key, 1, 0)
}

fn flat(s: DataFrame, mode: OutputMode, timeout: GroupStateTimeout) -> Result<DataFrame> {
    let f = |key: String, _: RecordBatch, _: &mut GroupState<i64>| Ok(Some(row(key)));
    s.group_by_key([col("k")])?.flat_map_groups_with_state("k STRING, n BIGINT, ts BIGINT", mode, timeout, f)
}

fn map(s: DataFrame) -> Result<DataFrame> {
    let f = |key: String, _: RecordBatch, _: &mut GroupState<i64>| Ok(row(key));
    s.group_by_key([col("k")])?.map_groups_with_state("k STRING, n BIGINT, ts BIGINT", GroupStateTimeout::None, f)
}

fn count_by_key(s: DataFrame) -> Result<DataFrame> {
    Ok(s.aggregate(vec![col("k")], vec![count(lit(1)).alias("n")])?)
}

/// The error of starting the query in this mode.
async fn refused(mode: OutputMode, query: impl Fn(DataFrame) -> Result<DataFrame>) -> Option<Error> {
    let bench = Bench::new(mode);
    bench.open(async |_: &Session, s: DataFrame| query(s)).await.err()
}

#[tokio::test]
async fn the_modes_of_functions() {
    use GroupStateTimeout::{EventTime, None as Never};
    use OutputMode::{Append, Complete, Update};
    for mode in [Append, Update] {
        assert_eq!(refused(mode, map).await.is_none(), mode == Update, "map in {mode}");
        for own in [Append, Update] {
            assert_eq!(refused(mode, |s| flat(s, own, Never)).await.is_none(), mode == own, "flat map {own} in {mode}");
        }
        assert!(refused(mode, |s| count_by_key(flat(s, Update, Never)?)).await.is_some());
        assert!(refused(mode, |s| map(count_by_key(s)?)).await.is_some());
    }
    assert!(refused(Complete, |s| flat(s, Append, Never)).await.is_some());
    assert!(refused(Complete, |s| count_by_key(flat(s, Append, Never)?)).await.is_none());
    assert!(refused(Complete, |s| count_by_key(flat(s, Update, Never)?)).await.is_some());
    let timed = |s: DataFrame| flat(s.with_watermark("ts", "1 second")?, Append, EventTime);
    assert!(refused(Append, timed).await.is_none());
    assert!(refused(Complete, |s| count_by_key(timed(s)?)).await.is_some());
    let e = refused(Append, |s| flat(s, Append, EventTime)).await.unwrap();
    assert!(e.message().starts_with("Watermark must be specified in the query"), "{e}");
    let e = refused(Append, |s| flat(s, Complete, Never)).await.unwrap();
    assert_eq!(e.condition(), "STREAMING_OUTPUT_MODE.INVALID");
}

#[tokio::test]
async fn several_functions() {
    use GroupStateTimeout::None as Never;
    use OutputMode::{Append, Update};
    assert!(refused(Append, |s| flat(flat(s, Append, Never)?, Append, Never)).await.is_none());
    let e = refused(Update, |s| flat(flat(s, Update, Never)?, Update, Never)).await.unwrap();
    assert!(e.message().starts_with("Multiple flatMapGroupsWithStates"), "{e}");
    let e = refused(Update, |s| map(map(s)?)).await.unwrap();
    assert!(e.message().starts_with("Multiple mapGroupsWithStates"), "{e}");
    let e = refused(Update, |s| map(flat(s, Update, Never)?)).await.unwrap();
    assert!(e.message().starts_with("Mixing"), "{e}");
}

#[tokio::test]
async fn tables_have_no_functions_with_state() {
    let session = Session::new();
    session.sql("CREATE VIEW t AS SELECT 'a' AS k, 1 AS n, 2 AS ts").await.unwrap();
    let table = session.context().table("t").await.unwrap();
    assert_eq!(condition(map(table)), "UNSUPPORTED_FEATURE");
}
