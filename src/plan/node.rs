//! The logical node of all stateful operators, opaque to the optimizer.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::fmt;

use datafusion::common::{Column, DFSchemaRef, Result as DfResult};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, LogicalPlan, UserDefinedLogicalNodeCore};

use super::state_function::Function;
use crate::operator::EventTimeKey;
use crate::output_mode::OutputMode;

/// What a [`StatefulNode`] does.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum StatefulKind {
    /// Groups by the first `keys` expressions and aggregates with the others.
    Aggregate {
        /// Number of group expressions.
        keys: usize,
        /// What it gives.
        mode: Mode,
        /// The event time among the keys.
        event_time: Option<EventTimeKey>,
    },
    /// Groups by the first `keys` expressions, one of which is a session, and aggregates with the others.
    Session {
        /// Number of group expressions.
        keys: usize,
        /// Which of them is the session.
        session: usize,
        /// Whether it has a watermark.
        timed: bool,
        /// What it gives.
        mode: Mode,
    },
    /// Keeps the first row of every value of the expressions.
    Dedup {
        /// When a key is forgotten.
        expiry: DedupExpiry,
    },
    /// Passes the first rows.
    Limit {
        /// How many.
        rows: i64,
    },
    /// Calls a function of the user for every value of the expressions.
    Function(Function),
}

/// When a deduplication forgets a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum DedupExpiry {
    /// Never.
    Never {
        /// The column of the input by which rows are late.
        late_by: Option<Column>,
    },
    /// At the event time among the keys.
    Key(EventTimeKey),
    /// At the event time of its first row plus the delay of the watermark.
    Within {
        /// A column of the input.
        time: Column,
        /// Of the watermark.
        delay_ms: i64,
    },
}

/// [`OutputMode`], hashable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mode(u8);

impl From<OutputMode> for Mode {
    fn from(mode: OutputMode) -> Self {
        Self(mode as u8)
    }
}

impl From<Mode> for OutputMode {
    fn from(mode: Mode) -> Self {
        [Self::Append, Self::Update, Self::Complete][mode.0 as usize]
    }
}

/// A stateful operator in a logical plan. Its schema is that of the node it replaced.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct StatefulNode {
    /// Number in the query, 0 nearest to the sink.
    pub id: u32,
    /// What it does.
    pub kind: StatefulKind,
    /// Group keys and aggregates, or dedup keys.
    pub expressions: Vec<Expr>,
    /// Its input.
    pub input: LogicalPlan,
    /// Columns of its result.
    pub schema: DFSchemaRef,
}

impl PartialOrd for StatefulNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for StatefulNode {
    fn name(&self) -> &str {
        "Stateful"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.expressions.clone()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let list = |e: &[Expr]| e.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let id = self.id;
        match &self.kind {
            StatefulKind::Aggregate { keys, mode, .. } | StatefulKind::Session { keys, mode, .. } => {
                let (keys, aggregates) = (list(&self.expressions[..*keys]), list(&self.expressions[*keys..]));
                let name = match self.kind {
                    StatefulKind::Session { .. } => "StreamSession",
                    _ => "StreamAggregate",
                };
                write!(f, "{name} [{id}]: keys=[{keys}], aggregates=[{aggregates}], mode={}", OutputMode::from(*mode))
            }
            StatefulKind::Dedup { .. } => write!(f, "StreamDedup [{id}]: keys=[{}]", list(&self.expressions)),
            StatefulKind::Limit { rows } => write!(f, "StreamLimit [{id}]: rows={rows}"),
            StatefulKind::Function(_) => write!(f, "StreamFunction [{id}]: keys=[{}]", list(&self.expressions)),
        }
    }

    fn with_exprs_and_inputs(&self, expressions: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("a stateful node has an input".into()))?;
        let schema = match self.kind {
            StatefulKind::Aggregate { .. } | StatefulKind::Session { .. } | StatefulKind::Function(_) => {
                self.schema.clone()
            }
            StatefulKind::Dedup { .. } | StatefulKind::Limit { .. } => input.schema().clone(),
        };
        Ok(Self { expressions, input, schema, kind: self.kind.clone(), id: self.id })
    }

    /// The columns that its expressions name, and those that it passes on. An event time that nothing above asks for is gone
    /// below a deduplication by other keys, which then drops nothing as late: as in Spark.
    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let passed: &[usize] = match self.kind {
            StatefulKind::Aggregate { .. } | StatefulKind::Session { .. } => &[],
            StatefulKind::Dedup { .. } | StatefulKind::Limit { .. } => output_columns,
            StatefulKind::Function(_) => return None,
        };
        let schema = self.input.schema();
        let time = match &self.kind {
            StatefulKind::Dedup { expiry: DedupExpiry::Within { time, .. } } => Some(time),
            _ => None,
        };
        let named = self.expressions.iter().flat_map(Expr::column_refs).chain(time);
        let named = named.filter_map(|c| schema.maybe_index_of_column(c));
        let columns: BTreeSet<usize> = named.chain(passed.iter().copied()).collect();
        Some(vec![columns.into_iter().collect()])
    }
}
