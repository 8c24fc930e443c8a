//! Calls that know where they were written, so that what fails for a row says which expression it was.
//!
//! Such a call is its function in everything else: name, types, equality. Two calls that differ in their place alone are one.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, StructFieldMapping, Volatility,
};

use super::fallible::node_can_fail;
use crate::error::{Error, Origin};

/// The expression, in which a call that may fail for a row says that it was written at `origin`; so do operands that were made
/// for it, such as casts.
pub fn locate(e: Expr, schema: &DFSchema, origin: impl FnOnce() -> Option<Origin>) -> Expr {
    let is_new = |e: &Expr| is_new(e, schema);
    let mut found = is_new(&e);
    let mut look = |child: &Expr| {
        found |= is_new(child);
        Ok(TreeNodeRecursion::Continue)
    };
    if e.apply_children(&mut look).is_err() || !found {
        return e;
    }
    let Some(origin) = origin().map(Arc::new) else { return e };
    let at = |e: Expr| match is_new(&e) {
        true => Transformed::yes(located(e, &origin)),
        false => Transformed::no(e),
    };
    match e.clone().map_children(|child| Ok(at(child))) {
        Ok(mapped) => at(mapped.data).data,
        Err(_) => e,
    }
}

/// A call that may fail and does not know its place. What is not the same for the same operands marks a place in a plan.
fn is_new(e: &Expr, schema: &DFSchema) -> bool {
    match e {
        Expr::ScalarFunction(call) => {
            call.func.signature().volatility != Volatility::Volatile
                && !call.func.inner().is::<Located>()
                && node_can_fail(e, schema)
        }
        _ => false,
    }
}

fn located(e: Expr, origin: &Arc<Origin>) -> Expr {
    match e {
        Expr::ScalarFunction(ScalarFunction { func, args }) => {
            let function = Located { function: func, origin: Arc::clone(origin) };
            ScalarUDF::new_from_impl(function).call(args)
        }
        e => e,
    }
}

/// See the module.
#[derive(Debug)]
struct Located {
    function: Arc<ScalarUDF>,
    origin: Arc<Origin>,
}

impl PartialEq for Located {
    fn eq(&self, other: &Self) -> bool {
        self.function == other.function
    }
}

impl Eq for Located {}

impl Hash for Located {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.function.hash(state);
    }
}

impl Located {
    fn here(&self, e: DataFusionError) -> DataFusionError {
        Error::from(e).with_origin(&self.origin).into()
    }
}

impl ScalarUDFImpl for Located {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn aliases(&self) -> &[String] {
        self.function.aliases()
    }

    fn schema_name(&self, args: &[Expr]) -> DfResult<String> {
        self.function.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        self.function.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        self.function.return_field_from_args(args)
    }

    fn is_strict(&self) -> bool {
        self.function.is_strict()
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        self.function.invoke_with_args(args).map_err(|e| self.here(e))
    }

    fn with_updated_config(&self, config: &ConfigOptions) -> Option<ScalarUDF> {
        let function = Arc::new(self.function.inner().with_updated_config(config)?);
        Some(ScalarUDF::new_from_impl(Self { function, origin: Arc::clone(&self.origin) }))
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> DfResult<ExprSimplifyResult> {
        let simplified = self.function.simplify(args, info).map_err(|e| self.here(e))?;
        Ok(match simplified {
            ExprSimplifyResult::Simplified(e) => {
                ExprSimplifyResult::Simplified(locate(e, info.schema(), || Some(Origin::clone(&self.origin))))
            }
            original => original,
        })
    }

    fn preimage(&self, args: &[Expr], value: &Expr, info: &SimplifyContext) -> DfResult<PreimageResult> {
        self.function.preimage(args, value, info)
    }

    fn conditional_arguments<'a>(&self, args: &'a [Expr]) -> Option<(Vec<&'a Expr>, Vec<&'a Expr>)> {
        self.function.conditional_arguments(args)
    }

    fn short_circuits(&self) -> bool {
        self.function.short_circuits()
    }

    fn evaluate_bounds(&self, inputs: &[&Interval]) -> DfResult<Interval> {
        self.function.evaluate_bounds(inputs)
    }

    fn propagate_constraints(&self, interval: &Interval, inputs: &[&Interval]) -> DfResult<Option<Vec<Interval>>> {
        self.function.propagate_constraints(interval, inputs)
    }

    fn struct_field_mapping(&self, literals: &[Option<ScalarValue>]) -> Option<StructFieldMapping> {
        self.function.struct_field_mapping(literals)
    }

    fn output_ordering(&self, inputs: &[ExprProperties]) -> DfResult<SortProperties> {
        self.function.output_ordering(inputs)
    }

    fn preserves_lex_ordering(&self, inputs: &[ExprProperties]) -> DfResult<bool> {
        self.function.preserves_lex_ordering(inputs)
    }

    fn strictly_order_preserving(&self, inputs: &[ExprProperties]) -> DfResult<bool> {
        self.function.strictly_order_preserving(inputs)
    }

    fn coerce_types(&self, types: &[DataType]) -> DfResult<Vec<DataType>> {
        self.function.coerce_types(types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.function.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.function.placement(args)
    }
}
