//! What a time condition of a join says about how long a row can still match: Spark's
//! `StreamingJoinHelper.getStateValueWatermark`.
//!
//! ```text
//! lt >= rt - 10 s         all terms on one side:    rt - 10 s - lt <= 0
//! rt is past 60 s         so what can still match:  lt >= 60 s - 10 s     bound of the left: 49.999 s
//! ```

use datafusion::common::{Column, DFSchema, ExprSchema, ScalarValue};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use crate::operator::StateBound;
use crate::plan::watermark::{event_time_columns, watermark_delay_ms};

const US_PER_SECOND: i128 = 1_000_000;
const US_PER_DAY: i128 = 86_400 * US_PER_SECOND;

/// The bounds of the rows of `this` side that the conjuncts of a condition give. All of them must be past before a row
/// can go. None: it can match for ever.
pub fn state_bounds(conjuncts: &[Expr], this: &DFSchema, other: &DFSchema) -> Vec<StateBound> {
    if event_time_columns(other.fields()).is_empty() {
        return vec![];
    }
    let mut bounds: Vec<StateBound> =
        conjuncts.iter().flat_map(inequalities).filter_map(|i| i.solve(this, other)).collect();
    bounds.sort_unstable();
    bounds.dedup();
    bounds
}

/// `less < more`, or `less <= more`.
struct Inequality<'a> {
    less: &'a Expr,
    more: &'a Expr,
    inclusive: bool,
}

fn inequalities(conjunct: &Expr) -> Vec<Inequality<'_>> {
    match conjunct {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
            let (less, more, inclusive) = match op {
                Operator::Lt => (left, right, false),
                Operator::LtEq => (left, right, true),
                Operator::Gt => (right, left, false),
                Operator::GtEq => (right, left, true),
                Operator::And => return [left, right].into_iter().flat_map(|e| inequalities(e)).collect(),
                _ => return vec![],
            };
            vec![Inequality { less, more, inclusive }]
        }
        Expr::Between(between) if !between.negated => vec![
            Inequality { less: &between.low, more: &between.expr, inclusive: true },
            Inequality { less: &between.expr, more: &between.high, inclusive: true },
        ],
        _ => vec![],
    }
}

/// A sum: columns with their signs, and a constant in microseconds. A plain number counts as seconds.
#[derive(Default)]
struct Terms<'a> {
    columns: Vec<(&'a Column, bool)>,
    constant_us: i128,
}

impl Inequality<'_> {
    fn solve(&self, this: &DFSchema, other: &DFSchema) -> Option<StateBound> {
        let mut terms = Terms::default();
        terms.add(self.less, false)?;
        terms.add(self.more, true)?;
        let is_event_time =
            |schema: &DFSchema, c: &Column| schema.field_from_column(c).is_ok_and(|f| watermark_delay_ms(f).is_some());
        let (mine, others): (Vec<_>, Vec<_>) = terms.columns.iter().partition(|(c, _)| this.has_column(c));
        // Solved for this side's column, which must be the larger. As in Spark it need not be the event time: a bound of any
        // column counts as one of the side's time.
        let [(_, true)] = mine[..] else { return None };
        let follows = match others[..] {
            [] => false,
            [(column, false)] => is_event_time(other, column).then_some(true)?,
            _ => return None,
        };
        let offset_us = i64::try_from(terms.constant_us).ok()?;
        Some(StateBound { follows, offset_us, inclusive: self.inclusive })
    }
}

impl<'a> Terms<'a> {
    /// None if the expression is no such sum.
    fn add(&mut self, expr: &'a Expr, negate: bool) -> Option<()> {
        match expr {
            Expr::Column(column) => self.columns.push((column, negate)),
            Expr::Literal(value, _) => {
                let us = microseconds(value)?;
                self.constant_us += if negate { -us } else { us };
            }
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Plus | Operator::Minus), right }) => {
                self.add(left, negate)?;
                self.add(right, negate ^ (*op == Operator::Minus))?;
            }
            Expr::ScalarFunction(call) => match (call.name(), call.args.as_slice()) {
                ("cast" | "try_cast", [arg]) => self.add(arg, negate)?,
                ("+", [left, right]) => {
                    self.add(left, negate)?;
                    self.add(right, negate)?;
                }
                ("-", [left, right]) => {
                    self.add(left, negate)?;
                    self.add(right, !negate)?;
                }
                _ => return None,
            },
            Expr::Negative(e) => self.add(e, !negate)?,
            Expr::Alias(alias) => self.add(&alias.expr, negate)?,
            Expr::Cast(cast) => self.add(&cast.expr, negate)?,
            Expr::TryCast(cast) => self.add(&cast.expr, negate)?,
            _ => return None,
        }
        Some(())
    }
}

/// An interval, or a number of seconds. Months have no fixed length, and a point in time is no distance.
fn microseconds(value: &ScalarValue) -> Option<i128> {
    use ScalarValue as V;
    Some(match value {
        V::IntervalMonthDayNano(Some(i)) if i.months == 0 => {
            i128::from(i.days) * US_PER_DAY + i128::from(i.nanoseconds) / 1000
        }
        V::IntervalDayTime(Some(i)) => i128::from(i.days) * US_PER_DAY + i128::from(i.milliseconds) * 1000,
        V::DurationSecond(Some(v)) => i128::from(*v) * US_PER_SECOND,
        V::DurationMillisecond(Some(v)) => i128::from(*v) * 1000,
        V::DurationMicrosecond(Some(v)) => i128::from(*v),
        V::DurationNanosecond(Some(v)) => i128::from(*v) / 1000,
        V::Int8(Some(v)) => i128::from(*v) * US_PER_SECOND,
        V::Int16(Some(v)) => i128::from(*v) * US_PER_SECOND,
        V::Int32(Some(v)) => i128::from(*v) * US_PER_SECOND,
        V::Int64(Some(v)) => i128::from(*v) * US_PER_SECOND,
        V::Float32(Some(v)) => (f64::from(*v) * 1e6) as i128,
        V::Float64(Some(v)) => (*v * 1e6) as i128,
        _ => return None,
    })
}
