//! `*` among arguments: `struct(*)`, `to_json(struct(t.*))`, `concat_ws(',', * EXCEPT (k))`, `2 IN (t.*)`.
//!
//! sqlparser knows it in `count(*)` and the select list alone. So a star that is an argument becomes a name that no user can
//! type, `#star` or `t.#star`, and one with EXCEPT a call, `#star(t.#star, k)`.

use datafusion::logical_expr::Expr;
use datafusion::sql::sqlparser::ast::{
    self as sql, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName,
};
use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

use super::expr::ExprContext;
use super::scope::{Scope, eq_names};
use super::select::{Item, Value};
use super::tokens::{at, is_token, is_word, quoted};
use crate::error::Result;

const STAR: &str = "#star";

/// Replaces the stars that are arguments.
pub fn rewrite(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    // Whether each open parenthesis holds arguments.
    let mut calls = vec![];
    let mut i = 0;
    while let Some(t) = tokens.get(i) {
        match t.token {
            Token::LParen => calls.push(holds_arguments(&tokens, i)),
            Token::RParen => drop(calls.pop()),
            _ => {}
        }
        i += 1;
        if t.token != Token::Mul || calls.last() != Some(&true) || !is_argument(&tokens, i - 1) {
            out.push(t.clone());
            continue;
        }
        let except = is_word(tokens.get(i), "EXCEPT") && is_token(tokens.get(i + 1), &Token::LParen);
        let end = tokens[i..].iter().position(|t| t.token == Token::RParen).map(|n| i + n);
        match end.filter(|_| except) {
            Some(end) => {
                let path = out.split_off(path_start(&out));
                out.extend([at(quoted(STAR), t.span), at(Token::LParen, t.span)]);
                out.extend(path);
                out.extend([at(quoted(STAR), t.span), at(Token::Comma, t.span)]);
                out.extend_from_slice(&tokens[i + 2..=end]);
                i = end + 1;
            }
            None => out.push(at(quoted(STAR), t.span)),
        }
    }
    out
}

/// Whether the parenthesis at `i` is that of a call, or of IN, rather than of a subquery or an expression.
fn holds_arguments(tokens: &[TokenWithSpan], i: usize) -> bool {
    const OTHERS: [&str; 12] =
        ["SELECT", "DISTINCT", "ALL", "FROM", "JOIN", "AS", "WITH", "UNION", "EXISTS", "WHERE", "OVER", "EXCEPT"];
    let before = i.checked_sub(1).and_then(|p| tokens.get(p));
    let word = before.is_some_and(|t| matches!(t.token, Token::Word(_)));
    let query = ["SELECT", "WITH", "FROM", "VALUES"].iter().any(|w| is_word(tokens.get(i + 1), w));
    word && !query && !OTHERS.iter().any(|w| is_word(before, w))
}

/// Whether the star at `i` stands for columns: `count(*)` is left to the parser, and a product has operands.
fn is_argument(tokens: &[TokenWithSpan], i: usize) -> bool {
    let before = i.checked_sub(1).and_then(|p| tokens.get(p));
    let starts = [Token::LParen, Token::Comma, Token::Period].iter().any(|t| is_token(before, t));
    let starts = starts || is_word(before, "DISTINCT");
    let ends = [Token::RParen, Token::Comma].iter().any(|t| is_token(tokens.get(i + 1), t));
    let counts = is_token(before, &Token::LParen)
        && is_token(tokens.get(i + 1), &Token::RParen)
        && i.checked_sub(2).is_some_and(|p| is_word(tokens.get(p), "COUNT"));
    starts && (ends || is_word(tokens.get(i + 1), "EXCEPT")) && !counts
}

/// Where the dotted name that ends the tokens begins.
fn path_start(tokens: &[TokenWithSpan]) -> usize {
    let mut start = tokens.len();
    while start >= 2 && tokens[start - 1].token == Token::Period {
        start -= 2;
    }
    start
}

/// A star, as the tokens were rewritten: its relation or struct, and the columns that it leaves out.
struct Star<'e> {
    of: &'e [Ident],
    except: Vec<&'e Ident>,
}

fn star(e: &sql::Expr) -> Option<Star<'_>> {
    match e {
        sql::Expr::Identifier(name) if name.value == STAR => Some(Star { of: &[], except: vec![] }),
        sql::Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [of @ .., last] if last.value == STAR => Some(Star { of, except: vec![] }),
            _ => None,
        },
        sql::Expr::Function(f) if is_star(&f.name) => {
            let FunctionArguments::List(list) = &f.args else { return None };
            let mut args = list.args.iter().map(|a| match a {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(e)) => Some(e),
                _ => None,
            });
            let Star { of, .. } = star(args.next()??)?;
            let except = args.map(|e| match e {
                Some(sql::Expr::Identifier(name)) => Some(name),
                _ => None,
            });
            Some(Star { of, except: except.collect::<Option<_>>()? })
        }
        _ => None,
    }
}

fn is_star(name: &ObjectName) -> bool {
    matches!(name.0.as_slice(), [part] if part.as_ident().is_some_and(|i| i.value == STAR))
}

/// Whether it is a star of one relation, `t.*`.
pub fn is_qualified(e: &sql::Expr) -> bool {
    star(e).is_some_and(|star| !star.of.is_empty())
}

impl ExprContext<'_> {
    /// The columns that an argument stands for, with their names; `None` if it is no star.
    pub fn star(&self, e: &sql::Expr) -> Result<Option<Vec<(String, Expr)>>> {
        let Some(Star { of, except }) = star(e) else { return Ok(None) };
        let mut items = self.planner.star_items(self.scope, self.schema, of)?;
        self.planner.leave_out(&mut items, except, self.scope)?;
        let column = |item: Item| match item.value {
            Value::Expr(e) => Some((item.name, e)),
            Value::Generator(..) => None,
        };
        Ok(Some(items.into_iter().filter_map(column).collect()))
    }

    /// The expressions of a list in which stars are possible.
    pub fn starred<'e>(&self, list: impl IntoIterator<Item = &'e sql::Expr>) -> Result<Vec<Expr>> {
        let mut out = vec![];
        for e in list {
            match self.star(e)? {
                Some(columns) => out.extend(columns.into_iter().map(|(_, e)| e)),
                None => out.push(self.expr(e)?),
            }
        }
        Ok(out)
    }
}

/// The names of a star's columns, as Spark prints a call; `None` if it is no star.
pub fn shown(e: &sql::Expr, scope: &Scope) -> Option<Vec<String>> {
    let Star { of, except } = star(e)?;
    let kept = |name: &str| !except.iter().any(|e| eq_names(&e.value, name));
    let columns: Vec<String> = match of {
        [] => scope.visible().map(|c| c.name.clone()).collect(),
        of => scope.of_relation(of).map(|c| c.name.clone()).collect(),
    };
    if !of.is_empty() && columns.is_empty() {
        return Some(vec![format!("{}.*", super::scope::join(of))]);
    }
    Some(columns.into_iter().filter(|name| kept(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::super::dialect::{Lines, parse_query};

    fn parsed(text: &str) -> String {
        parse_query(text, &Lines::new(text)).unwrap().to_string()
    }

    #[test]
    fn stars_among_arguments_become_names() {
        assert_eq!(
            parsed("SELECT struct(*), f(1, t.*), count(*) FROM t"),
            "SELECT STRUCT(`#star`), f(1, t.`#star`), count(*) FROM t"
        );
        assert_eq!(parsed("SELECT f(t.* EXCEPT (a, b), 1) FROM t"), "SELECT f(`#star`(t.`#star`, a, b), 1) FROM t");
        assert_eq!(
            parsed("SELECT *, t.*, f(a * b, (SELECT a, * FROM t)) FROM t"),
            "SELECT *, t.*, f(a * b, (SELECT a, * FROM t)) FROM t"
        );
    }
}
