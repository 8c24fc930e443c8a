//! Fields of structs, keys of maps and elements of arrays: `a.b`, `m['k']`, `list[0]`.

use arrow::datatypes::DataType;
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{self as sql, AccessExpr, Ident, Subscript};

use super::expr::{ExprContext, string};
use super::operators;
use super::scope::find_field;
use super::types::spark_type_name;
use crate::error::{Error, Result};
use crate::function;

/// The names that an access begins with, and what is behind them.
pub fn leading_names<'e>(root: &sql::Expr, chain: &'e [AccessExpr]) -> (Vec<Ident>, &'e [AccessExpr]) {
    let mut names = match root {
        sql::Expr::Identifier(name) => vec![name.clone()],
        sql::Expr::CompoundIdentifier(parts) => parts.clone(),
        _ => return (vec![], chain),
    };
    let fields = chain.iter().map_while(|access| match access {
        AccessExpr::Dot(sql::Expr::Identifier(field)) => Some(field.clone()),
        _ => None,
    });
    let before = names.len();
    names.extend(fields);
    let rest = &chain[names.len() - before..];
    (names, rest)
}

impl ExprContext<'_> {
    /// The fields on a path, one after the other.
    pub fn fields(&self, base: Expr, path: &[Ident]) -> Result<Expr> {
        path.iter().try_fold(base, |base, part| self.field(base, part))
    }

    fn field(&self, base: Expr, name: &Ident) -> Result<Expr> {
        match base.get_type(self.schema)? {
            DataType::Struct(fields) => match find_field(fields.iter().map(|f| f.as_ref()), &name.value) {
                Some(f) => Ok(get_field(base, f.name().clone())),
                None => Err(Error::invalid("FIELD_NOT_FOUND", format!("no struct field '{}'", name.value))
                    .with_help(function::field_help(&name.value, &fields))
                    .with_span(self.planner.lines.span(name.span))),
            },
            DataType::Map(..) => operators::get_item(base, string(&name.value), self.schema),
            other => {
                if let DataType::List(item) = &other
                    && let Some(fields) = self.element_fields(base, name, item.data_type())?
                {
                    return Ok(fields);
                }
                let message =
                    format!("'{}' is no field: its base is {}, not a STRUCT", name.value, spark_type_name(&other));
                Err(Error::invalid("INVALID_EXTRACT_BASE_FIELD_TYPE", message)
                    .with_help("if the text before the dot is a table, it is not in FROM under this name")
                    .with_span(self.planner.lines.span(name.span)))
            }
        }
    }

    /// `root.field[index]…`.
    pub fn access(&self, root: &sql::Expr, chain: &[AccessExpr]) -> Result<Expr> {
        // The relation may be named in front: `t.items[0].price`.
        let (names, chain) = leading_names(root, chain);
        let base = if names.is_empty() { self.expr(root)? } else { self.name(&names)? };
        chain.iter().try_fold(base, |base, access| match access {
            AccessExpr::Dot(sql::Expr::Identifier(field)) => self.field(base, field),
            AccessExpr::Subscript(Subscript::Index { index }) => {
                operators::get_item(base, self.expr(index)?, self.schema)
            }
            other => Err(Error::unsupported("UNSUPPORTED_FEATURE", format!("the access '{other}' is not supported"))
                .with_help("write a[0], m['key'], s.field or slice(a, 1, 3)")),
        })
    }

    /// A field of a struct that is an array's element: the array of the fields.
    fn element_fields(&self, base: Expr, name: &Ident, element: &DataType) -> Result<Option<Expr>> {
        let DataType::Struct(fields) = element else { return Ok(None) };
        let Some(field) = find_field(fields.iter().map(|f| f.as_ref()), &name.value) else {
            return Ok(None);
        };
        Ok(Some(function::element_field(base, field.name())))
    }
}
