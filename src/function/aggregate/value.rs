//! Aggregates that pick one of the values: `first`, `last`, `max_by`, `min_by`, `mode`; and the estimate of how many
//! different ones there are.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::mem::size_of_val;

use arrow::array::*;
use arrow::compute::SortOptions;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::approx_distinct::ApproxDistinct;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature};

use super::{Aggregate, arg_types, no_groups, ordered, user_defined, wrong_count};
use crate::Result;
use crate::function::scalar::list_of;

/// `first(x[, ignore_nulls])`.
pub fn first() -> AggregateUDF {
    pick("first", |args| Box::new(FirstLast::new(args, false))).with_aliases(["any_value"])
}

/// `last(x[, ignore_nulls])`.
pub fn last() -> AggregateUDF {
    pick("last", |args| Box::new(FirstLast::new(args, true)))
}

fn pick(name: &'static str, accumulator: fn(&AccumulatorArgs) -> Box<dyn Accumulator>) -> AggregateUDF {
    Aggregate {
        name,
        signature: user_defined(),
        coerce: |types| match types {
            [value] => Ok(vec![value.clone()]),
            [value, _] => Ok(vec![value.clone(), DataType::Boolean]),
            _ => Err(wrong_count("first", "1 or 2", types.len())),
        },
        return_type: |types| types[0].clone(),
        state: |_, to| vec![to.clone(), DataType::Boolean],
        accumulator,
        groups: no_groups,
    }
    .udaf()
}

/// The first or last value in the order of arrival.
#[derive(Debug)]
struct FirstLast {
    last: bool,
    ignore_nulls: bool,
    value: ScalarValue,
    seen: bool,
}

impl FirstLast {
    fn new(args: &AccumulatorArgs, last: bool) -> Self {
        let value = ScalarValue::try_new_null(args.return_type()).unwrap_or(ScalarValue::Null);
        Self { last, ignore_nulls: args.ignore_nulls, value, seen: false }
    }

    fn take(&mut self, values: &ArrayRef, row: Option<usize>) -> DfResult<()> {
        if let Some(row) = row {
            self.value = ScalarValue::try_from_array(values, row)?;
            self.value.compact();
            self.seen = true;
        }
        Ok(())
    }

    /// The row that counts of `rows`, those that `legal` accepts.
    fn choose(&self, rows: usize, legal: impl Fn(usize) -> bool) -> Option<usize> {
        if self.last { (0..rows).rev().find(|row| legal(*row)) } else { (0..rows).find(|row| legal(*row)) }
    }
}

impl Accumulator for FirstLast {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let ignore =
            values.get(1).is_some_and(|flag| !flag.is_empty() && flag.is_valid(0) && flag.as_boolean().value(0));
        let ignore = ignore || self.ignore_nulls;
        if self.seen && !self.last {
            return Ok(());
        }
        let row = self.choose(values[0].len(), |row| !ignore || values[0].is_valid(row));
        self.take(&values[0], row)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) - size_of_val(&self.value) + self.value.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), ScalarValue::Boolean(Some(self.seen))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        if self.seen && !self.last {
            return Ok(());
        }
        let seen = states[1].as_boolean();
        let row = self.choose(seen.len(), |row| seen.is_valid(row) && seen.value(row));
        self.take(&states[0], row)
    }
}

/// `max_by(x, key)`: the value of the row with the greatest key.
pub fn max_by() -> AggregateUDF {
    by("max_by", |args| Box::new(ValueBy::new(args, true)))
}

/// `min_by(x, key)`.
pub fn min_by() -> AggregateUDF {
    by("min_by", |args| Box::new(ValueBy::new(args, false)))
}

fn by(name: &'static str, accumulator: fn(&AccumulatorArgs) -> Box<dyn Accumulator>) -> AggregateUDF {
    Aggregate {
        name,
        signature: user_defined(),
        coerce: |types| {
            if types.len() != 2 {
                return Err(wrong_count("max_by", "2 or 3", types.len()));
            }
            ordered("max_by", &types[1]).map(|()| types.to_vec())
        },
        return_type: |types| types[0].clone(),
        state: |types, _| types.to_vec(),
        accumulator,
        groups: no_groups,
    }
    .udaf()
}

#[derive(Debug)]
struct ValueBy {
    greatest: bool,
    value: ScalarValue,
    /// NULL until there is a row.
    key: ScalarValue,
}

impl ValueBy {
    fn new(args: &AccumulatorArgs, greatest: bool) -> Self {
        let null = |i: usize| {
            arg_types(args).get(i).and_then(|t| ScalarValue::try_new_null(t).ok()).unwrap_or(ScalarValue::Null)
        };
        Self { greatest, value: null(0), key: null(1) }
    }
}

impl Accumulator for ValueBy {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let options = SortOptions { descending: self.greatest, nulls_first: false };
        let best = arrow::compute::sort_to_indices(&values[1], Some(options), Some(1))?;
        let Some(row) = best.values().first().map(|row| *row as usize).filter(|row| values[1].is_valid(*row)) else {
            return Ok(());
        };
        let key = ScalarValue::try_from_array(&values[1], row)?;
        let wanted = if self.greatest { Ordering::Greater } else { Ordering::Less };
        if self.key.is_null() || key.partial_cmp(&self.key) == Some(wanted) {
            self.value = ScalarValue::try_from_array(&values[0], row)?;
            self.key = key;
            self.value.compact();
            self.key.compact();
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(self.value.clone())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.value.size() + self.key.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![self.value.clone(), self.key.clone()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }
}

/// `mode(x)`: the most frequent value; of several the smallest, so that the answer is the same every time.
pub fn mode() -> AggregateUDF {
    mode_of("mode", |args| Box::new(Mode::new(args, false)))
}

/// `mode() WITHIN GROUP (ORDER BY x DESC)`: of several the greatest.
pub fn mode_desc() -> AggregateUDF {
    mode_of("mode_desc", |args| Box::new(Mode::new(args, true)))
}

fn mode_of(name: &'static str, accumulator: fn(&AccumulatorArgs) -> Box<dyn Accumulator>) -> AggregateUDF {
    Aggregate {
        name,
        signature: user_defined(),
        coerce: |types| if types.len() == 1 { Ok(types.to_vec()) } else { Err(wrong_count("mode", "1", types.len())) },
        return_type: |types| types[0].clone(),
        state: |types, _| vec![list_of(types[0].clone()), list_of(DataType::Int64)],
        accumulator,
        groups: no_groups,
    }
    .udaf()
}

#[derive(Debug)]
struct Mode {
    data_type: DataType,
    /// Which of several is taken.
    greatest: bool,
    counts: HashMap<ScalarValue, i64>,
}

impl Mode {
    fn new(args: &AccumulatorArgs, greatest: bool) -> Self {
        Self { data_type: args.return_type().clone(), greatest, counts: HashMap::new() }
    }
}

impl Accumulator for Mode {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for row in (0..values[0].len()).filter(|row| values[0].is_valid(*row)) {
            *self.counts.entry(ScalarValue::try_from_array(&values[0], row)?.compacted()).or_insert(0) += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let prefer = |l: &ScalarValue, r: &ScalarValue| {
            let order = l.partial_cmp(r).unwrap_or(Ordering::Equal);
            if self.greatest { order } else { order.reverse() }
        };
        let best = self.counts.iter().max_by(|(l, n), (r, m)| n.cmp(m).then_with(|| prefer(l, r)));
        best.map_or_else(|| ScalarValue::try_new_null(&self.data_type), |(value, _)| Ok(value.clone()))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.counts.keys().map(|k| k.size() + 8).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let (values, counts): (Vec<_>, Vec<_>) =
            self.counts.iter().map(|(v, n)| (v.clone(), ScalarValue::Int64(Some(*n)))).unzip();
        Ok(vec![
            ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.data_type)),
            ScalarValue::List(ScalarValue::new_list_nullable(&counts, &DataType::Int64)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let (values, counts) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            let (values, counts) = (values.value(row), counts.value(row));
            for (i, count) in counts.as_primitive::<Int64Type>().values().iter().enumerate() {
                *self.counts.entry(ScalarValue::try_from_array(&values, i)?.compacted()).or_insert(0) += count;
            }
        }
        Ok(())
    }
}

/// `approx_count_distinct(x)`: DataFusion's estimate as BIGINT.
pub fn approx_count_distinct() -> AggregateUDF {
    AggregateUDF::new_from_impl(ApproxCountDistinct { inner: ApproxDistinct::new(), signature: user_defined() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ApproxCountDistinct {
    inner: ApproxDistinct,
    signature: Signature,
}

impl AggregateUDFImpl for ApproxCountDistinct {
    fn name(&self) -> &str {
        "approx_count_distinct"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        let check = |types: &[DataType]| -> Result<()> {
            if types.len() == 1 { Ok(()) } else { Err(wrong_count("approx_count_distinct", "1", types.len())) }
        };
        check(arg_types)?;
        // Numbers that the estimate cannot hash are counted by their text.
        Ok(arg_types
            .iter()
            .map(|t| match t {
                DataType::Float32 | DataType::Float64 | DataType::Decimal128(_, _) => DataType::Utf8,
                other => other.clone(),
            })
            .collect())
    }

    fn return_type(&self, _: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Int64)
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        self.inner.state_fields(args)
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        Ok(Box::new(AsLong(self.inner.accumulator(args)?)))
    }

    fn default_value(&self, _: &DataType) -> DfResult<ScalarValue> {
        Ok(ScalarValue::Int64(Some(0)))
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }
}

/// Gives the unsigned result of another accumulator as BIGINT.
#[derive(Debug)]
struct AsLong(Box<dyn Accumulator>);

impl Accumulator for AsLong {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0.update_batch(values)
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        self.0.evaluate()?.cast_to(&DataType::Int64)
    }

    fn size(&self) -> usize {
        self.0.size()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        self.0.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.0.merge_batch(states)
    }
}
