//! `max_by(x, key, k)` and `min_by(x, key, k)`: the values of the rows with the `k` greatest or smallest keys.

use std::cmp::Ordering;
use std::mem::size_of_val;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::function::AccumulatorArgs;
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::{Aggregate, arg_types, no_groups, user_defined, wrong_count};
use crate::function::scalar::list_of;

/// The most rows that can be asked for.
pub const MAX_ROWS: i64 = 100_000;

/// `max_by(x, key, k)`.
pub fn max_by() -> AggregateUDF {
    by("max_by_k", |args| Box::new(Top::new(args, Ordering::Greater)))
}

/// `min_by(x, key, k)`.
pub fn min_by() -> AggregateUDF {
    by("min_by_k", |args| Box::new(Top::new(args, Ordering::Less)))
}

fn by(name: &'static str, accumulator: fn(&AccumulatorArgs) -> Box<dyn Accumulator>) -> AggregateUDF {
    Aggregate {
        name,
        signature: user_defined(),
        coerce: |types| match types {
            [value, key, _] => Ok(vec![value.clone(), key.clone(), DataType::Int64]),
            _ => Err(wrong_count("max_by", "2 or 3", types.len())),
        },
        return_type: |types| list_of(types[0].clone()),
        state: |types, _| vec![list_of(types[0].clone()), list_of(types[1].clone()), DataType::Int64],
        accumulator,
        groups: no_groups,
    }
    .udaf()
}

#[derive(Debug)]
struct Top {
    /// How a better key compares with another.
    better: Ordering,
    limit: usize,
    value_type: DataType,
    key_type: DataType,
    /// Key and value, the best first; those with equal keys in the order of arrival.
    rows: Vec<(ScalarValue, ScalarValue)>,
}

impl Top {
    fn new(args: &AccumulatorArgs, better: Ordering) -> Self {
        let mut types = arg_types(args).into_iter();
        let mut next = || types.next().unwrap_or(DataType::Null);
        Self { better, limit: 0, value_type: next(), key_type: next(), rows: Vec::new() }
    }

    fn push(&mut self, key: ScalarValue, value: ScalarValue) {
        let at = self.rows.partition_point(|(k, _)| key.partial_cmp(k) != Some(self.better));
        if at < self.limit {
            self.rows.insert(at, (key, value));
            self.rows.truncate(self.limit);
        }
    }

    fn push_all(&mut self, values: &ArrayRef, keys: &ArrayRef) -> DfResult<()> {
        for row in (0..keys.len()).filter(|row| keys.is_valid(*row)) {
            let key = ScalarValue::try_from_array(keys, row)?.compacted();
            self.push(key, ScalarValue::try_from_array(values, row)?.compacted());
        }
        Ok(())
    }

    fn set_limit(&mut self, limits: &ArrayRef) {
        let limit = limits.as_primitive::<Int64Type>().iter().flatten().next();
        self.limit = limit.map_or(self.limit, |k| k.clamp(0, MAX_ROWS) as usize);
    }

    fn values(&self) -> ScalarValue {
        let values: Vec<_> = self.rows.iter().map(|(_, v)| v.clone()).collect();
        ScalarValue::List(ScalarValue::new_list_nullable(&values, &self.value_type))
    }
}

impl Accumulator for Top {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        self.set_limit(&values[2]);
        self.push_all(&values[0], &values[1])
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        if self.rows.is_empty() {
            return ScalarValue::try_new_null(&list_of(self.value_type.clone()));
        }
        Ok(self.values())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.rows.iter().map(|(k, v)| k.size() + v.size()).sum::<usize>()
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let keys: Vec<_> = self.rows.iter().map(|(k, _)| k.clone()).collect();
        let keys = ScalarValue::List(ScalarValue::new_list_nullable(&keys, &self.key_type));
        Ok(vec![self.values(), keys, ScalarValue::Int64(Some(self.limit as i64))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        self.set_limit(&states[2]);
        let (values, keys) = (states[0].as_list::<i32>(), states[1].as_list::<i32>());
        for row in (0..values.len()).filter(|row| values.is_valid(*row)) {
            self.push_all(&values.value(row), &keys.value(row))?;
        }
        Ok(())
    }
}
