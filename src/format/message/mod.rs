//! Formats of messages: the bytes of one key or value are one row, and columns become the bytes of keys and values.
//!
//! Owns how bytes are decoded and encoded, and which options that takes. Where they come from, and what becomes of a message that cannot be
//! read, is the business of who has the messages.

#[cfg(feature = "avro")]
mod avro;
mod debezium;
mod encode;
#[cfg(feature = "protobuf")]
mod protobuf;
#[cfg(feature = "schema-registry")]
mod registry;

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryBuilder, StringViewBuilder};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Fields};

use self::debezium::Debezium;
use crate::error::{Error, Result};
use crate::function::csv::decode as csv;
use crate::function::csv::options::{READING as CSV_READING, ReadOptions as CsvOptions};
use crate::function::json::decode as json;
use crate::function::json::options::{READING as JSON_READING, ReadOptions as JsonOptions};
use crate::options::{OptionReader, OptionSpec, OptionType, Options};
use crate::time_zone::Tz;
use crate::type_name::sql_type_name;

pub use encode::{MessageEncoder, WRITTEN_FORMATS, writing_options};

/// The formats that messages are read in.
pub const FORMATS: &[&str] = &[
    "json",
    "csv",
    "text",
    "raw",
    #[cfg(feature = "avro")]
    "avro",
    #[cfg(feature = "protobuf")]
    "protobuf",
    "debezium-json",
];

/// Those that keys are read in: a key is no change of a row.
pub const KEY_FORMATS: &[&str] = FORMATS.split_at(FORMATS.len() - 1).0;

/// The option that says whether values have the columns of keys as well; see [`has_key_columns`].
pub const FIELDS_INCLUDE: OptionSpec = OptionSpec::new(
    "value.fields-include",
    OptionType::Choice(&["ALL", "EXCEPT_KEY"]),
    "Whether the columns of the key are in the value as well.",
)
.or("ALL");

/// Whether values of a format have the columns of keys as well, if the option says so: formats of one column have not.
pub fn has_key_columns(format: &str, include: Option<&str>) -> bool {
    include != Some("EXCEPT_KEY") && !matches!(format, "raw" | "text")
}

/// Which bytes of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Key,
    Value,
}

impl Part {
    /// The word in names of options and messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
        }
    }
}

/// How messages become rows.
#[derive(Debug, Clone)]
pub enum MessageFormat {
    /// The bytes as they are.
    Raw(Fields),
    /// A text.
    Text(Fields),
    Json(Fields, Arc<JsonOptions>, Tz),
    Csv(csv::Decoder),
    #[cfg(feature = "avro")]
    Avro(avro::AvroMessages),
    #[cfg(feature = "protobuf")]
    Protobuf(protobuf::ProtobufMessages),
    Debezium(Debezium),
}

/// The columns of some messages, a row for each.
#[derive(Debug)]
pub struct Decoded {
    pub columns: Vec<ArrayRef>,
    /// Messages that could not be read, by their number, and why. What could be read of them is in the columns.
    pub bad: Vec<(usize, Cow<'static, str>)>,
    /// Messages that are no row at all, such as the one that follows a deletion in a log of changes.
    pub void: Vec<usize>,
}

/// The options of a format, beside those that say which format it is.
pub fn reading_options(format: &str) -> Vec<&'static [OptionSpec]> {
    match format {
        "json" | "debezium-json" => JSON_READING.to_vec(),
        "csv" => CSV_READING.to_vec(),
        #[cfg(feature = "avro")]
        "avro" => vec![
            &avro::OPTIONS,
            #[cfg(feature = "schema-registry")]
            &registry::OPTIONS,
        ],
        #[cfg(feature = "protobuf")]
        "protobuf" => vec![&protobuf::OPTIONS],
        _ => vec![],
    }
}

/// The options of all of these formats, each once.
pub fn all_options(formats: &[&str], of: impl Fn(&str) -> Vec<&'static [OptionSpec]>) -> Vec<OptionSpec> {
    let mut all: Vec<OptionSpec> = vec![];
    for spec in formats.iter().flat_map(|format| of(format)).flatten() {
        if !all.iter().any(|known| known.is_named(spec.name)) {
            all.push(*spec);
        }
    }
    all
}

impl MessageFormat {
    /// The columns that messages of a format have without being declared, if they have any.
    ///
    /// # Errors
    /// Options that do not fit.
    pub fn own_columns(format: &str, part: Part, options: &Options) -> Result<Option<Fields>> {
        let one = |data_type: DataType| Some(Fields::from(vec![Field::new(part.word(), data_type, true)]));
        Ok(match format {
            "raw" => one(DataType::Binary),
            "text" => one(DataType::Utf8View),
            #[cfg(feature = "avro")]
            "avro" => avro::own_columns(part, options)?,
            #[cfg(feature = "protobuf")]
            "protobuf" => Some(protobuf::own_columns(options)?),
            _ => {
                let _ = options;
                None
            }
        })
    }

    /// Messages of a format as these columns; local times are those of `tz`.
    ///
    /// # Errors
    /// Options that do not fit, and columns that the format does not have.
    pub fn new(format: &str, part: Part, columns: Fields, options: &Options, tz: Tz) -> Result<Self> {
        let specs = reading_options(format);
        let mut reader = OptionReader::new(format!("the {} format {format}", part.word()), options, &specs);
        Ok(match format {
            "raw" => Self::Raw(single(format, columns, &DataType::Binary)?),
            "text" => Self::Text(single(format, columns, &DataType::Utf8View)?),
            "json" => {
                let options = JsonOptions::read(&mut reader)?;
                json::Decoder::new(&columns, &options, tz, false)?;
                Self::Json(columns, Arc::new(options), tz)
            }
            "csv" => Self::Csv(csv::Decoder::new(columns, Arc::new(CsvOptions::read(&mut reader)?), tz)?),
            #[cfg(feature = "avro")]
            "avro" => Self::Avro(avro::AvroMessages::new(part, columns, &reader)?),
            #[cfg(feature = "protobuf")]
            "protobuf" => Self::Protobuf(protobuf::ProtobufMessages::new(columns, &reader)?),
            "debezium-json" => Self::Debezium(Debezium::new(columns, JsonOptions::read(&mut reader)?, tz)?),
            other => return Err(Error::internal(format!("there is no format '{other}' of messages"))),
        })
    }

    /// The column that takes the text of a bad record, if there is one.
    pub fn corrupt(&self) -> Option<usize> {
        match self {
            Self::Json(fields, options, _) => fields.iter().position(|f| *f.name() == options.corrupt_record),
            Self::Csv(decoder) => decoder.corrupt(),
            _ => None,
        }
    }

    /// The same for some of the columns. What is wrong with the others is not seen.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        let of = |fields: &Fields| columns.iter().map(|i| fields[*i].clone()).collect::<Fields>();
        Ok(match self {
            Self::Raw(fields) => Self::Raw(of(fields)),
            Self::Text(fields) => Self::Text(of(fields)),
            Self::Json(fields, options, tz) => Self::Json(of(fields), options.clone(), *tz),
            Self::Csv(decoder) => Self::Csv(decoder.project(columns)),
            #[cfg(feature = "avro")]
            Self::Avro(format) => Self::Avro(format.project(columns)?),
            #[cfg(feature = "protobuf")]
            Self::Protobuf(format) => Self::Protobuf(format.project(columns)?),
            Self::Debezium(format) => Self::Debezium(format.project(columns)),
        })
    }

    /// The rows of some messages. One without bytes is a row of NULLs.
    ///
    /// # Errors
    /// What stops a query whatever becomes of bad messages, such as a schema registry that does not answer.
    pub fn decode(&self, messages: &[Option<&[u8]>]) -> Result<Decoded> {
        match self {
            Self::Raw(fields) => Ok(raw(fields, messages)),
            Self::Text(fields) => Ok(text(fields, messages)),
            Self::Json(fields, options, tz) => {
                let mut decoder = json::Decoder::new(fields, options, *tz, false)?;
                let bad = decode_json(&mut decoder, messages);
                Ok(Decoded { columns: decoder.finish()?, bad, void: vec![] })
            }
            Self::Csv(decoder) => decode_csv(decoder, messages),
            #[cfg(feature = "avro")]
            Self::Avro(format) => format.decode(messages),
            #[cfg(feature = "protobuf")]
            Self::Protobuf(format) => format.decode(messages),
            Self::Debezium(format) => format.decode(messages),
        }
    }
}

/// The one column of a format that has one; none of it may be asked for.
fn single(format: &str, columns: Fields, wanted: &DataType) -> Result<Fields> {
    match &columns[..] {
        [column] if column.data_type() == wanted => Ok(columns),
        _ => {
            let wanted = sql_type_name(wanted);
            let message = format!("a message of the format {format} is one column, of type {wanted}");
            Err(Error::invalid("INVALID_SCHEMA", message)
                .with_help(format!("declare one {wanted} column, or leave the columns out")))
        }
    }
}

const NOT_UTF8: &str = "it is not valid UTF-8";

fn raw(fields: &Fields, messages: &[Option<&[u8]>]) -> Decoded {
    let column = || -> ArrayRef {
        let bytes = messages.iter().map(|m| m.map_or(0, <[u8]>::len)).sum();
        let mut builder = BinaryBuilder::with_capacity(messages.len(), bytes);
        messages.iter().for_each(|message| builder.append_option(*message));
        Arc::new(builder.finish())
    };
    Decoded { columns: fields.iter().map(|_| column()).collect(), bad: vec![], void: vec![] }
}

fn text(fields: &Fields, messages: &[Option<&[u8]>]) -> Decoded {
    let mut bad = vec![];
    let mut builder = StringViewBuilder::with_capacity(messages.len());
    for (i, message) in messages.iter().enumerate() {
        match message.map(std::str::from_utf8) {
            Some(Ok(text)) => builder.append_value(text),
            Some(Err(_)) => {
                bad.push((i, NOT_UTF8.into()));
                builder.append_null();
            }
            None => builder.append_null(),
        }
    }
    let column: ArrayRef = Arc::new(builder.finish());
    Decoded { columns: fields.iter().map(|_| column.clone()).collect(), bad, void: vec![] }
}

/// Appends a row for each message; which of them are bad, and why.
fn decode_json(decoder: &mut json::Decoder, messages: &[Option<&[u8]>]) -> Vec<(usize, Cow<'static, str>)> {
    let mut bad = vec![];
    let mut tokens = decoder.tokens();
    for (i, message) in messages.iter().enumerate() {
        let Some(bytes) = message.filter(|bytes| !bytes.is_empty()) else {
            decoder.append_empty();
            continue;
        };
        let (decoded, reason) = match std::str::from_utf8(bytes) {
            Ok(text) => (decoder.record(text, &mut tokens), "it does not fit the columns"),
            Err(_) => (decoder.lossy_record(&String::from_utf8_lossy(bytes)), NOT_UTF8),
        };
        if decoded.rows == 0 {
            decoder.append_empty();
        }
        if decoded.is_bad || reason == NOT_UTF8 {
            bad.push((i, reason.into()));
        }
    }
    bad
}

fn decode_csv(decoder: &csv::Decoder, messages: &[Option<&[u8]>]) -> Result<Decoded> {
    let (mut block, mut ranges, mut broken) = (String::new(), vec![], vec![]);
    for (i, message) in messages.iter().enumerate() {
        let start = block.len();
        let text = String::from_utf8_lossy(message.unwrap_or_default());
        if matches!(text, Cow::Owned(_)) {
            broken.push(i);
        }
        block.push_str(&text);
        ranges.push(start..block.len());
    }
    let block = Buffer::from_vec(block.into_bytes());
    let text = std::str::from_utf8(&block).map_err(|e| Error::internal(format!("decoded text: {e}")))?;
    let tokens = csv::lines(text, &ranges, decoder);
    let decoded = decoder.decode(&block, text, &tokens, None)?;
    if let Some((row, refusal)) = decoded.refused {
        return Err(refusal.error(&text[ranges[row].clone()]));
    }
    let reason = |i: usize| match (broken.binary_search(&i), decoded.bad[i]) {
        (Ok(_), _) => Some(NOT_UTF8),
        (_, true) if !ranges[i].is_empty() => Some("it does not fit the columns"),
        _ => None,
    };
    let bad = (0..messages.len()).filter_map(|i| Some((i, reason(i)?.into()))).collect();
    Ok(Decoded { columns: decoded.columns, bad, void: vec![] })
}

#[cfg(all(test, feature = "avro", feature = "protobuf"))]
mod tests;
