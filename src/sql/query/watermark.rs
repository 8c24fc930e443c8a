//! `WATERMARK … DELAY OF …` on a relation.

use datafusion::common::{Column, TableReference};
use datafusion::logical_expr::{Expr, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast::{
    self as sql, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, SelectItem, SetExpr, TableWithJoins,
};

use super::expr::{ExprContext, interval_of, too_long_interval};
use super::from::Used;
use super::planner::Planner;
use super::scope::{Env, Relation, ScopeColumn, Visibility};
use super::tokens::WATERMARK;
use crate::error::{Error, Result};
use crate::plan::watermark::WatermarkNode;

impl Planner<'_> {
    pub(super) fn watermark(&self, clause: &WatermarkClause, env: &Env, used: &mut Used) -> Result<Relation> {
        let relation = self.joins(clause.relation, env, used)?;
        let cx = ExprContext::new(self, env, &relation, &[]);
        let expr = cx.checked(clause.expr)?;
        let span = cx.span(clause.expr);
        let delay = interval_of(clause.delay).map_err(|e| e.with_span(span))?;
        let delay_ms = delay.to_delay_ms().ok_or_else(|| too_long_interval("delay"))?;
        let name = match (&clause.name, clause.expr) {
            (Some(name), _) => Some(name.value.clone()),
            (None, sql::Expr::CompoundIdentifier(parts)) => parts.last().map(|p| p.value.clone()),
            _ => None,
        };
        let (relation, event_time) = match (expr, name) {
            (Expr::Column(c), None) => (relation, c),
            (Expr::Column(c), Some(_)) if clause.name.is_none() => (relation, c),
            (expr, Some(name)) => self.add_event_time(relation, expr, name)?,
            (_, None) => {
                let message = "an expression in a WATERMARK clause needs a name";
                return Err(Error::invalid("REQUIRES_EXPLICIT_NAME_IN_WATERMARK_CLAUSE", message)
                    .with_help("write WATERMARK … AS name DELAY OF …")
                    .with_span(span));
            }
        };
        let node = WatermarkNode::try_new(relation.plan, event_time, delay_ms, self.next_watermark())
            .map_err(|e| e.with_span(span))?;
        Ok(Relation { plan: node.into_plan(), scope: relation.scope })
    }

    /// The relation with the column `name` in front.
    fn add_event_time(&self, relation: Relation, expr: Expr, name: String) -> Result<(Relation, Column)> {
        let qualifier = TableReference::bare(self.fresh_alias("watermark"));
        let column = Column::new(Some(qualifier.clone()), name.clone());
        let columns = relation.plan.schema().columns().into_iter().map(Expr::Column);
        let exprs: Vec<_> = std::iter::once(expr.alias_qualified(Some(qualifier), &name)).chain(columns).collect();
        let plan = LogicalPlanBuilder::from(relation.plan).project(exprs)?.build()?;
        let mut scope = relation.scope;
        // It belongs to the relation, so that both its name and the relation's, or a later alias, find it.
        let qualifier = scope.columns.first().map(|c| c.qualifier.clone()).unwrap_or_default();
        scope.columns.insert(0, ScopeColumn { qualifier, name, column: column.clone(), visibility: Visibility::Shown });
        Ok((Relation { plan, scope }, column))
    }
}

/// `WATERMARK expr [AS name] DELAY OF delay` on a relation, as the tokens were rewritten.
pub struct WatermarkClause<'q> {
    relation: &'q TableWithJoins,
    expr: &'q sql::Expr,
    name: Option<&'q Ident>,
    delay: &'q sql::Interval,
}

/// The clause that a subquery stands for.
pub fn watermark_clause(query: &Query) -> Option<WatermarkClause<'_>> {
    let select = match query.body.as_ref() {
        SetExpr::Select(select) => select,
        SetExpr::Query(inner) => return watermark_clause(inner),
        _ => return None,
    };
    let ([item], [relation]) = (select.projection.as_slice(), select.from.as_slice()) else { return None };
    let (sql::Expr::Function(function), name) = (match item {
        SelectItem::UnnamedExpr(e) => (e, None),
        SelectItem::ExprWithAlias { expr, alias } => (expr, Some(alias)),
        _ => return None,
    }) else {
        return None;
    };
    let is_marker = function.name.0.last().and_then(|p| p.as_ident()).is_some_and(|i| i.value == WATERMARK);
    let FunctionArguments::List(list) = &function.args else { return None };
    match list.args.as_slice() {
        [
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(sql::Expr::Interval(delay))),
        ] if is_marker => Some(WatermarkClause { relation, expr, name, delay }),
        _ => None,
    }
}
