//! `a + b - c …` of many operators as one call: what a tree as deep as the chain is long would do to every stack that walks it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, col,
};
use datafusion::physical_expr::PhysicalExpr;

use crate::error::Result;

/// The column of what is computed so far, and that of the next operand.
const SO_FAR: &str = "so far";
const NEXT: &str = "next";

/// One kind of step: an operator between two types, or with a literal.
#[derive(Debug)]
struct Kernel {
    expr: Expr,
    left: DataType,
    right: Option<DataType>,
    result: DataType,
    physical: Arc<dyn PhysicalExpr>,
    schema: Arc<Schema>,
}

/// Builds the call, step by step.
#[derive(Debug)]
pub struct Chain<'s> {
    state: &'s SessionState,
    args: Vec<Expr>,
    kernels: Vec<Kernel>,
    /// The kernel of each step, and its argument, if that is no literal.
    steps: Vec<(usize, Option<usize>)>,
    result: DataType,
}

impl<'s> Chain<'s> {
    /// Begins with the first operand, of type `data_type`.
    pub fn new(state: &'s SessionState, first: Expr, data_type: DataType) -> Self {
        Self { state, args: vec![first], kernels: vec![], steps: vec![], result: data_type }
    }

    /// Adds an operator and its right side; `binary` gives the expression of the two sides over their schema.
    pub fn push(
        &mut self,
        next: Expr,
        data_type: DataType,
        binary: impl FnOnce(Expr, Expr, &DFSchema) -> Result<Expr>,
    ) -> Result<()> {
        let literal = matches!(next, Expr::Literal(..));
        let right = (!literal).then(|| data_type.clone());
        let mut fields = vec![Field::new(SO_FAR, self.result.clone(), true)];
        fields.extend(right.iter().map(|t| Field::new(NEXT, t.clone(), true)));
        let schema = Arc::new(Schema::new(fields));
        let df_schema = DFSchema::try_from(schema.as_ref().clone())?;
        let side = if literal { next.clone() } else { col(format!("\"{NEXT}\"")) };
        let expr = binary(col(format!("\"{SO_FAR}\"")), side, &df_schema)?;
        let known = self.kernels.iter().position(|k| k.expr == expr && k.left == self.result && k.right == right);
        let kernel = match known {
            Some(known) => known,
            None => {
                let physical = self.state.create_physical_expr(expr.clone(), &df_schema)?;
                let result = expr.get_type(&df_schema)?;
                self.kernels.push(Kernel { expr, left: self.result.clone(), right, result, physical, schema });
                self.kernels.len() - 1
            }
        };
        self.result = self.kernels[kernel].result.clone();
        let argument = (!literal).then(|| {
            self.args.push(next);
            self.args.len() - 1
        });
        self.steps.push((kernel, argument));
        Ok(())
    }

    /// The call.
    pub fn finish(self) -> Expr {
        let mut hasher = DefaultHasher::new();
        for (kernel, argument) in &self.steps {
            (&self.kernels[*kernel].expr, argument).hash(&mut hasher);
        }
        let function = ChainFunction {
            name: format!("chain_{:016x}", hasher.finish()),
            kernels: self.kernels,
            steps: self.steps,
            result: self.result,
            signature: Signature::any(self.args.len(), Volatility::Immutable),
        };
        ScalarUDF::new_from_impl(function).call(self.args)
    }
}

#[derive(Debug)]
struct ChainFunction {
    /// Another for other operators over the same arguments, since columns of a plan are found by their names.
    name: String,
    kernels: Vec<Kernel>,
    steps: Vec<(usize, Option<usize>)>,
    result: DataType,
    signature: Signature,
}

impl ChainFunction {
    fn key(&self) -> (Vec<&Expr>, &[(usize, Option<usize>)]) {
        (self.kernels.iter().map(|k| &k.expr).collect(), &self.steps)
    }
}

impl PartialEq for ChainFunction {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.result == other.result
    }
}

impl Eq for ChainFunction {}

impl Hash for ChainFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key().hash(state);
    }
}

impl ScalarUDFImpl for ChainFunction {
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
        let arrays = args.args.into_iter().map(|a| a.into_array(rows)).collect::<DfResult<Vec<ArrayRef>>>()?;
        let mut so_far = arrays[0].clone();
        for (kernel, argument) in &self.steps {
            let kernel = &self.kernels[*kernel];
            let columns = std::iter::once(so_far).chain(argument.map(|i| arrays[i].clone())).collect();
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            let batch = RecordBatch::try_new_with_options(kernel.schema.clone(), columns, &options)?;
            so_far = kernel.physical.evaluate(&batch)?.into_array(rows)?;
        }
        Ok(match constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&so_far, 0)?),
            false => ColumnarValue::Array(so_far),
        })
    }
}
