//! A stream as a statement made it, and what streams have for columns.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::logical_expr::Expr;

use super::memory::MemoryStream;
use super::{Source, SourceContext, StreamIdentity};
use crate::error::{Error, Result};
use crate::type_name::sql_type_name;

/// A stream as it was created: options are checked, nothing is read yet. Every query opens a source of its own.
#[async_trait]
pub trait StreamProvider: Send + Sync + fmt::Debug {
    /// The format's name.
    fn format(&self) -> &'static str;

    /// Columns of the rows.
    fn schema(&self) -> SchemaRef;

    /// Opens a source for one query.
    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>>;

    /// What it reads, as far as a checkpoint depends on it.
    fn identity(&self) -> StreamIdentity {
        StreamIdentity::of_format(self.format())
    }

    /// Whether its sources can make use of a condition of the query, see [`ScanRequest::filters`](super::ScanRequest).
    fn prunes_by(&self, _filter: &Expr) -> bool {
        false
    }

    /// The columns with the hidden one that says where rows come from, which a scan gives if it is asked for the number behind those
    /// of [`StreamProvider::schema`]; `None` if there is no such column.
    fn schema_with_hidden(&self) -> Option<SchemaRef> {
        None
    }

    /// Whether each partition holds watermarks by itself. The columns that tell partitions apart have the metadata `tidemill.partition`, with
    /// their place among each other, from `0` on, as its value; [`Source::partitions`] calls a partition by their values, joined by `-`.
    fn watermarks_by_partition(&self) -> bool {
        false
    }

    /// The memory stream, if it is one.
    fn as_memory(&self) -> Option<&MemoryStream> {
        None
    }
}

/// The key of the field metadata that marks the columns which say what partition a row is of.
pub const PARTITION_KEY: &str = "tidemill.partition";

/// The error for a stream whose columns must be declared.
pub fn schema_needed(format: &str, name: &str) -> Error {
    Error::invalid("UNABLE_TO_INFER_SCHEMA", format!("stream '{name}' of format {format} needs its columns declared"))
        .with_help(format!(
            "write CREATE STREAM {name} (column TYPE, …) USING {format}; a stream of files may say schemaInference 'true' instead"
        ))
}

/// `TIMESTAMP`.
pub fn timestamp_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The schema of a format that has one of its own; columns declared all the same must be these.
pub fn fixed_schema(
    format: &str,
    name: &str,
    declared: Option<SchemaRef>,
    columns: &[(&str, DataType)],
) -> Result<SchemaRef> {
    let fields: Vec<_> = columns.iter().map(|(n, t)| Field::new(*n, t.clone(), true)).collect();
    let fixed = Arc::new(Schema::new(fields));
    let same = |d: &Schema| {
        d.fields().len() == columns.len()
            && d.fields().iter().zip(columns).all(|(f, (n, t))| f.name().eq_ignore_ascii_case(n) && f.data_type() == t)
    };
    match declared {
        Some(d) if !same(&d) => {
            let names: Vec<_> = columns.iter().map(|(n, t)| format!("{n} {}", sql_type_name(t))).collect();
            Err(Error::invalid(
                "INVALID_SCHEMA",
                format!("the columns of stream '{name}' are not those of the {format} source: {}", names.join(", ")),
            )
            .with_help("leave the columns out"))
        }
        _ => Ok(fixed),
    }
}

/// A declared schema in the types that sources give: strings as views, times in microseconds UTC, all nullable.
pub fn source_schema(declared: &Schema) -> SchemaRef {
    Arc::new(Schema::new_with_metadata(source_fields(declared.fields()), declared.metadata().clone()))
}

fn source_fields(fields: &Fields) -> Fields {
    fields.iter().map(source_field).collect()
}

fn source_field(field: &FieldRef) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Timestamp(_, Some(_)) => timestamp_type(),
        DataType::Timestamp(_, None) => DataType::Timestamp(TimeUnit::Microsecond, None),
        DataType::List(item) => DataType::List(source_field(item)),
        DataType::Struct(fields) => DataType::Struct(source_fields(fields)),
        other => other.clone(),
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type).with_nullable(true))
}
