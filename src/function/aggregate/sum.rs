//! `sum`, `avg` and `count_if`: checked sums, averages of DECIMAL rounded half up.
//!
//! What DataFusion computes as Spark does (sums and averages of DOUBLE, DISTINCT) is left to it.

use std::mem::size_of;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::NullBuffer;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, Signature};

use super::average::DoubleAverages;
use super::{Aggregate, as_double, user_defined, wrong_count, wrong_type};
use crate::function::arithmetic::arithmetic_overflow;
use crate::function::cast::{fits, rescale_value};
use crate::{Error, Result};

/// `sum(x)`: BIGINT of integers, DECIMAL(p+10,s) of decimals, else DOUBLE.
pub fn sum() -> AggregateUDF {
    AggregateUDF::new_from_impl(Delegating { name: "sum", inner: Sum::new(), signature: user_defined() })
}

/// `avg(x)`: DECIMAL(p+4,s+4) of decimals, else DOUBLE.
pub fn avg() -> AggregateUDF {
    AggregateUDF::new_from_impl(Delegating { name: "avg", inner: Avg::new(), signature: user_defined() })
        .with_aliases(["mean"])
}

/// `try_avg(x)`: NULL where `avg` fails.
pub fn try_avg() -> AggregateUDF {
    AggregateUDF::new_from_impl(Delegating { name: "try_avg", inner: Avg::new(), signature: user_defined() })
}

/// DataFusion's function with ours for the types where the two differ.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Delegating<F> {
    name: &'static str,
    inner: F,
    signature: Signature,
}

/// Which accumulator of ours takes the place of DataFusion's.
#[derive(Debug, Clone)]
enum Kind {
    CheckedLong,
    DoubleAverage,
    Decimal(DecimalRule),
}

impl<F> Delegating<F> {
    fn coerced(&self, arg_types: &[DataType]) -> Result<DataType> {
        let [arg] = arg_types else { return Err(wrong_count(self.name, "1", arg_types.len())) };
        Ok(match arg {
            DataType::Decimal128(_, _) | DataType::Duration(_) => arg.clone(),
            t if t.is_integer() && self.name == "sum" => DataType::Int64,
            DataType::Interval(_) if self.name == "sum" => arg.clone(),
            other => as_double(self.name, other)?,
        })
    }

    fn kind(&self, args: &AccumulatorArgs) -> Option<Kind> {
        if args.is_distinct {
            return None;
        }
        let input = args.expr_fields.first().map_or(&DataType::Null, |f| f.data_type());
        match (self.name, input, args.return_type()) {
            ("sum", DataType::Int64, _) => Some(Kind::CheckedLong),
            ("avg" | "try_avg", DataType::Float64, _) => Some(Kind::DoubleAverage),
            (name, DataType::Decimal128(_, scale), DataType::Decimal128(p, s)) => {
                let (average, tolerant) = (name != "sum", name == "try_avg");
                Some(Kind::Decimal(DecimalRule { average, tolerant, scale: *scale, to: (*p, *s) }))
            }
            _ => None,
        }
    }
}

impl<F: AggregateUDFImpl + PartialEq + Eq + std::hash::Hash> AggregateUDFImpl for Delegating<F> {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> DfResult<Vec<DataType>> {
        // DataFusion keeps the text only of an error from here, so wrong arguments are refused with the type.
        Ok(self.coerced(arg_types).map_or_else(|_| arg_types.to_vec(), |t| vec![t]))
    }

    fn return_type(&self, arg_types: &[DataType]) -> DfResult<DataType> {
        match (self.name, self.coerced(arg_types)?) {
            ("avg" | "try_avg", DataType::Decimal128(p, s)) => {
                Ok(DataType::Decimal128((p + 4).min(38), (s + 4).min(38)))
            }
            (_, coerced) => self.inner.return_type(&[coerced]),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> DfResult<Vec<FieldRef>> {
        let decimal = args.input_fields.first().is_some_and(|f| matches!(f.data_type(), DataType::Decimal128(_, _)));
        if !decimal || args.is_distinct {
            return self.inner.state_fields(args);
        }
        let field = |suffix: &str, t| Arc::new(Field::new(format!("{}[{suffix}]", args.name), t, true));
        Ok(vec![field("sum", WIDE), field("count", DataType::Int64)])
    }

    fn accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        match self.kind(&args) {
            Some(Kind::CheckedLong) => Ok(Box::new(LongSum::default())),
            Some(Kind::Decimal(rule)) => Ok(Box::new(DecimalFold { rule, sum: 0, count: 0 })),
            Some(Kind::DoubleAverage) | None => self.inner.accumulator(args),
        }
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        self.kind(&args).is_some() || self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn GroupsAccumulator>> {
        match self.kind(&args) {
            Some(Kind::CheckedLong) => Ok(Box::new(LongSumGroups::default())),
            Some(Kind::DoubleAverage) => Ok(Box::new(DoubleAverages::default())),
            Some(Kind::Decimal(rule)) => Ok(Box::new(DecimalGroups { rule, sums: Vec::new(), counts: Vec::new() })),
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> DfResult<Box<dyn Accumulator>> {
        self.inner.create_sliding_accumulator(args)
    }

    fn order_sensitivity(&self) -> datafusion::logical_expr::utils::AggregateOrderSensitivity {
        datafusion::logical_expr::utils::AggregateOrderSensitivity::Insensitive
    }
}

/// The sum that stands for one that is too large. No sum of DECIMAL that has a result is as large.
const OVERFLOWN: i128 = i128::MAX;

/// What a state's DECIMAL sum is kept in.
const WIDE: DataType = DataType::Decimal128(38, 0);

fn overflow() -> Error {
    arithmetic_overflow(&DataType::Int64)
}

fn decimal_overflow() -> Error {
    Error::execution("ARITHMETIC_OVERFLOW", "overflow in sum of decimals")
        .with_help("cast the values to a type with more digits, or use `try_sum` or DOUBLE")
}

/// NULL for the rows that the filter leaves out.
pub fn hide_filtered(values: &ArrayRef, filter: Option<&BooleanArray>) -> Result<ArrayRef> {
    let Some(filter) = filter else { return Ok(Arc::clone(values)) };
    let kept = match filter.null_count() {
        0 => filter.clone(),
        _ => arrow::compute::prep_null_mask_filter(filter),
    };
    Ok(arrow::compute::nullif(values, &arrow::compute::not(&kept)?)?)
}

/// Calls `f` with every group and its value that is neither NULL nor filtered out.
pub fn each<T: ArrowPrimitiveType>(
    values: &PrimitiveArray<T>,
    groups: &[usize],
    filter: Option<&BooleanArray>,
    mut f: impl FnMut(usize, T::Native) -> Result<()>,
) -> Result<()> {
    let kept = |row: usize| filter.is_none_or(|f| f.is_valid(row) && f.value(row));
    if values.null_count() == 0 && filter.is_none() {
        return groups.iter().zip(values.values()).try_for_each(|(group, value)| f(*group, *value));
    }
    for (row, group) in groups.iter().enumerate() {
        if values.is_valid(row) && kept(row) {
            f(*group, values.value(row))?;
        }
    }
    Ok(())
}

/// The sum of one group.
#[derive(Debug, Default)]
struct LongSum(Option<i64>);

impl Accumulator for LongSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let part = arrow::compute::sum_checked(values[0].as_primitive::<Int64Type>()).map_err(|_| overflow())?;
        if let Some(part) = part {
            self.0 = Some(self.0.unwrap_or(0).checked_add(part).ok_or_else(overflow)?);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(ScalarValue::Int64(self.0))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(self.0)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.update_batch(states)
    }
}

/// The sums of many groups.
#[derive(Debug, Default)]
struct LongSumGroups {
    sums: Vec<i64>,
    seen: Vec<bool>,
}

impl GroupsAccumulator for LongSumGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.sums.resize(total_num_groups, 0);
        self.seen.resize(total_num_groups, false);
        each(values[0].as_primitive::<Int64Type>(), group_indices, opt_filter, |group, value| {
            self.sums[group] = self.sums[group].checked_add(value).ok_or_else(overflow)?;
            self.seen[group] = true;
            Ok(())
        })?;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let (sums, seen) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.seen));
        Ok(Arc::new(Int64Array::new(sums.into(), Some(NullBuffer::from(seen)))))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        Ok(vec![hide_filtered(&values[0], opt_filter)?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i64>() + self.seen.capacity()
    }
}

/// How a sum and a count become the result.
#[derive(Debug, Clone, Copy)]
struct DecimalRule {
    average: bool,
    /// NULL instead of an error.
    tolerant: bool,
    /// The scale of the input and of the sum.
    scale: i8,
    /// Precision and scale of the result.
    to: (u8, i8),
}

impl DecimalRule {
    fn result(&self, sum: i128, count: i64) -> Result<Option<i128>> {
        if count == 0 {
            return Ok(None);
        }
        let (precision, _) = self.to;
        let value = if sum == OVERFLOWN {
            None
        } else if self.average {
            self.average(sum, count)
        } else {
            Some(sum)
        };
        let value = value.filter(|v| fits(*v, precision));
        if self.tolerant { Ok(value) } else { value.map(Some).ok_or_else(decimal_overflow) }
    }

    /// Half up.
    fn average(&self, sum: i128, count: i64) -> Option<i128> {
        let wide = rescale_value(sum, self.scale, self.to.1)?;
        let (quotient, remainder) = (wide / i128::from(count), wide % i128::from(count));
        let away = remainder.unsigned_abs() * 2 >= u128::from(count.unsigned_abs());
        Some(if away { quotient + wide.signum() } else { quotient })
    }

    fn add(&self, to: i128, value: i128) -> Result<i128> {
        let sum = to.checked_add(value).filter(|_| to != OVERFLOWN && value != OVERFLOWN);
        if self.tolerant { Ok(sum.unwrap_or(OVERFLOWN)) } else { sum.ok_or_else(decimal_overflow) }
    }
}

/// Sum and count of one group of decimals.
#[derive(Debug)]
struct DecimalFold {
    rule: DecimalRule,
    sum: i128,
    count: i64,
}

impl Accumulator for DecimalFold {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for value in values[0].as_primitive::<Decimal128Type>().iter().flatten() {
            self.sum = self.rule.add(self.sum, value)?;
            self.count += 1;
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let (precision, scale) = self.rule.to;
        Ok(ScalarValue::Decimal128(self.rule.result(self.sum, self.count)?, precision, scale))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Decimal128(Some(self.sum), 38, 0), ScalarValue::Int64(Some(self.count))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let counts = states[1].as_primitive::<Int64Type>();
        for (sum, count) in states[0].as_primitive::<Decimal128Type>().iter().zip(counts) {
            self.sum = self.rule.add(self.sum, sum.unwrap_or(0))?;
            self.count += count.unwrap_or(0);
        }
        Ok(())
    }
}

/// Sums and counts of many groups of decimals.
#[derive(Debug)]
struct DecimalGroups {
    rule: DecimalRule,
    sums: Vec<i128>,
    counts: Vec<i64>,
}

impl DecimalGroups {
    fn resize(&mut self, groups: usize) {
        self.sums.resize(groups, 0);
        self.counts.resize(groups, 0);
    }
}

impl GroupsAccumulator for DecimalGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.resize(total_num_groups);
        each(values[0].as_primitive::<Decimal128Type>(), group_indices, opt_filter, |group, value| {
            self.sums[group] = self.rule.add(self.sums[group], value)?;
            self.counts[group] += 1;
            Ok(())
        })?;
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        let rows = sums.into_iter().zip(counts).map(|(sum, count)| self.rule.result(sum, count));
        let (precision, scale) = self.rule.to;
        let values: Decimal128Array = rows.collect::<Result<_>>()?;
        Ok(Arc::new(values.with_precision_and_scale(precision, scale)?))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        let (sums, counts) = (emit_to.take_needed(&mut self.sums), emit_to.take_needed(&mut self.counts));
        let sums = Decimal128Array::from(sums).with_data_type(WIDE);
        Ok(vec![Arc::new(sums), Arc::new(Int64Array::from(counts))])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.resize(total_num_groups);
        each(values[0].as_primitive::<Decimal128Type>(), group_indices, None, |group, value| {
            self.sums[group] = self.rule.add(self.sums[group], value)?;
            Ok(())
        })?;
        each(values[1].as_primitive::<Int64Type>(), group_indices, None, |group, value| {
            self.counts[group] += value;
            Ok(())
        })?;
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        let sums = hide_filtered(&values[0], opt_filter)?.as_primitive::<Decimal128Type>().clone();
        let counts: Int64Array = sums.iter().map(|v| Some(i64::from(v.is_some()))).collect();
        Ok(vec![Arc::new(sums.with_data_type(WIDE)), Arc::new(counts)])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.counts.capacity() * size_of::<i64>()
    }
}

/// `count_if(condition)`: the rows for which it is true.
pub fn count_if() -> AggregateUDF {
    Aggregate {
        name: "count_if",
        signature: user_defined(),
        coerce: |types| match types {
            [DataType::Boolean | DataType::Null] => Ok(vec![DataType::Boolean]),
            [other] => Err(wrong_type("count_if", other)),
            _ => Err(wrong_count("count_if", "1", types.len())),
        },
        return_type: |_| DataType::Int64,
        state: |_, _| vec![DataType::Int64],
        accumulator: |_| Box::new(CountIf(0)),
        groups: |_| Some(Box::new(CountIfGroups::default())),
    }
    .udaf()
}

#[derive(Debug)]
struct CountIf(i64);

impl Accumulator for CountIf {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.0 += values[0].as_boolean().true_count() as i64;
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(ScalarValue::Int64(Some(self.0)))
    }

    fn size(&self) -> usize {
        size_of::<Self>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(vec![ScalarValue::Int64(Some(self.0))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.0 += states[0].as_primitive::<Int64Type>().iter().flatten().sum::<i64>();
        Ok(())
    }
}

/// The counts of many groups.
#[derive(Debug, Default)]
struct CountIfGroups {
    counts: Vec<i64>,
}

impl GroupsAccumulator for CountIfGroups {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        opt_filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> DfResult<()> {
        self.counts.resize(total_num_groups, 0);
        let hits = count_if_hits(&values[0], opt_filter)?;
        group_indices.iter().zip(hits.values()).for_each(|(group, hit)| self.counts[*group] += hit);
        Ok(())
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> DfResult<ArrayRef> {
        Ok(Arc::new(Int64Array::from(emit_to.take_needed(&mut self.counts))))
    }

    fn state(&mut self, emit_to: EmitTo) -> DfResult<Vec<ArrayRef>> {
        Ok(vec![self.evaluate(emit_to)?])
    }

    fn merge_batch(&mut self, values: &[ArrayRef], group_indices: &[usize], total_num_groups: usize) -> DfResult<()> {
        self.counts.resize(total_num_groups, 0);
        each(values[0].as_primitive::<Int64Type>(), group_indices, None, |group, count| {
            self.counts[group] += count;
            Ok(())
        })?;
        Ok(())
    }

    fn convert_to_state(&self, values: &[ArrayRef], opt_filter: Option<&BooleanArray>) -> DfResult<Vec<ArrayRef>> {
        Ok(vec![Arc::new(count_if_hits(&values[0], opt_filter)?)])
    }

    fn size(&self) -> usize {
        self.counts.capacity() * size_of::<i64>()
    }
}

/// The condition with NULL as false. Arrow's own function wants an array that has NULLs.
fn null_as_false(condition: &BooleanArray) -> BooleanArray {
    match condition.null_count() {
        0 => condition.clone(),
        _ => arrow::compute::prep_null_mask_filter(condition),
    }
}

/// One for every row that is true and not filtered out, else zero.
fn count_if_hits(condition: &ArrayRef, filter: Option<&BooleanArray>) -> Result<Int64Array> {
    let mut hits = null_as_false(condition.as_boolean());
    if let Some(filter) = filter {
        hits = arrow::compute::and(&hits, &null_as_false(filter))?;
    }
    Ok(hits.values().iter().map(|hit| Some(i64::from(hit))).collect())
}
