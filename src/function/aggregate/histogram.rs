//! `histogram_numeric(x, nb)`: at most `nb` bins of a value and how many rows are near it, after Ben-Haim and Tom-Tov.
//!
//! A value begins a bin of its own; of more than `nb` the two nearest become one at their weighted mean. Which of several
//! pairs that are equally near is drawn as Spark draws it, so that the bins are the same.

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::{Aggregate, arg_types, no_groups, user_defined, wrong_count, wrong_type};
use crate::function::cast::{Mode, cast_array, is_string};
use crate::function::random::JavaRandom;
use crate::function::scalar::list_of;
use crate::time_zone::Tz;
use crate::{Error, Result};

/// The seed of the draws between pairs that are equally near.
const SEED: i64 = 31_183;

/// `histogram_numeric(x, nb)`.
pub fn histogram_numeric() -> AggregateUDF {
    Aggregate {
        name: "histogram_numeric",
        signature: user_defined(),
        coerce: |types| match types {
            [value, _] => Ok(vec![value_type(value)?, DataType::Int64]),
            _ => Err(wrong_count("histogram_numeric", "2", types.len())),
        },
        return_type: |types| list_of(DataType::Struct(bin_fields(&types[0]))),
        state: |_, _| vec![list_of(DataType::Float64), list_of(DataType::Float64), DataType::Int64],
        accumulator: |args| Box::new(Histogram::new(args)),
        groups: no_groups,
    }
    .udaf()
}

fn value_type(given: &DataType) -> Result<DataType> {
    use DataType::{Date32, Decimal128, Duration, Interval, Null, Timestamp};
    match given {
        Null => Ok(DataType::Float64),
        Decimal128(..) | Date32 | Timestamp(..) | Duration(_) | Interval(IntervalUnit::YearMonth) => Ok(given.clone()),
        text if is_string(text) => Ok(DataType::Float64),
        number if number.is_integer() || number.is_floating() => Ok(number.clone()),
        _ => Err(wrong_type("histogram_numeric", given)),
    }
}

fn bin_fields(value: &DataType) -> Fields {
    Fields::from(vec![Field::new("x", value.clone(), true), Field::new("y", DataType::Float64, true)])
}

/// Refuses a number of bins that is out of range.
///
/// # Errors
/// `DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE`.
pub fn check_bin_count(bins: i64) -> Result<()> {
    if (2..=i64::from(i32::MAX)).contains(&bins) {
        return Ok(());
    }
    let message = format!("the number of bins of 'histogram_numeric' must be between 2 and {}, not {bins}", i32::MAX);
    Err(Error::invalid("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message).with_help("20 to 40 bins are enough to draw"))
}

/// A value, and the number of rows near it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bin {
    x: f64,
    y: f64,
}

/// The bins of a group, in the order of their values.
#[derive(Debug)]
struct Histogram {
    value_type: DataType,
    limit: usize,
    bins: Vec<Bin>,
    draws: JavaRandom,
}

impl Histogram {
    fn new(args: &AccumulatorArgs) -> Self {
        let value_type = arg_types(args).into_iter().next().unwrap_or(DataType::Null);
        Self { value_type, limit: 0, bins: Vec::new(), draws: JavaRandom::new(SEED) }
    }

    fn set_limit(&mut self, limits: &ArrayRef) -> Result<()> {
        if self.limit == 0
            && let Some(limit) = limits.as_primitive::<Int64Type>().iter().next()
        {
            let limit = limit.ok_or_else(|| {
                let message = "the number of bins of 'histogram_numeric' must not be NULL";
                Error::execution("DATATYPE_MISMATCH.UNEXPECTED_NULL", message)
            })?;
            check_bin_count(limit)?;
            self.limit = limit as usize;
        }
        Ok(())
    }

    fn add(&mut self, x: f64) {
        let at = self.place(x);
        match self.bins.get_mut(at) {
            Some(bin) if bin.x == x => bin.y += 1.0,
            _ => self.bins.insert(at, Bin { x, y: 1.0 }),
        }
        self.trim();
    }

    /// Where `x` is or belongs. A value that is not ordered (NaN) stays where the search has met it, as in Spark.
    fn place(&self, x: f64) -> usize {
        let (mut at, mut low, mut high) = (0, 0, self.bins.len());
        while low < high {
            at = usize::midpoint(low, high);
            if self.bins[at].x > x {
                high = at;
            } else if self.bins[at].x < x {
                at += 1;
                low = at;
            } else {
                break;
            }
        }
        at
    }

    /// Takes the bins of another histogram of the same rows' kind.
    fn merge(&mut self, other: Vec<Bin>) {
        if self.bins.is_empty() {
            self.bins = other;
            return;
        }
        self.bins.extend(other);
        self.bins.sort_by(|a, b| a.x.total_cmp(&b.x));
        self.trim();
    }

    /// Puts the nearest bins together until there are no more than asked for.
    fn trim(&mut self) {
        while self.bins.len() > self.limit {
            let at = self.nearest();
            let right = self.bins.remove(at + 1);
            let left = &mut self.bins[at];
            let y = left.y + right.y;
            // In the order of Spark's own operations, which decides the last digit.
            left.x = left.x * (left.y / y) + right.x / y * right.y;
            left.y = y;
        }
    }

    /// The left one of the two nearest of at least two bins.
    fn nearest(&mut self) -> usize {
        let distance = |bins: &[Bin], i: usize| bins[i + 1].x - bins[i].x;
        let (mut nearest, mut at, mut ties) = (distance(&self.bins, 0), 0, 1.0);
        for i in 1..self.bins.len() - 1 {
            let this = distance(&self.bins, i);
            if this < nearest {
                (nearest, at, ties) = (this, i, 1.0);
            } else if this == nearest {
                // The draw comes first: it is one of the sequence, whatever it decides.
                let draw = self.draws.double();
                ties += 1.0;
                if draw <= 1.0 / ties {
                    at = i;
                }
            }
        }
        at
    }

    /// The values of the bins in the column's type.
    fn values(&self) -> Result<ArrayRef> {
        let x = || self.bins.iter().map(|bin| bin.x);
        let longs = || -> ArrayRef { Arc::new(Int64Array::from_iter_values(x().map(|x| x as i64))) };
        Ok(match &self.value_type {
            DataType::Float64 => Arc::new(Float64Array::from_iter_values(x())),
            DataType::Float32 => Arc::new(Float32Array::from_iter_values(x().map(|x| x as f32))),
            // By way of INT, whose lower bits these are.
            DataType::Int8 => Arc::new(Int8Array::from_iter_values(x().map(|x| x as i32 as i8))),
            DataType::Int16 => Arc::new(Int16Array::from_iter_values(x().map(|x| x as i32 as i16))),
            DataType::Interval(_) => Arc::new(IntervalYearMonthArray::from_iter_values(x().map(|x| x as i32))),
            DataType::Int32 | DataType::Date32 => {
                let ints: ArrayRef = Arc::new(Int32Array::from_iter_values(x().map(|x| x as i32)));
                arrow::compute::cast(&ints, &self.value_type)?
            }
            DataType::Decimal128(..) => {
                let doubles: ArrayRef = Arc::new(Float64Array::from_iter_values(x()));
                cast_array(&doubles, &self.value_type, Mode::Try, Tz::UTC)?
            }
            other => arrow::compute::cast(&longs(), other)?,
        })
    }
}

/// The column's values as DOUBLE; those of dates, times and intervals as what they are stored as.
fn doubles(values: &ArrayRef) -> Result<Float64Array> {
    let numbers = match values.data_type() {
        DataType::Interval(_) => {
            let months = values.as_primitive::<IntervalYearMonthType>();
            return Ok(months.iter().map(|m| m.map(f64::from)).collect());
        }
        DataType::Date32 => arrow::compute::cast(values, &DataType::Int32)?,
        DataType::Timestamp(..) | DataType::Duration(_) => arrow::compute::cast(values, &DataType::Int64)?,
        _ => Arc::clone(values),
    };
    Ok(arrow::compute::cast(&numbers, &DataType::Float64)?.as_primitive::<Float64Type>().clone())
}

impl Accumulator for Histogram {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.set_limit(&values[1])?;
        doubles(&values[0])?.iter().flatten().for_each(|x| self.add(x));
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let fields = bin_fields(&self.value_type);
        if self.bins.is_empty() {
            return ScalarValue::try_new_null(&list_of(DataType::Struct(fields)));
        }
        let heights: ArrayRef = Arc::new(Float64Array::from_iter_values(self.bins.iter().map(|bin| bin.y)));
        let bins: ArrayRef = Arc::new(StructArray::try_new(fields, vec![self.values()?, heights], None)?);
        Ok(ScalarValue::List(Arc::new(list(bins)?)))
    }

    fn size(&self) -> usize {
        size_of_val(self) + size_of_val(self.bins.as_slice())
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let column = |part: fn(&Bin) -> f64| -> DfResult<ScalarValue> {
            let values: ArrayRef = Arc::new(Float64Array::from_iter_values(self.bins.iter().map(part)));
            Ok(ScalarValue::List(Arc::new(list(values)?)))
        };
        let limit = ScalarValue::Int64(Some(self.limit as i64));
        Ok(vec![column(|bin| bin.x)?, column(|bin| bin.y)?, limit])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let (xs, ys) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..xs.len()).filter(|row| xs.is_valid(*row) && ys.is_valid(*row)) {
            let (x, y) = (xs.value(row), ys.value(row));
            // A group without rows has no bins, and may not have been told the limit.
            if x.is_empty() {
                continue;
            }
            self.set_limit(&states[2].slice(row, 1))?;
            let bins = x.as_primitive::<Float64Type>().values().iter().zip(y.as_primitive::<Float64Type>().values());
            self.merge(bins.map(|(x, y)| Bin { x: *x, y: *y }).collect());
        }
        Ok(())
    }
}

/// A list of one row.
fn list(values: ArrayRef) -> Result<ListArray> {
    let DataType::List(field) = list_of(values.data_type().clone()) else {
        return Err(Error::internal("a list of values is a list"));
    };
    let offsets = arrow::buffer::OffsetBuffer::from_lengths([values.len()]);
    Ok(ListArray::try_new(field, offsets, values, None)?)
}
