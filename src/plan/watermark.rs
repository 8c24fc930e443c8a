//! The logical node of `WATERMARK … DELAY OF …`: names the event-time column of the rows that pass.
//!
//! Rows pass unchanged; the event-time column carries the metadata [`WATERMARK_KEY`], the delay in milliseconds, so that the
//! operators above find it wherever projections and aliases take it.

use std::cmp::Ordering;
use std::collections::HashSet;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, DFSchemaRef, ExprSchema, Result as DfResult, plan_err};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::scanned_stream;
use crate::error::{Error, Result};
use crate::source::PARTITION_KEY;
use crate::type_name::sql_type_name;

/// The key of the field metadata that marks an event-time column; its value is the delay in milliseconds.
pub const WATERMARK_KEY: &str = "tidemill.watermark";

/// See the module.
#[derive(Debug, Clone)]
pub struct WatermarkNode {
    /// What gives the rows.
    pub input: LogicalPlan,
    /// The event-time column, of type `TIMESTAMP`.
    pub event_time: Column,
    /// How late rows may be.
    pub delay_ms: i64,
    /// The node's number within its query, from 0.
    pub id: usize,
    /// The columns that say what partition a row is of, if each holds the watermark by itself: their numbers in the input.
    pub partition: Vec<usize>,
    schema: DFSchemaRef,
}

impl WatermarkNode {
    /// Checks the column's type and the delay.
    pub fn try_new(input: LogicalPlan, event_time: Column, delay_ms: i64, id: usize) -> Result<Self> {
        let field = input.schema().field_from_column(&event_time).map_err(Error::from)?;
        if !matches!(field.data_type(), DataType::Timestamp(_, Some(_))) {
            let message = format!(
                "the event time '{}' must be a TIMESTAMP, but is {}",
                field.name(),
                sql_type_name(field.data_type())
            );
            return Err(Error::invalid("EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE", message)
                .with_help("cast it: WATERMARK CAST(… AS TIMESTAMP) AS name DELAY OF …"));
        }
        if delay_ms < 0 {
            return Err(Error::invalid("INVALID_WATERMARK_DELAY", "the delay of a watermark must not be negative")
                .with_help("write how late rows may come: DELAY OF INTERVAL 10 SECONDS"));
        }
        let schema = marked_schema(input.schema(), &event_time, delay_ms)?;
        let partition = partition_columns(&input)?;
        Ok(Self { input, event_time, delay_ms, id, partition, schema })
    }

    /// The same under another number.
    pub fn numbered(&self, id: usize) -> Self {
        Self { id, ..self.clone() }
    }

    /// As a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// The columns that say what partition a row is of, if the stream below has such and each partition holds watermarks by itself.
fn partition_columns(input: &LogicalPlan) -> Result<Vec<usize>> {
    let fields = input.schema().fields();
    let mut marked: Vec<(&str, usize)> = fields
        .iter()
        .enumerate()
        .filter_map(|(i, field)| Some((field.metadata().get(PARTITION_KEY)?.as_str(), i)))
        .collect();
    marked.sort_unstable();
    let mut streams = 0;
    let mut holds_by_partition = false;
    input.apply(|node| {
        if let Some(stream) = scanned_stream(node) {
            streams += 1;
            holds_by_partition |= stream.provider().watermarks_by_partition();
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    if holds_by_partition && (streams != 1 || marked.is_empty()) {
        let message =
            "a stream with watermark.byPartition has its WATERMARK above another query, which hides the partitions";
        return Err(Error::invalid("INVALID_WATERMARK", message)
            .with_help("write WATERMARK where the stream itself is: FROM STREAM s WATERMARK ts DELAY OF …"));
    }
    Ok(marked.into_iter().map(|(_, i)| i).collect())
}

/// The delay that a field's metadata gives, if it is an event-time column.
pub fn watermark_delay_ms(field: &Field) -> Option<i64> {
    // A function may hand the metadata of a time on to what is none.
    let is_time = matches!(field.data_type(), DataType::Timestamp(..) | DataType::Struct(_));
    field.metadata().get(WATERMARK_KEY).filter(|_| is_time)?.parse().ok()
}

/// The columns of a schema that are event times.
pub fn event_time_columns(fields: &Fields) -> Vec<usize> {
    (0..fields.len()).filter(|i| watermark_delay_ms(&fields[*i]).is_some()).collect()
}

/// The watermark that this node is.
pub fn as_watermark(node: &LogicalPlan) -> Option<&WatermarkNode> {
    let LogicalPlan::Extension(e) = node else { return None };
    e.node.as_any().downcast_ref()
}

fn marked_schema(input: &DFSchema, event_time: &Column, delay_ms: i64) -> DfResult<DFSchemaRef> {
    let marked = input.index_of_column(event_time)?;
    let fields = input.iter().enumerate().map(|(i, (qualifier, field))| {
        let mut field = field.as_ref().clone();
        if i == marked {
            field.metadata_mut().insert(WATERMARK_KEY.to_owned(), delay_ms.to_string());
        }
        (qualifier.cloned(), Arc::new(field))
    });
    let schema = DFSchema::new_with_metadata(fields.collect(), input.metadata().clone())?;
    Ok(Arc::new(schema.with_functional_dependencies(input.functional_dependencies().clone())?))
}

impl UserDefinedLogicalNodeCore for WatermarkNode {
    fn name(&self) -> &str {
        "Watermark"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        vec![Expr::Column(self.event_time.clone())]
    }

    /// Filters on other columns go below, as in Spark: the rows they remove do not advance the watermark.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        // A partition whose rows are all removed would hold the watermark for ever.
        let all = self.input.schema().columns().into_iter().filter(|_| !self.partition.is_empty());
        all.chain([self.event_time.clone()]).flat_map(|column| [column.flat_name(), column.name]).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "Watermark: {} delay={}ms id={}", self.event_time, self.delay_ms, self.id)
    }

    fn with_exprs_and_inputs(&self, exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        match (exprs.as_slice(), inputs.pop()) {
            ([Expr::Column(event_time)], Some(input)) => {
                Ok(Self::try_new(input, event_time.clone(), self.delay_ms, self.id)?)
            }
            _ => plan_err!("a watermark has one input and its event time is a column"),
        }
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let event_time = self.schema.maybe_index_of_column(&self.event_time)?;
        let mut needed = output_columns.to_vec();
        needed.extend(self.partition.iter().chain([&event_time]));
        needed.sort_unstable();
        needed.dedup();
        Some(vec![needed])
    }
}

type Key<'a> = (&'a LogicalPlan, &'a Column, i64, usize);

impl WatermarkNode {
    fn key(&self) -> Key<'_> {
        (&self.input, &self.event_time, self.delay_ms, self.id)
    }
}

impl PartialEq for WatermarkNode {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for WatermarkNode {}

impl PartialOrd for WatermarkNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.key().partial_cmp(&other.key())
    }
}

impl Hash for WatermarkNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}
