//! Streams by format name: what `CREATE STREAM … USING format` makes.

use std::fmt;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use datafusion::logical_expr::Expr;
use datafusion::prelude::SessionContext;

use super::file::FileStream;
use super::memory::MemoryStream;
use super::rate::RateStream;
use super::rate_micro_batch::RateMicroBatchStream;
use super::socket::SocketStream;
use super::{Source, SourceContext, StreamIdentity};
use crate::error::{Error, Result};
use crate::options::{OptionReader, Options, did_you_mean};

/// Formats of streams.
pub const STREAM_FORMATS: [&str; 11] =
    ["socket", "rate", "rate-micro-batch", "memory", "text", "csv", "json", "parquet", "avro", "orc", "arrow"];

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
    fn schema_with_metadata(&self) -> Option<SchemaRef> {
        None
    }

    /// The memory stream, if it is one.
    fn as_memory(&self) -> Option<&MemoryStream> {
        None
    }
}

/// The stream `name` of `format`; `declared` are the columns of the statement, if it has any.
///
/// # Errors
/// `DATA_SOURCE_NOT_FOUND` for an unknown format; an option that is missing, unknown or wrong; columns that the format
/// needs and were not given, or that are not those it has.
pub async fn stream_provider(
    ctx: &SessionContext,
    format: &str,
    name: &str,
    declared: Option<SchemaRef>,
    options: &Options,
) -> Result<Arc<dyn StreamProvider>> {
    let declared = declared.map(|s| source_schema(&s));
    Ok(match format.to_ascii_lowercase().as_str() {
        "socket" => Arc::new(SocketStream::new(name, declared, options)?),
        "rate" => Arc::new(RateStream::new(name, declared, options)?),
        "rate-micro-batch" => Arc::new(RateMicroBatchStream::new(name, declared, options)?),
        "memory" => {
            OptionReader::new("the memory source", options).finish()?;
            Arc::new(MemoryStream::new(declared.ok_or_else(|| schema_needed("memory", name))?))
        }
        "text" | "csv" | "json" | "parquet" | "avro" | "orc" | "arrow" => {
            Arc::new(FileStream::new(ctx, format, name, declared, options)?)
        }
        _ => return Err(unknown_format(format, "stream", &STREAM_FORMATS)),
    })
}

/// The error for a format that nobody provides.
pub fn unknown_format(format: &str, kind: &str, formats: &[&'static str]) -> Error {
    let e = Error::invalid("DATA_SOURCE_NOT_FOUND", format!("there is no {kind} format '{format}'"));
    match did_you_mean(format, formats.iter().copied()) {
        Some(near) => e.with_help(format!("did you mean '{near}'?")),
        None => e.with_help(format!("formats are: {}", formats.join(", "))),
    }
}

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
            let names: Vec<_> = columns.iter().map(|(n, t)| format!("{n} {t}")).collect();
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

#[cfg(test)]
mod tests {
    use super::*;

    async fn error(format: &str, declared: Option<SchemaRef>) -> Error {
        stream_provider(&SessionContext::new(), format, "s", declared, &Options::new()).await.unwrap_err()
    }

    #[tokio::test]
    async fn formats_and_schemas_are_checked() {
        let e = error("sockt", None).await;
        assert_eq!((e.condition(), e.help()), ("DATA_SOURCE_NOT_FOUND", Some("did you mean 'socket'?")));
        assert_eq!(error("memory", None).await.condition(), "UNABLE_TO_INFER_SCHEMA");
        let wrong = Arc::new(Schema::new(vec![Field::new("value", DataType::Int64, true)]));
        assert_eq!(error("rate", Some(wrong)).await.condition(), "INVALID_SCHEMA");
    }
}
