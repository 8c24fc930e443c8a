//! Sessions of users with a rule of their own, which no `session_window` has: a session ends after five minutes without a
//! click, or at once with a click on `logout`.
//!
//! `cargo run --example sessions` makes clicks up, and prints sessions as they end.

use serde::{Deserialize, Serialize};
use tidemill::prelude::*;

const GAP_MS: i64 = 5 * 60 * 1000;

/// A row of the stream. A TIMESTAMP is a number of microseconds.
#[derive(Debug, Deserialize)]
pub struct Click {
    at: i64,
    page: String,
}

/// What is known of a session that has not ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Open {
    first_ms: i64,
    last_ms: i64,
    clicks: i64,
}

/// A session that has ended.
#[derive(Debug, Serialize)]
pub struct Ended {
    who: String,
    start: i64,
    seconds: i64,
    clicks: i64,
}

impl Open {
    fn ended(&self, who: &str) -> Ended {
        let (start, seconds) = (self.first_ms * 1000, (self.last_ms - self.first_ms) / 1000);
        Ended { who: who.to_owned(), start, seconds, clicks: self.clicks }
    }
}

/// Called for a user with new clicks, and when the watermark has passed the end of the session.
fn step(who: String, clicks: Rows<Click>, state: &mut GroupState<Open>) -> Result<Vec<Ended>> {
    let mut open = state.get().cloned();
    let mut ended = vec![];
    if state.has_timed_out() {
        ended.extend(open.take().map(|session| session.ended(&who)));
    }
    let mut clicks: Vec<Click> = clicks.collect();
    clicks.sort_by_key(|click| click.at);
    for click in clicks {
        let at_ms = click.at / 1000;
        if open.as_ref().is_some_and(|session| at_ms > session.last_ms + GAP_MS) {
            ended.extend(open.take().map(|session| session.ended(&who)));
        }
        let session = open.get_or_insert(Open { first_ms: at_ms, last_ms: at_ms, clicks: 0 });
        session.clicks += 1;
        session.first_ms = session.first_ms.min(at_ms);
        session.last_ms = session.last_ms.max(at_ms);
        if click.page == "logout" {
            ended.extend(open.take().map(|session| session.ended(&who)));
        }
    }
    match open {
        Some(session) => {
            let timeout_ms = (session.last_ms + GAP_MS).max(state.get_current_watermark_ms()?).max(1);
            state.update(session);
            state.set_timeout_timestamp(timeout_ms)?;
        }
        None => state.remove(),
    }
    Ok(ended)
}

/// Sessions of a stream with the columns who, at and page.
pub fn sessions(clicks: DataFrame) -> Result<DataFrame> {
    clicks.with_watermark("at", "1 minute")?.group_by_key([col("who")])?.flat_map_groups_with_state(
        "who STRING, start TIMESTAMP, seconds BIGINT, clicks BIGINT",
        OutputMode::Append,
        GroupStateTimeout::EventTime,
        step,
    )
}

#[tokio::main]
#[allow(dead_code, reason = "tests use the functions above")]
async fn main() -> Result<()> {
    let session = Session::new();
    // Each batch is a minute of clicks by ten users.
    session
        .sql(
            "CREATE STREAM ticks USING `rate-micro-batch` OPTIONS (rowsPerBatch 3, advanceMillisPerBatch 60000); \
             CREATE VIEW clicks AS SELECT concat('user ', value * 7 % 10) AS who, timestamp AS at, \
             CASE WHEN value % 11 = 0 THEN 'logout' ELSE 'shop' END AS page FROM ticks",
        )
        .await?;
    let clicks = session.context().table("clicks").await?;
    let trigger = Trigger::ProcessingTime(std::time::Duration::from_millis(200));
    let query = sessions(clicks)?.write_stream().format("console").trigger(trigger).start().await?;
    query.await_termination().await
}
