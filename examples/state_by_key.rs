//! `updateStateByKey` and `mapWithState` of Spark Streaming, on top of `flat_map_groups_with_state`.
//!
//! Run `nc -lk 9999`, then `cargo run --example state_by_key`, and type words into `nc`. A word that is not typed for thirty
//! seconds is forgotten.

use std::time::Duration;

use tidemill::prelude::*;

/// The state of a key becomes what `update` makes of its new values and its old state; `None` removes it.
///
/// Spark Streaming calls its function for keys without new values too, in every batch; this one is called when there are
/// some, so the work of a batch does not grow with the state.
pub fn update_state_by_key(
    pairs: DataFrame,
    update: impl Fn(Vec<i64>, Option<i64>) -> Option<i64> + Send + Sync + 'static,
) -> Result<DataFrame> {
    let step = move |key: String, pairs: Rows<(String, i64)>, state: &mut GroupState<i64>| {
        let values = pairs.map(|(_, value)| value).collect();
        match update(values, state.get().copied()) {
            Some(new) => {
                state.update(new);
                Ok(Some((key, new)))
            }
            None => {
                state.remove();
                Ok(None)
            }
        }
    };
    let keyed = pairs.group_by_key([col("key")])?;
    keyed.flat_map_groups_with_state("key STRING, state BIGINT", OutputMode::Update, GroupStateTimeout::None, step)
}

/// Calls `mapping` for every value, with the state to change, and gives what it returns. A key without values for `timeout`
/// is forgotten, after a last call without a value.
pub fn map_with_state(
    pairs: DataFrame,
    timeout: Duration,
    mapping: impl Fn(&str, Option<i64>, &mut GroupState<i64>) -> i64 + Send + Sync + 'static,
) -> Result<DataFrame> {
    let step = move |key: String, pairs: Rows<(String, i64)>, state: &mut GroupState<i64>| {
        if state.has_timed_out() {
            let last = mapping(&key, None, state);
            state.remove();
            return Ok(vec![(key, last)]);
        }
        let mapped = pairs.map(|(_, value)| (key.clone(), mapping(&key, Some(value), state))).collect();
        state.set_timeout_duration(timeout)?;
        Ok(mapped)
    };
    let keyed = pairs.group_by_key([col("key")])?;
    let (mode, timeouts) = (OutputMode::Update, GroupStateTimeout::ProcessingTime);
    keyed.flat_map_groups_with_state("key STRING, mapped BIGINT", mode, timeouts, step)
}

/// The sum of all values: what the classic word count does with both.
pub fn add(values: Vec<i64>, state: Option<i64>) -> Option<i64> {
    Some(state.unwrap_or(0) + values.iter().sum::<i64>())
}

/// The same, value by value; minus the sum when the key is forgotten.
pub fn count(_key: &str, value: Option<i64>, state: &mut GroupState<i64>) -> i64 {
    let sum = state.get().unwrap_or(&0) + value.unwrap_or(0);
    state.update(sum);
    if value.is_some() { sum } else { -sum }
}

#[tokio::main]
#[allow(dead_code, reason = "tests use the functions above")]
async fn main() -> Result<()> {
    let session = Session::new();
    let lines = || session.read_stream().format("socket").option("host", "127.0.0.1").option("port", 9999).load();
    let pairs = |lines: DataFrame| -> Result<DataFrame> {
        let words = lines.select([explode(split(col("value"), lit(" "))).alias("key")])?;
        Ok(words.select([col("key"), lit(1_i64).alias("n")])?)
    };
    let every = Trigger::ProcessingTime(Duration::from_secs(1));
    for (name, frame) in [
        ("updateStateByKey", update_state_by_key(pairs(lines().await?)?, add)?),
        ("mapWithState", map_with_state(pairs(lines().await?)?, Duration::from_secs(30), count)?),
    ] {
        let writer = frame.write_stream().query_name(name).output_mode(OutputMode::Update).trigger(every);
        writer.format("console").start().await?;
    }
    session.streams().await_any_termination().await
}
