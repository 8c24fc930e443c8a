//! The option `encoding`: the character sets that Spark reads and writes files in.

use std::borrow::Cow;
use std::ops::Range;

use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What [`Encoding::read`] reads.
pub const OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("encoding", OptionType::Text, "UTF-8, US-ASCII or ISO-8859-1; with multiLine UTF-16 too.")
        .or("UTF-8"),
    OptionSpec::new("charset", OptionType::Text, "Another name of encoding."),
];

/// How bytes are characters. Bytes that are none are `U+FFFD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    /// UTF-8.
    Utf8,
    /// US-ASCII.
    Ascii,
    /// ISO-8859-1.
    Latin1,
    /// UTF-16, the order of bytes as the first character says, or the highest first.
    Utf16,
    /// UTF-16LE.
    Utf16Le,
    /// UTF-16BE.
    Utf16Be,
    /// UTF-32, the highest byte first, unless the first character says the other order.
    Utf32,
}

impl Encoding {
    /// Reads `encoding` (or `charset`).
    ///
    /// # Errors
    /// `INVALID_OPTION` for an encoding that Spark does not have, `UNSUPPORTED_FEATURE` for one whose line ends are not
    /// found byte by byte, unless a file is read as a `whole`.
    pub fn read(options: &mut OptionReader<'_>, whole: bool) -> Result<Self> {
        let (encoding, charset) = (options.string("encoding"), options.string("charset"));
        let (key, name) = match (encoding, charset) {
            (Some(name), _) => ("encoding", name),
            (None, Some(name)) => ("charset", name),
            (None, None) => return Ok(Self::Utf8),
        };
        let encoding = match name.to_ascii_uppercase().as_str() {
            "UTF-8" => Self::Utf8,
            "US-ASCII" => Self::Ascii,
            "ISO-8859-1" => Self::Latin1,
            "UTF-16" => Self::Utf16,
            "UTF-16LE" => Self::Utf16Le,
            "UTF-16BE" => Self::Utf16Be,
            "UTF-32" => Self::Utf32,
            _ => {
                let known = "one of UTF-8, US-ASCII, ISO-8859-1, UTF-16, UTF-16LE, UTF-16BE, UTF-32";
                return Err(options.invalid(key, name, known));
            }
        };
        if !whole && matches!(encoding, Self::Utf16 | Self::Utf16Le | Self::Utf16Be | Self::Utf32) {
            let message = format!("option '{key}' is '{name}', in which lines are not found");
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("set multiLine 'true', or convert the files to UTF-8"));
        }
        Ok(encoding)
    }

    /// The characters of some ranges of a block, and where they are in the text.
    pub fn decode_lines(self, block: &[u8], lines: &[Range<usize>]) -> (String, Vec<Range<usize>>) {
        let mut text = String::with_capacity(block.len());
        let range = |line: &Range<usize>| {
            let start = text.len();
            text.push_str(&self.decode(&block[line.clone()]));
            start..text.len()
        };
        let ranges = lines.iter().map(range).collect();
        (text, ranges)
    }

    /// Whether bytes are characters as they are.
    pub fn is_utf8(self, bytes: &[u8]) -> bool {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).is_ok(),
            Self::Ascii | Self::Latin1 => bytes.is_ascii(),
            _ => false,
        }
    }

    /// The characters of bytes.
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Ascii => {
                bytes.iter().map(|b| if b.is_ascii() { char::from(*b) } else { char::REPLACEMENT_CHARACTER }).collect()
            }
            Self::Latin1 => bytes.iter().map(|b| char::from(*b)).collect(),
            Self::Utf16 if bytes.starts_with(b"\xFF\xFE") => utf16(bytes, u16::from_le_bytes),
            Self::Utf16 | Self::Utf16Be => utf16(bytes, u16::from_be_bytes),
            Self::Utf16Le => utf16(bytes, u16::from_le_bytes),
            Self::Utf32 if bytes.starts_with(b"\xFF\xFE\0\0") => utf32(bytes, u32::from_le_bytes),
            Self::Utf32 => utf32(bytes, u32::from_be_bytes),
        }
    }

    /// What a file begins with.
    pub fn mark(self) -> &'static [u8] {
        if self == Self::Utf16 { b"\xFE\xFF" } else { b"" }
    }

    /// The bytes of characters; `?` for those that it does not have.
    pub fn encode(self, text: &str) -> Cow<'_, [u8]> {
        let narrow = |last: char| text.chars().map(|c| if c <= last { c as u32 as u8 } else { b'?' }).collect();
        match self {
            Self::Utf8 => Cow::Borrowed(text.as_bytes()),
            Self::Ascii => narrow('\u{7F}'),
            Self::Latin1 => narrow('\u{FF}'),
            Self::Utf16 | Self::Utf16Be => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Self::Utf16Le => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Self::Utf32 => text.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(),
        }
    }
}

fn utf32(bytes: &[u8], unit: fn([u8; 4]) -> u32) -> Cow<'_, str> {
    let (units, rest) = bytes.as_chunks::<4>();
    let character = |bytes: &[u8; 4]| char::from_u32(unit(*bytes)).unwrap_or(char::REPLACEMENT_CHARACTER);
    let mut text: String = units.iter().map(character).collect();
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    Cow::Owned(text)
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Cow<'_, str> {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut text = String::from_utf16_lossy(&pairs.iter().map(|pair| unit(*pair)).collect::<Vec<_>>());
    if !rest.is_empty() {
        text.push(char::REPLACEMENT_CHARACTER);
    }
    Cow::Owned(text)
}
