//! The format of a file source or table: options, schema, and which reader it takes.

use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use super::batches::BatchFormat;
use super::entry::FileEntry;
use super::parquet::parquet_schema;
use super::read::Unread;
use crate::error::{Error, Result};
use crate::format::lines::{LINE_SEP, LineEnd};
use crate::format::{
    BadRecordCounter, BadRecords, CsvFormat, CsvOptions, JsonFormat, JsonOptions, LineFormat, TextFormat, bad_records,
    infer_csv_schema, infer_json_schema,
};
use crate::options::{OptionReader, OptionSpec, OptionType};
use crate::sink::file::FileFormatKind;
use crate::source::provider::source_schema;
use crate::type_name::sql_type_name;

/// What the options say about the bytes of a file.
#[derive(Debug, Clone)]
pub enum FormatOptions {
    Text {
        whole: bool,
        line_end: LineEnd,
        bad_records: BadRecords,
    },
    Csv {
        csv: CsvOptions,
        line_end: LineEnd,
        bad_records: BadRecords,
    },
    Json {
        json: JsonOptions,
        line_end: LineEnd,
        bad_records: BadRecords,
    },
    Parquet {
        /// Whether the columns are those of all files, not of the first alone.
        merge_schema: bool,
    },
    Batches(BatchFormat),
}

/// How files become rows.
#[derive(Debug, Clone)]
pub enum FileFormat {
    /// A line is a record.
    Lines(LineFormat, LineEnd),
    /// A file is a record.
    Whole(LineFormat),
    /// Row groups.
    Parquet,
    /// Batches of these columns.
    Batches(BatchFormat, SchemaRef),
}

impl FileFormat {
    /// What becomes of a record that is too long to be read at all.
    pub fn too_long(&self) -> Result<RecordBatch> {
        match self {
            Self::Lines(format, _) | Self::Whole(format) => format.too_long(),
            Self::Parquet | Self::Batches(..) => Err(Error::internal("the file has no lines")),
        }
    }

    /// Whether columns that are not asked for need not be read.
    pub fn is_projectable(&self) -> bool {
        !matches!(self, Self::Lines(LineFormat::Text(_), _) | Self::Whole(LineFormat::Text(_)))
    }

    /// The same for some of the columns.
    ///
    /// # Errors
    /// None for columns that the schema has.
    pub fn project(self, columns: &[usize]) -> Result<Self> {
        Ok(match self {
            Self::Lines(format, line_end) => Self::Lines(format.project(columns)?, line_end),
            Self::Whole(format) => Self::Whole(format.project(columns)?),
            Self::Batches(format, schema) => Self::Batches(format, Arc::new(schema.project(columns)?)),
            Self::Parquet => Self::Parquet,
        })
    }

    /// Whether several readers can share a file.
    pub fn is_splittable(&self) -> bool {
        match self {
            Self::Lines(_, line_end) => line_end.is_splittable(),
            Self::Whole(_) | Self::Batches(..) => false,
            Self::Parquet => true,
        }
    }
}

/// The option of formats whose files have columns of their own.
pub const MERGE_SCHEMA: [OptionSpec; 1] = [OptionSpec::new(
    "mergeSchema",
    OptionType::Boolean,
    "Whether inference takes the columns of all files, not of the first alone.",
)
.or("false")];
const WHOLE_TEXT: [OptionSpec; 1] =
    [OptionSpec::new("wholetext", OptionType::Boolean, "Whether a file is one record.").or("false")];

impl FormatOptions {
    /// What [`FormatOptions::read`] reads.
    pub fn specs(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
        let with_mode =
            |specs: Vec<&'static [OptionSpec]>| [&[&LINE_SEP[..], &bad_records::WITH_MODE][..], &specs].concat();
        match kind {
            FileFormatKind::Text => vec![&WHOLE_TEXT, &LINE_SEP, &bad_records::NULLING],
            FileFormatKind::Csv => with_mode(CsvOptions::specs()),
            FileFormatKind::Json => with_mode(JsonOptions::specs()),
            FileFormatKind::Parquet => vec![&MERGE_SCHEMA],
            FileFormatKind::Avro | FileFormatKind::Orc | FileFormatKind::Arrow => BatchFormat::specs(kind),
        }
    }

    /// Reads the options of a format.
    pub fn read(kind: FileFormatKind, options: &mut OptionReader<'_>) -> Result<Self> {
        if let Some(format) = BatchFormat::read(kind, options)? {
            return Ok(Self::Batches(format));
        }
        Ok(match kind {
            FileFormatKind::Text => Self::Text {
                whole: options.bool("wholetext")?,
                line_end: line_end(options)?,
                bad_records: BadRecords::read(options)?,
            },
            FileFormatKind::Csv => Self::Csv {
                csv: CsvOptions::read(options)?,
                line_end: line_end(options)?,
                bad_records: BadRecords::read_with_mode(options)?,
            },
            FileFormatKind::Json => Self::Json {
                json: JsonOptions::read(options)?,
                line_end: line_end(options)?,
                bad_records: BadRecords::read_with_mode(options)?,
            },
            _ => Self::Parquet { merge_schema: options.bool("mergeSchema")? },
        })
    }

    /// The schema that files have: csv and json look at all of them, parquet at the first. Local times are those of `tz`.
    pub fn infer(&self, files: &[FileEntry], tz: Tz, unread: Unread<'_>) -> Result<SchemaRef> {
        let Some(first) = files.first() else { return Err(Error::internal("no file to tell a schema from")) };
        let read = |file: &FileEntry| unread.bytes(file);
        let schema = match self {
            Self::Text { .. } => return Ok(text_schema()),
            Self::Csv { csv, line_end, .. } => {
                // Without types only the names are told, which are in the first file.
                let files = if csv.infers_types() { files } else { &files[..1] };
                let files = files.iter().map(read).collect::<Result<Vec<_>>>()?;
                infer_csv_schema(&files, csv, line_end, tz)
            }
            Self::Json { json, line_end, bad_records } => {
                infer_json_schema(files.iter().map(read), json, line_end, *bad_records, tz)
            }
            Self::Parquet { merge_schema } => {
                let files = if *merge_schema { files } else { &files[..1] };
                merged(files.iter().map(|file| unread.open(file).and_then(|file| parquet_schema(&file))))
            }
            Self::Batches(format) => {
                let files = if format.merges_schemas() { files } else { &files[..1] };
                merged(files.iter().map(|file| unread.open(file).and_then(|file| format.schema(&file))))
            }
        };
        let path = &first.path;
        let schema = schema.map_err(|e| {
            if e.condition() == "STORE_IO" {
                return e;
            }
            Error::invalid(
                "UNABLE_TO_INFER_SCHEMA",
                format!("the schema of '{}' cannot be told: {}", path.display(), e.message()),
            )
            .with_help("declare the columns")
        })?;
        Ok(source_schema(&schema))
    }

    /// Refuses a schema that the format cannot have.
    pub fn check(&self, schema: &SchemaRef) -> Result<()> {
        let is_text = |f: &Field| *f.data_type() == DataType::Utf8View;
        if matches!(self, Self::Text { .. }) && !(schema.fields().len() == 1 && is_text(schema.field(0))) {
            return Err(Error::invalid("INVALID_SCHEMA", "a text file has one column, of type STRING")
                .with_help("leave the columns out"));
        }
        let nested = |f: &&Arc<Field>| f.data_type().is_nested();
        if let (Self::Csv { .. }, Some(f)) = (self, schema.fields().iter().find(nested)) {
            return Err(Error::invalid(
                "UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE",
                format!("column '{}' has the type {}, which CSV cannot hold", f.name(), sql_type_name(f.data_type())),
            )
            .with_help("declare it as STRING, and read it by from_json(…) or split(…)"));
        }
        match self {
            Self::Csv { csv, .. } => csv.check(schema)?,
            Self::Json { json, .. } => json.check(schema)?,
            _ => {}
        }
        Ok(())
    }

    /// The readers for `schema`; local times are those of `tz`.
    pub fn build(self, schema: SchemaRef, tz: Tz, counter: BadRecordCounter) -> Result<FileFormat> {
        Ok(match self {
            Self::Text { whole: true, bad_records, .. } => {
                FileFormat::Whole(LineFormat::Text(TextFormat::new(schema, bad_records, counter)))
            }
            Self::Text { line_end, bad_records, .. } => {
                FileFormat::Lines(LineFormat::Text(TextFormat::new(schema, bad_records, counter)), line_end)
            }
            Self::Csv { csv, line_end, bad_records } => {
                let format = CsvFormat::new(schema, csv, tz, bad_records, counter)?;
                match format.is_whole() {
                    true => FileFormat::Whole(LineFormat::Csv(format)),
                    false => FileFormat::Lines(LineFormat::Csv(format), line_end),
                }
            }
            Self::Json { json, line_end, bad_records } => {
                let format = JsonFormat::new(schema, json, tz, bad_records, counter)?;
                match format.is_whole() {
                    true => FileFormat::Whole(LineFormat::Json(format)),
                    false => FileFormat::Lines(LineFormat::Json(format), line_end),
                }
            }
            Self::Parquet { .. } => FileFormat::Parquet,
            Self::Batches(format) => FileFormat::Batches(format, schema),
        })
    }
}

/// The columns of all these schemas, in the order in which they come first.
fn merged(schemas: impl Iterator<Item = Result<Schema>>) -> Result<Schema> {
    let mut fields: Vec<Arc<Field>> = vec![];
    for schema in schemas {
        for field in schema?.fields() {
            match fields.iter_mut().find(|f| f.name().eq_ignore_ascii_case(field.name())) {
                Some(known) => *known = Arc::new(known.as_ref().clone().with_data_type(both(known, field)?)),
                None => fields.push(field.clone()),
            }
        }
    }
    Ok(Schema::new(fields))
}

/// The type that holds the values of two.
fn both(a: &Field, b: &Field) -> Result<DataType> {
    use DataType::*;
    let wrong = || {
        let (a_type, b_type) = (sql_type_name(a.data_type()), sql_type_name(b.data_type()));
        Error::invalid(
            "CANNOT_MERGE_SCHEMAS",
            format!("column '{}' is {a_type} in one file and {b_type} in another", a.name()),
        )
    };
    Ok(match (a.data_type(), b.data_type()) {
        (x, y) if x == y => x.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (Decimal128(p, s), Decimal128(q, t)) if s == t => Decimal128(*p.max(q), *s),
        (List(x), List(y)) => List(Arc::new(x.as_ref().clone().with_data_type(both(x, y)?))),
        (Struct(x), Struct(y)) => {
            let schemas = [x, y].map(|fields| Ok(Schema::new(fields.clone())));
            Struct(merged(schemas.into_iter())?.fields)
        }
        (Map(x, sorted), Map(y, _)) => Map(Arc::new(x.as_ref().clone().with_data_type(both(x, y)?)), *sorted),
        _ => return Err(wrong()),
    })
}

/// `value STRING`.
pub fn text_schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("value", DataType::Utf8View, true)]))
}

fn line_end(options: &mut OptionReader<'_>) -> Result<LineEnd> {
    Ok(match options.string("lineSep") {
        None => LineEnd::Any,
        Some(text) if text.is_empty() || text.len() > 64 => {
            return Err(options.invalid("lineSep", text, "from 1 to 64 bytes"));
        }
        Some(text) => LineEnd::Bytes(text.as_bytes().to_vec()),
    })
}
