//! A part of a deeply nested expression as one call of the columns that it names, so that what is around it is not deep.
//!
//! It is evaluated where it stands, for the rows that it would have been evaluated for, so that it means the same.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::Result;

/// How high a part is at least that is worth it.
const HEIGHT: usize = 20;

/// The expression as a call, if it is high and computes nothing but values of its row; `simplified` makes it ready to be
/// evaluated.
pub fn folded(
    state: &SessionState,
    e: Expr,
    schema: &DFSchema,
    simplified: impl FnOnce(Expr, &ExprSimplifier, &DFSchema) -> DfResult<Expr>,
) -> Result<Expr> {
    if height(&e) < HEIGHT || !is_plain(&e) {
        return Ok(e);
    }
    let mut columns: Vec<Column> = e.column_refs().into_iter().cloned().collect();
    columns.sort();
    let name = |i: usize| format!("c{i}");
    let mut fields = vec![];
    for (i, column) in columns.iter().enumerate() {
        let data_type = Expr::Column(column.clone()).get_type(schema)?;
        fields.push(Field::new(name(i), data_type, true));
    }
    let own = Arc::new(Schema::new(fields));
    let own_columns = DFSchema::try_from(own.as_ref().clone())?;
    let part = e.transform_down(|e| {
        Ok(match &e {
            Expr::Column(c) => match columns.iter().position(|known| known == c) {
                Some(i) => Transformed::yes(Expr::Column(Column::new_unqualified(name(i)))),
                None => Transformed::no(e),
            },
            _ => Transformed::no(e),
        })
    });
    // Calls such as coalesce have a physical form only after that.
    let context = SimplifyContext::builder().with_schema(Arc::new(own_columns.clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let part = simplified(simplifier.coerce(part.data()?, &own_columns)?, &simplifier, &own_columns)?;
    let mut hasher = DefaultHasher::new();
    part.hash(&mut hasher);
    let function = Deep {
        name: format!("deep_{:016x}", hasher.finish()),
        result: part.get_type(&own_columns)?,
        physical: state.create_physical_expr(part.clone(), &own_columns)?,
        part,
        schema: own,
        signature: match columns.len() {
            0 => Signature::nullary(Volatility::Immutable),
            n => Signature::any(n, Volatility::Immutable),
        },
    };
    Ok(ScalarUDF::new_from_impl(function).call(columns.into_iter().map(Expr::Column).collect()))
}

/// The longest way down.
fn height(e: &Expr) -> usize {
    let mut deepest = 0;
    let _ = e.apply_children(|child| {
        deepest = deepest.max(height(child));
        Ok(TreeNodeRecursion::Continue)
    });
    deepest + 1
}

/// Whether the same row always gives the same value, and nothing in it has a meaning for the plan.
fn is_plain(e: &Expr) -> bool {
    let is_plain = |e: &Expr| match e {
        Expr::ScalarFunction(f) => {
            let planned = ["window", "session_window", "window_time"].contains(&f.name());
            f.func.signature().volatility == Volatility::Immutable && !planned
        }
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::Cast(_)
        | Expr::TryCast(_)
        | Expr::BinaryExpr(_)
        | Expr::Case(_)
        | Expr::Not(_)
        | Expr::Negative(_)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Between(_)
        | Expr::InList(_)
        | Expr::Like(_) => true,
        _ => false,
    };
    !e.exists(|e| Ok(!is_plain(e))).unwrap_or(true)
}

#[derive(Debug)]
struct Deep {
    name: String,
    part: Expr,
    physical: Arc<dyn PhysicalExpr>,
    schema: Arc<Schema>,
    result: DataType,
    signature: Signature,
}

impl PartialEq for Deep {
    fn eq(&self, other: &Self) -> bool {
        self.part == other.part && self.schema == other.schema
    }
}

impl Eq for Deep {}

impl Hash for Deep {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Deep {
    fn name(&self) -> &str {
        &self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(self.result.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let constant = args.args.iter().all(|a| matches!(a, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        let batch = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        let value = self.physical.evaluate(&batch)?;
        match value {
            ColumnarValue::Array(array) if constant => {
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            value => Ok(value),
        }
    }
}
