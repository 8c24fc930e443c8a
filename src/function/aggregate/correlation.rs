//! `corr`: Pearson's correlation by sums that merge, rounded as Spark's own.

use std::mem::size_of_val;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::common::ScalarValue;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Accumulator, AggregateUDF};

use super::{Aggregate, as_double, no_groups, user_defined, wrong_count};

/// `corr(x, y)`.
pub fn corr() -> AggregateUDF {
    Aggregate {
        name: "corr",
        signature: user_defined(),
        coerce: |types| match types {
            [x, y] => Ok(vec![as_double("corr", x)?, as_double("corr", y)?]),
            _ => Err(wrong_count("corr", "2", types.len())),
        },
        return_type: |_| DataType::Float64,
        state: |_, _| vec![DataType::Float64; 6],
        accumulator: |_| Box::new(Correlation::default()),
        groups: no_groups,
    }
    .udaf()
}

/// The number of pairs, both means, and the sums of the products and squares of the distances from them.
#[derive(Debug, Default, Clone, Copy)]
struct Correlation {
    n: f64,
    x_mean: f64,
    y_mean: f64,
    xy: f64,
    xx: f64,
    yy: f64,
}

impl Correlation {
    fn push(&mut self, x: f64, y: f64) {
        self.n += 1.0;
        let (dx, dy) = (x - self.x_mean, y - self.y_mean);
        self.x_mean += dx / self.n;
        self.y_mean += dy / self.n;
        self.xy += dx * (y - self.y_mean);
        self.xx += dx * (x - self.x_mean);
        self.yy += dy * (y - self.y_mean);
    }

    fn merge(&mut self, other: &Self) {
        let n = self.n + other.n;
        let (dx, dy) = (other.x_mean - self.x_mean, other.y_mean - self.y_mean);
        let (step_x, step_y) = if n == 0.0 { (0.0, 0.0) } else { (dx / n, dy / n) };
        self.xy += other.xy + dx * step_y * self.n * other.n;
        self.xx += other.xx + dx * step_x * self.n * other.n;
        self.yy += other.yy + dy * step_y * self.n * other.n;
        self.x_mean += step_x * other.n;
        self.y_mean += step_y * other.n;
        self.n = n;
    }
}

impl Accumulator for Correlation {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let (x, y) = (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
        for (x, y) in x.iter().zip(y).filter_map(|(x, y)| x.zip(y)) {
            self.push(x, y);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        let spread = (self.xx * self.yy).sqrt();
        let result = if self.n > 1.0 && spread != 0.0 { Some(self.xy / spread) } else { None };
        Ok(ScalarValue::Float64(result))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        let parts = [self.n, self.x_mean, self.y_mean, self.xy, self.xx, self.yy];
        Ok(parts.into_iter().map(|v| ScalarValue::Float64(Some(v))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let columns: Vec<_> = states.iter().map(|s| s.as_primitive::<Float64Type>()).collect();
        for row in (0..columns[0].len()).filter(|row| columns[0].is_valid(*row)) {
            let part = |i: usize| columns[i].value(row);
            let (n, x_mean, y_mean) = (part(0), part(1), part(2));
            self.merge(&Self { n, x_mean, y_mean, xy: part(3), xx: part(4), yy: part(5) });
        }
        Ok(())
    }
}
