//! `corr` and the `regr_` functions: Pearson's correlation by sums that merge, rounded as Spark's own.

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

/// `regr_r2(y, x)`, `regr_slope(y, x)` and their like.
pub fn regressions() -> [AggregateUDF; 6] {
    macro_rules! regression {
        ($name:literal, $result:expr) => {
            Aggregate {
                name: $name,
                signature: user_defined(),
                coerce: |types| match types {
                    [y, x] => Ok(vec![as_double($name, y)?, as_double($name, x)?]),
                    _ => Err(wrong_count($name, "2", types.len())),
                },
                return_type: |_| DataType::Float64,
                state: |_, _| vec![DataType::Float64; Regression::COLUMNS],
                accumulator: |_| Box::new(Regression { result: $result, ..Regression::default() }),
                groups: no_groups,
            }
            .udaf()
        };
    }
    [
        regression!("regr_r2", Regression::r2),
        regression!("regr_slope", Regression::slope),
        regression!("regr_intercept", Regression::intercept),
        regression!("regr_sxx", |r| (r.yx.n > 0.0).then_some(r.x_squares)),
        regression!("regr_syy", |r| (r.yx.n > 0.0).then_some(r.y_squares)),
        regression!("regr_sxy", |r| (r.yx.n > 0.0).then_some(r.yx.xy)),
    ]
}

/// The sums of a regression. Spark computes each function by sums of its own, which differ in their last digit by the
/// order of the two columns.
#[derive(Debug, Clone, Copy)]
struct Regression {
    yx: Correlation,
    /// The products of the distances, with the columns the other way round.
    xy: f64,
    /// The sums of squares as variances are computed.
    x_squares: f64,
    y_squares: f64,
    result: fn(&Regression) -> Option<f64>,
}

impl Default for Regression {
    fn default() -> Self {
        Self { yx: Correlation::default(), xy: 0.0, x_squares: 0.0, y_squares: 0.0, result: |_| None }
    }
}

impl Regression {
    const COLUMNS: usize = 9;

    fn push(&mut self, y: f64, x: f64) {
        let (dy, dx) = (y - self.yx.x_mean, x - self.yx.y_mean);
        self.yx.push(y, x);
        self.xy += dx * (y - self.yx.x_mean);
        self.x_squares += dx * (dx - dx / self.yx.n);
        self.y_squares += dy * (dy - dy / self.yx.n);
    }

    fn merge(&mut self, other: &Self) {
        let (n, m) = (self.yx.n, other.yx.n);
        let (dy, dx) = (other.yx.x_mean - self.yx.x_mean, other.yx.y_mean - self.yx.y_mean);
        if n + m > 0.0 {
            self.xy += other.xy + dx * (dy / (n + m)) * n * m;
            self.x_squares += other.x_squares + dx * (dx / (n + m)) * n * m;
            self.y_squares += other.y_squares + dy * (dy / (n + m)) * n * m;
        }
        self.yx.merge(&other.yx);
    }

    fn r2(&self) -> Option<f64> {
        match (self.yx.n > 0.0 && self.yx.yy != 0.0, self.yx.xx != 0.0) {
            (false, _) => None,
            (true, false) => Some(1.0),
            (true, true) => {
                let correlation = self.yx.xy / (self.yx.xx * self.yx.yy).sqrt();
                Some(correlation * correlation)
            }
        }
    }

    fn slope(&self) -> Option<f64> {
        let n = self.yx.n;
        (n > 0.0 && self.x_squares != 0.0).then(|| (self.xy / n) / (self.x_squares / n))
    }

    fn intercept(&self) -> Option<f64> {
        self.slope().map(|slope| self.yx.x_mean - slope * self.yx.y_mean)
    }

    fn columns(&self) -> [f64; Self::COLUMNS] {
        let c = &self.yx;
        [c.n, c.x_mean, c.y_mean, c.xy, c.xx, c.yy, self.xy, self.x_squares, self.y_squares]
    }
}

impl Accumulator for Regression {
    fn update_batch(&mut self, values: &[ArrayRef]) -> DfResult<()> {
        let (y, x) = (values[0].as_primitive::<Float64Type>(), values[1].as_primitive::<Float64Type>());
        for (y, x) in y.iter().zip(x).filter_map(|(y, x)| y.zip(x)) {
            self.push(y, x);
        }
        Ok(())
    }

    fn evaluate(&mut self) -> DfResult<ScalarValue> {
        Ok(ScalarValue::Float64((self.result)(self)))
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }

    fn state(&mut self) -> DfResult<Vec<ScalarValue>> {
        Ok(self.columns().into_iter().map(|v| ScalarValue::Float64(Some(v))).collect())
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> DfResult<()> {
        let columns: Vec<_> = states.iter().map(|s| s.as_primitive::<Float64Type>()).collect();
        for row in (0..columns[0].len()).filter(|row| columns[0].is_valid(*row)) {
            let part = |i: usize| columns[i].value(row);
            let (n, x_mean, y_mean) = (part(0), part(1), part(2));
            let yx = Correlation { n, x_mean, y_mean, xy: part(3), xx: part(4), yy: part(5) };
            let other = Self { yx, xy: part(6), x_squares: part(7), y_squares: part(8), result: self.result };
            self.merge(&other);
        }
        Ok(())
    }
}
