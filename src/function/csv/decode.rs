//! CSV text to columns: one decoder for files and for `from_csv`, a column at a time.

use std::ops::Range;
use std::sync::Arc;

use crate::time_zone::Tz;
use arrow::array::*;
use arrow::buffer::Buffer;
use arrow::datatypes::*;

use super::locale::Locale;
use super::options::ReadOptions;
use super::tokens::{Refusal, Token, Tokens};
use crate::error::{Error, Result};
use crate::function::cast::{fits, java};
use crate::type_name::sql_type_name;

/// Reads the columns of a schema by their position.
#[derive(Debug, Clone)]
pub struct Decoder {
    fields: Fields,
    /// For each column which value of a record it is; None for the column of bad records.
    places: Vec<Option<usize>>,
    /// How many values a record has; None if that does not matter because only some are read.
    width: Option<usize>,
    options: Arc<ReadOptions>,
    tz: Tz,
}

/// The columns of many records.
#[derive(Debug)]
pub struct Decoded {
    /// In the order of the decoder's fields.
    pub columns: Vec<ArrayRef>,
    /// Which records could not be read in full.
    pub bad: Vec<bool>,
    /// A record that Spark fails at in every mode.
    pub refused: Option<(usize, Refusal)>,
}

impl Decoder {
    /// All columns of `fields`; local times are those of `tz`.
    ///
    /// # Errors
    /// `UNSUPPORTED_DATATYPE` for a nested column, `INVALID_CORRUPT_RECORD_TYPE` for a column of bad records that is no
    /// STRING.
    pub fn new(fields: Fields, options: Arc<ReadOptions>, tz: Tz) -> Result<Self> {
        let corrupt = fields.iter().position(|f| *f.name() == options.corrupt_record);
        for (i, field) in fields.iter().enumerate() {
            check_type(field, corrupt == Some(i))?;
        }
        let mut place = 0..;
        let places = (0..fields.len()).map(|i| if Some(i) == corrupt { None } else { place.next() }).collect();
        let width = Some(fields.len() - usize::from(corrupt.is_some()));
        let tz = options.zone(tz);
        Ok(Self { fields, places, width, options, tz })
    }

    /// The same for some of the columns. What is left out is not converted, and cannot make a record bad.
    pub fn project(&self, columns: &[usize]) -> Self {
        let places: Vec<_> = columns.iter().map(|i| self.places[*i]).collect();
        let all = places.contains(&None) || places.iter().flatten().count() == self.width.unwrap_or(usize::MAX);
        Self {
            fields: columns.iter().map(|i| self.fields[*i].clone()).collect(),
            places,
            width: if all { self.width } else { None },
            options: self.options.clone(),
            tz: self.tz,
        }
    }

    /// Whether values of a record are left out.
    pub fn is_partial(&self) -> bool {
        self.width.is_none()
    }

    /// Which values of a record are read.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.places.iter().flatten().copied()
    }

    /// The column that takes the text of a bad record, if there is one.
    #[cfg(feature = "kafka")]
    pub fn corrupt(&self) -> Option<usize> {
        self.places.iter().position(Option::is_none)
    }

    /// Whether no value is read at all.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The columns of the records of `text`, which is what `block` holds. In the texts of bad records lines end with
    /// `line_end`, if it is given.
    ///
    /// # Errors
    /// A value out of reach, which there is none of.
    pub fn decode(&self, block: &Buffer, text: &str, tokens: &Tokens, line_end: Option<&str>) -> Result<Decoded> {
        let mut bad: Vec<bool> = (0..tokens.len()).map(|row| self.is_cut_wrong(tokens.record(row))).collect();
        let source = Source { block, text, tokens, options: &self.options };
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.fields.len()];
        for (i, (field, place)) in self.fields.iter().zip(&self.places).enumerate() {
            if let Some(place) = place {
                columns[i] = Some(source.column(*place, field.data_type(), self.tz, &mut bad)?);
            }
        }
        let corrupt = || -> ArrayRef {
            let texts = tokens.ranges.iter().zip(&bad).map(|(range, bad)| {
                let record = bad.then(|| &text[range.clone()]).filter(|record| !record.is_empty())?;
                let record = record.strip_suffix('\n').unwrap_or(record);
                let record = record.strip_suffix('\r').unwrap_or(record);
                Some(line_end.map_or_else(|| record.to_owned(), |end| record.replace('\n', end)))
            });
            Arc::new(texts.collect::<StringViewArray>())
        };
        let columns = columns.into_iter().map(|c| c.unwrap_or_else(corrupt)).collect();
        Ok(Decoded { columns, bad, refused: tokens.refused.first().copied() })
    }

    fn is_cut_wrong(&self, record: &[Token]) -> bool {
        self.width.map_or(record.is_empty(), |width| record.len() != width)
    }
}

fn check_type(field: &Field, is_corrupt: bool) -> Result<()> {
    let (name, data_type) = (field.name(), field.data_type());
    if is_corrupt && data_type != &DataType::Utf8View {
        let message = format!("the column '{name}' for bad records is a {}", sql_type_name(data_type));
        return Err(Error::invalid("INVALID_CORRUPT_RECORD_TYPE", message)
            .with_help("declare it as STRING, or name another one by columnNameOfCorruptRecord"));
    }
    if data_type.is_nested() || matches!(data_type, DataType::Interval(_)) {
        let message = format!("column '{name}' has the type {}, which CSV cannot hold", sql_type_name(data_type));
        return Err(Error::invalid("UNSUPPORTED_DATATYPE", message)
            .with_help("declare it as STRING, and read it by from_json(…) or split(…)"));
    }
    Ok(())
}

/// What the columns are read from.
struct Source<'a> {
    block: &'a Buffer,
    text: &'a str,
    tokens: &'a Tokens,
    options: &'a ReadOptions,
}

/// A value of a record before it is converted.
enum Value<'a> {
    Null,
    Text(&'a str),
}

impl<'a> Source<'a> {
    fn value(&self, row: usize, place: usize) -> Value<'a> {
        let options = self.options;
        let text = match self.tokens.record(row).get(place) {
            None | Some(Token::Nothing) => return Value::Null,
            Some(Token::Empty) => options.empty_value.as_str(),
            Some(token) => self.tokens.text(self.text, *token).unwrap_or_default(),
        };
        if text == options.null_value { Value::Null } else { Value::Text(text) }
    }

    /// Converts one value of all records; a record with one that does not fit is bad.
    fn column(&self, place: usize, to: &DataType, tz: Tz, bad: &mut [bool]) -> Result<ArrayRef> {
        use DataType::*;
        let o = self.options;
        macro_rules! numbers {
            ($t:ty, $parse:expr) => {
                self.primitive::<$t>(place, to, bad, $parse)
            };
        }
        Ok(match to {
            Int8 => numbers!(Int8Type, java::integer),
            Int16 => numbers!(Int16Type, java::integer),
            Int32 => numbers!(Int32Type, java::integer),
            Int64 => numbers!(Int64Type, java::integer),
            Float32 => numbers!(Float32Type, |t| special(t, o).map(|v| v as f32).or_else(|| java::float(t))),
            Float64 => numbers!(Float64Type, |t| special(t, o).or_else(|| java::double(t))),
            Decimal128(precision, scale) => numbers!(Decimal128Type, |t| decimal(t, o.locale, *precision, *scale)),
            Date32 => numbers!(Date32Type, |t| o.times.read_date(t)),
            Timestamp(TimeUnit::Microsecond, Some(_)) => {
                numbers!(TimestampMicrosecondType, |t| o.times.read_timestamp(t, tz))
            }
            Timestamp(TimeUnit::Microsecond, None) => numbers!(TimestampMicrosecondType, |t| o.times.read_local(t)),
            Boolean => {
                let mut builder = BooleanBuilder::with_capacity(bad.len());
                self.each(place, bad, |text| {
                    let value = text.map(java::boolean);
                    builder.append_option(value.flatten());
                    value.is_none_or(|v| v.is_some())
                });
                Arc::new(builder.finish())
            }
            Utf8View => self.strings(place)?,
            other => {
                let strings = self.strings(place)?;
                arrow::compute::cast(&strings, other)?
            }
        })
    }

    /// Calls `append` with each value; where it gives false the record is bad.
    fn each(&self, place: usize, bad: &mut [bool], mut append: impl FnMut(Option<&str>) -> bool) {
        for (row, bad) in bad.iter_mut().enumerate() {
            let fits = match self.value(row, place) {
                Value::Null => append(None),
                Value::Text(text) => append(Some(text)),
            };
            *bad |= !fits;
        }
    }

    fn primitive<T: ArrowPrimitiveType>(
        &self,
        place: usize,
        to: &DataType,
        bad: &mut [bool],
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> ArrayRef {
        let mut builder = PrimitiveBuilder::<T>::with_capacity(bad.len()).with_data_type(to.clone());
        self.each(place, bad, |text| {
            let value = text.map(&parse);
            builder.append_option(value.flatten());
            value.is_none_or(|v| v.is_some())
        });
        Arc::new(builder.finish())
    }

    /// Long values stay where they are, in the block.
    fn strings(&self, place: usize) -> Result<ArrayRef> {
        let mut builder = StringViewBuilder::with_capacity(self.tokens.len());
        let block = builder.append_block(self.block.clone());
        for row in 0..self.tokens.len() {
            match (self.tokens.record(row).get(place), self.value(row, place)) {
                (_, Value::Null) => builder.append_null(),
                (Some(Token::Plain(start, end)), Value::Text(text)) if text.len() > 12 => {
                    builder.try_append_view(block, *start, end - start)?;
                }
                (_, Value::Text(text)) => builder.append_value(text),
            }
        }
        Ok(Arc::new(builder.finish()))
    }
}

fn special(text: &str, options: &ReadOptions) -> Option<f64> {
    if text == options.nan {
        Some(f64::NAN)
    } else if text == options.minus_infinity {
        Some(f64::NEG_INFINITY)
    } else if text == options.infinity {
        Some(f64::INFINITY)
    } else {
        None
    }
}

fn decimal(text: &str, locale: Locale, precision: u8, scale: i8) -> Option<i128> {
    java::big_decimal(&locale.plain(text)?, scale).ok().filter(|v| fits(*v, precision))
}

/// The records that are lines of `text`.
pub fn lines(text: &str, ranges: &[Range<usize>], decoder: &Decoder) -> Tokens {
    let mut tokens = Tokens::default();
    for range in ranges {
        tokens.push_line(text, range.clone(), &decoder.options.dialect);
    }
    tokens
}
