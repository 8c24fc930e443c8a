//! Names in sight: columns with their qualifiers, found in any case as Spark does.

use arrow::datatypes::Field;
use datafusion::common::{Column, DFSchemaRef};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{self as sql, Ident};

use super::dialect::Lines;
use crate::error::{Error, Result};
use crate::options::did_you_mean;

/// A column that a query can name.
#[derive(Debug, Clone)]
pub struct ScopeColumn {
    /// The parts of the relation's name or alias; none for a column without one.
    pub qualifier: Vec<String>,
    /// The name as it was defined.
    pub name: String,
    /// The column of the plan, whose name may differ.
    pub column: Column,
    pub visibility: Visibility,
}

/// Where a column is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Everywhere, and among those of `*`.
    Shown,
    /// With its qualifier only, as the sides of `USING` are.
    Qualified,
    /// By its name, where no shown column has it: what a source says of a row's origin.
    Named,
}

/// The columns of a relation, in order.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    pub columns: Vec<ScopeColumn>,
}

/// A plan with the names of its columns.
#[derive(Debug, Clone)]
pub struct Relation {
    pub plan: LogicalPlan,
    pub scope: Scope,
}

/// What surrounds a query: common table expressions, and the scopes of the queries it is inside of, innermost last.
#[derive(Debug, Clone, Default)]
pub struct Env {
    /// The windows that the SELECT defines.
    pub windows: Vec<(String, sql::WindowSpec)>,
    /// The keys of its ROLLUP, CUBE or GROUPING SETS.
    pub grouping: Vec<sql::Expr>,
    pub ctes: Vec<(String, Relation)>,
    pub outer: Vec<(Scope, DFSchemaRef)>,
}

impl Env {
    /// The window of this name.
    pub fn window(&self, name: &Ident) -> Option<&sql::WindowSpec> {
        self.windows.iter().find(|(n, _)| same(n, name)).map(|(_, spec)| spec)
    }
}

impl Scope {
    /// Columns that `SELECT *` gives.
    pub fn visible(&self) -> impl Iterator<Item = &ScopeColumn> {
        self.columns.iter().filter(|c| c.visibility == Visibility::Shown)
    }

    /// The hidden columns that say where rows come from.
    pub fn named(&self) -> impl Iterator<Item = &ScopeColumn> {
        self.columns.iter().filter(|c| c.visibility == Visibility::Named)
    }

    /// The columns of the relation that `qualifier` names, as its `*` gives them: the keys of `USING`, but not where rows come from.
    pub fn of_relation<'s>(&'s self, qualifier: &'s [Ident]) -> impl Iterator<Item = &'s ScopeColumn> {
        let is_among = |c: &ScopeColumn| c.visibility != Visibility::Named;
        self.columns.iter().filter(move |c| ends_with(&c.qualifier, qualifier) && is_among(c))
    }

    /// The column that a dotted name begins with, and how many of its parts were used; the rest are fields.
    pub fn find(&self, parts: &[Ident], lines: &Lines) -> Result<Option<(&ScopeColumn, usize)>> {
        for qualified in (1..parts.len()).rev() {
            let found: Vec<_> = self
                .columns
                .iter()
                .filter(|c| ends_with(&c.qualifier, &parts[..qualified]) && same(&c.name, &parts[qualified]))
                .collect();
            if !found.is_empty() {
                return only_one(found, parts, lines).map(|c| Some((c, qualified + 1)));
            }
        }
        let Some(first) = parts.first() else { return Ok(None) };
        let found: Vec<_> = self.visible().filter(|c| same(&c.name, first)).collect();
        if !found.is_empty() {
            return only_one(found, parts, lines).map(|c| Some((c, 1)));
        }
        let found: Vec<_> = self.named().filter(|c| same(&c.name, first)).collect();
        if found.is_empty() { Ok(None) } else { only_one(found, parts, lines).map(|c| Some((c, 1))) }
    }

    /// The same columns under one new qualifier, after their plan got an alias.
    pub fn qualified(&self, name: &str, relation: &str) -> Scope {
        let columns = self.visible().map(|c| ScopeColumn {
            qualifier: vec![name.to_owned()],
            name: c.name.clone(),
            column: Column::new(Some(datafusion::common::TableReference::bare(relation)), c.column.name.clone()),
            visibility: Visibility::Shown,
        });
        Scope { columns: columns.collect() }
    }

    /// The error for a name that is not here.
    pub fn unresolved(&self, parts: &[Ident], lines: &Lines) -> Error {
        let name = join(parts);
        let e = Error::invalid("UNRESOLVED_COLUMN.WITH_SUGGESTION", format!("column '{name}' cannot be resolved"))
            .with_span(parts.first().and_then(|p| lines.span(p.span.union(&parts[parts.len() - 1].span))));
        let last = parts.last().map(|p| p.value.as_str()).unwrap_or_default();
        let names: Vec<&str> = self.visible().map(|c| c.name.as_str()).collect();
        let hidden = self.named().map(|c| c.name.as_str());
        match did_you_mean(last, names.iter().copied().chain(hidden)) {
            Some(near) => e.with_help(format!("did you mean '{near}'?")),
            None if last.to_ascii_lowercase().starts_with("window_") => {
                e.with_help("TUMBLE, HOP and SESSION give this column; of GROUP BY window(ts, '1 minute') write window.start and window.end")
            }
            None if names.is_empty() => e.with_help("the query has no FROM clause that gives columns"),
            None => e.with_help(format!(
                "the columns are {}",
                names.iter().take(12).copied().collect::<Vec<_>>().join(", ")
            )),
        }
    }
}

/// The index of the field that `name` means, in any case; an exact match goes first.
pub fn find_field<'f>(fields: impl IntoIterator<Item = &'f Field>, name: &str) -> Option<&'f Field> {
    let mut near = None;
    for f in fields {
        if f.name() == name {
            return Some(f);
        }
        if near.is_none() && eq_names(f.name(), name) {
            near = Some(f);
        }
    }
    near
}

/// Whether two names are the same in any case.
pub fn eq_names(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

/// `names`, each made unique by a suffix that no user can type.
pub fn unique_names(names: &[String]) -> Vec<String> {
    let mut used = std::collections::HashSet::new();
    let unique = names.iter().map(|name| {
        let mut candidate = name.clone();
        let mut n = 2;
        while !used.insert(candidate.clone()) {
            candidate = format!("{name}#{n}");
            n += 1;
        }
        candidate
    });
    unique.collect()
}

/// `expr AS name`, or the column as it is if that is its name.
///
/// An alias equal to the name of a qualified column would be correct as well, but DataFusion's `push_down_leaf_projections`
/// puts the column beside it and then finds the name ambiguous.
pub fn named(expr: Expr, name: &str) -> Expr {
    match expr {
        Expr::Column(c) if c.name == name => Expr::Column(c),
        expr => expr.alias(name),
    }
}

/// The parts of a dotted name as text.
pub fn join(parts: &[Ident]) -> String {
    parts.iter().map(|p| p.value.as_str()).collect::<Vec<_>>().join(".")
}

fn same(name: &str, ident: &Ident) -> bool {
    eq_names(name, &ident.value)
}

fn ends_with(qualifier: &[String], parts: &[Ident]) -> bool {
    qualifier.len() >= parts.len() && qualifier.iter().rev().zip(parts.iter().rev()).all(|(q, p)| same(q, p))
}

fn only_one<'s>(found: Vec<&'s ScopeColumn>, parts: &[Ident], lines: &Lines) -> Result<&'s ScopeColumn> {
    match found.as_slice() {
        [one] => Ok(one),
        several => {
            let choices: Vec<_> = several.iter().map(|c| format!("{}.{}", c.qualifier.join("."), c.name)).collect();
            Err(Error::invalid("AMBIGUOUS_REFERENCE", format!("column '{}' is ambiguous", join(parts)))
                .with_span(parts.first().and_then(|p| lines.span(p.span)))
                .with_help(format!("it could be {}", choices.join(", "))))
        }
    }
}
