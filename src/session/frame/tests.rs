//! Names, types and delays that the DataFrame functions are given.

use super::*;
use crate::session::Session;

async fn frame() -> (Session, DataFrame) {
    let session = Session::new();
    let text = "CREATE STREAM s (k STRING, Ts TIMESTAMP, n BIGINT) USING memory; \
                CREATE VIEW t AS SELECT * FROM (VALUES (1, 'a'), (1, 'b'), (2, 'c')) AS v(a, b)";
    session.sql(text).await.unwrap();
    let frame = session.read_stream().table("s").await.unwrap();
    (session, frame)
}

fn condition<T>(result: Result<T>) -> String {
    result.err().map(|e| e.condition().to_owned()).unwrap_or_default()
}

#[tokio::test]
async fn wrong_columns_and_delays() {
    let (_session, s) = frame().await;
    assert!(s.clone().with_watermark("ts", "10 seconds").is_ok());
    assert!(s.clone().with_watermark("Ts", Duration::from_secs(1)).is_ok());
    assert_eq!(condition(s.clone().with_watermark("tss", "1 second")), "UNRESOLVED_COLUMN.WITH_SUGGESTION");
    assert_eq!(condition(s.clone().with_watermark("n", "1 second")), "EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE");
    assert_eq!(condition(s.clone().with_watermark("ts", "1 sekunde")), "CANNOT_PARSE_INTERVAL");
    assert_eq!(condition(s.clone().with_watermark("ts", "-1 second")), "INVALID_WATERMARK_DELAY");
    assert_eq!(condition(s.clone().with_watermark("ts", Duration::MAX)), "INVALID_INTERVAL_FORMAT");
    assert_eq!(condition(s.clone().drop_duplicates(&["nope"])), "UNRESOLVED_COLUMN.WITH_SUGGESTION");
    let e = s.clone().drop_duplicates(&["kk"]).unwrap_err();
    assert_eq!(e.help(), Some("did you mean 'k'?"));
    assert_eq!(condition(s.clone().group_by_key([])), "INVALID_QUERY");
    assert!(s.group_by_key([datafusion::prelude::col("nope")]).is_err());
}

#[tokio::test]
async fn tables_are_deduplicated_too() {
    let (session, _) = frame().await;
    let t = session.context().table("t").await.unwrap();
    assert_eq!(t.clone().drop_duplicates(&["A"]).unwrap().count().await.unwrap(), 2);
    assert_eq!(t.clone().drop_duplicates(&[]).unwrap().count().await.unwrap(), 3);
    assert_eq!(condition(t.drop_duplicates_within_watermark(&["a"])), "UNSUPPORTED_FEATURE");
}
