//! Function calls: scalar, aggregate and window functions of the session, by name.

use arrow::datatypes::DataType;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNode;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::logical_expr::expr::{AggregateFunction, AggregateFunctionParams, NullTreatment, WindowFunction};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::utils::{find_aggregate_exprs, find_window_exprs};
use datafusion::logical_expr::{
    Case, Expr, ExprSchemable, SortExpr, WindowFrame, WindowFrameBound, WindowFrameUnits, WindowFunctionDefinition, lit,
};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::sql::sqlparser::ast::{
    self as sql, DuplicateTreatment, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::aggregate_call::{one_argument, within_group};
use super::expr::{ExprContext, name_parts, string};
use super::special_call::user_name;
use super::star::is_qualified;
use super::types::parse_data_type;
use super::{mismatch, operators};
use crate::error::{Error, Result};
use crate::function::random::Draw;
use crate::function::reference;
use crate::function::unit::is_unit_name;
use crate::function::wrong_count;
use crate::options::did_you_mean;
use crate::plan::generators::Kind;

/// What a call's parentheses hold.
pub struct Arguments {
    pub args: Vec<Expr>,
    pub distinct: bool,
    pub order_by: Vec<SortExpr>,
    pub nulls: Option<NullTreatment>,
}

impl ExprContext<'_> {
    /// A call in the syntax of functions.
    pub fn function(&self, f: &sql::Function, e: &sql::Expr) -> Result<Expr> {
        let parts = name_parts(&f.name)?;
        let name = parts[parts.len() - 1].value.to_lowercase();
        if Kind::from_name(&name).is_some() {
            let message =
                format!("the generator '{name}' is possible only in the select list, not inside another expression");
            return Err(Error::unsupported("UNSUPPORTED_GENERATOR.NESTED_IN_EXPRESSIONS", message)
                .with_help("use LATERAL VIEW, or a subquery"));
        }
        if !self.is_function(&name) && reference::entry(&name).is_none() && !is_expression(&name) {
            return Err(self.unknown_function(&name, e));
        }
        self.check_count(&name, f).map_err(|err| err.with_span(self.span(e)))?;
        if let Some(call) = self.higher_order(&name, f, e)? {
            return self.typed(call, e);
        }
        let name = spark_alias(name, f.over.is_some());
        let arguments = self.arguments(f, &name)?;
        if let Some(over) = &f.over {
            return self.window_function(&name, arguments, over, f, e);
        }
        let (name, arguments) = within_group(name, arguments, !f.within_group.is_empty());
        let base = if name == "collect_union" { "collect_list" } else { name.as_str() };
        if let Some(udaf) = self.planner.state.aggregate_functions().get(base) {
            let nested = find_aggregate_exprs(arguments.args.iter());
            if !nested.is_empty() {
                let message = format!("an aggregate function is inside the aggregate function '{name}'");
                return Err(Error::invalid("NESTED_AGGREGATE_FUNCTION", message)
                    .with_span(self.span(e))
                    .with_help("aggregate in a subquery first"));
            }
            if !find_window_exprs(arguments.args.iter()).is_empty() {
                let message = format!("a window function is inside the aggregate function '{name}'");
                return Err(Error::invalid("WINDOW_FUNCTION_NOT_ALLOWED_IN_CLAUSE", message)
                    .with_span(self.span(e))
                    .with_help("compute it in a subquery first, and aggregate its column"));
            }
            for argument in &arguments.args {
                if argument.exists(|e| Ok(Draw::of(e)?.is_some()))? {
                    let message = format!("an argument of the aggregate function '{name}' is another for each row");
                    return Err(Error::invalid("AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION", message)
                        .with_span(self.span(e))
                        .with_help("select it in a subquery first, and aggregate its column"));
                }
            }
            let arguments = one_argument(&name, arguments, self)?;
            let (udaf, arguments) = self.rewritten(&name, udaf, arguments, e)?;
            let filter = f.filter.as_deref().map(|x| self.aggregate_filter(x).map(Box::new)).transpose()?;
            let params = AggregateFunctionParams {
                args: arguments.args,
                distinct: arguments.distinct,
                filter,
                order_by: arguments.order_by,
                null_treatment: arguments.nulls,
            };
            if let ("min" | "max", [of]) = (name.as_str(), params.args.as_slice()) {
                operators::check_order(&name, of, self.schema)?;
            }
            if params.args.is_empty() && name == "count" {
                return Err(wrong_count(&name, "at least 1", 0).with_help("write count(*) to count rows"));
            }
            if let ("avg" | "mean" | "try_avg", [of]) = (name.as_str(), params.args.as_slice())
                && let Some(average) = self.average_interval(of, &params, e)?
            {
                return self.typed(average, e);
            }
            let call = Expr::AggregateFunction(AggregateFunction { func: udaf, params });
            let call = match name.as_str() {
                "collect_union" => self.united(call, e)?,
                "grouping" => operators::cast(self.typed(call, e)?, &DataType::Int8, false),
                _ => call,
            };
            return self.typed(call, e);
        }
        if arguments.distinct || f.filter.is_some() || !arguments.order_by.is_empty() {
            let message = format!("'{name}' is no aggregate function, so DISTINCT, FILTER and ORDER BY do not apply");
            return Err(Error::invalid("INVALID_SQL_SYNTAX.FUNCTION_WITH_UNSUPPORTED_SYNTAX", message)
                .with_help("leave them out, or put them into an aggregate function"));
        }
        self.scalar(&name, arguments.args, e).and_then(|call| self.typed(call, e))
    }

    /// Refuses a number of arguments that the function does not take.
    pub fn check_count(&self, name: &str, f: &sql::Function) -> Result<()> {
        let FunctionArguments::List(list) = &f.args else { return Ok(()) };
        // A unit of time is no argument to Spark, and the key of WITHIN GROUP is one.
        if !f.within_group.is_empty() || takes_unit(name) && list.args.len() == 3 {
            return Ok(());
        }
        let mut count = 0;
        for arg in &list.args {
            count += match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => self.star(e)?.map_or(1, |columns| columns.len()),
                _ => 1,
            };
        }
        crate::function::check_count(name, count)
    }

    /// The condition of FILTER.
    fn aggregate_filter(&self, e: &sql::Expr) -> Result<Expr> {
        let condition = self.expr(e)?;
        if !find_aggregate_exprs([&condition]).is_empty() {
            let message = "the condition of FILTER contains an aggregate function";
            return Err(Error::invalid("INVALID_AGGREGATE_FILTER.CONTAINS_AGGREGATE", message)
                .with_span(self.span(e))
                .with_help("aggregate in a subquery first, and compare its column"));
        }
        self.condition(e, "FILTER").map_err(|error| match error.condition() {
            "DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN" => error.with_condition("INVALID_AGGREGATE_FILTER.NOT_BOOLEAN"),
            _ => error,
        })
    }

    /// A scalar function whose arguments fit.
    pub fn typed_call(&self, f: &sql::Function, e: &sql::Expr) -> Result<Expr> {
        let parts = name_parts(&f.name)?;
        let name = parts[parts.len() - 1].value.to_lowercase();
        let arguments = self.arguments(f, &name)?;
        self.scalar(&name, arguments.args, e).and_then(|call| self.typed(call, e))
    }

    /// A scalar function, or what Spark means by its name where DataFusion has another function of that name.
    fn scalar(&self, name: &str, args: Vec<Expr>, e: &sql::Expr) -> Result<Expr> {
        if let ([_], Some(to)) = (args.as_slice(), cast_function(name)) {
            return Ok(operators::cast(args.into_iter().next().unwrap_or_default(), &to, false));
        }
        let args = self.expected(name, args)?;
        match (name, args.as_slice()) {
            ("if" | "iff", [condition, then, otherwise]) => {
                operators::case(vec![(condition.clone(), then.clone())], Some(otherwise.clone()), self.schema)
            }
            ("coalesce" | "ifnull" | "nvl" | "greatest" | "least" | "array", [first, ..]) => {
                if matches!(name, "greatest" | "least") {
                    operators::check_order(name, first, self.schema)?;
                }
                // DataFusion's `nvl` makes a DOUBLE of a DECIMAL.
                let of = if matches!(name, "ifnull" | "nvl") { "coalesce" } else { name };
                self.call(of, operators::unify(name, args, self.schema)?, e)
            }
            ("array_union" | "array_intersect" | "array_except" | "arrays_overlap", [_, _]) => {
                let args = operators::unify_lists(args, self.schema)?;
                self.call(name, args, e)
            }
            ("nvl2", [x, there, missing]) => {
                let there = vec![(x.clone().is_not_null(), there.clone())];
                operators::case(there, Some(missing.clone()), self.schema)
            }
            ("nullif", [x, other]) => {
                let same = operators::binary(x.clone(), &sql::BinaryOperator::Eq, other.clone(), self.schema)?;
                let null = Expr::Literal(ScalarValue::Null, None);
                operators::case(vec![(same, null)], Some(x.clone()), self.schema)
            }
            ("array_contains", [list, value]) => {
                let (list, value) = operators::among(list.clone(), value.clone(), self.schema)?;
                self.call(name, vec![list, value], e)
            }
            ("rand" | "random" | "randn" | "randstr" | "uuid", [_, ..]) => {
                self.call(name, args.into_iter().map(constant).collect::<Result<_>>()?, e)
            }
            ("uniform", [min, max, ..]) => self.uniform(min, max, args.get(2), e),
            ("nullifzero", [x]) => {
                let zero = operators::binary(x.clone(), &sql::BinaryOperator::Eq, lit(0), self.schema)?;
                let null = Expr::Literal(ScalarValue::Null, None);
                operators::case(vec![(zero, null)], Some(x.clone()), self.schema)
            }
            ("zeroifnull", [x]) => {
                self.call("coalesce", operators::unify(name, vec![x.clone(), lit(0)], self.schema)?, e)
            }
            ("isnan", [x]) => self.call("coalesce", vec![self.call("isnan", vec![x.clone()], e)?, lit(false)], e),
            ("date_add" | "dateadd" | "timestampadd", [_, _, _]) => self.call("timestampadd", args, e),
            ("date_diff" | "datediff" | "timestampdiff", [_, _, _]) => self.call("timestampdiff", args, e),
            ("input_file_name" | "input_file_block_start" | "input_file_block_length", []) => self.input_file(name, e),
            ("version", []) => Ok(string(concat!("tidemill ", env!("CARGO_PKG_VERSION")))),
            ("current_catalog", []) => Ok(string("spark_catalog")),
            ("current_database" | "current_schema", []) => Ok(string("default")),
            ("current_user" | "session_user" | "user", []) => Ok(string(&user_name())),
            ("arrays_zip", [_, ..]) => self.arrays_zip(args, e),
            ("try_add" | "try_subtract" | "try_multiply" | "try_divide", [left, right]) => {
                match self.try_times(name, left, right)? {
                    Some(call) => Ok(call),
                    None => self.call(name, args, e),
                }
            }
            ("try_make_interval", _) => self.call("make_interval", args, e),
            ("getdate", []) => self.call("now", args, e),
            ("localtimestamp", []) => {
                let ntz = DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None);
                Ok(operators::cast(self.call("now", args, e)?, &ntz, false))
            }
            ("grouping_id", _) => self.grouping_id(args, e),
            ("isnull", [x]) => Ok(x.clone().is_null()),
            ("isnotnull", [x]) => Ok(x.clone().is_not_null()),
            ("positive", [x]) => Ok(x.clone()),
            ("e", []) => Ok(lit(std::f64::consts::E)),
            ("equal_null", [a, b]) => {
                operators::binary(a.clone(), &sql::BinaryOperator::Spaceship, b.clone(), self.schema)
            }
            ("pmod", [a, b]) => self.positive_remainder(a, b),
            ("mod", [a, b]) => operators::binary(a.clone(), &sql::BinaryOperator::Modulo, b.clone(), self.schema),
            ("sign", [_]) => self.call("signum", args, e),
            ("unix_timestamp" | "to_unix_timestamp", []) => {
                let now = self.call("current_timestamp", vec![], e)?;
                self.call(name, vec![now], e)
            }
            ("position" | "charindex", [_, _] | [_, _, _]) => self.call("locate", args, e),
            // The characters to cut come first.
            ("ltrim" | "rtrim", [chars, text]) => self.call(name, vec![text.clone(), chars.clone()], e),
            ("replace", [text, search]) => self.call(name, vec![text.clone(), search.clone(), lit("")], e),
            ("array_remove", [_, _]) => self.call("array_remove_all", args, e),
            // One argument is the natural logarithm; a logarithm of what has none is NULL.
            ("log" | "ln", [x]) => logarithm(self.call("ln", vec![x.clone()], e)?, x),
            ("log2" | "log10", [x]) => logarithm(self.call(name, vec![x.clone()], e)?, x),
            ("log", [base, x]) => {
                let base_fits = logarithm(self.call(name, args.clone(), e)?, base)?;
                logarithm(base_fits, x)
            }
            ("decode", [_, _, _, ..]) => self.decode(&args),
            _ => self.call(name, args, e),
        }
    }

    /// The remainder, which a negative one is brought into the range of the divisor by.
    fn positive_remainder(&self, a: &Expr, b: &Expr) -> Result<Expr> {
        use sql::BinaryOperator::{Lt, Modulo, Plus};
        let binary = |l: &Expr, op, r: &Expr| operators::binary(l.clone(), &op, r.clone(), self.schema);
        let rest = binary(a, Modulo, b)?;
        let wrapped = binary(&binary(&rest, Plus, b)?, Modulo, b)?;
        operators::case(vec![(binary(&rest, Lt, &lit(0))?, wrapped)], Some(rest), self.schema)
    }

    /// The call, if its arguments fit.
    pub fn typed(&self, call: Expr, e: &sql::Expr) -> Result<Expr> {
        match call.get_type(self.schema) {
            Ok(_) => Ok(call),
            Err(err) => Err(mismatch::explain(&call, self.schema, err).with_span(self.span(e))),
        }
    }

    fn arguments(&self, f: &sql::Function, name: &str) -> Result<Arguments> {
        let mut out = Arguments { args: vec![], distinct: false, order_by: vec![], nulls: None };
        let list = match &f.args {
            FunctionArguments::None => return Ok(out),
            FunctionArguments::List(list) => list,
            FunctionArguments::Subquery(_) => {
                return Err(unsupported(format!("a subquery as the argument of '{name}'")));
            }
        };
        out.distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
        for (i, arg) in list.args.iter().enumerate() {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(sql::Expr::Identifier(unit)))
                    if i == 0 && list.args.len() == 3 && takes_unit(name) && is_unit_name(&unit.value) =>
                {
                    out.args.push(string(&unit.value));
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) if name == "count" && is_qualified(e) => {
                    let message = "count of all columns of one relation is ambiguous";
                    return Err(Error::invalid("INVALID_USAGE_OF_STAR_WITH_TABLE_IDENTIFIER_IN_COUNT", message)
                        .with_span(self.span(e))
                        .with_help(
                            "write count(*) to count rows, or count(a, b) for those without a NULL in these columns",
                        ));
                }
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => out.args.extend(self.starred([e])?),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) if name == "count" => out.args.push(lit(1i64)),
                other => return Err(unsupported(format!("the argument '{other}' of '{name}'"))),
            }
        }
        let nulls = f.null_treatment.or_else(|| {
            list.clauses.iter().find_map(|c| match c {
                sql::FunctionArgumentClause::IgnoreOrRespectNulls(n) => Some(*n),
                _ => None,
            })
        });
        out.nulls = nulls.map(|n| match n {
            sql::NullTreatment::IgnoreNulls => NullTreatment::IgnoreNulls,
            sql::NullTreatment::RespectNulls => NullTreatment::RespectNulls,
        });
        for clause in &list.clauses {
            match clause {
                sql::FunctionArgumentClause::IgnoreOrRespectNulls(_) => {}
                sql::FunctionArgumentClause::OrderBy(keys) => out.order_by.extend(self.sort_keys(keys)?),
                other => return Err(unsupported(format!("the clause '{other}' of '{name}'"))),
            }
        }
        out.order_by.extend(self.sort_keys(&f.within_group)?);
        Ok(out)
    }

    /// `ORDER BY` inside a call or a window.
    fn sort_keys(&self, keys: &[sql::OrderByExpr]) -> Result<Vec<SortExpr>> {
        keys.iter().map(|k| Ok(sort_expr(self.expr(&k.expr)?, &k.options))).collect()
    }

    fn window_function(
        &self,
        name: &str,
        a: Arguments,
        over: &sql::WindowType,
        f: &sql::Function,
        e: &sql::Expr,
    ) -> Result<Expr> {
        let state = &self.planner.state;
        // A window function first: the aggregate of the same name cannot leave rows of a frame again.
        let definition = if let Some(udwf) = state.window_functions().get(name) {
            WindowFunctionDefinition::WindowUDF(udwf.clone())
        } else if let Some(udaf) = state.aggregate_functions().get(name) {
            WindowFunctionDefinition::AggregateUDF(crate::function::sliding(udaf))
        } else if state.scalar_functions().contains_key(name) {
            let message = format!("'{name}' is no window or aggregate function, so OVER does not apply");
            return Err(Error::invalid("UNSUPPORTED_EXPR_FOR_WINDOW", message)
                .with_span(self.span(e))
                .with_help("leave OVER out, or put the call into an aggregate: max(…) OVER (…)"));
        } else {
            return Err(self.unknown_function(name, e));
        };
        let spec = self.window_spec(over).map_err(|err| err.with_span(self.span(e)))?;
        self.check_window_call(name, &a, spec).map_err(|err| err.with_span(self.span(e)))?;
        let mut a = a;
        take_null_flag(name, &mut a);
        let mut call = WindowFunction::new(definition, window_arguments(name, a.args));
        call.params.distinct = a.distinct;
        call.params.null_treatment = a.nulls;
        call.params.filter = f.filter.as_deref().map(|x| self.expr(x).map(Box::new)).transpose()?;
        call.params.partition_by = self.exprs(&spec.partition_by)?;
        call.params.order_by = self.sort_keys(&spec.order_by)?;
        // `-0.0` and `0.0` are one key.
        let keys = call.params.order_by.iter_mut().map(|key| &mut key.expr).chain(&mut call.params.partition_by);
        for key in keys {
            if crate::function::holds_real(&key.get_type(self.schema)?) {
                *key = crate::function::one_zero(std::mem::take(key));
            }
        }
        call.params.window_frame = match &spec.window_frame {
            Some(frame) => {
                let frame = WindowFrame::try_from(frame.clone())?;
                frame.regularize_order_bys(&mut call.params.order_by)?;
                frame
            }
            // What a rank looks at is rows, whatever they are ordered by.
            None if is_rank(name) => WindowFrame::new_bounds(
                WindowFrameUnits::Rows,
                WindowFrameBound::Preceding(ScalarValue::UInt64(None)),
                WindowFrameBound::CurrentRow,
            ),
            None => WindowFrame::new((!call.params.order_by.is_empty()).then_some(false)),
        };
        let call = Expr::WindowFunction(Box::new(call));
        let is_number = matches!(name, "row_number" | "rank" | "dense_rank" | "ntile");
        Ok(if is_number { operators::cast(call, &DataType::Int32, false) } else { call })
    }

    /// The window of OVER, by its name or written out.
    fn window_spec<'w>(&'w self, over: &'w sql::WindowType) -> Result<&'w sql::WindowSpec> {
        let missing = |name: &sql::Ident| {
            let message = format!("window '{}' is not defined", name.value);
            Error::invalid("MISSING_WINDOW_SPECIFICATION", message)
                .with_span(self.planner.lines.span(name.span))
                .with_help("define it with WINDOW name AS (…)")
        };
        match over {
            sql::WindowType::WindowSpec(spec) => match &spec.window_name {
                None => Ok(spec),
                // Only a window that adds nothing to the one it names.
                Some(name)
                    if spec.partition_by.is_empty() && spec.order_by.is_empty() && spec.window_frame.is_none() =>
                {
                    self.env.window(name).ok_or_else(|| missing(name))
                }
                Some(_) => Err(unsupported("a window that extends another".to_owned())
                    .with_help("write all of it in OVER (PARTITION BY … ORDER BY …)")),
            },
            sql::WindowType::NamedWindow(name) => self.env.window(name).ok_or_else(|| missing(name)),
        }
    }

    /// The levels of grouping as one number; of all keys of GROUP BY if none is given.
    fn grouping_id(&self, mut args: Vec<Expr>, e: &sql::Expr) -> Result<Expr> {
        let Some(grouping) = self.planner.state.aggregate_functions().get("grouping") else {
            return Err(self.unknown_function("grouping", e));
        };
        let keys = self.exprs(self.env.grouping.iter())?;
        if args.is_empty() {
            args = keys;
        } else if !keys.is_empty() && args.iter().any(|a| !keys.contains(a)) {
            let message = "an argument of grouping_id is no key of ROLLUP, CUBE or GROUPING SETS";
            return Err(Error::invalid("GROUPING_ID_COLUMN_MISMATCH", message)
                .with_span(self.span(e))
                .with_help("name the keys of GROUP BY, or none for all of them"));
        }
        let count = args.len();
        let bit = |(i, arg): (usize, Expr)| -> Result<Expr> {
            let bit = operators::cast(grouping.call(vec![arg]), &DataType::Int64, false);
            operators::binary(bit, &sql::BinaryOperator::Multiply, lit(1i64 << (count - 1 - i).min(62)), self.schema)
        };
        let bits = args.into_iter().enumerate().map(bit).collect::<Result<Vec<_>>>()?;
        let sum = bits
            .into_iter()
            .map(Ok)
            .reduce(|a: Result<Expr>, b| operators::binary(a?, &sql::BinaryOperator::Plus, b?, self.schema));
        sum.unwrap_or_else(|| {
            Err(Error::invalid(
                "UNSUPPORTED_GROUPING_EXPRESSION",
                "grouping_id() needs GROUP BY ROLLUP, CUBE or GROUPING SETS",
            )
            .with_help("write GROUP BY ROLLUP (a, b), or leave grouping_id() out"))
        })
    }

    /// Whether a scalar, aggregate or window function has this name.
    pub fn is_function(&self, name: &str) -> bool {
        let state = &self.planner.state;
        state.scalar_functions().contains_key(name)
            || state.aggregate_functions().contains_key(name)
            || state.window_functions().contains_key(name)
    }

    /// The error for a function that does not exist.
    pub fn unknown_function(&self, name: &str, e: &sql::Expr) -> Error {
        let state = &self.planner.state;
        if state.window_functions().contains_key(name) {
            let message = format!("window function '{name}' has no OVER clause");
            return Error::invalid("WINDOW_FUNCTION_WITHOUT_OVER_CLAUSE", message)
                .with_help(format!("write {name}() OVER (PARTITION BY … ORDER BY …)"))
                .with_span(self.span(e));
        }
        let error =
            Error::invalid("UNRESOLVED_ROUTINE", format!("function '{name}' does not exist")).with_span(self.span(e));
        if let Some(why) = reference::missing(name) {
            return error.with_help(why);
        }
        let names = state.scalar_functions().keys().chain(state.aggregate_functions().keys()).map(String::as_str);
        let mut names: Vec<&str> = names.chain(reference::entries().iter().map(|e| e.name)).collect();
        names.sort_unstable();
        match did_you_mean(name, names) {
            Some(near) => error.with_help(format!("did you mean '{near}'?")),
            None if name == "batch_id" => error.with_help("batch_id() is known inside FOREACH BATCH BEGIN … END only"),
            None => error.with_help("the names are those of Spark SQL: SHOW FUNCTIONS lists all that are there"),
        }
    }
}

/// Names of calls that are another expression here, and are not in the reference.
fn is_expression(name: &str) -> bool {
    matches!(name, "iff" | "getdate" | "charindex" | "timestampadd" | "timestampdiff")
}

/// The value of an expression that names no column.
fn constant(e: Expr) -> Result<Expr> {
    if !e.column_refs().is_empty() {
        return Ok(e);
    }
    let schema = Arc::new(DFSchema::empty());
    let simplifier = ExprSimplifier::new(SimplifyContext::builder().with_schema(schema.clone()).build());
    Ok(simplifier.simplify(simplifier.coerce(e, &schema)?)?)
}

/// Functions that number rows in their order.
fn is_rank(name: &str) -> bool {
    matches!(name, "row_number" | "rank" | "dense_rank" | "percent_rank" | "cume_dist" | "ntile")
}

/// Spark's name of a function that has another here.
fn spark_alias(name: String, window: bool) -> String {
    match name.as_str() {
        "first_value" if !window => "first".to_owned(),
        "last_value" if !window => "last".to_owned(),
        "first" | "any_value" if window => "first_value".to_owned(),
        "last" if window => "last_value".to_owned(),
        "array_agg" => "collect_list".to_owned(),
        _ => name,
    }
}

/// `last_value(x, true)` is `last_value(x) IGNORE NULLS`.
fn take_null_flag(name: &str, a: &mut Arguments) {
    let count = match name {
        "first_value" | "last_value" => 2,
        "nth_value" => 3,
        _ => return,
    };
    if let (true, Some(Expr::Literal(ScalarValue::Boolean(Some(ignore)), _))) = (a.args.len() == count, a.args.last()) {
        a.nulls = Some(if *ignore { NullTreatment::IgnoreNulls } else { NullTreatment::RespectNulls });
        a.args.pop();
    }
}

/// The arguments as DataFusion's window functions take them.
fn window_arguments(name: &str, mut args: Vec<Expr>) -> Vec<Expr> {
    match (name, args.as_mut_slice()) {
        ("nth_value", [_, Expr::Literal(position, _)]) => {
            if let Ok(long) = position.cast_to(&DataType::Int64) {
                *position = long;
            }
        }
        // The key is that of the window, whatever is named here.
        ("rank" | "dense_rank" | "percent_rank", [_, ..]) => args.clear(),
        _ => {}
    }
    args
}

/// Whether the first of three arguments is a unit of time, written as a word.
fn takes_unit(name: &str) -> bool {
    matches!(name, "date_add" | "dateadd" | "timestampadd" | "date_diff" | "datediff" | "timestampdiff")
}

/// The type that a function such as `int(x)` casts to.
fn cast_function(name: &str) -> Option<DataType> {
    let is_cast = matches!(
        name,
        "boolean"
            | "tinyint"
            | "smallint"
            | "int"
            | "bigint"
            | "float"
            | "double"
            | "decimal"
            | "date"
            | "timestamp"
            | "binary"
            | "string"
    );
    is_cast.then(|| parse_data_type(name).ok()).flatten()
}

/// `value`, or NULL unless its argument is above 0.
fn logarithm(value: Expr, argument: &Expr) -> Result<Expr> {
    let number = operators::cast(argument.clone(), &DataType::Float64, false);
    let branch = (Box::new(number.lt_eq(lit(0.0))), Box::new(lit(ScalarValue::Float64(None))));
    Ok(Expr::Case(Case::new(None, vec![branch], Some(Box::new(value)))))
}

/// A sort key; NULLs go first in ascending order and last in descending order, as in Spark.
pub fn sort_expr(expr: Expr, options: &sql::OrderByOptions) -> SortExpr {
    let asc = options.asc.unwrap_or(true);
    SortExpr::new(expr, asc, options.nulls_first.unwrap_or(asc))
}

fn unsupported(what: String) -> Error {
    super::set_operation::unsupported(&what)
}
