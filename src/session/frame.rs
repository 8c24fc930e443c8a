//! What Spark has on a streaming DataFrame and DataFusion lacks: watermarks, deduplication, functions with state.

use std::time::Duration;

use datafusion::common::Column;
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::prelude::DataFrame;

use super::grouped::GroupedByKey;
use crate::error::{Error, Result};
use crate::interval::parse_interval;
use crate::options::did_you_mean;
use crate::plan::dedup::deduplicated;
use crate::plan::is_streaming;
use crate::plan::watermark::WatermarkNode;

/// Streaming operations of a DataFrame, under Spark's names. Columns are found in any case.
///
/// ```
/// # fn main() -> tidemill::Result<()> { run() }
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn run() -> tidemill::Result<()> {
/// use tidemill::prelude::*;
///
/// let session = Session::new();
/// session.sql("CREATE STREAM events (id STRING, ts TIMESTAMP) USING memory").await?;
/// let events = session.read_stream().table("events").await?;
/// let once = events.with_watermark("ts", "10 minutes")?.drop_duplicates_within_watermark(&["id"])?;
/// let query = once.write_stream().format("noop").start().await?;
/// query.stop().await
/// # }
/// ```
pub trait StreamingDataFrameExt: Sized {
    /// Names the event time of the rows, and how late they may be: `"10 minutes"`, or a [`Duration`]. Means nothing on a
    /// DataFrame over tables.
    ///
    /// # Errors
    /// There is no such column, it is no TIMESTAMP, or the delay is no interval or negative.
    fn with_watermark(self, event_time: &str, delay: impl Into<Delay>) -> Result<DataFrame>;

    /// Keeps the first row of every value of these columns, of all columns if there are none. With the event time among
    /// them, values are forgotten that the watermark has passed.
    ///
    /// # Errors
    /// There is no such column.
    fn drop_duplicates(self, columns: &[&str]) -> Result<DataFrame>;

    /// The same, of rows whose event times are no further apart than the delay of the watermark.
    ///
    /// # Errors
    /// There is no such column, or the DataFrame is over tables. Without a watermark the query does not start.
    fn drop_duplicates_within_watermark(self, columns: &[&str]) -> Result<DataFrame>;

    /// Groups the rows by the values of `keys`, for a function that keeps state for each.
    ///
    /// # Errors
    /// There are no keys, a key is no expression over the columns, or the DataFrame is over tables.
    fn group_by_key(self, keys: impl IntoIterator<Item = Expr>) -> Result<GroupedByKey>;
}

/// How late rows may be: a text such as `10 minutes`, or a [`Duration`].
#[derive(Debug, Clone)]
pub struct Delay(Given);

#[derive(Debug, Clone)]
enum Given {
    Text(String),
    Duration(Duration),
}

impl From<&str> for Delay {
    fn from(text: &str) -> Self {
        Self(Given::Text(text.to_owned()))
    }
}

impl From<Duration> for Delay {
    fn from(delay: Duration) -> Self {
        Self(Given::Duration(delay))
    }
}

impl Delay {
    fn ms(&self) -> Result<i64> {
        let too_long = || {
            Error::invalid("INVALID_INTERVAL_FORMAT", "the delay is too long").with_help("write less than 100000 years")
        };
        match &self.0 {
            Given::Duration(delay) => i64::try_from(delay.as_millis()).map_err(|_| too_long()),
            Given::Text(text) => {
                let interval = parse_interval(text).map_err(|message| {
                    Error::invalid("CANNOT_PARSE_INTERVAL", message).with_help("write it as '10 minutes'")
                })?;
                interval.to_delay_ms().ok_or_else(too_long)
            }
        }
    }
}

impl StreamingDataFrameExt for DataFrame {
    fn with_watermark(self, event_time: &str, delay: impl Into<Delay>) -> Result<DataFrame> {
        let (state, plan) = self.into_parts();
        let column = find_column(&plan, event_time)?;
        let streaming = is_streaming(&plan);
        // A query numbers its watermarks when it starts.
        let marked = WatermarkNode::try_new(plan.clone(), column, delay.into().ms()?, 0)?.into_plan();
        Ok(DataFrame::new(state, if streaming { marked } else { plan }))
    }

    fn drop_duplicates(self, columns: &[&str]) -> Result<DataFrame> {
        deduplicate(self, columns, false)
    }

    fn drop_duplicates_within_watermark(self, columns: &[&str]) -> Result<DataFrame> {
        deduplicate(self, columns, true)
    }

    fn group_by_key(self, keys: impl IntoIterator<Item = Expr>) -> Result<GroupedByKey> {
        GroupedByKey::try_new(self, keys.into_iter().collect())
    }
}

fn deduplicate(frame: DataFrame, columns: &[&str], within_watermark: bool) -> Result<DataFrame> {
    let (state, plan) = frame.into_parts();
    let keys = key_columns(&plan, columns)?;
    Ok(DataFrame::new(state, deduplicated(plan, keys, within_watermark)?))
}

fn key_columns(plan: &LogicalPlan, names: &[&str]) -> Result<Vec<Expr>> {
    if names.is_empty() {
        return Ok(plan.schema().columns().into_iter().map(Expr::Column).collect());
    }
    let mut keys: Vec<Expr> = vec![];
    for name in names {
        let key = Expr::Column(find_column(plan, name)?);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    Ok(keys)
}

/// The column of this name: exactly, or in any case.
fn find_column(plan: &LogicalPlan, name: &str) -> Result<Column> {
    let columns = plan.schema().columns();
    let mut found: Vec<_> = columns.iter().filter(|c| c.name == name || c.flat_name() == name).collect();
    if found.is_empty() {
        found = columns.iter().filter(|c| c.name.eq_ignore_ascii_case(name)).collect();
    }
    match found.as_slice() {
        [column] => Ok((*column).clone()),
        [] => {
            let e = Error::invalid("UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("there is no column '{name}'"));
            Err(match did_you_mean(name, columns.iter().map(|c| c.name.as_str())) {
                Some(near) => e.with_help(format!("did you mean '{near}'?")),
                None => e,
            })
        }
        _ => Err(Error::invalid("AMBIGUOUS_REFERENCE", format!("there are several columns '{name}'"))
            .with_help("give the others another name with .with_column_renamed(…)")),
    }
}

#[cfg(test)]
mod tests;
