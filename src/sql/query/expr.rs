//! Syntax tree of an expression to DataFusion's `Expr`, with names resolved in a scope.

use datafusion::common::{DFSchema, ScalarValue};
use datafusion::functions::unicode::expr_fn::strpos;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{Between, BinaryExpr, Expr, ExprSchemable, GroupingSet, Operator, lit};
use datafusion::optimizer::simplify_expressions::{ExprSimplifier, SimplifyContext};
use datafusion::sql::sqlparser::ast::{
    self as sql, CastKind, CeilFloorKind, DateTimeField, Ident, Spanned, TrimWhereField, UnaryOperator, Value,
};

use super::lambda::LambdaScope;
use super::like::LikeCall;
use super::planner::Planner;
use super::scope::{Env, Relation, Scope, eq_names};
use super::special_call::user_name;
use super::types::{interval_units, parse_data_type};
use super::{interval, literal, mismatch, operators};
use crate::error::{Error, Result, Span};
use crate::function::{cast_to_interval, count_literal, folded, locate};
use crate::plan::logic::simplified;

/// How deeply expressions may nest; chains of operators do not count.
const MAX_DEPTH: usize = 1000;

/// At every so many levels, what is below is folded into one call, so that DataFusion sees no deep tree: the type of one costs it
/// the square of its depth.
const FOLD: usize = 30;

/// How many elements a CUBE may have.
const MAX_CUBE: usize = 12;

/// Plans expressions over one relation.
pub struct ExprContext<'c> {
    pub planner: &'c Planner<'c>,
    pub env: &'c Env,
    pub scope: &'c Scope,
    pub schema: &'c DFSchema,
    /// Earlier items of the select list, which later ones may name.
    pub aliases: &'c [(String, Expr)],
    /// The parameters of the lambdas around.
    pub lambdas: Option<&'c LambdaScope<'c>>,
    pub depth: usize,
}

impl<'c> ExprContext<'c> {
    pub fn new(planner: &'c Planner<'c>, env: &'c Env, relation: &'c Relation, aliases: &'c [(String, Expr)]) -> Self {
        Self { planner, env, scope: &relation.scope, schema: relation.plan.schema(), aliases, lambdas: None, depth: 0 }
    }

    /// An expression, whose type is known to exist.
    pub fn checked(&self, e: &sql::Expr) -> Result<Expr> {
        let expr = self.expr(e)?;
        self.check_type(&expr, e)?;
        Ok(expr)
    }

    /// A condition: BOOLEAN, or a string or NULL brought to it.
    pub fn condition(&self, e: &sql::Expr, clause: &str) -> Result<Expr> {
        let expr = self.checked(e)?;
        let data_type = expr.get_type(self.schema)?;
        match data_type {
            arrow::datatypes::DataType::Boolean | arrow::datatypes::DataType::Null => Ok(expr),
            other => {
                let message =
                    format!("the condition of {clause} is {}, not BOOLEAN", super::types::spark_type_name(&other));
                Err(Error::invalid("DATATYPE_MISMATCH.FILTER_NOT_BOOLEAN", message)
                    .with_span(self.span(e))
                    .with_help("compare it with something, as in v > 0 or name = 'a', or test IS NOT NULL"))
            }
        }
    }

    /// The place of an expression.
    pub fn span(&self, e: &sql::Expr) -> Option<Span> {
        self.planner.lines.closed_span(e.span())
    }

    /// Refuses operands that do not fit, with their place.
    fn check_type(&self, expr: &Expr, e: &sql::Expr) -> Result<()> {
        match expr.get_type(self.schema) {
            Ok(_) => Ok(()),
            Err(err) => Err(mismatch::explain(expr, self.schema, err).with_span(self.span(e))),
        }
    }

    fn deeper(&self, e: &sql::Expr) -> Result<ExprContext<'c>> {
        if self.depth >= MAX_DEPTH {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", "the expression is nested too deeply")
                .with_span(self.span(e))
                .with_help("compute its parts in a subquery or view"));
        }
        Ok(ExprContext { depth: self.depth + 1, ..*self })
    }

    pub fn exprs<'e>(&self, list: impl IntoIterator<Item = &'e sql::Expr>) -> Result<Vec<Expr>> {
        list.into_iter().map(|e| self.expr(e)).collect()
    }

    /// The expression.
    pub fn expr(&self, e: &sql::Expr) -> Result<Expr> {
        let cx = self.deeper(e)?;
        let converted = cx.convert(e).map(|expr| self.located(expr, e)).and_then(|expr| {
            match self.depth > 0 && self.depth.is_multiple_of(FOLD) {
                true => folded(&self.planner.state, expr, self.schema, |part, simplifier, schema| {
                    simplified(part, schema, |part| simplifier.simplify(part))
                }),
                false => Ok(expr),
            }
        });
        converted.map_err(|err| match err.span() {
            // The place of a long chain is found by recursion, and is not wanted.
            Some(_) => err,
            None => err.with_span(self.span(e)),
        })
    }

    /// The expression, which says where it was written if it fails for a row.
    pub(super) fn located(&self, expr: Expr, e: &sql::Expr) -> Expr {
        match &self.planner.script {
            Some(script) => locate(expr, self.schema, || self.span(e).map(|span| script.origin(span))),
            None => expr,
        }
    }

    fn convert(&self, e: &sql::Expr) -> Result<Expr> {
        use sql::Expr as E;
        match e {
            E::Nested(e) => self.expr(e),
            E::Identifier(i) => self.name(std::slice::from_ref(i)),
            E::CompoundIdentifier(parts) => self.name(parts),
            E::CompoundFieldAccess { root, access_chain } => self.access(root, access_chain),
            E::Value(v) => self.literal(&v.value),
            E::TypedString(t) => self.typed_string(t),
            E::Interval(i) => self.interval(i),
            E::Function(f) => self.function(f, e),
            E::BinaryOp { .. } => self.binary_chain(e),
            E::UnaryOp { op, expr } => self.unary(op, expr),
            E::Cast { kind, expr, data_type, .. } => {
                let (text, is_try) = (type_text(data_type), matches!(kind, CastKind::TryCast | CastKind::SafeCast));
                if let Some(units) = interval_units(&text) {
                    let cast = cast_to_interval(self.expr(expr)?, units, is_try);
                    return cast.map_err(|err| err.with_span(self.span(e)));
                }
                let to = parse_data_type(&text).map_err(|err| relocate(err, self.span(e)))?;
                if let E::Interval(i) = expr.as_ref()
                    && let Some(count) = interval_text(i).and_then(|text| count_literal(&text, &to, is_try))
                {
                    return Ok(count);
                }
                Ok(operators::cast(self.expr(expr)?, &to, is_try))
            }
            E::IsNull(e) => Ok(self.expr(e)?.is_null()),
            E::IsNotNull(e) => Ok(self.expr(e)?.is_not_null()),
            E::IsTrue(e) => Ok(self.expr(e)?.is_true()),
            E::IsNotTrue(e) => Ok(self.expr(e)?.is_not_true()),
            E::IsFalse(e) => Ok(self.expr(e)?.is_false()),
            E::IsNotFalse(e) => Ok(self.expr(e)?.is_not_false()),
            E::IsUnknown(e) => Ok(self.expr(e)?.is_unknown()),
            E::IsNotUnknown(e) => Ok(self.expr(e)?.is_not_unknown()),
            E::IsDistinctFrom(l, r) => self.compare(l, Operator::IsDistinctFrom, r),
            E::IsNotDistinctFrom(l, r) => self.compare(l, Operator::IsNotDistinctFrom, r),
            E::Between { expr, negated, low, high } => self.between(expr, *negated, low, high),
            E::InList { expr, list, negated } => self.in_list(expr, list, *negated),
            E::Like { negated, any, expr, pattern, escape_char } => {
                let like = LikeCall { negated: *negated, any_case: false, escape: escape_char.as_ref() };
                self.like_quantified(&like, *any, expr, pattern)
            }
            E::ILike { negated, any, expr, pattern, escape_char } => {
                let like = LikeCall { negated: *negated, any_case: true, escape: escape_char.as_ref() };
                self.like_quantified(&like, *any, expr, pattern)
            }
            E::RLike { negated, expr, pattern, .. } => {
                let found = self.call("rlike", vec![self.expr(expr)?, self.expr(pattern)?], e)?;
                Ok(if *negated { Expr::Not(Box::new(found)) } else { found })
            }
            E::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref())
            }
            E::Extract { field, expr, .. } => {
                self.call("date_part", vec![lit(field.to_string().to_lowercase()), self.expr(expr)?], e)
            }
            E::Ceil { expr, field } => self.round("ceil", expr, field, e),
            E::Floor { expr, field } => self.round("floor", expr, field, e),
            E::Position { expr, r#in } => Ok(strpos(self.expr(r#in)?, self.expr(expr)?)),
            E::Substring { expr, substring_from, substring_for, .. } => {
                if substring_from.is_none() && substring_for.is_none() {
                    return crate::function::check_count("substring", 1).map(|()| lit(0));
                }
                let mut args = vec![self.expr(expr)?, substring_from.as_deref().map_or(Ok(lit(1)), |f| self.expr(f))?];
                args.extend(substring_for.as_deref().map(|f| self.expr(f)).transpose()?);
                self.call("substring", args, e)
            }
            E::Trim { trim_where, trim_what, expr, trim_characters: None } => {
                self.trim(*trim_where, trim_what.as_deref(), expr, e)
            }
            E::Overlay { expr, overlay_what, overlay_from, overlay_for } => {
                let mut args = vec![self.expr(expr)?, self.expr(overlay_what)?, self.expr(overlay_from)?];
                args.extend(overlay_for.as_deref().map(|f| self.expr(f)).transpose()?);
                self.call("overlay", args, e)
            }
            E::Tuple(items) => self.call("struct", self.exprs(items)?, e),
            E::Struct { values, fields } if fields.is_empty() => self.make_struct(values, e),
            E::Subquery(q) => self.scalar_subquery(q, e),
            E::Exists { subquery, negated } => self.exists(subquery, *negated, e),
            E::InSubquery { expr, subquery, negated } => self.in_subquery(expr, subquery, *negated, e),
            E::Rollup(sets) if sets.iter().all(|s| s.len() == 1) => {
                Ok(Expr::GroupingSet(GroupingSet::Rollup(self.exprs(sets.iter().flatten())?)))
            }
            E::Cube(sets) if sets.iter().all(|s| s.len() == 1) => {
                Ok(Expr::GroupingSet(GroupingSet::Cube(self.exprs(sets.iter().flatten())?)))
            }
            E::Rollup(sets) => self.grouping_sets((0..=sets.len()).rev().map(|n| sets[..n].concat())),
            E::Cube(sets) if sets.len() > MAX_CUBE => {
                Err(super::set_operation::unsupported("a CUBE of so many columns"))
            }
            E::Cube(sets) => self.grouping_sets((0..1_usize << sets.len()).rev().map(|chosen| {
                let is_chosen = |i: &usize| chosen >> (sets.len() - 1 - i) & 1 == 1;
                (0..sets.len()).filter(is_chosen).flat_map(|i| sets[i].clone()).collect()
            })),
            E::GroupingSets(sets) => {
                let sets = sets.iter().map(|s| self.exprs(s)).collect::<Result<_>>()?;
                Ok(Expr::GroupingSet(GroupingSet::GroupingSets(sets)))
            }
            other => {
                Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("the expression '{other}' is not supported"))
                    .with_help("docs/sql.md lists the expressions that are; most others can be written with functions"))
            }
        }
    }

    /// A column, an earlier alias, or a field of one of them.
    pub fn name(&self, parts: &[Ident]) -> Result<Expr> {
        if let Some(variable) = self.lambdas.and_then(|l| l.find(&parts[0])) {
            return self.fields(variable, &parts[1..]);
        }
        if let Some((column, used)) = self.scope.find(parts, &self.planner.lines)? {
            return self.fields(Expr::Column(column.column.clone()), &parts[used..]);
        }
        if let Some((_, expr)) = self.aliases.iter().rev().find(|(name, _)| eq_names(name, &parts[0].value)) {
            return self.fields(expr.clone(), &parts[1..]);
        }
        for (scope, schema) in self.env.outer.iter().rev() {
            if let Some((column, used)) = scope.find(parts, &self.planner.lines)? {
                let index = schema.index_of_column(&column.column)?;
                let field = schema.field(index).clone();
                return self.fields(Expr::OuterReferenceColumn(field, column.column.clone()), &parts[used..]);
            }
        }
        match parts {
            [name] if name.quote_style.is_none() && is_user(&name.value) => Ok(string(&user_name())),
            _ => Err(self.scope.unresolved(parts, &self.planner.lines)),
        }
    }

    fn literal(&self, v: &Value) -> Result<Expr> {
        match literal::value(v) {
            Some(Ok(value)) => Ok(Expr::Literal(value, None)),
            Some(Err(message)) => Err(Error::invalid("INVALID_NUMERIC_LITERAL_RANGE", message).with_help(
                "Y, S and L stand for TINYINT, SMALLINT and BIGINT; write 1e30 for a DOUBLE beyond 38 digits",
            )),
            None => Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("the literal {v} is not supported"))
                .with_help("write numbers as 1, 1.5 or 1e3, text as 'text', bytes as X'1F'")),
        }
    }

    fn typed_string(&self, t: &sql::TypedString) -> Result<Expr> {
        let to = parse_data_type(&t.data_type.to_string()).map_err(|err| relocate(err, None))?;
        let text = t.value.value.clone().into_string().unwrap_or_default();
        let zone = self.planner.state.config_options().execution.time_zone.clone();
        match literal::typed(&to, &text, zone.as_deref()) {
            Some(Ok(value)) => Ok(Expr::Literal(value, None)),
            Some(Err(message)) => Err(Error::invalid("INVALID_TYPED_LITERAL", message)
                .with_help("write DATE '2024-01-31' or TIMESTAMP '2024-01-31 12:00:00'")),
            None => {
                Err(Error::invalid("UNSUPPORTED_TYPED_LITERAL", format!("there is no literal of type {}", t.data_type))
                    .with_help(format!("write CAST('{text}' AS {})", t.data_type)))
            }
        }
    }

    fn interval(&self, i: &sql::Interval) -> Result<Expr> {
        let parsed = interval_of(i)?;
        let value = parsed.to_arrow().ok_or_else(|| too_long_interval("interval"))?;
        Ok(Expr::Literal(ScalarValue::IntervalMonthDayNano(Some(value)), None))
    }

    fn unary(&self, op: &UnaryOperator, e: &sql::Expr) -> Result<Expr> {
        if let (UnaryOperator::Minus, sql::Expr::Value(v)) = (op, e)
            && let Value::Number(n, long) = &v.value
        {
            return self.literal(&Value::Number(format!("-{n}"), *long));
        }
        if matches!(op, UnaryOperator::Not | UnaryOperator::BangNot) {
            return self.not(e);
        }
        let expr = self.expr(e)?;
        match op {
            UnaryOperator::Plus => Ok(expr),
            UnaryOperator::Minus => operators::negate(expr, self.schema),
            UnaryOperator::BitwiseNot => self.call("bitwise_not", vec![expr], e),
            other => Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("there is no operator '{other}'"))
                .with_help("the operators before a value are +, -, ~ and NOT")),
        }
    }

    /// NOT of `e`, which may be NOT of another and so on: two of them are none.
    fn not(&self, mut e: &sql::Expr) -> Result<Expr> {
        let mut negated = true;
        while let sql::Expr::UnaryOp { op: UnaryOperator::Not | UnaryOperator::BangNot, expr } = e {
            negated = !negated;
            e = expr;
        }
        let condition = operators::condition(self.expr(e)?, "NOT", self.schema)?;
        Ok(if negated { Expr::Not(Box::new(condition)) } else { condition })
    }

    fn compare(&self, l: &sql::Expr, op: Operator, r: &sql::Expr) -> Result<Expr> {
        let (l, r) = operators::compare_as(op, self.expr(l)?, self.expr(r)?, self.schema)?;
        Ok(Expr::BinaryExpr(BinaryExpr::new(Box::new(l), op, Box::new(r))))
    }

    fn between(&self, e: &sql::Expr, negated: bool, low: &sql::Expr, high: &sql::Expr) -> Result<Expr> {
        let mut expr = self.expr(e)?;
        let (low, high) = (self.expr(low)?, self.expr(high)?);
        if let Some(common) = operators::common_time_of(&[&expr, &low, &high], self.schema) {
            expr = operators::cast(expr, &common, false);
        }
        let (above, low) = operators::compare_as(Operator::GtEq, expr.clone(), low, self.schema)?;
        let (below, high) = operators::compare_as(Operator::LtEq, expr, high, self.schema)?;
        if above == below {
            return Ok(Expr::Between(Between::new(Box::new(above), negated, Box::new(low), Box::new(high))));
        }
        // Each bound is compared in a type of its own.
        let within = above.gt_eq(low).and(below.lt_eq(high));
        Ok(if negated { Expr::Not(Box::new(within)) } else { within })
    }

    fn in_list(&self, e: &sql::Expr, list: &[sql::Expr], negated: bool) -> Result<Expr> {
        let mut expr = self.expr(e)?;
        let items = self.starred(list)?;
        let all: Vec<_> = std::iter::once(&expr).chain(&items).collect();
        if let Some(common) = operators::common_time_of(&all, self.schema) {
            expr = operators::cast(expr, &common, false);
        }
        let compare = |item: &Expr| operators::compare_as(Operator::Eq, expr.clone(), item.clone(), self.schema);
        let sides = items.iter().map(compare).collect::<Result<Vec<_>>>()?;
        let value = sides.first().map_or_else(|| expr.clone(), |(value, _)| value.clone());
        if sides.iter().all(|(v, _)| *v == value) {
            let items = sides.into_iter().map(|(_, item)| item).collect();
            return Ok(Expr::InList(InList::new(Box::new(value), items, negated)));
        }
        let all = std::iter::once(expr).chain(items).collect();
        let mut all = operators::unify("in", all, self.schema)?.into_iter();
        let value = all.next().unwrap_or_default();
        Ok(Expr::InList(InList::new(Box::new(value), all.collect(), negated)))
    }

    fn case(
        &self,
        operand: Option<&sql::Expr>,
        conditions: &[sql::CaseWhen],
        otherwise: Option<&sql::Expr>,
    ) -> Result<Expr> {
        let (mut operand, mut conditions, mut otherwise) = (operand, conditions, otherwise);
        let mut branches = vec![];
        loop {
            let value = operand.map(|o| self.expr(o)).transpose()?;
            for when in conditions {
                let mut condition = self.expr(&when.condition)?;
                if let Some(value) = &value {
                    condition = operators::binary(value.clone(), &sql::BinaryOperator::Eq, condition, self.schema)?;
                }
                branches.push((condition, self.expr(&when.result)?));
            }
            // CASE in ELSE is further branches of the same.
            match otherwise {
                Some(sql::Expr::Case { operand: o, conditions: c, else_result: e, .. }) => {
                    (operand, conditions, otherwise) = (o.as_deref(), c, e.as_deref());
                }
                otherwise => {
                    let otherwise = otherwise.map(|e| self.expr(e)).transpose()?;
                    return operators::case(branches, otherwise, self.schema);
                }
            }
        }
    }

    fn round(&self, name: &str, expr: &sql::Expr, field: &CeilFloorKind, e: &sql::Expr) -> Result<Expr> {
        let mut args = vec![self.expr(expr)?];
        match field {
            CeilFloorKind::DateTimeField(DateTimeField::NoDateTime) => {}
            CeilFloorKind::Scale(s) => args.push(self.literal(&s.value)?),
            CeilFloorKind::DateTimeField(f) => {
                return Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("{name} TO {f} is not supported"))
                    .with_help("a time is cut by date_trunc('hour', ts)"));
            }
        }
        self.call(name, args, e)
    }

    fn trim(
        &self,
        side: Option<TrimWhereField>,
        what: Option<&sql::Expr>,
        expr: &sql::Expr,
        e: &sql::Expr,
    ) -> Result<Expr> {
        let mut args = vec![self.expr(expr)?];
        let name = match side {
            None | Some(TrimWhereField::Both) => "trim",
            Some(TrimWhereField::Leading) => "ltrim",
            Some(TrimWhereField::Trailing) => "rtrim",
        };
        let Some(what) = what else { return self.call(name, args, e) };
        args.push(self.expr(what)?);
        self.call(name, args, e)
    }

    /// The sets written out, of ROLLUP and CUBE over several columns in one element.
    fn grouping_sets(&self, sets: impl Iterator<Item = Vec<sql::Expr>>) -> Result<Expr> {
        let set = |set: Vec<sql::Expr>| {
            let mut keys: Vec<Expr> = vec![];
            for key in self.exprs(&set)? {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
            Ok(keys)
        };
        Ok(Expr::GroupingSet(GroupingSet::GroupingSets(sets.map(set).collect::<Result<_>>()?)))
    }

    /// `struct(a, 1 AS b)`: a field without a name of its own has that of its column, or `col1`, `col2`, ….
    fn make_struct(&self, values: &[sql::Expr], e: &sql::Expr) -> Result<Expr> {
        let mut args = vec![];
        for (i, value) in values.iter().enumerate() {
            if let Some(columns) = self.star(value)? {
                args.extend(columns.into_iter().flat_map(|(name, e)| [string(&name), e]));
                continue;
            }
            let (name, value) = match value {
                sql::Expr::Named { expr, name } => (name.value.clone(), expr.as_ref()),
                sql::Expr::Identifier(name) => (name.value.clone(), value),
                sql::Expr::CompoundIdentifier(parts) => {
                    (parts.last().map(|p| p.value.clone()).unwrap_or_default(), value)
                }
                other => (format!("col{}", i + 1), other),
            };
            args.extend([string(&name), self.expr(value)?]);
        }
        self.call("named_struct", args, e)
    }

    /// A call of a scalar function by name.
    pub fn call(&self, name: &str, mut args: Vec<Expr>, e: &sql::Expr) -> Result<Expr> {
        if let ("from_json" | "from_csv", Some(schema)) = (name, args.get_mut(1)) {
            *schema = sample_schema(std::mem::take(schema))?;
        }
        match self.planner.state.scalar_functions().get(name) {
            Some(udf) => Ok(udf.call(args)),
            None => Err(self.unknown_function(name, e)),
        }
    }
}

/// Words that are a call without parentheses, where no column has the name.
fn is_user(name: &str) -> bool {
    ["current_user", "session_user", "user"].iter().any(|word| eq_names(word, name))
}

/// What `schema_of_json` or `schema_of_csv` of a literal gives, since a schema is needed before there are rows.
fn sample_schema(e: Expr) -> Result<Expr> {
    match &e {
        Expr::ScalarFunction(call) if ["schema_of_json", "schema_of_csv"].contains(&call.name()) => {
            Ok(ExprSimplifier::new(SimplifyContext::default()).simplify(e)?)
        }
        _ => Ok(e),
    }
}

/// A text literal.
pub fn string(text: &str) -> Expr {
    Expr::Literal(ScalarValue::Utf8View(Some(text.to_owned())), None)
}

/// The pairs of number and unit of an interval literal.
fn interval_text(i: &sql::Interval) -> Option<String> {
    match i.value.as_ref() {
        sql::Expr::Value(v) if i.leading_field.is_none() => v.value.clone().into_string(),
        _ => None,
    }
}

/// The months and microseconds of an interval literal.
pub fn interval_of(i: &sql::Interval) -> Result<interval::Interval> {
    let text = interval_text(i).ok_or_else(|| {
        Error::invalid("INVALID_INTERVAL_FORMAT", format!("'{i}' is not an interval literal")).with_help(INTERVALS)
    })?;
    interval::parse_interval(&text).map_err(|m| Error::invalid("INVALID_INTERVAL_FORMAT", m).with_help(INTERVALS))
}

const INTERVALS: &str = "write INTERVAL 10 SECONDS or INTERVAL '1 minute 30 seconds'; units are microseconds to years";

/// The error of an interval that no time can be moved by.
pub fn too_long_interval(what: &str) -> Error {
    Error::invalid("INVALID_INTERVAL_FORMAT", format!("the {what} is too long"))
        .with_help("write less than 100000 years")
}

/// The same error at another place, since the type was parsed from a text of its own.
fn relocate(e: Error, span: Option<Span>) -> Error {
    let moved = Error::invalid(e.condition().to_owned(), e.message()).with_span(span);
    match e.help() {
        Some(help) => moved.with_help(help),
        None => moved,
    }
}

/// The text of a type, which may stand in quotes as a whole.
pub fn type_text(t: &sql::DataType) -> String {
    match t {
        sql::DataType::Custom(name, _) => match name.0.as_slice() {
            [part] => part.as_ident().map_or_else(|| t.to_string(), |i| i.value.clone()),
            _ => t.to_string(),
        },
        other => other.to_string(),
    }
}

/// The parts of an object's name.
pub fn name_parts(name: &sql::ObjectName) -> Result<Vec<Ident>> {
    let parts = name.0.iter().map(|p| p.as_ident().cloned()).collect::<Option<Vec<_>>>();
    parts.filter(|p| !p.is_empty()).ok_or_else(|| {
        Error::invalid("PARSE_SYNTAX_ERROR", format!("'{name}' is not a name"))
            .with_help("write a plain name, or one in backquotes: `my name`")
    })
}
