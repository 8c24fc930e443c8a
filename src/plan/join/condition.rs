//! The condition of a join of two streams, in the parts that its state depends on: Spark's `ExtractEquiJoinKeys` and
//! `JoinConditionSplitPredicates`.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Column, DFSchema, ExprSchema, NullEquality};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Join, Operator};

use super::state_bound::state_bounds;
use crate::operator::StateBound;
use crate::plan::watermark::watermark_delay_ms;

/// One equality: a row of the left matches a row of the right only if both are equal.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// Over the columns of the left.
    pub left: Expr,
    /// Over the columns of the right.
    pub right: Expr,
    /// `<=>`: whether NULL equals NULL.
    pub null_equal: bool,
}

impl Key {
    /// What the equality says about the time of `this` side's rows, as `state_bounds` does of a range.
    pub fn bounds(&self, this: &DFSchema, other: &DFSchema) -> Vec<StateBound> {
        let is_timed = |e: &Expr| e.column_refs().into_iter().any(|c| is_event_time(c, this));
        if !is_timed(&self.left) && !is_timed(&self.right) {
            return vec![];
        }
        let (left, right) = (self.left.clone(), self.right.clone());
        // Strict, for what is gone is exactly what the watermark has reached.
        state_bounds(&[left.clone().lt(right.clone()), left.gt(right)], this, other)
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Condition {
    /// The equalities.
    pub keys: Vec<Key>,
    /// Conjuncts over columns of the left only.
    pub left_only: Vec<Expr>,
    /// Conjuncts over columns of the right only.
    pub right_only: Vec<Expr>,
    /// The rest.
    pub both: Vec<Expr>,
}

impl Condition {
    /// Of a join, whose condition may be in equalities and a filter, or in a filter alone.
    pub fn of(join: &Join) -> Self {
        let (left, right) = (join.left.schema(), join.right.schema());
        let null_equal = join.null_equality == NullEquality::NullEqualsNull;
        let mut condition = Self::default();
        for (l, r) in &join.on {
            condition.keys.push(Key { left: l.clone(), right: r.clone(), null_equal });
        }
        for conjunct in join.filter.iter().flat_map(split_conjunction) {
            match key(conjunct, left, right) {
                Some(key) => condition.keys.push(key),
                None => condition.add(conjunct.clone(), left, right),
            }
        }
        condition
    }

    fn add(&mut self, conjunct: Expr, left: &DFSchema, right: &DFSchema) {
        let (of_left, of_right) = (is_over(&conjunct, left), is_over(&conjunct, right));
        if conjunct.is_volatile() || !of_left && !of_right {
            self.both.push(conjunct);
            return;
        }
        // One without columns is over both.
        if of_right {
            self.right_only.push(conjunct.clone());
        }
        if of_left {
            self.left_only.push(conjunct);
        }
    }

    /// All conjuncts that are no equality.
    pub fn residual(&self) -> Vec<Expr> {
        self.left_only.iter().chain(&self.right_only).chain(&self.both).cloned().collect()
    }

    /// The first key that has a watermark on either side.
    pub fn watermark_key(&self, left: &DFSchema, right: &DFSchema) -> Option<usize> {
        let find = |side: fn(&Key) -> &Expr, schema: &DFSchema| {
            self.keys.iter().position(|k| !k.null_equal && has_watermark(side(k), schema))
        };
        find(|k| &k.left, left).or_else(|| find(|k| &k.right, right))
    }
}

fn key(conjunct: &Expr, left: &DFSchema, right: &DFSchema) -> Option<Key> {
    let Expr::BinaryExpr(BinaryExpr { left: l, op, right: r }) = conjunct else { return None };
    let null_equal = match op {
        Operator::Eq => false,
        Operator::IsNotDistinctFrom => true,
        _ => return None,
    };
    let constant = |e: &Expr| e.column_refs().is_empty();
    if conjunct.is_volatile() || constant(l) || constant(r) {
        return None;
    }
    let (l, r) = if is_over(l, left) && is_over(r, right) {
        (l, r)
    } else if is_over(l, right) && is_over(r, left) {
        (r, l)
    } else {
        return None;
    };
    Some(Key { left: l.as_ref().clone(), right: r.as_ref().clone(), null_equal })
}

fn is_event_time(column: &Column, schema: &DFSchema) -> bool {
    schema.field_from_column(column).is_ok_and(|f| watermark_delay_ms(f).is_some())
}

fn is_over(e: &Expr, schema: &DFSchema) -> bool {
    e.column_refs().into_iter().all(|c| schema.has_column(c))
}

/// Whether a key is a column with a watermark; a cast that only concerns NULL or metadata does not count.
fn has_watermark(key: &Expr, schema: &DFSchema) -> bool {
    match key {
        Expr::Column(c) => is_event_time(c, schema),
        Expr::Alias(a) => has_watermark(&a.expr, schema),
        Expr::Cast(cast) => {
            let struct_ = |e: &Expr| matches!(e.get_type(schema), Ok(DataType::Struct(_)));
            struct_(key) && struct_(&cast.expr) && has_watermark(&cast.expr, schema)
        }
        _ => false,
    }
}
