//! DataFusion's simplifier, with hidden from it what it takes NULL for a value in.
//!
//! It joins lists that the same value is looked for in, and makes true or false of those that nothing is left of; it makes 0 of
//! `a ^ a`. Neither holds for NULL. So that it sees no two of the same value, each stands in a call of its own meanwhile.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, LogicalPlan, Operator, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::around::Inner;

/// The rewriting around DataFusion's.
pub fn rewrite(plan: LogicalPlan, inner: &Inner<'_>) -> DfResult<Transformed<LogicalPlan>> {
    let names = NamePreserver::new(&plan);
    let map = |plan: LogicalPlan, f: fn(Expr) -> DfResult<Transformed<Expr>>| {
        plan.map_expressions(|e| {
            let name = names.save(&e);
            Ok(f(e)?.update_data(|e| name.restore(e)))
        })
    };
    let hidden = map(plan, hide)?;
    if !hidden.transformed {
        return inner(hidden.data);
    }
    let simplified = inner(hidden.data)?;
    let shown = map(simplified.data, show)?;
    Ok(Transformed::new_transformed(shown.data, simplified.transformed))
}

/// The expression with what must not be joined hidden.
pub fn hidden(e: Expr) -> DfResult<Expr> {
    hide(e).data()
}

/// The same as it was.
pub fn shown(e: Expr) -> DfResult<Expr> {
    show(e).data()
}

fn show(e: Expr) -> DfResult<Transformed<Expr>> {
    e.transform_down(|mut e| {
        let mut found = false;
        while let Expr::ScalarFunction(call) = &mut e {
            if !call.func.inner().is::<Same>() || call.args.len() != 1 {
                break;
            }
            e = call.args.swap_remove(0);
            found = true;
        }
        Ok(Transformed::new_transformed(e, found))
    })
}

fn hide(e: Expr) -> DfResult<Transformed<Expr>> {
    let mut next = 0;
    e.transform_down(|e| {
        if is_connective(&e) {
            let mut atoms = Atoms::default();
            atoms.collect(&e, false, &mut 0);
            let groups = atoms.into_hidden();
            if groups.is_empty() {
                // What is in the terms is visited on its own.
                return Ok(Transformed::new(e, false, TreeNodeRecursion::Continue));
            }
            let hidden = hide_atoms(e, false, &groups, &mut next)?;
            return Ok(Transformed::yes(hidden));
        }
        match e {
            Expr::BinaryExpr(BinaryExpr { left, op: Operator::BitwiseXor, right }) => {
                let mut side = |e: Box<Expr>| match e.as_ref() {
                    Expr::Literal(..) => e,
                    _ if is_same(&e) => e,
                    _ => {
                        next += 1;
                        Box::new(same(*e, next))
                    }
                };
                let (left, right) = (side(left), side(right));
                Ok(Transformed::yes(Expr::BinaryExpr(BinaryExpr { left, op: Operator::BitwiseXor, right })))
            }
            other => Ok(Transformed::no(other)),
        }
    })
}

fn is_same(e: &Expr) -> bool {
    matches!(e, Expr::ScalarFunction(call) if call.func.inner().is::<Same>())
}

fn is_connective(e: &Expr) -> bool {
    matches!(e, Expr::Not(_) | Expr::BinaryExpr(BinaryExpr { op: Operator::And | Operator::Or, .. }))
}

/// What a value is looked for in: the value, the list, and whether it must not be there.
type Atom = (Expr, Vec<Expr>, bool);

/// One list: whether the value must not be in it, the number of the AND or OR that it is a term of, and whether that is an OR.
type Term = (Vec<Expr>, bool, usize, bool);

/// The lists in a tree of AND, OR and NOT, by value.
#[derive(Default)]
struct Atoms {
    by_value: HashMap<Expr, Vec<Term>>,
    parents: usize,
}

impl Atoms {
    /// `parent` is the number of the operator around, whose negations are counted in `negated`.
    fn collect(&mut self, e: &Expr, negated: bool, parent: &mut usize) {
        self.visit(e, negated, (*parent, false), None);
    }

    fn visit(&mut self, e: &Expr, negated: bool, parent: (usize, bool), around: Option<Operator>) {
        match e {
            Expr::Not(e) => self.visit(e, !negated, parent, around.map(turned)),
            Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
                // Under NOT an AND is an OR.
                let op = if negated { turned(*op) } else { *op };
                let known = around == Some(op);
                let parent = if known {
                    parent
                } else {
                    self.parents += 1;
                    (self.parents, op == Operator::Or)
                };
                self.visit(left, negated, parent, Some(op));
                self.visit(right, negated, parent, Some(op));
            }
            e => {
                if let Some((value, list, not)) = atom(e, negated) {
                    self.by_value.entry(value).or_default().push((list, not, parent.0, parent.1));
                }
            }
        }
    }

    /// The atoms of values that more than one list is of, except where all are terms of one OR, or, with NOT, of one AND:
    /// to join those is right. Each with a number of its own.
    fn into_hidden(self) -> HashMap<Atom, usize> {
        let mut all = HashMap::new();
        for (value, lists) in self.by_value {
            let (_, not, parent, is_or) = &lists[0];
            let one = lists.iter().all(|(_, n, p, _)| n == not && p == parent);
            if one && (lists.len() == 1 || *is_or != *not) {
                continue;
            }
            for (list, not, ..) in lists {
                let number = all.len();
                all.entry((value.clone(), list, not)).or_insert(number);
            }
        }
        all
    }
}

fn turned(op: Operator) -> Operator {
    if op == Operator::And { Operator::Or } else { Operator::And }
}

/// `x IN (…)`, `x = literal` and their negations.
fn atom(e: &Expr, negated: bool) -> Option<Atom> {
    match e {
        Expr::InList(InList { expr, list, negated: not }) => {
            Some((expr.as_ref().clone(), list.clone(), *not != negated))
        }
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::Eq | Operator::NotEq), right }) => {
            let not = (*op == Operator::NotEq) != negated;
            match (left.as_ref(), right.as_ref()) {
                (Expr::Literal(..), Expr::Literal(..)) => None,
                (value, list @ Expr::Literal(..)) | (list @ Expr::Literal(..), value) => {
                    Some((value.clone(), vec![list.clone()], not))
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn hide_atoms(e: Expr, negated: bool, hidden: &HashMap<Atom, usize>, next: &mut usize) -> DfResult<Expr> {
    Ok(match e {
        Expr::Not(e) => Expr::Not(Box::new(hide_atoms(*e, !negated, hidden, next)?)),
        Expr::BinaryExpr(BinaryExpr { left, op: op @ (Operator::And | Operator::Or), right }) => {
            let left = hide_atoms(*left, negated, hidden, next)?;
            let right = hide_atoms(*right, negated, hidden, next)?;
            Expr::BinaryExpr(BinaryExpr::new(Box::new(left), op, Box::new(right)))
        }
        e => match atom(&e, negated).and_then(|a| hidden.get(&a).map(|number| (a.0, *number))) {
            Some((value, number)) => {
                *next = (*next).max(number);
                // The numbers of atoms are apart from those of other calls.
                let call = same(value.clone(), usize::MAX - number);
                let replace = |of: Box<Expr>| if *of == value { Box::new(call.clone()) } else { of };
                match e {
                    Expr::InList(list) => Expr::InList(InList { expr: replace(list.expr), ..list }),
                    Expr::BinaryExpr(b) => Expr::BinaryExpr(BinaryExpr::new(replace(b.left), b.op, replace(b.right))),
                    other => other,
                }
            }
            None => e,
        },
    })
}

fn same(e: Expr, number: usize) -> Expr {
    ScalarUDF::new_from_impl(Same { number, signature: Signature::any(1, Volatility::Immutable) }).call(vec![e])
}

/// Gives its argument; two of different numbers are different expressions.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Same {
    number: usize,
    signature: Signature,
}

impl ScalarUDFImpl for Same {
    fn name(&self) -> &str {
        "__same"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(args[0].clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(args.arg_fields[0].clone())
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        Ok(args.args.swap_remove(0))
    }
}
