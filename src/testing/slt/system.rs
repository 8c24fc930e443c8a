//! The tables `system.progress` and `system.state_operators`: what the queries of a test told about their batches.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray, TimestampMicrosecondArray};
use chrono::DateTime;
use datafusion::catalog::{CatalogProvider, MemorySchemaProvider, SchemaProvider};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result};
use crate::query::{StateOperatorProgress, StreamingQueryProgress};

/// A query's name and the progress of one of its batches.
pub type QueryProgress = (String, Arc<StreamingQueryProgress>);

/// Puts both tables, as they are now, into the schema `system`.
pub fn register(context: &SessionContext, progress: &[QueryProgress]) -> Result<()> {
    let state = context.state();
    let catalog_name = &state.config_options().catalog.default_catalog;
    let catalog: Arc<dyn CatalogProvider> =
        context.catalog(catalog_name).ok_or_else(|| Error::internal("the session has no default catalog"))?;
    let schema = MemorySchemaProvider::new();
    schema.register_table("progress".into(), table(batches(progress)?)?)?;
    schema.register_table("state_operators".into(), table(state_operators(progress)?)?)?;
    catalog.register_schema("system", Arc::new(schema))?;
    Ok(())
}

fn table(rows: RecordBatch) -> Result<Arc<MemTable>> {
    Ok(Arc::new(MemTable::try_new(rows.schema(), vec![vec![rows]])?))
}

fn batches(progress: &[QueryProgress]) -> Result<RecordBatch> {
    let time = |key: &'static str| {
        timestamps(progress.iter().map(move |(_, p)| p.event_time.get(key).and_then(|v| v.as_str()).map(str::to_owned)))
    };
    rows(vec![
        ("query", text(progress.iter().map(|(q, _)| q.clone()))),
        ("batch_id", numbers(progress.iter().map(|(_, p)| p.batch_id))),
        ("num_input_rows", numbers(progress.iter().map(|(_, p)| p.num_input_rows))),
        (
            "num_output_rows",
            Arc::new(Int64Array::from_iter_values(progress.iter().map(|(_, p)| p.sink.num_output_rows))),
        ),
        ("watermark", time("watermark")),
        ("event_time_min", time("min")),
        ("event_time_max", time("max")),
        ("event_time_avg", time("avg")),
        ("batch_timestamp", timestamps(progress.iter().map(|(_, p)| Some(p.timestamp.clone())))),
    ])
}

fn state_operators(progress: &[QueryProgress]) -> Result<RecordBatch> {
    let all: Vec<(&str, u64, usize, &StateOperatorProgress)> = progress
        .iter()
        .flat_map(|(q, p)| p.state_operators.iter().enumerate().map(|(i, o)| (q.as_str(), p.batch_id, i, o)))
        .collect();
    let column = |f: fn(&StateOperatorProgress) -> u64| numbers(all.iter().map(|(.., o)| f(o)));
    rows(vec![
        ("query", text(all.iter().map(|(q, ..)| (*q).to_owned()))),
        ("batch_id", numbers(all.iter().map(|(_, batch_id, ..)| *batch_id))),
        ("operator_id", numbers(all.iter().map(|(_, _, i, _)| *i as u64))),
        ("operator_name", text(all.iter().map(|(.., o)| o.operator_name.clone()))),
        ("num_rows_total", column(|o| o.num_rows_total)),
        ("num_rows_updated", column(|o| o.num_rows_updated)),
        ("num_rows_removed", column(|o| o.num_rows_removed)),
        ("num_rows_dropped_by_watermark", column(|o| o.num_rows_dropped_by_watermark)),
        ("memory_used_bytes", column(|o| o.memory_used_bytes)),
    ])
}

fn rows(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    Ok(RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, true)))?)
}

fn text(values: impl Iterator<Item = String>) -> ArrayRef {
    Arc::new(values.map(Some).collect::<StringViewArray>())
}

fn numbers(values: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(values.map(|v| i64::try_from(v).unwrap_or(i64::MAX))))
}

/// ISO 8601, as progress has it.
fn timestamps(values: impl Iterator<Item = Option<String>>) -> ArrayRef {
    let micros = |text: String| DateTime::parse_from_rfc3339(&text).ok().map(|t| t.timestamp_micros());
    let times: TimestampMicrosecondArray = values.map(|v| v.and_then(micros)).collect();
    Arc::new(times.with_timezone("UTC"))
}
