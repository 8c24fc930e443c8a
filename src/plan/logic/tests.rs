//! The whole optimizer against an evaluator of SQL's logic that is plain to see, over small expressions and all values.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Int32Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Int32Type, Schema};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Case, Expr, LogicalPlan, LogicalPlanBuilder, Operator, binary_expr, col, lit, when};
use datafusion::prelude::SessionContext;

use super::optimizer_rules;
use crate::function;
use crate::plan::apply::BatchPlanner;

/// A row: `i`, `j`, `b`.
type Row = (Option<i32>, Option<i32>, Option<bool>);

/// What a row gives: NULL is `None`, an error `Err`.
type Value<T> = Result<Option<T>, ()>;

#[derive(Debug, Clone)]
enum Number {
    I,
    J,
    Literal(Option<i32>),
    Xor(Box<Number>, Box<Number>),
    /// 10 / (n - 1), which fails for 1.
    Divided(Box<Number>),
}

#[derive(Debug, Clone)]
enum Logic {
    B,
    Literal(Option<bool>),
    Compare(Number, Operator, Number),
    In(Number, Vec<Option<i32>>, bool),
    Between(Number, Number, Number),
    IsNull(Number),
    IsNotNull(Box<Logic>),
    Not(Box<Logic>),
    And(Box<Logic>, Box<Logic>),
    Or(Box<Logic>, Box<Logic>),
    Case(Box<Logic>, Box<Logic>, Option<Box<Logic>>),
    Coalesce(Box<Logic>, Box<Logic>),
}

impl Number {
    fn value(&self, row: Row) -> Value<i32> {
        Ok(match self {
            Number::I => row.0,
            Number::J => row.1,
            Number::Literal(n) => *n,
            Number::Xor(a, b) => a.value(row)?.zip(b.value(row)?).map(|(a, b)| a ^ b),
            Number::Divided(n) => match n.value(row)? {
                Some(1) => return Err(()),
                n => n.map(|n| 10 / (n - 1)),
            },
        })
    }

    fn expr(&self, schema: &DFSchema) -> Expr {
        let binary = |a: Expr, op, b: Expr| function::binary(&a, op, &b, schema).unwrap().unwrap();
        match self {
            Number::I => col("i"),
            Number::J => col("j"),
            Number::Literal(n) => Expr::Literal(ScalarValue::Int32(*n), None),
            Number::Xor(a, b) => binary_expr(a.expr(schema), Operator::BitwiseXor, b.expr(schema)),
            Number::Divided(n) => {
                let less = binary(n.expr(schema), Operator::Minus, lit(1i32));
                binary(lit(10i32), Operator::IntegerDivide, less)
            }
        }
    }
}

fn compare(a: i32, op: Operator, b: i32) -> bool {
    match op {
        Operator::Eq => a == b,
        Operator::NotEq => a != b,
        Operator::Lt => a < b,
        _ => a >= b,
    }
}

fn and(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    if a == Some(false) || b == Some(false) { Some(false) } else { a.zip(b).map(|_| true) }
}

impl Logic {
    fn value(&self, row: Row) -> Value<bool> {
        let compared = |a: &Number, op, b: &Number| -> Value<bool> {
            Ok(a.value(row)?.zip(b.value(row)?).map(|(a, b)| compare(a, op, b)))
        };
        Ok(match self {
            Logic::B => row.2,
            Logic::Literal(b) => *b,
            Logic::Compare(a, op, b) => compared(a, *op, b)?,
            Logic::In(n, list, negated) => {
                let value = n.value(row)?;
                let found = match value {
                    None => None,
                    Some(_) if list.contains(&value) => Some(true),
                    Some(_) if list.contains(&None) => None,
                    Some(_) => Some(false),
                };
                found.map(|found| found != *negated)
            }
            Logic::Between(n, low, high) => and(compared(n, Operator::GtEq, low)?, compared(high, Operator::GtEq, n)?),
            Logic::IsNull(n) => Some(n.value(row)?.is_none()),
            Logic::IsNotNull(e) => Some(e.value(row)?.is_some()),
            Logic::Not(e) => e.value(row)?.map(|b| !b),
            Logic::And(a, b) => match a.value(row)? {
                Some(false) => Some(false),
                a => and(a, b.value(row)?),
            },
            Logic::Or(a, b) => match a.value(row)? {
                Some(true) => Some(true),
                a => and(a.map(|a| !a), b.value(row)?.map(|b| !b)).map(|none| !none),
            },
            Logic::Case(when, then, otherwise) => match (when.value(row)?, otherwise) {
                (Some(true), _) => then.value(row)?,
                (_, Some(otherwise)) => otherwise.value(row)?,
                (_, None) => None,
            },
            Logic::Coalesce(a, b) => match a.value(row)? {
                None => b.value(row)?,
                some => some,
            },
        })
    }

    fn expr(&self, s: &DFSchema) -> Expr {
        match self {
            Logic::B => col("b"),
            Logic::Literal(b) => Expr::Literal(ScalarValue::Boolean(*b), None),
            Logic::Compare(a, op, b) => binary_expr(a.expr(s), *op, b.expr(s)),
            Logic::In(n, list, negated) => {
                let list = list.iter().map(|n| Expr::Literal(ScalarValue::Int32(*n), None)).collect();
                n.expr(s).in_list(list, *negated)
            }
            Logic::Between(n, low, high) => n.expr(s).between(low.expr(s), high.expr(s)),
            Logic::IsNull(n) => n.expr(s).is_null(),
            Logic::IsNotNull(e) => e.expr(s).is_not_null(),
            Logic::Not(e) => Expr::Not(Box::new(e.expr(s))),
            Logic::And(a, b) => a.expr(s).and(b.expr(s)),
            Logic::Or(a, b) => a.expr(s).or(b.expr(s)),
            Logic::Case(c, then, Some(otherwise)) => {
                when(c.expr(s), then.expr(s)).otherwise(otherwise.expr(s)).unwrap()
            }
            Logic::Case(c, then, None) => {
                let branch = (Box::new(c.expr(s)), Box::new(then.expr(s)));
                Expr::Case(Case { expr: None, when_then_expr: vec![branch], else_expr: None })
            }
            Logic::Coalesce(a, b) => datafusion::functions::core::expr_fn::coalesce(vec![a.expr(s), b.expr(s)]),
        }
    }
}

/// What there is without a connective, or with one that is no operator.
fn leaves() -> Vec<Logic> {
    use Number::{I, J};
    let n = |n| Number::Literal(Some(n));
    let b = |e| Box::new(e);
    let mut all = vec![
        Logic::B,
        Logic::Literal(None),
        Logic::Literal(Some(true)),
        Logic::Literal(Some(false)),
        Logic::Between(I, n(1), J),
        Logic::IsNull(I),
        Logic::IsNotNull(b(Logic::B)),
        Logic::Compare(Number::Xor(Box::new(I), Box::new(I)), Operator::Eq, n(0)),
        Logic::Compare(Number::Xor(Box::new(Number::Xor(Box::new(I), Box::new(J))), Box::new(I)), Operator::Eq, J),
        Logic::Compare(Number::Divided(Box::new(I)), Operator::Lt, n(10)),
        Logic::Compare(Number::Divided(Box::new(J)), Operator::NotEq, I),
        Logic::Case(b(Logic::B), b(Logic::Compare(Number::Divided(Box::new(I)), Operator::GtEq, n(1))), None),
        Logic::Coalesce(b(Logic::B), b(Logic::Compare(I, Operator::Eq, n(2)))),
        Logic::Compare(I, Operator::Eq, Number::Literal(None)),
    ];
    for op in [Operator::Eq, Operator::NotEq, Operator::Lt, Operator::GtEq] {
        all.extend([Logic::Compare(I, op, n(1)), Logic::Compare(I, op, n(2)), Logic::Compare(I, op, J)]);
    }
    for list in
        [vec![Some(1)], vec![Some(2)], vec![Some(1), Some(2)], vec![Some(1), None], vec![None], vec![Some(2), None]]
    {
        all.extend([Logic::In(I, list.clone(), false), Logic::In(I, list, true)]);
    }
    all
}

fn joined(kind: usize, a: Logic, b: Logic) -> Logic {
    let (a, b) = (Box::new(a), Box::new(b));
    match kind {
        0 => Logic::And(a, b),
        1 => Logic::Or(a, b),
        2 => Logic::Not(Box::new(Logic::And(a, b))),
        3 => Logic::Not(Box::new(Logic::Or(a, b))),
        4 => Logic::And(a, Box::new(Logic::Not(b))),
        5 => Logic::Or(Box::new(Logic::Not(a)), b),
        6 => Logic::Case(a, b, Some(Box::new(Logic::B))),
        7 => Logic::Coalesce(a, b),
        _ => Logic::Case(a, b, None),
    }
}

/// All of two leaves, and many of more.
fn expressions() -> Vec<Logic> {
    let leaves = leaves();
    let mut all = leaves.clone();
    for a in &leaves {
        for b in &leaves {
            all.extend((0..9).map(|kind| joined(kind, a.clone(), b.clone())));
        }
    }
    let two = all.len();
    let mut seed = 7u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    for _ in 0..6000 {
        let (a, b) = (all[random(two)].clone(), all[random(two)].clone());
        all.push(joined(random(9), a, b));
    }
    all
}

fn rows() -> Vec<Row> {
    let numbers = [None, Some(1), Some(2), Some(3)];
    let booleans = [None, Some(true), Some(false)];
    let pairs = numbers.iter().flat_map(|i| numbers.iter().map(move |j| (*i, *j)));
    pairs.flat_map(|(i, j)| booleans.iter().map(move |b| (i, j, *b))).collect()
}

fn table(rows: &[Row]) -> RecordBatch {
    let schema = Schema::new(vec![
        Field::new("i", DataType::Int32, true),
        Field::new("j", DataType::Int32, true),
        Field::new("b", DataType::Boolean, true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.1).collect::<Int32Array>()),
        Arc::new(rows.iter().map(|r| r.2).collect::<BooleanArray>()),
    ];
    RecordBatch::try_new(Arc::new(schema), columns).unwrap()
}

fn state() -> SessionState {
    SessionStateBuilder::new()
        .with_default_features()
        .with_optimizer_rules(optimizer_rules())
        .with_query_planner(Arc::new(BatchPlanner))
        .build()
}

async fn executed(context: &SessionContext, plan: LogicalPlan) -> datafusion::common::Result<Vec<RecordBatch>> {
    context.execute_logical_plan(plan).await?.collect().await
}

#[tokio::test]
async fn a_select_list_holds_what_sql_says_of_every_expression() {
    let rows = rows();
    let context = SessionContext::new_with_state(state());
    context.register_batch("t", table(&rows)).unwrap();
    let t = context.table("t").await.unwrap().into_unoptimized_plan();
    let schema = t.schema().clone();
    let expected = |e: &Logic| rows.iter().map(|row| e.value(*row)).collect::<Result<Vec<_>, ()>>();
    let all: Vec<_> = expressions().into_iter().filter_map(|e| expected(&e).ok().map(|rows| (e, rows))).collect();
    assert!(all.len() > 5000, "{} of the expressions fail for no row", all.len());
    for chunk in all.chunks(400) {
        let columns = chunk.iter().enumerate().map(|(i, (e, _))| e.expr(&schema).alias(format!("c{i}")));
        let plan = LogicalPlanBuilder::from(t.clone()).project(columns).unwrap().build().unwrap();
        let batches = executed(&context, plan).await.unwrap();
        for (i, (e, expected)) in chunk.iter().enumerate() {
            let got: Vec<Option<bool>> =
                batches.iter().flat_map(|b| b.column(i).as_boolean().iter().collect::<Vec<_>>()).collect();
            assert_eq!(&got, expected, "{e:?}\nrows: {rows:?}");
        }
    }
}

#[tokio::test]
async fn a_filter_keeps_the_rows_that_sql_says() {
    let rows = rows();
    let context = SessionContext::new_with_state(state());
    context.register_batch("t", table(&rows)).unwrap();
    let t = context.table("t").await.unwrap().into_unoptimized_plan();
    let schema = t.schema().clone();
    for (nth, e) in expressions().into_iter().enumerate() {
        let Ok(values) = rows.iter().map(|row| e.value(*row)).collect::<Result<Vec<_>, ()>>() else { continue };
        // Those of one operator all, of the others some.
        if nth % 7 != 0 {
            continue;
        }
        let plan = LogicalPlanBuilder::from(t.clone()).filter(e.expr(&schema)).unwrap().build().unwrap();
        let batches = executed(&context, plan).await.unwrap_or_else(|why| panic!("{e:?}: {why}"));
        let got: Vec<Row> = batches
            .iter()
            .flat_map(|batch| {
                let (i, j) = (batch.column(0).as_primitive::<Int32Type>(), batch.column(1).as_primitive::<Int32Type>());
                let numbers = i.iter().zip(j.iter()).zip(batch.column(2).as_boolean().iter());
                numbers.map(|((i, j), b)| (i, j, b)).collect::<Vec<_>>()
            })
            .collect();
        let kept = rows.iter().zip(values).filter(|(_, value)| *value == Some(true)).map(|(row, _)| *row);
        assert_eq!(got, kept.collect::<Vec<Row>>(), "{e:?}");
    }
}
