//! `skewness` and `kurtosis`: central moments that merge, as Spark's `CentralMomentAgg` computes them.

use std::mem::size_of_val;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::{Aggregate, as_double, no_groups, user_defined, wrong_count};

/// `skewness(x)`.
pub fn skewness() -> AggregateUDF {
    moment(
        "skewness",
        |types| match types {
            [value] => Ok(vec![as_double("skewness", value)?]),
            _ => Err(wrong_count("skewness", "1", types.len())),
        },
        |_| Box::new(Moments { order: 3, ..Moments::default() }),
    )
}

/// `kurtosis(x)`.
pub fn kurtosis() -> AggregateUDF {
    moment(
        "kurtosis",
        |types| match types {
            [value] => Ok(vec![as_double("kurtosis", value)?]),
            _ => Err(wrong_count("kurtosis", "1", types.len())),
        },
        |_| Box::new(Moments { order: 4, ..Moments::default() }),
    )
}

fn moment(
    name: &'static str,
    coerce: fn(&[DataType]) -> crate::Result<Vec<DataType>>,
    accumulator: fn(&datafusion::logical_expr::function::AccumulatorArgs) -> Box<dyn Accumulator>,
) -> AggregateUDF {
    Aggregate {
        name,
        signature: user_defined(),
        coerce,
        return_type: |_| DataType::Float64,
        state: |_, _| vec![DataType::Float64; 5],
        accumulator,
        groups: no_groups,
    }
    .udaf()
}

/// The number of values, their mean, and the sums of the second to fourth powers of the distances from it.
#[derive(Debug, Default, Clone, Copy)]
struct Moments {
    order: u8,
    n: f64,
    mean: f64,
    m2: f64,
    m3: f64,
    m4: f64,
}

impl Moments {
    fn push(&mut self, value: f64) {
        let n = self.n + 1.0;
        let delta = value - self.mean;
        let step = delta / n;
        let m2 = self.m2 + delta * (delta - step);
        let (delta_2, step_2) = (delta * delta, step * step);
        let m3 = self.m3 - 3.0 * step * m2 + delta * (delta_2 - step_2);
        let m4 = self.m4 - 4.0 * step * m3 - 6.0 * step_2 * m2 + delta * (delta * delta_2 - step * step_2);
        *self = Self { order: self.order, n, mean: self.mean + step, m2, m3, m4 };
    }

    fn merge(&mut self, other: &Moments) {
        let (n1, n2) = (self.n, other.n);
        let n = n1 + n2;
        let delta = other.mean - self.mean;
        let step = if n == 0.0 { 0.0 } else { delta / n };
        let m4 = self.m4
            + other.m4
            + step * step * step * delta * n1 * n2 * (n1 * n1 - n1 * n2 + n2 * n2)
            + 6.0 * step * step * (n1 * n1 * other.m2 + n2 * n2 * self.m2)
            + 4.0 * step * (n1 * other.m3 - n2 * self.m3);
        let m3 = self.m3
            + other.m3
            + step * step * delta * n1 * n2 * (n1 - n2)
            + 3.0 * step * (n1 * other.m2 - n2 * self.m2);
        self.m2 += other.m2 + delta * step * n1 * n2;
        self.mean += step * n2;
        (self.n, self.m3, self.m4) = (n, m3, m4);
    }
}

impl Accumulator for Moments {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        for value in values[0].as_primitive::<Float64Type>().iter().flatten() {
            self.push(value);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let result = match (self.n > 0.0, self.m2 != 0.0) {
            (false, _) | (_, false) => None,
            _ if self.order == 3 => Some(self.n.sqrt() * self.m3 / (self.m2 * self.m2 * self.m2).sqrt()),
            _ => Some(self.n * self.m4 / (self.m2 * self.m2) - 3.0),
        };
        Ok(ScalarValue::Float64(result))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let parts = [self.n, self.mean, self.m2, self.m3, self.m4];
        Ok(parts.into_iter().map(|v| ScalarValue::Float64(Some(v))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let columns: Vec<_> = states.iter().map(|s| s.as_primitive::<Float64Type>()).collect();
        for row in (0..columns[0].len()).filter(|row| columns[0].is_valid(*row)) {
            let part = |i: usize| columns[i].value(row);
            let other = Moments { order: 0, n: part(0), mean: part(1), m2: part(2), m3: part(3), m4: part(4) };
            self.merge(&other);
        }
        Ok(())
    }
}
