//! What a join computes: its type, keys, filters, and when the rows of a side can go.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{JoinType, Result as DfResult, ScalarValue};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{BinaryExpr, Column, Literal};
use datafusion::physical_expr::utils::collect_columns;

use super::generation::{NEVER, NewRows};
use crate::error::{Error, Result};
use crate::interval::duration_text;
use crate::operator::StateBound;
use crate::operator::event_time::{bound_us, times};
use crate::operator::input_watermark::least;
use crate::state::{EncodedKeys, KeyIndex, StateBackend};

/// Left or right, as a place in arrays.
pub const LEFT: usize = 0;
/// See [`LEFT`].
pub const RIGHT: usize = 1;

/// A join of two streams.
pub struct JoinSpec {
    /// Inner, left, right, full or left semi.
    pub join_type: JoinType,
    /// Columns of the result.
    pub schema: SchemaRef,
    /// Left and right.
    pub sides: [SideSpec; 2],
    /// What else must hold for a pair of rows.
    pub residual: Option<Residual>,
}

impl JoinSpec {
    /// Whether rows of this side are given without a match.
    pub fn keeps(&self, side: usize) -> bool {
        match self.join_type {
            JoinType::Full => true,
            JoinType::Left => side == LEFT,
            JoinType::Right => side == RIGHT,
            _ => false,
        }
    }

    /// Whether it gives rows of the left at their first match.
    pub fn is_semi(&self) -> bool {
        self.join_type == JoinType::LeftSemi
    }

    /// The side whose new rows are joined and stored first. A semi join begins with the right, so that a left row which
    /// matches in the same batch is not stored.
    pub fn first(&self) -> usize {
        if self.is_semi() { RIGHT } else { LEFT }
    }

    /// Whether it has to know which rows of this side have matched.
    pub fn tracks_matches(&self, side: usize) -> bool {
        self.keeps(side) || self.is_semi() && side == LEFT
    }
}

/// One side of a join.
pub struct SideSpec {
    /// Columns of its input, all of which are stored.
    pub schema: SchemaRef,
    /// Over them.
    pub keys: Vec<Arc<dyn PhysicalExpr>>,
    /// By key: whether NULL equals NULL.
    pub null_equal: Vec<bool>,
    /// A row that fails it matches nothing and is not stored.
    pub filter: Option<Arc<dyn PhysicalExpr>>,
    /// The column by which rows are late.
    pub event_time: Option<usize>,
    /// When rows can no longer match.
    pub expiry: RowExpiry,
    /// Where they are kept.
    pub backend: StateBackend,
}

/// When rows of a side can no longer match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowExpiry {
    /// Never.
    Never,
    /// Once the watermark has passed this key.
    Key(usize),
    /// Once this column is not after the least of the bounds.
    Column(usize, Vec<StateBound>),
}

impl RowExpiry {
    /// Rows up to this time, in microseconds, can go.
    pub fn bound(&self, watermark_ms: i64) -> Option<i64> {
        match self {
            Self::Never => None,
            Self::Key(_) => Some(bound_us(watermark_ms)),
            Self::Column(_, bounds) => least(bounds, watermark_ms).map(bound_us),
        }
    }
}

/// Keys and expiries of rows.
pub struct Prepared {
    /// Of all of them.
    pub keys: EncodedKeys,
    /// Those that can match.
    pub keyed: Vec<u32>,
    /// Empty on a side whose rows never expire.
    pub times: Vec<i64>,
}

impl Prepared {
    /// To be added.
    pub fn new_rows<'a>(&'a self, rows: &'a RecordBatch, matched: &'a [bool]) -> NewRows<'a> {
        NewRows { rows, keys: &self.keys, keyed: &self.keyed, times: &self.times, matched }
    }
}

impl SideSpec {
    /// How long its rows are kept, for plans.
    pub fn kept(&self) -> String {
        match &self.expiry {
            RowExpiry::Never => "kept for ever".into(),
            RowExpiry::Key(key) => format!("kept until the watermark passes {}", self.keys[*key]),
            RowExpiry::Column(column, bounds) => {
                let slowest = bounds.iter().map(|b| b.offset_us).min().unwrap_or_default();
                let name = self.schema.field(*column).name();
                match slowest {
                    0 => format!("kept until the watermark passes {name}"),
                    us if us < 0 => format!("kept until the watermark passes {name} by {}", duration_text(-us)),
                    us => format!("kept until the watermark is {} before {name}", duration_text(us)),
                }
            }
        }
    }

    /// Types of the keys.
    pub fn key_types(&self) -> Result<Vec<DataType>> {
        self.keys.iter().map(|k| Ok(k.data_type(&self.schema)?)).collect()
    }

    /// Evaluates keys and expiries. `index` is any of this side.
    pub fn prepare(&self, index: &KeyIndex, rows: &RecordBatch) -> Result<Prepared> {
        let len = rows.num_rows();
        let keys = self.keys.iter().map(|k| k.evaluate(rows)?.into_array(len)).collect::<DfResult<Vec<_>>>()?;
        let times = match &self.expiry {
            RowExpiry::Never => vec![],
            RowExpiry::Key(key) => expiries(keys.get(*key))?,
            RowExpiry::Column(column, _) => expiries(rows.columns().get(*column))?,
        };
        Ok(Prepared { keyed: self.keyed(&keys, len), keys: index.encoder().encode(&keys, len)?, times })
    }

    /// The rows without a NULL among the keys that `=` compares.
    fn keyed(&self, keys: &[ArrayRef], len: usize) -> Vec<u32> {
        let nulls: Vec<_> =
            keys.iter().zip(&self.null_equal).filter(|(_, e)| !**e).filter_map(|(k, _)| k.nulls()).collect();
        (0..len as u32).filter(|row| nulls.iter().all(|n| n.is_valid(*row as usize))).collect()
    }
}

fn expiries(column: Option<&ArrayRef>) -> Result<Vec<i64>> {
    let column = column.ok_or_else(|| Error::internal("a side of a join without its event time"))?;
    Ok(times(column)?.into_iter().map(|t| t.unwrap_or(NEVER)).collect())
}

/// A condition over both sides, and the columns it needs.
pub struct Residual {
    filter: Arc<dyn PhysicalExpr>,
    /// In the order in which `filter` has them: side, and column of its input.
    columns: Vec<(usize, usize)>,
    schema: SchemaRef,
}

impl Residual {
    /// From a condition over the columns of the left and then those of the right.
    pub fn try_new(filter: Arc<dyn PhysicalExpr>, left: &SchemaRef, right: &SchemaRef) -> Result<Self> {
        let mut needed: Vec<Column> = collect_columns(&filter).into_iter().collect();
        needed.sort_by_key(Column::index);
        let place = |index: usize| match index.checked_sub(left.fields().len()) {
            None => (LEFT, index),
            Some(index) => (RIGHT, index),
        };
        let columns: Vec<_> = needed.iter().map(|c| place(c.index())).collect();
        let field = |(side, column): &(usize, usize)| {
            let schema = if *side == LEFT { left } else { right };
            schema.field(*column).clone().with_nullable(true)
        };
        let fields: Vec<_> = columns.iter().map(field).collect();
        let moved = |e: Arc<dyn PhysicalExpr>| {
            let Some(column) = e.downcast_ref::<Column>() else { return Ok(Transformed::no(e)) };
            let at = needed.iter().position(|c| c.index() == column.index()).unwrap_or_default();
            Ok(Transformed::yes(Arc::new(Column::new(column.name(), at)) as Arc<dyn PhysicalExpr>))
        };
        let schema = Arc::new(Schema::new(fields));
        let filter = filter.transform_up(moved).data()?.transform_up(|e| without_calendar(e, &schema)).data()?;
        Ok(Self { filter, columns, schema })
    }

    /// Which pairs pass. `column` gives a column of a side, for each pair.
    pub fn passes(
        &self,
        pairs: usize,
        mut column: impl FnMut(usize, usize) -> Result<ArrayRef>,
    ) -> Result<BooleanArray> {
        let columns = self.columns.iter().map(|(side, at)| column(*side, *at)).collect::<Result<Vec<_>>>()?;
        let rows = crate::state::record_batch(self.schema.clone(), columns, pairs)?;
        passes(&self.filter, &rows)
    }
}

/// An instant moved by hours or less, with the interval as a duration: adding that asks no calendar and no time zone.
fn without_calendar(e: Arc<dyn PhysicalExpr>, schema: &Schema) -> DfResult<Transformed<Arc<dyn PhysicalExpr>>> {
    let Some(sum) = e.downcast_ref::<BinaryExpr>().filter(|b| matches!(b.op(), Operator::Plus | Operator::Minus))
    else {
        return Ok(Transformed::no(e));
    };
    let interval = sum.right().downcast_ref::<Literal>().and_then(|literal| match literal.value() {
        ScalarValue::IntervalMonthDayNano(Some(i)) if (i.months, i.days, i.nanoseconds % 1000) == (0, 0, 0) => {
            Some(i.nanoseconds / 1000)
        }
        _ => None,
    });
    let is_instant = matches!(sum.left().data_type(schema)?, DataType::Timestamp(TimeUnit::Microsecond, _));
    let Some(micros) = interval.filter(|_| is_instant) else { return Ok(Transformed::no(e)) };
    let duration = Arc::new(Literal::new(ScalarValue::DurationMicrosecond(Some(micros))));
    Ok(Transformed::yes(Arc::new(BinaryExpr::new(sum.left().clone(), *sum.op(), duration))))
}

/// Which rows a condition is true for.
pub fn passes(filter: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<BooleanArray> {
    let values = filter.evaluate(rows)?.into_array(rows.num_rows())?;
    Ok(datafusion::common::cast::as_boolean_array(&values)?.clone())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::TimestampMicrosecondArray;
    use datafusion::arrow::datatypes::{Field, IntervalMonthDayNano};

    use super::*;

    /// `l >= r - interval` over two columns of times in another zone, and whether it asks a calendar.
    fn not_before(interval: IntervalMonthDayNano) -> (Residual, bool) {
        let time = DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Berlin".into()));
        let side = |name: &str| Arc::new(Schema::new(vec![Field::new(name, time.clone(), true)]));
        let interval = Arc::new(Literal::new(ScalarValue::IntervalMonthDayNano(Some(interval))));
        let earliest = Arc::new(BinaryExpr::new(Arc::new(Column::new("r", 1)), Operator::Minus, interval));
        let filter = BinaryExpr::new(Arc::new(Column::new("l", 0)), Operator::GtEq, earliest);
        let residual = Residual::try_new(Arc::new(filter), &side("l"), &side("r")).unwrap();
        let asks = residual.filter.to_string().contains("IntervalMonthDayNano");
        (residual, asks)
    }

    #[test]
    fn a_range_of_seconds_asks_no_calendar() {
        let (residual, asks) = not_before(IntervalMonthDayNano::new(0, 0, 10_000_000_000));
        assert!(!asks);
        let times = |seconds: [i64; 3]| -> ArrayRef {
            let micros = TimestampMicrosecondArray::from_iter_values(seconds.map(|s| s * 1_000_000));
            Arc::new(micros.with_timezone("Europe/Berlin"))
        };
        let sides = [times([90, 91, 300]), times([100, 101, 311])];
        let passed = residual.passes(3, |side, _| Ok(sides[side].clone())).unwrap();
        assert_eq!(passed.iter().collect::<Vec<_>>(), [Some(true), Some(true), Some(false)]);

        // A day has 23 to 25 hours.
        assert!(not_before(IntervalMonthDayNano::new(0, 1, 0)).1);
    }
}
