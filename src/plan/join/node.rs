//! The logical node of a join of two streams.

use std::cmp::Ordering;
use std::fmt;

use datafusion::common::{DFSchemaRef, JoinType, Result as DfResult, plan_err};
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::condition::Key;
use crate::operator::StateBound;

/// When the rows of a side can no longer match.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SideExpiry {
    /// Never.
    Never,
    /// Once the watermark has passed this key. The side's own time may be behind the key, as `rt` is in `lt = rt + 3 s`:
    /// the bounds say by how much.
    Key(usize, Vec<StateBound>),
    /// Once this column of the side's input is not after the least of the bounds.
    Column(usize, Vec<StateBound>),
}

impl SideExpiry {
    /// How far the side's rows are behind the watermark.
    pub fn bounds(&self) -> Vec<StateBound> {
        match self {
            Self::Never => vec![],
            Self::Key(_, bounds) | Self::Column(_, bounds) => bounds.clone(),
        }
    }
}

/// A side of a [`StreamJoinNode`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SideNode {
    /// What gives the rows.
    pub input: LogicalPlan,
    /// Rows that fail it match nothing and are not stored.
    pub filter: Option<Expr>,
    /// Among the input's columns, by which rows are late.
    pub event_time: Option<usize>,
    /// When rows go.
    pub expiry: SideExpiry,
}

/// Made after the optimizer, which sees a plain join.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StreamJoinNode {
    /// Number in the query, 0 nearest to the sink.
    pub id: u32,
    /// Inner, left, right, full or left semi.
    pub join_type: JoinType,
    /// The equalities.
    pub keys: Vec<Key>,
    /// Left and right.
    pub sides: [SideNode; 2],
    /// What else must hold for a pair of rows.
    pub filter: Option<Expr>,
    /// Columns of the result.
    pub schema: DFSchemaRef,
}

impl PartialOrd for StreamJoinNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for StreamJoinNode {
    fn name(&self) -> &str {
        "StreamJoin"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        self.sides.iter().map(|s| &s.input).collect()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let keys = self.keys.iter().flat_map(|k| [k.left.clone(), k.right.clone()]);
        let filters = self.sides.iter().filter_map(|s| s.filter.clone()).chain(self.filter.clone());
        keys.chain(filters).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let op = |k: &Key| if k.null_equal { "<=>" } else { "=" };
        let keys: Vec<_> = self.keys.iter().map(|k| format!("{} {} {}", k.left, op(k), k.right)).collect();
        write!(f, "StreamJoin [{}]: {}, keys=[{}]", self.id, self.join_type, keys.join(", "))?;
        match &self.filter {
            Some(filter) => write!(f, ", filter={filter}"),
            None => Ok(()),
        }
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        if exprs.len() != self.expressions().len() || inputs.len() != 2 {
            return plan_err!("a join of two streams has other expressions and inputs");
        }
        let mut new = self.clone();
        let mut exprs = exprs.into_iter();
        for key in &mut new.keys {
            key.left = exprs.next().unwrap_or_else(|| key.left.clone());
            key.right = exprs.next().unwrap_or_else(|| key.right.clone());
        }
        let filters = new.sides.iter_mut().map(|s| &mut s.filter).chain([&mut new.filter]);
        for filter in filters.flatten() {
            *filter = exprs.next().unwrap_or_else(|| filter.clone());
        }
        for (side, input) in new.sides.iter_mut().zip(inputs) {
            side.input = input;
        }
        Ok(new)
    }
}
