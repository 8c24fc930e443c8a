//! Records of JSON into columns: the decoder of `from_json` and of files.

use crate::time_zone::Tz;
use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Fields};

use super::column::{Conversion, Fault, Slots};
use super::nested::StructColumn;
use super::options::ReadOptions;
use super::tokens::{Syntax, Token, Tokens};
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Rows that it gave.
    pub rows: usize,
    /// Whether something in it could not be read.
    pub is_bad: bool,
}

/// Appends the records of texts to columns.
#[derive(Debug)]
pub struct Decoder {
    root: StructColumn,
    /// The field that takes the text of a bad record.
    corrupt: Option<usize>,
    with: Conversion,
    syntax: Syntax,
    /// A file: an array is a row for each of its objects, and a text keeps its form.
    is_file: bool,
}

impl Decoder {
    /// A decoder into `fields`; local times are those of `tz`, unless the options have another zone.
    ///
    /// # Errors
    /// `INVALID_CORRUPT_RECORD_TYPE` if the column for bad records is no STRING, and a type that JSON is not read as.
    pub fn new(fields: &Fields, options: &ReadOptions, tz: Tz, is_file: bool) -> Result<Self> {
        let corrupt = fields.iter().position(|f| *f.name() == options.corrupt_record);
        if let Some(field) = corrupt.map(|i| &fields[i])
            && *field.data_type() != DataType::Utf8View
        {
            let type_name = sql_type_name(field.data_type());
            let message = format!("column '{}' for bad records is {type_name}, not STRING", field.name());
            return Err(Error::invalid("INVALID_CORRUPT_RECORD_TYPE", message)
                .with_help("declare it as STRING, or give columnNameOfCorruptRecord another name"));
        }
        let with = conversion(options, tz, is_file);
        Ok(Self { root: StructColumn::new(fields, corrupt)?, corrupt, with, syntax: options.syntax, is_file })
    }

    /// A reader of tokens for texts of this decoder.
    pub fn tokens<'t>(&self) -> Tokens<'t> {
        Tokens::new("", self.syntax)
    }

    /// Rows so far.
    pub fn rows(&self) -> usize {
        self.root.len()
    }

    /// Appends the rows of one text.
    pub fn record<'t>(&mut self, text: &'t str, tokens: &mut Tokens<'t>) -> Decoded {
        tokens.restart(text);
        let start = self.root.len();
        let is_bad = self.read(tokens).unwrap_or_else(|_| {
            self.root.truncate(start);
            self.root.append_empty();
            true
        });
        let rows = self.root.len() - start;
        if let Some(i) = self.corrupt.filter(|_| is_bad) {
            let column = self.root.slots(i);
            column.truncate(start);
            (0..rows).for_each(|_| column.append_text(text));
        }
        Decoded { rows, is_bad }
    }

    /// Appends a row of NULLs.
    pub fn append_empty(&mut self) {
        self.root.append_empty();
    }

    /// The same for a text in which U+FFFD stands for bytes that are no UTF-8.
    pub fn lossy_record(&mut self, text: &str) -> Decoded {
        let mut tokens = self.tokens();
        tokens.set_lossy(true);
        self.record(text, &mut tokens)
    }

    fn read(&mut self, tokens: &mut Tokens<'_>) -> std::result::Result<bool, Fault> {
        match tokens.advance()? {
            None => Ok(false),
            Some(Token::StartObject) => is_partial(self.root.read(tokens, &self.with)),
            Some(Token::StartArray) if self.is_file => {
                let mut is_bad = false;
                while let Some(token) = tokens.advance()?.filter(|t| *t != Token::EndArray) {
                    if token != Token::StartObject {
                        return Err(Fault::Nothing);
                    }
                    is_bad |= is_partial(self.root.read(tokens, &self.with))?;
                }
                Ok(is_bad)
            }
            Some(_) => Err(Fault::Nothing),
        }
    }

    /// Takes back all rows from number `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.root.truncate(rows);
    }

    /// The columns; no rows are left.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn finish(&mut self) -> Result<Vec<ArrayRef>> {
        self.root.finish_columns()
    }
}

/// Appends values that are no records: arrays and maps.
#[derive(Debug)]
pub struct ValueDecoder {
    root: Slots,
    with: Conversion,
    syntax: Syntax,
}

impl ValueDecoder {
    /// A decoder of `data_type`.
    ///
    /// # Errors
    /// A type that JSON is not read as.
    pub fn new(data_type: &DataType, options: &ReadOptions, tz: Tz) -> Result<Self> {
        Ok(Self { root: Slots::new(data_type)?, with: conversion(options, tz, false), syntax: options.syntax })
    }

    /// A reader of tokens for texts of this decoder.
    pub fn tokens<'t>(&self) -> Tokens<'t> {
        Tokens::new("", self.syntax)
    }

    /// Appends the value of a text, or NULL; says whether it was bad.
    pub fn value<'t>(&mut self, text: &'t str, tokens: &mut Tokens<'t>) -> bool {
        tokens.restart(text);
        match self.read(tokens) {
            Ok(is_bad) => is_bad,
            Err(_) => {
                self.root.append_null();
                true
            }
        }
    }

    fn read(&mut self, tokens: &mut Tokens<'_>) -> std::result::Result<bool, Fault> {
        match tokens.advance()? {
            None => {
                self.root.append_null();
                Ok(false)
            }
            Some(Token::Null) => Err(Fault::Nothing),
            Some(_) => is_partial(self.root.read_root(tokens, &self.with)),
        }
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.root.append_null();
    }

    /// The values; none are left.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        self.root.finish()
    }
}

fn conversion(options: &ReadOptions, tz: Tz, keeps_source: bool) -> Conversion {
    let times = options.times.clone();
    let tz = times.zone(tz);
    let (takes_epoch_days, non_numeric) = (options.takes_epoch_days, options.syntax.non_numeric);
    Conversion { times, takes_epoch_days, tz, keeps_source, non_numeric }
}

fn is_partial(read: std::result::Result<(), Fault>) -> std::result::Result<bool, Fault> {
    match read {
        Ok(()) => Ok(false),
        Err(Fault::Partial) => Ok(true),
        Err(Fault::Nothing) => Err(Fault::Nothing),
    }
}
