//! Rows to the bytes of messages.

use arrow::array::{ArrayRef, AsArray, BinaryArray, BinaryBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Fields};

use super::Part;
#[cfg(feature = "schema-registry")]
use super::registry::{self, SchemaRegistry};
use crate::error::{Error, Result};
#[cfg(feature = "avro")]
use crate::format::avro::{RecordEncoder, schema_of};
use crate::function::csv::encode as csv;
use crate::function::json::encode as json;
use crate::options::{OptionReader, OptionSpec, Options};
use crate::time_zone::Tz;
use crate::type_name::{sql_type_name, type_name};

/// The formats that messages are written in.
pub const WRITTEN_FORMATS: &[&str] = &[
    "json",
    "csv",
    "text",
    "raw",
    #[cfg(feature = "avro")]
    "avro",
];

/// The options of a format, beside those that say which format it is.
pub fn writing_options(format: &str) -> Vec<&'static [OptionSpec]> {
    match format {
        "json" => json::WRITING.to_vec(),
        "csv" => csv::WRITING.to_vec(),
        #[cfg(feature = "schema-registry")]
        "avro" => vec![&registry::OPTIONS],
        _ => vec![],
    }
}

/// How rows become messages.
#[derive(Debug)]
pub struct MessageEncoder {
    columns: Fields,
    format: Format,
}

#[derive(Debug)]
enum Format {
    /// The bytes of the one column.
    Bytes,
    Json(json::WriteOptions),
    Csv(csv::WriteOptions),
    #[cfg(feature = "avro")]
    Avro {
        #[cfg(feature = "schema-registry")]
        registry: Option<SchemaRegistry>,
        /// What every message begins with.
        frame: Vec<u8>,
    },
}

impl MessageEncoder {
    /// Messages of these columns.
    ///
    /// # Errors
    /// Options that do not fit; columns of types that the format does not have.
    pub fn new(format: &str, part: Part, columns: Fields, options: &Options) -> Result<Self> {
        let specs = writing_options(format);
        let mut reader = OptionReader::new(format!("the {} format {format}", part.word()), options, &specs);
        let format = match format {
            "raw" => one_column(format, &columns, |t| is_text(t) || is_binary(t), "STRING or BINARY")?,
            "text" => one_column(format, &columns, is_text, "STRING")?,
            "json" => Format::Json(json::WriteOptions::read(&mut reader)?),
            "csv" => {
                let nested = columns.iter().find(|f| f.data_type().is_nested());
                if let Some(field) = nested {
                    let data_type = sql_type_name(field.data_type());
                    let message = format!("column '{}' has the type {data_type}, which CSV cannot hold", field.name());
                    return Err(Error::invalid("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE", message)
                        .with_help("write it as a text, with to_json(…)"));
                }
                Format::Csv(csv::WriteOptions::read(&mut reader)?)
            }
            #[cfg(feature = "avro")]
            "avro" => {
                schema_of(&columns, RECORD, "")?;
                Format::Avro {
                    #[cfg(feature = "schema-registry")]
                    registry: SchemaRegistry::read(&reader)?,
                    frame: vec![],
                }
            }
            other => return Err(Error::internal(format!("there is no format '{other}' of messages"))),
        };
        Ok(Self { columns, format })
    }

    /// Whether the messages of one topic begin with a number of their own.
    pub fn needs_topic(&self) -> bool {
        match &self.format {
            #[cfg(feature = "schema-registry")]
            Format::Avro { registry, .. } => registry.is_some(),
            _ => false,
        }
    }

    /// Registers the schema of messages of this topic, if they have one.
    ///
    /// # Errors
    /// A registry that does not answer, or refuses the schema.
    pub async fn open(&mut self, part: Part, topic: &str) -> Result<()> {
        #[cfg(feature = "schema-registry")]
        if let Format::Avro { registry: Some(registry), frame } = &mut self.format {
            let schema = schema_of(&self.columns, RECORD, "")?.to_string();
            let id = registry.register(&format!("{topic}-{}", part.word()), &schema).await?;
            *frame = registry::frame(id).to_vec();
        }
        let _ = (part, topic);
        Ok(())
    }

    /// The messages of some rows; NULL is a message without bytes.
    ///
    /// # Errors
    /// Values that the format cannot hold.
    pub fn encode(&self, columns: &[ArrayRef], rows: usize, tz: Tz) -> Result<BinaryArray> {
        let mut texts = BinaryBuilder::with_capacity(rows, 0);
        let mut text = String::new();
        match &self.format {
            Format::Bytes => return Ok(cast(&columns[0], &DataType::Binary)?.as_binary::<i32>().clone()),
            Format::Json(options) => {
                let encoder = json::Encoder::new(options.clone(), tz);
                for row in 0..rows {
                    text.clear();
                    let fields = self.columns.iter().map(|f| f.name().as_str()).zip(columns);
                    encoder.write_row(&mut text, fields, row);
                    texts.append_value(&text);
                }
            }
            Format::Csv(options) => {
                let mut encoder = csv::Encoder::new(options.clone(), tz);
                for row in 0..rows {
                    text.clear();
                    encoder.write_row(&mut text, columns, row)?;
                    texts.append_value(&text);
                }
            }
            #[cfg(feature = "avro")]
            Format::Avro { frame, .. } => return RecordEncoder::messages(columns, rows, frame),
        }
        Ok(texts.finish())
    }
}

/// What Spark calls the record of a row.
#[cfg(feature = "avro")]
const RECORD: &str = "topLevelRecord";

fn one_column(format: &str, columns: &Fields, takes: impl Fn(&DataType) -> bool, expected: &str) -> Result<Format> {
    match &columns[..] {
        [column] if takes(column.data_type()) => Ok(Format::Bytes),
        _ => {
            let found: Vec<_> = columns.iter().map(|c| format!("{} {}", c.name(), type_name(c.data_type()))).collect();
            let message =
                format!("the format {format} takes one column, of type {expected}, and not: {}", found.join(", "));
            Err(Error::invalid("INVALID_SINK_SCHEMA", message)
                .with_help("select that column alone, or use the format json or csv"))
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8)
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::BinaryView | DataType::LargeBinary)
}
