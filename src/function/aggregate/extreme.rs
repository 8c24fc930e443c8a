//! `min` and `max`: NaN is the greatest number, so `max` gives it and `min` passes it over.
//!
//! FLOAT and DOUBLE are computed here, and structs and arrays, in which a NULL is less than any value; the rest is
//! DataFusion's.

use std::cmp::Ordering;
use std::mem::size_of;
use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature};

use crate::function::order;

/// `min(x)`.
pub fn min() -> AggregateUDF {
    AggregateUDF::new_from_impl(Extreme { inner: Min::new(), greatest: false })
}

/// `max(x)`.
pub fn max() -> AggregateUDF {
    AggregateUDF::new_from_impl(Extreme { inner: Max::new(), greatest: true })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Extreme<F> {
    inner: F,
    greatest: bool,
}

impl<F: AggregateUDFImpl + PartialEq + Eq + std::hash::Hash> AggregateUDFImpl for Extreme<F> {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        arg_types.iter().try_for_each(|t| super::ordered(self.name(), t))?;
        self.inner.return_type(arg_types)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match args.return_type() {
            t @ (DataType::Float32 | DataType::Float64) => {
                let groups = FloatGroups::new(self.greatest, t.clone());
                Ok(Box::new(FloatExtreme { groups, best: None }))
            }
            t if t.is_nested() => Ok(Box::new(NestedExtreme { greatest: self.greatest, best: new_null_array(t, 1) })),
            _ => self.inner.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.return_type().is_nested()
            && (args.return_type().is_floating() || self.inner.groups_accumulator_supported(args))
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        match args.return_type() {
            t @ (DataType::Float32 | DataType::Float64) => Ok(Box::new(FloatGroups::new(self.greatest, t.clone()))),
            _ => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn is_descending(&self) -> Option<bool> {
        self.inner.is_descending()
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        self.inner.order_sensitivity()
    }
}

/// The best struct or array so far, as one row.
#[derive(Debug)]
struct NestedExtreme {
    greatest: bool,
    best: ArrayRef,
}

impl Accumulator for NestedExtreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let all = arrow::compute::concat(&[self.best.as_ref(), values[0].as_ref()])?;
        if let Some(best) = order::extreme_of(&all, if self.greatest { Ordering::Greater } else { Ordering::Less })? {
            // Of its own, so that the batch is not kept.
            self.best = arrow::compute::take(&all, &UInt32Array::from(vec![best]), None)?;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&self.best, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>() + self.best.get_array_memory_size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }
}

/// The best value of many groups, as DOUBLE.
#[derive(Debug)]
struct FloatGroups {
    greatest: bool,
    data_type: DataType,
    best: Vec<Option<f64>>,
}

impl FloatGroups {
    fn new(greatest: bool, data_type: DataType) -> Self {
        Self { greatest, data_type, best: Vec::new() }
    }

    fn better(&self, value: f64, than: f64) -> bool {
        let order = match (value.is_nan(), than.is_nan()) {
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (true, true) => Ordering::Equal,
            (false, false) => value.partial_cmp(&than).unwrap_or(Ordering::Equal),
        };
        order == if self.greatest { Ordering::Greater } else { Ordering::Less }
    }

    fn merged(&self, best: Option<f64>, value: f64) -> Option<f64> {
        match best {
            Some(best) if !self.better(value, best) => Some(best),
            _ => Some(value),
        }
    }

    fn array(&self, values: Vec<Option<f64>>) -> DfResult<ArrayRef> {
        Ok(arrow::compute::cast(&Float64Array::from(values), &self.data_type)?)
    }
}

impl GroupsAccumulator for FloatGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.best.resize(total_num_groups, None);
        let values = arrow::compute::cast(&values[0], &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>();
        for (row, group) in group_indices.iter().enumerate() {
            let kept = opt_filter.is_none_or(|f| f.is_valid(row) && f.value(row));
            if kept && values.is_valid(row) {
                self.best[*group] = self.merged(self.best[*group], values.value(row));
            }
        }
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let best = emit_to.take_needed(&mut self.best);
        self.array(best)
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let Some(filter) = opt_filter else { return Ok(vec![Arc::clone(&values[0])]) };
        let kept = arrow::compute::prep_null_mask_filter(filter);
        Ok(vec![arrow::compute::nullif(&values[0], &arrow::compute::not(&kept)?)?])
    }

    fn size(&self) -> usize {
        self.best.capacity() * size_of::<Option<f64>>()
    }
}

/// The best value of one group.
#[derive(Debug)]
struct FloatExtreme {
    groups: FloatGroups,
    best: Option<f64>,
}

impl Accumulator for FloatExtreme {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let values = arrow::compute::cast(&values[0], &DataType::Float64)?;
        let values = values.as_primitive::<Float64Type>().iter().flatten();
        self.best = values.fold(self.best, |best, value| self.groups.merged(best, value));
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        ScalarValue::try_from_array(&self.groups.array(vec![self.best])?, 0)
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.evaluate()?])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }
}
