//! The values of one column, or of what is inside it, as they are decoded.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::*;

use super::damaged;
use crate::error::{Error, Result};

/// What a column has so far.
#[derive(Debug)]
pub enum Values {
    /// Nothing but NULLs.
    Nulls(usize),
    Boolean(BooleanBuilder),
    /// Also dates.
    Int(Int32Builder),
    /// Also times.
    Long(Int64Builder),
    Float(Float32Builder),
    Double(Float64Builder),
    Text(StringViewBuilder),
    Binary(BinaryBuilder),
    Decimal(Decimal128Builder),
    List(Items),
    Map(Items, StringViewBuilder),
    Struct(Vec<Self>, NullBufferBuilder),
}

/// The items of lists, one after the other.
#[derive(Debug)]
pub struct Items {
    pub values: Box<Values>,
    ends: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl Items {
    fn new(item: &DataType) -> Self {
        Self { values: Box::new(Values::new(item)), ends: vec![0], nulls: NullBufferBuilder::new(0) }
    }

    /// Ends a list or a map whose items are there.
    pub fn end_all(&mut self) -> Result<()> {
        self.end(true)
    }

    /// Ends a list.
    fn end(&mut self, is_valid: bool) -> Result<()> {
        let end = i32::try_from(self.values.len()).map_err(|_| damaged("lists with more than 2147483647 items"))?;
        self.ends.push(end);
        self.nulls.append(is_valid);
        Ok(())
    }
}

impl Values {
    /// None yet, of this type.
    pub fn new(data_type: &DataType) -> Self {
        match data_type {
            DataType::Boolean => Self::Boolean(BooleanBuilder::new()),
            DataType::Int32 | DataType::Date32 | DataType::Interval(IntervalUnit::YearMonth) => {
                Self::Int(Int32Builder::new())
            }
            DataType::Int64 | DataType::Timestamp(..) | DataType::Duration(_) => Self::Long(Int64Builder::new()),
            DataType::Float32 => Self::Float(Float32Builder::new()),
            DataType::Float64 => Self::Double(Float64Builder::new()),
            DataType::Utf8View => Self::Text(StringViewBuilder::new()),
            DataType::Binary => Self::Binary(BinaryBuilder::new()),
            DataType::Decimal128(..) => Self::Decimal(Decimal128Builder::new()),
            DataType::List(item) => Self::List(Items::new(item.data_type())),
            DataType::Map(entries, _) => match entries.data_type() {
                DataType::Struct(kv) if kv.len() == 2 && *kv[0].data_type() == DataType::Utf8View => {
                    Self::Map(Items::new(kv[1].data_type()), StringViewBuilder::new())
                }
                _ => Self::Nulls(0),
            },
            DataType::Struct(fields) => {
                let fields = fields.iter().map(|f| Self::new(f.data_type())).collect();
                Self::Struct(fields, NullBufferBuilder::new(0))
            }
            _ => Self::Nulls(0),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Nulls(n) => *n,
            Self::Boolean(b) => b.len(),
            Self::Int(b) => b.len(),
            Self::Long(b) => b.len(),
            Self::Float(b) => b.len(),
            Self::Double(b) => b.len(),
            Self::Text(b) => b.len(),
            Self::Binary(b) => b.len(),
            Self::Decimal(b) => b.len(),
            Self::List(items) | Self::Map(items, _) => items.nulls.len(),
            Self::Struct(_, nulls) => nulls.len(),
        }
    }

    /// Adds a NULL.
    pub fn push_null(&mut self) -> Result<()> {
        match self {
            Self::Nulls(n) => *n += 1,
            Self::Boolean(b) => b.append_null(),
            Self::Int(b) => b.append_null(),
            Self::Long(b) => b.append_null(),
            Self::Float(b) => b.append_null(),
            Self::Double(b) => b.append_null(),
            Self::Text(b) => b.append_null(),
            Self::Binary(b) => b.append_null(),
            Self::Decimal(b) => b.append_null(),
            Self::List(items) | Self::Map(items, _) => items.end(false)?,
            Self::Struct(fields, nulls) => {
                fields.iter_mut().try_for_each(Self::push_null)?;
                nulls.append(false);
            }
        }
        Ok(())
    }

    pub fn push_bool(&mut self, value: bool) -> Result<()> {
        match self {
            Self::Boolean(b) => b.append_value(value),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    pub fn push_long(&mut self, value: i64) -> Result<()> {
        match self {
            Self::Int(b) => b.append_value(i32::try_from(value).map_err(|_| out_of_range(value))?),
            Self::Long(b) => b.append_value(value),
            Self::Float(b) => b.append_value(value as f32),
            Self::Double(b) => b.append_value(value as f64),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    pub fn push_float(&mut self, value: f32) -> Result<()> {
        match self {
            Self::Float(b) => b.append_value(value),
            Self::Double(b) => b.append_value(f64::from(value)),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    pub fn push_double(&mut self, value: f64) -> Result<()> {
        match self {
            Self::Double(b) => b.append_value(value),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    /// Bytes, or a text; bytes that are no text become U+FFFD, as in Spark.
    pub fn push_bytes(&mut self, value: &[u8]) -> Result<()> {
        match self {
            Self::Text(b) => b.append_value(String::from_utf8_lossy(value)),
            Self::Binary(b) => b.append_value(value),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    pub fn push_decimal(&mut self, value: i128) -> Result<()> {
        match self {
            Self::Decimal(b) => b.append_value(value),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    /// Ends a list or a map whose items are there.
    pub fn end_items(&mut self) -> Result<()> {
        match self {
            Self::List(items) | Self::Map(items, _) => items.end(true),
            _ => Err(unplanned()),
        }
    }

    /// Ends a struct whose fields are there.
    pub fn end_struct(&mut self) -> Result<()> {
        match self {
            Self::Struct(_, nulls) => nulls.append_non_null(),
            _ => return Err(unplanned()),
        }
        Ok(())
    }

    /// All of them, as an array of this type.
    pub fn finish(&mut self, data_type: &DataType) -> Result<ArrayRef> {
        Ok(match self {
            Self::Nulls(n) => new_null_array(data_type, std::mem::take(n)),
            Self::Boolean(b) => Arc::new(b.finish()),
            Self::Int(b) => of_type(b.finish().into_data(), data_type)?,
            Self::Long(b) => of_type(b.finish().into_data(), data_type)?,
            Self::Float(b) => Arc::new(b.finish()),
            Self::Double(b) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Binary(b) => Arc::new(b.finish()),
            Self::Decimal(b) => of_type(b.finish().into_data(), data_type)?,
            Self::List(items) => list(items, data_type)?,
            Self::Map(items, keys) => map(items, keys, data_type)?,
            Self::Struct(fields, nulls) => record(fields, nulls, data_type)?,
        })
    }
}

/// The same bits under another type of their width.
fn of_type(data: ArrayData, data_type: &DataType) -> Result<ArrayRef> {
    Ok(make_array(data.into_builder().data_type(data_type.clone()).build()?))
}

fn list(items: &mut Items, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::List(item) = data_type else { return Err(unplanned()) };
    let ends = std::mem::replace(&mut items.ends, vec![0]);
    let values = items.values.finish(item.data_type())?;
    Ok(Arc::new(ListArray::try_new(item.clone(), OffsetBuffer::new(ends.into()), values, items.nulls.finish())?))
}

fn map(items: &mut Items, keys: &mut StringViewBuilder, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Map(entries, sorted) = data_type else { return Err(unplanned()) };
    let DataType::Struct(kv) = entries.data_type() else { return Err(unplanned()) };
    let ends = std::mem::replace(&mut items.ends, vec![0]);
    let values = items.values.finish(kv[1].data_type())?;
    // A record that ended early may have left a key without its value.
    let keys = keys.finish().slice(0, values.len());
    let (ends, keys, values) = match last_of_keys(&keys, &ends) {
        None => (ends, Arc::new(keys) as ArrayRef, values),
        Some((ends, kept)) => (ends, take(&keys, &kept, None)?, take(&values, &kept, None)?),
    };
    let pairs = StructArray::try_new(kv.clone(), vec![keys, values], None)?;
    let ends = OffsetBuffer::new(ends.into());
    Ok(Arc::new(MapArray::try_new(entries.clone(), ends, pairs, items.nulls.finish(), *sorted)?))
}

/// Of a key that a map has twice the last value counts: the ends of the maps, and the pairs that are kept; `None` if all are.
fn last_of_keys(keys: &StringViewArray, ends: &[i32]) -> Option<(Vec<i32>, UInt32Array)> {
    let mut seen = HashSet::new();
    let mut kept = vec![];
    let mut new_ends = vec![0];
    for range in ends.windows(2) {
        seen.clear();
        let start = kept.len();
        kept.extend((range[0]..range[1]).rev().filter(|i| seen.insert(keys.value(*i as usize))).map(|i| i as u32));
        kept[start..].reverse();
        new_ends.push(kept.len() as i32);
    }
    (new_ends != ends).then(|| (new_ends, kept.into()))
}

fn record(fields: &mut [Values], nulls: &mut NullBufferBuilder, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Struct(types) = data_type else { return Err(unplanned()) };
    let len = nulls.len();
    let column = |(values, field): (&mut Values, &FieldRef)| Ok(values.finish(field.data_type())?.slice(0, len));
    let columns: Vec<ArrayRef> = fields.iter_mut().zip(types).map(column).collect::<Result<_>>()?;
    let nulls = nulls.finish();
    Ok(match types.is_empty() {
        true => Arc::new(StructArray::new_empty_fields(len, nulls)),
        false => Arc::new(StructArray::try_new(types.clone(), columns, nulls)?),
    })
}

fn out_of_range(value: i64) -> Error {
    Error::execution("FAILED_READ_FILE.OUT_OF_RANGE", format!("the number {value} is out of the range of its column"))
        .with_help("declare the column as BIGINT")
}

fn unplanned() -> Error {
    Error::internal("a value of a type that the plan does not have")
}
