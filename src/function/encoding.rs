//! Text as bytes and back: `encode`, `decode`, `to_binary`, `chr`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, function};
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("encode", 2..=2, |_| Ok(DataType::Binary), encode),
        function("decode", 2..=2, |_| Ok(DataType::Utf8View), decode),
        function("to_binary", 1..=2, |_| Ok(DataType::Binary), |call| to_binary(call, false)),
        function("try_to_binary", 1..=2, |_| Ok(DataType::Binary), |call| to_binary(call, true)),
        function("chr", 1..=1, |_| Ok(DataType::Utf8View), chr).with_aliases(["char"]),
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Charset {
    Ascii,
    Latin1,
    Utf8,
    Utf16,
    Utf16Be,
    Utf16Le,
    Utf32,
}

impl Charset {
    fn from_name(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_uppercase().as_str() {
            "US-ASCII" => Self::Ascii,
            "ISO-8859-1" => Self::Latin1,
            "UTF-8" => Self::Utf8,
            "UTF-16" => Self::Utf16,
            "UTF-16BE" => Self::Utf16Be,
            "UTF-16LE" => Self::Utf16Le,
            "UTF-32" => Self::Utf32,
            _ => {
                return Err(Error::execution(
                    "INVALID_PARAMETER_VALUE.CHARSET",
                    format!("there is no charset '{name}'"),
                )
                .with_help("use one of US-ASCII, ISO-8859-1, UTF-8, UTF-16BE, UTF-16LE, UTF-16, UTF-32"));
            }
        })
    }

    fn encode(self, text: &str) -> Result<Vec<u8>> {
        let single = |limit: u32| {
            let byte = |c: char| u8::try_from(u32::from(c)).ok().filter(|b| u32::from(*b) < limit);
            let bytes = text.chars().map(byte).collect::<Option<Vec<_>>>();
            bytes.ok_or_else(|| malformed(format!("'{text}' has a character that the charset lacks")))
        };
        Ok(match self {
            Self::Ascii => single(128)?,
            Self::Latin1 => single(256)?,
            Self::Utf8 => text.as_bytes().to_vec(),
            // Java writes a mark of the byte order for the charset that does not say it.
            Self::Utf16 => [0xFE, 0xFF].into_iter().chain(text.encode_utf16().flat_map(u16::to_be_bytes)).collect(),
            Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf32 => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        })
    }

    fn decode(self, bytes: &[u8]) -> Result<String> {
        let wrong = || malformed("the bytes are no text of the charset".to_owned());
        let units = |read: fn([u8; 2]) -> u16, bytes: &[u8]| {
            let (pairs, rest) = bytes.as_chunks::<2>();
            let text = String::from_utf16(&pairs.iter().map(|p| read(*p)).collect::<Vec<_>>());
            text.ok().filter(|_| rest.is_empty()).ok_or_else(wrong)
        };
        match (self, bytes) {
            (Self::Ascii, _) if !bytes.is_ascii() => Err(wrong()),
            (Self::Ascii | Self::Latin1, _) => Ok(bytes.iter().map(|b| char::from(*b)).collect()),
            (Self::Utf8, _) => String::from_utf8(bytes.to_vec()).map_err(|_| wrong()),
            (Self::Utf16, [0xFF, 0xFE, rest @ ..]) | (Self::Utf16Le, rest) => units(u16::from_le_bytes, rest),
            (Self::Utf16, [0xFE, 0xFF, rest @ ..]) | (Self::Utf16 | Self::Utf16Be, rest) => {
                units(u16::from_be_bytes, rest)
            }
            (Self::Utf32, _) => {
                let (words, rest) = bytes.as_chunks::<4>();
                let text = words.iter().map(|w| char::from_u32(u32::from_be_bytes(*w))).collect::<Option<String>>();
                text.filter(|_| rest.is_empty()).ok_or_else(wrong)
            }
        }
    }
}

fn malformed(message: String) -> Error {
    Error::execution("MALFORMED_CHARACTER_CODING", message)
        .with_help("name the charset that the text really has, or UTF-8, which has every character")
}

fn encode(call: &Call) -> Result<ArrayRef> {
    let (text, charsets) = (call.strings(0)?, call.strings(1)?);
    let mut builder = BinaryBuilder::with_capacity(text.len(), 0);
    for pair in text.iter().zip(&charsets) {
        match pair {
            (Some(text), Some(charset)) => builder.append_value(Charset::from_name(charset)?.encode(text)?),
            _ => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn decode(call: &Call) -> Result<ArrayRef> {
    let (bytes, charsets) = (call.cast(0, &DataType::Binary)?, call.strings(1)?);
    let mut builder = StringViewBuilder::with_capacity(bytes.len());
    for pair in bytes.as_binary::<i32>().iter().zip(&charsets) {
        match pair {
            (Some(bytes), Some(charset)) => builder.append_value(Charset::from_name(charset)?.decode(bytes)?),
            _ => builder.append_null(),
        }
    }
    Ok(Arc::new(builder.finish()))
}

/// Text in hexadecimal digits, if no format says otherwise.
fn to_binary(call: &Call, tolerant: bool) -> Result<ArrayRef> {
    let text = call.strings(0)?;
    let formats = if call.len() > 1 { Some(call.strings(1)?) } else { None };
    let mut builder = BinaryBuilder::with_capacity(text.len(), 0);
    for (row, text) in text.iter().enumerate() {
        let format = formats.as_ref().map_or(Some("hex"), |f| f.is_valid(row).then(|| f.value(row)));
        let (Some(text), Some(format)) = (text, format) else {
            builder.append_null();
            continue;
        };
        let bytes = match binary_of(text, format) {
            Err(_) if tolerant => None,
            other => other?,
        };
        match bytes {
            Some(bytes) => builder.append_value(bytes),
            None if tolerant => builder.append_null(),
            None => {
                let message = format!("'{text}' is no binary value in the format '{format}'");
                return Err(Error::execution("CONVERSION_INVALID_INPUT", message)
                    .with_help("use `try_to_binary` to get NULL instead"));
            }
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn binary_of(text: &str, format: &str) -> Result<Option<Vec<u8>>> {
    use base64::Engine;
    match format.to_ascii_lowercase().as_str() {
        "utf-8" | "utf8" => Ok(Some(text.as_bytes().to_vec())),
        "base64" => Ok(base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()),
        "hex" => {
            let padded = if text.len() % 2 == 1 { format!("0{text}") } else { text.to_owned() };
            let digit = |b: &u8| char::from(*b).to_digit(16);
            let byte = |pair: &[u8; 2]| Some((digit(&pair[0])? * 16 + digit(&pair[1])?) as u8);
            Ok(padded.as_bytes().as_chunks::<2>().0.iter().map(byte).collect())
        }
        _ => Err(Error::execution("INVALID_PARAMETER_VALUE.BINARY_FORMAT", format!("there is no format '{format}'"))
            .with_help("use one of hex, utf-8, base64")),
    }
}

/// The character of a number modulo 256; nothing for a negative one.
fn chr(call: &Call) -> Result<ArrayRef> {
    let text = |n: i64| match n {
        n if n < 0 => String::new(),
        n => char::from((n & 0xFF) as u8).to_string(),
    };
    Ok(Arc::new(call.longs(0)?.iter().map(|n| n.map(text)).collect::<StringViewArray>()))
}
