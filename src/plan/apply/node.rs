//! The logical node.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, DFSchema, DFSchemaRef, Result as DfResult, TableReference};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use super::outer;
use crate::error::{Error, Result};
use crate::operator::apply::Question;

/// A value of the outer row that the subquery names.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Argument {
    /// The placeholder that stands for it in the subquery.
    pub placeholder: String,
    /// What gives it, over the input.
    pub value: Expr,
}

/// Computes a subquery for each row of its input: a column more, or, of LATERAL, its rows beside the row.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApplyNode {
    /// What gives the rows.
    pub input: LogicalPlan,
    /// The subquery, with placeholders for what it names of the input.
    pub subquery: LogicalPlan,
    /// What is asked of it.
    pub question: Question,
    /// What it names of the input.
    pub arguments: Vec<Argument>,
    /// What is looked for in it, for IN.
    pub values: Vec<Expr>,
    /// The name of the column; of no use to LATERAL.
    pub name: String,
    schema: DFSchemaRef,
}

impl ApplyNode {
    /// `subquery` names columns of the input as outer references.
    pub fn try_new(
        input: LogicalPlan,
        subquery: LogicalPlan,
        question: Question,
        values: Vec<Expr>,
        name: String,
    ) -> Result<Self> {
        let (subquery, arguments) = outer::bound(subquery, input.schema())?;
        let schema = schema_of(&input, &subquery, &question, &name)?;
        Ok(Self { input, subquery, question, arguments, values, name, schema })
    }

    /// The same with another subquery of the same columns.
    pub fn with_subquery(&self, subquery: LogicalPlan) -> Self {
        Self { subquery, ..self.clone() }
    }

    /// The column that it adds.
    pub fn column(&self) -> Expr {
        Expr::Column(Column::new_unqualified(&self.name))
    }

    /// As a plan.
    pub fn into_plan(self) -> LogicalPlan {
        LogicalPlan::Extension(Extension { node: Arc::new(self) })
    }
}

/// The node that this is, if it is one.
pub fn as_apply(node: &LogicalPlan) -> Option<&ApplyNode> {
    let LogicalPlan::Extension(e) = node else { return None };
    e.node.as_any().downcast_ref()
}

fn schema_of(input: &LogicalPlan, subquery: &LogicalPlan, question: &Question, name: &str) -> Result<DFSchemaRef> {
    type Qualified = (Option<TableReference>, FieldRef);
    let of = |schema: &DFSchema| -> Vec<Qualified> { schema.iter().map(|(q, f)| (q.cloned(), f.clone())).collect() };
    let mut fields = of(input.schema());
    let value = |data_type: DataType, nullable: bool| (None, Arc::new(Field::new(name, data_type, nullable)));
    match question {
        Question::Scalar => match subquery.schema().fields().first() {
            Some(field) => fields.push(value(field.data_type().clone(), true)),
            None => return Err(Error::internal("a scalar subquery has no column")),
        },
        Question::Exists | Question::In { .. } => fields.push(value(DataType::Boolean, false)),
        Question::Rows { outer } => fields.extend(of(subquery.schema()).into_iter().map(|(q, f)| {
            let nullable = f.is_nullable() || *outer;
            (q, Arc::new(f.as_ref().clone().with_nullable(nullable)))
        })),
    }
    Ok(Arc::new(DFSchema::new_with_metadata(fields, input.schema().metadata().clone())?))
}

impl PartialOrd for ApplyNode {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl UserDefinedLogicalNodeCore for ApplyNode {
    fn name(&self) -> &str {
        "Apply"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        self.arguments.iter().map(|a| &a.value).chain(&self.values).cloned().collect()
    }

    /// Filters on what comes from the input go below.
    fn prevent_predicate_push_down_columns(&self) -> HashSet<String> {
        self.schema.columns().split_off(self.input.schema().fields().len()).into_iter().map(|c| c.name).collect()
    }

    fn fmt_for_explain(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let by: Vec<_> = self.arguments.iter().map(|a| a.value.to_string()).collect();
        write!(f, "Apply: {:?}, by=[{}]", self.question, by.join(", "))
    }

    fn with_exprs_and_inputs(&self, mut exprs: Vec<Expr>, mut inputs: Vec<LogicalPlan>) -> DfResult<Self> {
        let input = inputs.pop().ok_or_else(|| DataFusionError::Internal("a subquery is of an input".into()))?;
        let schema = schema_of(&input, &self.subquery, &self.question, &self.name)?;
        let values = exprs.split_off(self.arguments.len());
        let argument = |(a, value): (&Argument, Expr)| Argument { placeholder: a.placeholder.clone(), value };
        let arguments = self.arguments.iter().zip(exprs).map(argument).collect();
        Ok(Self { input, arguments, values, schema, ..self.clone() })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        let schema = self.input.schema();
        let passed = output_columns.iter().copied().filter(|i| *i < schema.fields().len());
        let exprs = self.expressions();
        let named = exprs.iter().flat_map(Expr::column_refs).filter_map(|c| schema.maybe_index_of_column(c));
        let columns: BTreeSet<usize> = passed.chain(named).collect();
        Some(vec![columns.into_iter().collect()])
    }
}
