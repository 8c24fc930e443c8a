//! Where pipeline tests touch the rest: sessions, planning, memory streams.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::compute::{CastOptions, cast_with_options, concat_batches};
use arrow::datatypes::SchemaRef;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::dataframe::DataFrame;

use super::matrix::Combination;
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::plan::{StreamTable, scanned_stream};
use crate::session::{Session, StatementResult};
use crate::sql::query::{PlannedQuery, plan_query};
use crate::time::Clock;

/// A session for one file.
pub fn open_session(combination: &Combination, clock: Clock, failpoints: Failpoints) -> Result<Session> {
    let builder = Session::builder().clock(clock).failpoints(failpoints);
    combination.conf().fold(builder, |b, (key, value)| b.conf(key, value)).build()
}

/// Runs statements; the rows of the last one, if it has any.
pub async fn run_sql(session: &Session, text: &str) -> Result<Option<Vec<RecordBatch>>> {
    let results = session.sql(text).await?;
    Ok(match results.into_iter().next_back() {
        Some(StatementResult::Rows(rows)) => Some(rows.batches().to_vec()),
        _ => None,
    })
}

/// A query, with the names of its columns as users see them.
pub async fn plan(session: &Session, text: &str) -> Result<PlannedQuery> {
    plan_query(session.context(), text, None).await
}

/// Adds rows to the memory stream `name`; gives their number. `None` adds nothing, but moves the stream on.
pub async fn feed(session: &Session, name: &str, values: Option<&str>) -> Result<u64> {
    let stream = find_stream(session, name).await?;
    let memory = stream.provider().as_memory().ok_or_else(|| {
        Error::invalid("INVALID_FEED", format!("stream '{name}' is no memory stream"))
            .with_help("FEED adds rows to streams made with CREATE STREAM … USING memory")
    })?;
    let schema = stream.provider().schema();
    let rows = match values {
        None => RecordBatch::new_empty(schema),
        Some(values) => evaluate(session, values, &schema).await?,
    };
    let num_rows = rows.num_rows() as u64;
    memory.add_data(rows)?;
    Ok(num_rows)
}

/// The rows of a `VALUES` list as columns of `schema`.
async fn evaluate(session: &Session, values: &str, schema: &SchemaRef) -> Result<RecordBatch> {
    let planned = plan(session, &format!("SELECT * FROM (VALUES {values})")).await?;
    let batches = DataFrame::new(session.context().state(), planned.plan).collect().await?;
    let Some(first) = batches.first() else { return Ok(RecordBatch::new_empty(schema.clone())) };
    let rows = concat_batches(&first.schema(), &batches)?;
    if rows.num_columns() != schema.fields().len() {
        let (got, want) = (rows.num_columns(), schema.fields().len());
        return Err(Error::invalid("INVALID_FEED", format!("the rows have {got} columns, the stream has {want}")));
    }
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let columns = rows.columns().iter().zip(schema.fields());
    let columns: Vec<ArrayRef> =
        columns.map(|(c, f)| Ok(cast_with_options(c, f.data_type(), &options)?)).collect::<Result<_>>()?;
    Ok(RecordBatch::try_new(schema.clone(), columns)?)
}

/// The stream of this name, found as a query finds it; one with a watermark is a view over itself.
async fn find_stream(session: &Session, name: &str) -> Result<StreamTable> {
    let planned = plan(session, &format!("SELECT * FROM {name}")).await?;
    let mut found = None;
    planned.plan.apply(|node| {
        found = scanned_stream(node);
        Ok(if found.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })?;
    found.map(|s| s.as_ref().clone()).ok_or_else(|| {
        Error::invalid("INVALID_FEED", format!("'{name}' is no stream"))
            .with_help("FEED adds rows to streams made with CREATE STREAM … USING memory")
    })
}
