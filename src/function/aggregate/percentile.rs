//! `percentile` (interpolated), `median`, and `percentile_approx` (a value that occurs; computed exactly here, which any
//! accuracy allows).

use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::{Aggregate, arg_types, as_double, no_groups, user_defined, wrong_count};
use crate::function::scalar::list_of;
use crate::{Error, Result};

/// `percentile(x, p)` or `percentile(x, array(p, …))`.
pub fn percentile() -> AggregateUDF {
    Aggregate {
        name: "percentile",
        signature: user_defined(),
        coerce: |types| match types {
            [value, p] => Ok(vec![as_double("percentile", value)?, percentages_type(p)]),
            _ => Err(wrong_count("percentile", "2", types.len())),
        },
        return_type: |types| result_type(&types[1], DataType::Float64),
        state: state_types,
        accumulator: |args| Box::new(Percentile::new(args, Method::Interpolate)),
        groups: no_groups,
    }
    .udaf()
}

/// `percentile_disc(p) WITHIN GROUP (ORDER BY x)`, and the same with DESC.
pub fn percentile_disc(descending: bool) -> AggregateUDF {
    Aggregate {
        name: if descending { "percentile_disc_desc" } else { "percentile_disc" },
        signature: user_defined(),
        coerce: |types| match types {
            [value, p] => Ok(vec![as_double("percentile_disc", value)?, percentages_type(p)]),
            _ => Err(wrong_count("percentile_disc", "2", types.len())),
        },
        return_type: |types| result_type(&types[1], DataType::Float64),
        state: state_types,
        accumulator: if descending {
            |args| Box::new(Percentile::new(args, Method::PickDescending))
        } else {
            |args| Box::new(Percentile::new(args, Method::Pick))
        },
        groups: no_groups,
    }
    .udaf()
}

/// `percentile_approx(x, p[, accuracy])`.
pub fn percentile_approx() -> AggregateUDF {
    Aggregate {
        name: "percentile_approx",
        signature: user_defined(),
        coerce: |types| match types {
            [value, p] => Ok(vec![value.clone(), percentages_type(p)]),
            [value, p, _] => Ok(vec![value.clone(), percentages_type(p), DataType::Int64]),
            _ => Err(wrong_count("percentile_approx", "2 or 3", types.len())),
        },
        return_type: |types| result_type(&types[1], types[0].clone()),
        state: state_types,
        accumulator: |args| Box::new(Percentile::new(args, Method::Pick)),
        groups: no_groups,
    }
    .udaf()
    .with_aliases(["approx_percentile"])
}

/// `median(x)`.
pub fn median() -> AggregateUDF {
    Aggregate {
        name: "median",
        signature: user_defined(),
        coerce: |types| match types {
            [value] => Ok(vec![as_double("median", value)?]),
            _ => Err(wrong_count("median", "1", types.len())),
        },
        return_type: |_| DataType::Float64,
        state: state_types,
        accumulator: |args| Box::new(Percentile::new(args, Method::Interpolate)),
        groups: no_groups,
    }
    .udaf()
}

fn percentages_type(p: &DataType) -> DataType {
    if matches!(p, DataType::List(_)) { list_of(DataType::Float64) } else { DataType::Float64 }
}

fn result_type(p: &DataType, item: DataType) -> DataType {
    if matches!(p, DataType::List(_)) { list_of(item) } else { item }
}

fn state_types(args: &[DataType], _: &DataType) -> Vec<DataType> {
    vec![list_of(args[0].clone()), list_of(DataType::Float64)]
}

/// How a percentile is found among the sorted values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Method {
    /// Between the two nearest values.
    Interpolate,
    /// The first value that enough values are not above.
    Pick,
    /// The same from the largest value down.
    PickDescending,
}

/// All values of a group, and the percentages that are asked for.
#[derive(Debug)]
struct Percentile {
    method: Method,
    return_type: DataType,
    value_type: DataType,
    chunks: Vec<ArrayRef>,
    percentages: Vec<f64>,
}

impl Percentile {
    fn new(args: &AccumulatorArgs, method: Method) -> Self {
        let types = arg_types(args);
        let percentages = if types.len() == 1 { vec![0.5] } else { Vec::new() };
        let value_type = types.first().cloned().unwrap_or(DataType::Null);
        Self { method, return_type: args.return_type().clone(), value_type, chunks: Vec::new(), percentages }
    }

    fn set_percentages(&mut self, argument: &ArrayRef) -> Result<()> {
        if !self.percentages.is_empty() || argument.is_empty() || argument.is_null(0) {
            return Ok(());
        }
        let values = match argument.as_list_opt::<i32>() {
            Some(list) => list.value(0),
            None => argument.slice(0, 1),
        };
        let values: Vec<f64> = values.as_primitive::<Float64Type>().iter().flatten().collect();
        if let Some(wrong) = values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
            let message = format!("the percentage must be between 0.0 and 1.0, but is {wrong}");
            return Err(Error::execution("DATATYPE_MISMATCH.VALUE_OUT_OF_RANGE", message)
                .with_help("write the share of rows, as in percentile(v, 0.95)"));
        }
        self.percentages = values;
        Ok(())
    }

    fn push(&mut self, values: &ArrayRef) -> Result<()> {
        let values = if values.null_count() > 0 {
            arrow::compute::filter(values, &arrow::compute::is_not_null(values)?)?
        } else {
            Arc::clone(values)
        };
        if !values.is_empty() {
            self.chunks.push(values);
        }
        Ok(())
    }

    /// All values in one array.
    fn values(&self) -> Result<ArrayRef> {
        if self.chunks.is_empty() {
            return Ok(new_empty_array(&self.value_type));
        }
        let chunks: Vec<&dyn Array> = self.chunks.iter().map(|c| c.as_ref()).collect();
        Ok(arrow::compute::concat(&chunks)?)
    }

    fn results(&self, sorted: &ArrayRef) -> Result<ArrayRef> {
        if self.method == Method::Interpolate {
            let sorted = sorted.as_primitive::<Float64Type>().values();
            let rows = self.percentages.iter().map(|p| interpolated(sorted, *p));
            return Ok(Arc::new(rows.collect::<Float64Array>()));
        }
        let rank = |p: &f64| (p * sorted.len() as f64).ceil().max(1.0) as u64 - 1;
        let last = (sorted.len() as u64).saturating_sub(1);
        let rank = |p: &f64| if self.method == Method::PickDescending { last - rank(p) } else { rank(p) };
        let indices: UInt64Array = self.percentages.iter().map(|p| Some(rank(p))).collect();
        Ok(arrow::compute::take(sorted, &indices, None)?)
    }
}

fn interpolated(sorted: &[f64], percentage: f64) -> f64 {
    let position = (sorted.len() - 1) as f64 * percentage;
    let (lower, higher) = (position.floor(), position.ceil());
    let (low, high) = (sorted[lower as usize], sorted[higher as usize]);
    if lower == higher || low == high { low } else { (higher - position) * low + (position - lower) * high }
}

impl Accumulator for Percentile {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        if let Some(percentages) = values.get(1) {
            self.set_percentages(percentages)?;
        }
        Ok(self.push(&values[0])?)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let values = self.values()?;
        if values.is_empty() || self.percentages.is_empty() {
            return ScalarValue::try_new_null(&self.return_type);
        }
        let results = self.results(&arrow::compute::sort(&values, None)?)?;
        match &self.return_type {
            DataType::List(field) => {
                let offsets = OffsetBuffer::from_lengths([results.len()]);
                Ok(ScalarValue::List(Arc::new(ListArray::try_new(Arc::clone(field), offsets, results, None)?)))
            }
            _ => ScalarValue::try_from_array(&results, 0),
        }
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.chunks.iter().map(|c| c.get_array_memory_size()).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let list = |values: ArrayRef| -> DfResult<ScalarValue> {
            let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
            let offsets = OffsetBuffer::from_lengths([values.len()]);
            Ok(ScalarValue::List(Arc::new(ListArray::try_new(field, offsets, values, None)?)))
        };
        let percentages: ArrayRef = Arc::new(Float64Array::from(self.percentages.clone()));
        Ok(vec![list(self.values()?)?, list(percentages)?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let (values, percentages) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            if percentages.is_valid(row) && !percentages.value(row).is_empty() {
                let row_percentages: ArrayRef = Arc::new(percentages.slice(row, 1));
                self.set_percentages(&row_percentages)?;
            }
            self.push(&values.value(row))?;
        }
        Ok(())
    }
}
