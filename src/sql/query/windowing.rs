//! `TUMBLE`, `HOP` and `SESSION` in FROM, as Flink spells them.
//!
//! `TUMBLE(TABLE t, DESCRIPTOR(ts), size)` reaches the parser as `TUMBLE((SELECT * FROM t), DESCRIPTOR(ts), size)`, and
//! `PARTITION BY a, b` as an argument `#partition_by(a, b)`.

use arrow::datatypes::DataType;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::sql::sqlparser::ast::{self as sql, FunctionArg, FunctionArgExpr, FunctionArguments};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::expr::ExprContext;
use super::planner::Planner;
use super::scope::{Env, Relation, ScopeColumn, Visibility};
use super::tokens::{at, is_token, is_word, quoted};
use super::types::spark_type_name;
use crate::error::{Error, Result, Span};
use crate::plan::window::columns::{Part, Window, add, check_partition, unmerged_session};

const PARTITION_BY: &str = "#partition_by";

/// Brings the arguments of the three functions to what the parser reads.
pub fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out = Vec::with_capacity(tokens.len());
    let mut i = 0;
    while i < tokens.len() {
        let call = is_window_function(&tokens, i);
        out.push(tokens[i].clone());
        i += 1;
        if call {
            out.push(tokens[i].clone());
            i = rewrite_arguments(&tokens, i + 1, &mut out);
        }
    }
    out
}

/// Whether a call with a table begins here.
fn is_window_function(tokens: &[TokenWithSpan], i: usize) -> bool {
    let named = ["TUMBLE", "HOP", "SESSION"].iter().any(|name| is_word(tokens.get(i), name));
    let data = |i: usize| is_word(tokens.get(i), "TABLE");
    let is_named_data = is_word(tokens.get(i + 2), "DATA") && is_token(tokens.get(i + 3), &Token::RArrow);
    named && is_token(tokens.get(i + 1), &Token::LParen) && (data(i + 2) || is_named_data && data(i + 4))
}

/// The arguments from `i` on, up to the parenthesis that ends them; where that is.
fn rewrite_arguments(tokens: &[TokenWithSpan], mut i: usize, out: &mut Vec<TokenWithSpan>) -> usize {
    let mut depth = 0_usize;
    // What closes the parenthesis that was opened here, at the next comma of the call.
    let mut open = false;
    while let Some(t) = tokens.get(i) {
        if is_window_function(tokens, i) {
            out.extend_from_slice(&tokens[i..i + 2]);
            i = rewrite_arguments(tokens, i + 2, out);
            out.extend(tokens.get(i).cloned());
            i += 1;
            continue;
        }
        match &t.token {
            Token::LParen => depth += 1,
            Token::RParen if depth == 0 => break,
            Token::RParen => depth -= 1,
            _ => {}
        }
        let ends = is_token(Some(t), &Token::Comma) && starts_argument(tokens, i + 1);
        if depth == 0 && is_word(Some(t), "TABLE") {
            let words = [Token::LParen, Token::make_word("SELECT", None), Token::Mul, Token::make_word("FROM", None)];
            out.extend(words.map(|token| at(token, t.span)));
            open = true;
        } else if depth == 0 && is_word(Some(t), "PARTITION") && is_word(tokens.get(i + 1), "BY") {
            if open {
                out.push(at(Token::RParen, t.span));
            }
            out.extend([Token::Comma, quoted(PARTITION_BY), Token::LParen].map(|token| at(token, t.span)));
            open = true;
            i += 1;
        } else {
            if depth == 0 && ends && std::mem::take(&mut open) {
                out.push(at(Token::RParen, t.span));
            }
            out.push(t.clone());
        }
        i += 1;
    }
    if let Some(last) = tokens.get(i).filter(|_| open) {
        out.push(at(Token::RParen, last.span));
    }
    i
}

/// Whether the next argument begins here, rather than the next key of PARTITION BY.
fn starts_argument(tokens: &[TokenWithSpan], i: usize) -> bool {
    is_word(tokens.get(i), "DESCRIPTOR") || is_token(tokens.get(i + 1), &Token::RArrow)
}

/// The arguments, by what they are.
#[derive(Default)]
struct Arguments<'a> {
    data: Option<&'a sql::Query>,
    time: Option<&'a sql::Expr>,
    partition_by: Option<&'a [FunctionArg]>,
    durations: Vec<(Option<String>, &'a sql::Expr)>,
}

impl Planner<'_> {
    /// The relation with its windows; `None` if this is another function.
    pub fn windowing(
        &self,
        function: &str,
        args: &[FunctionArg],
        (env, span): (&Env, Option<Span>),
    ) -> Result<Option<Relation>> {
        if !["tumble", "hop", "session"].contains(&function) {
            return Ok(None);
        }
        let args = arguments(function, args).map_err(|e| e.with_span(span))?;
        let (Some(data), Some(time)) = (args.data, args.time) else {
            return Err(wrong_arguments(function, "a TABLE and a DESCRIPTOR").with_span(span));
        };
        let mut relation = self.query(data, env)?;
        let cx = ExprContext::new(self, env, &relation, &[]);
        let Expr::Column(time_column) = cx.checked(time)? else {
            return Err(wrong_arguments(function, "a column in its DESCRIPTOR").with_span(cx.span(time)));
        };
        let partition_by = self.partition_by(function, args.partition_by, &cx)?;
        let time_type = Expr::Column(time_column.clone()).get_type(relation.plan.schema())?;
        let mut call = vec![Expr::Column(time_column)];
        for e in durations(function, args.durations).map_err(|e| e.with_span(span))? {
            call.push(cx.checked(e)?);
        }
        let name = if function == "session" { "session_window" } else { "window" };
        let udf = self.state.scalar_functions().get(name).ok_or_else(|| Error::internal("no window function"))?;
        let call = udf.call(call);
        if !matches!(time_type, DataType::Timestamp(..)) {
            let message = format!(
                "the DESCRIPTOR of '{}' is {}, not TIMESTAMP",
                function.to_uppercase(),
                spark_type_name(&time_type)
            );
            return Err(Error::invalid("DATATYPE_MISMATCH.UNEXPECTED_INPUT_TYPE", message)
                .with_span(cx.span(time))
                .with_help(
                    "DESCRIPTOR names a column of TIMESTAMP: make one in a subquery, CAST(… AS TIMESTAMP) AS ts",
                ));
        }
        call.get_type(relation.plan.schema())
            .map_err(|e| as_called(Error::from(e), (function, name)).with_span(span))?;
        let (plan, columns) = add(relation.plan, call, (self.fresh_alias(function), partition_by))?;
        relation.plan = plan;
        relation.scope.columns.extend(columns.into_iter().map(|column| ScopeColumn {
            qualifier: vec![],
            name: column.name.clone(),
            column,
            visibility: Visibility::Shown,
        }));
        Ok(Some(relation))
    }

    /// The keys of a session.
    fn partition_by(
        &self,
        function: &str,
        args: Option<&[FunctionArg]>,
        cx: &ExprContext,
    ) -> Result<Option<Vec<String>>> {
        if function != "session" {
            return match args {
                None => Ok(None),
                Some(_) => Err(wrong_arguments(function, "no PARTITION BY")),
            };
        }
        let mut columns = vec![];
        for arg in args.unwrap_or_default() {
            match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(sql::Expr::Tuple(all))) => columns.extend(all),
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => columns.push(e),
                _ => return Err(wrong_arguments(function, "columns in PARTITION BY")),
            }
        }
        let mut names = vec![];
        for e in columns {
            match cx.checked(e)? {
                Expr::Column(c) => names.push(c.name),
                _ => return Err(wrong_arguments(function, "columns in PARTITION BY").with_span(cx.span(e))),
            }
        }
        Ok(Some(names))
    }

    /// Brings keys that are both bounds of a window, and expressions over them, to the window as one key.
    pub fn group_by_windows(
        &self,
        relation: &Relation,
        mut keys: Vec<Expr>,
        exprs: &mut [(&mut Expr, Option<Span>)],
    ) -> Result<Vec<Expr>> {
        let schema = relation.plan.schema();
        let mut merged = vec![];
        while let Some((window, start, end)) = bounds(&keys, schema) {
            let key = Window::key(start, end);
            let part_of = |e: &Expr| Window::column(e, schema).filter(|(w, _)| *w == window).map(|(_, part)| part);
            let at = keys.iter().position(|k| part_of(k).is_some()).unwrap_or(0);
            keys.retain(|k| part_of(k).is_none());
            check_partition(&window, &keys)?;
            keys.insert(at, key.clone());
            for (e, _) in exprs.iter_mut() {
                let over = std::mem::take(*e).transform_up(|e| {
                    Ok(match part_of(&e) {
                        Some(part) => Transformed::yes(Window::part(key.clone(), part)),
                        None => Transformed::no(e),
                    })
                });
                **e = over.data()?;
            }
            merged.push(window);
        }
        match Window::sessions(schema).iter().all(|w| merged.contains(w)) {
            true => Ok(keys),
            false => Err(unmerged_session()),
        }
    }
}

/// A window of which both bounds are keys.
fn bounds(keys: &[Expr], schema: &DFSchema) -> Option<(Window, Expr, Expr)> {
    let columns: Vec<_> = keys.iter().filter_map(|k| Some((Window::column(k, schema)?, k))).collect();
    let of = |window: &Window, part: Part| {
        columns.iter().find(|((w, p), _)| w == window && *p == part).map(|(_, k)| (*k).clone())
    };
    columns.iter().find_map(|((window, _), _)| Some((window.clone(), of(window, Part::Start)?, of(window, Part::End)?)))
}

fn arguments<'a>(function: &str, args: &'a [FunctionArg]) -> Result<Arguments<'a>> {
    let mut out = Arguments::default();
    for arg in args {
        let (name, e) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => (None, e),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(e), .. } => (Some(name.value.to_lowercase()), e),
            FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(e), .. } => {
                (Some(name.to_string().to_lowercase()), e)
            }
            other => return Err(wrong_arguments(function, &format!("no argument '{other}'"))),
        };
        match e {
            sql::Expr::Subquery(data) if out.data.is_none() => out.data = Some(data),
            sql::Expr::Function(f) => match (function_name(f).as_str(), &f.args) {
                ("descriptor", FunctionArguments::List(list)) if out.time.is_none() => {
                    let [FunctionArg::Unnamed(FunctionArgExpr::Expr(time))] = list.args.as_slice() else {
                        return Err(wrong_arguments(function, "one column in its DESCRIPTOR"));
                    };
                    out.time = Some(time);
                }
                (PARTITION_BY, FunctionArguments::List(list)) => out.partition_by = Some(&list.args),
                _ => out.durations.push((name, e)),
            },
            _ => out.durations.push((name, e)),
        }
    }
    Ok(out)
}

fn function_name(f: &sql::Function) -> String {
    f.name.0.last().and_then(|p| p.as_ident()).map(|i| i.value.to_lowercase()).unwrap_or_default()
}

/// The durations in the order in which our own functions take them.
fn durations<'a>(function: &str, given: Vec<(Option<String>, &'a sql::Expr)>) -> Result<Vec<&'a sql::Expr>> {
    // In Flink's order; the last of the first two may be left out.
    let (names, needed): (&[&str], usize) = match function {
        "tumble" => (&["size", "offset"], 1),
        "hop" => (&["slide", "size", "offset"], 2),
        _ => (&["gap"], 1),
    };
    let expected = |found: &str| format!("{} as its durations{found}", names.join(", "));
    let mut found: Vec<Option<&sql::Expr>> = vec![None; names.len()];
    for (i, (name, e)) in given.into_iter().enumerate() {
        let at = match &name {
            Some(name) => names.iter().position(|n| n == name),
            None => Some(i),
        };
        let place = at.and_then(|i| found.get_mut(i)).filter(|place| place.is_none());
        let other = name.map_or_else(|| ", and no more".to_owned(), |name| format!(", not '{name}'"));
        *place.ok_or_else(|| wrong_arguments(function, &expected(&other)))? = Some(e);
    }
    if found[..needed].iter().any(Option::is_none) {
        return Err(wrong_arguments(function, &expected("")));
    }
    let order: &[usize] = match (function, found.last()) {
        ("tumble", Some(Some(_))) => &[0, 0, 1],
        ("hop", _) => &[1, 0, 2],
        _ => &[0, 1],
    };
    Ok(order.iter().filter_map(|i| found.get(*i).copied().flatten()).collect())
}

/// An error of the function below in the words of the one that was called.
fn as_called(e: Error, (function, below): (&str, &str)) -> Error {
    let message = e.message().replace(&format!("'{below}'"), &format!("'{}'", function.to_uppercase()));
    Error::new(e.kind(), e.condition().to_owned(), message).with_help(format!("write {}", example(function)))
}

fn wrong_arguments(function: &str, what: &str) -> Error {
    let name = function.to_uppercase();
    Error::invalid("WRONG_NUM_ARGS.WITHOUT_SUGGESTION", format!("{name} takes {what}"))
        .with_help(format!("write {}", example(function)))
}

fn example(function: &str) -> &'static str {
    match function {
        "hop" => "HOP(TABLE t, DESCRIPTOR(ts), INTERVAL 5 MINUTES, INTERVAL 10 MINUTES): slide, then size",
        "session" => "SESSION(TABLE t PARTITION BY k, DESCRIPTOR(ts), INTERVAL 10 MINUTES)",
        _ => "TUMBLE(TABLE t, DESCRIPTOR(ts), INTERVAL 10 MINUTES)",
    }
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{Lines, parse_query};

    fn parsed(text: &str) -> String {
        parse_query(text, &Lines::new(text)).unwrap().to_string()
    }

    #[test]
    fn a_table_becomes_a_subquery() {
        assert_eq!(
            parsed("SELECT * FROM TUMBLE(TABLE a.s, DESCRIPTOR(ts), INTERVAL '10' MINUTES) t"),
            "SELECT * FROM TUMBLE((SELECT * FROM a.s), DESCRIPTOR(ts), INTERVAL '10 minutes') t"
        );
        assert_eq!(
            parsed(
                "SELECT * FROM HOP(DATA => TABLE s, TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL 1 DAY, SIZE => INTERVAL 2 DAYS)"
            ),
            "SELECT * FROM HOP(DATA => (SELECT * FROM s), TIMECOL => DESCRIPTOR(ts), SLIDE => INTERVAL '1 day', SIZE => INTERVAL '2 days')"
        );
    }

    #[test]
    fn calls_may_nest() {
        assert_eq!(
            parsed(
                "SELECT * FROM HOP(TABLE (SELECT * FROM TUMBLE(TABLE s, DESCRIPTOR(t), 1)), DESCRIPTOR(w), 1, 2), u"
            ),
            "SELECT * FROM HOP((SELECT * FROM (SELECT * FROM TUMBLE((SELECT * FROM s), DESCRIPTOR(t), 1))), DESCRIPTOR(w), 1, 2), u"
        );
    }

    #[test]
    fn partition_by_becomes_an_argument() {
        let expected =
            "SELECT * FROM SESSION((SELECT * FROM s), `#partition_by`(a, b), DESCRIPTOR(ts), INTERVAL '1 day')";
        for keys in ["a, b", "(a, b)"] {
            let text = format!("SELECT * FROM SESSION(TABLE s PARTITION BY {keys}, DESCRIPTOR(ts), INTERVAL 1 DAY)");
            assert_eq!(parsed(&text).replace("((a, b))", "(a, b)"), expected);
        }
        assert_eq!(parsed("SELECT session, tumble FROM hop"), "SELECT session, tumble FROM hop");
    }
}
