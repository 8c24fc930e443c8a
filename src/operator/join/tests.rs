//! Against a model that keeps rows in lists; and what a failed batch, a log and a snapshot leave.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::common::JoinType;
use datafusion::execution::memory_pool::{GreedyMemoryPool, MemoryPool, UnboundedMemoryPool};
use datafusion::physical_expr::expressions::Column;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::run::Run;
use super::spec::{JoinSpec, RowExpiry, SideSpec};
use super::*;
use crate::operator::StateBound;
use crate::state::StateBackend;

/// Key, time in milliseconds, number.
type Row = (Option<i64>, i64, i64);
/// The numbers of a pair.
type Pair = (Option<i64>, Option<i64>);

fn side_schema() -> SchemaRef {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    Arc::new(Schema::new(vec![
        Field::new("k", DataType::Int64, true),
        Field::new("t", time, true),
        Field::new("id", DataType::Int64, true),
    ]))
}

/// Rows are kept for a second after the watermark has passed them.
fn operator(join_type: JoinType, pool: Arc<dyn MemoryPool>) -> Arc<JoinOperator> {
    let side = || SideSpec {
        schema: side_schema(),
        keys: vec![Arc::new(Column::new("k", 0))],
        null_equal: vec![false],
        filter: None,
        event_time: Some(1),
        expiry: RowExpiry::Column(1, vec![StateBound { follows: true, offset_us: -1_000_000, inclusive: false }]),
        backend: StateBackend::default(),
    };
    let fields = side_schema().fields().to_vec();
    let both = fields.iter().chain(if join_type == JoinType::LeftSemi { [].iter() } else { fields.iter() });
    let schema = Arc::new(Schema::new(both.cloned().collect::<Vec<_>>()));
    let spec = JoinSpec { join_type, schema, sides: [side(), side()], residual: None };
    Arc::new(JoinOperator::try_new(spec, &pool).unwrap())
}

fn unbounded(join_type: JoinType) -> Arc<JoinOperator> {
    operator(join_type, Arc::new(UnboundedMemoryPool::default()))
}

fn batch(rows: &[Row]) -> RecordBatch {
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.1 * 1000)).with_timezone("UTC");
    let columns: Vec<ArrayRef> = vec![
        Arc::new(rows.iter().map(|r| r.0).collect::<Int64Array>()),
        Arc::new(times),
        Arc::new(rows.iter().map(|r| Some(r.2)).collect::<Int64Array>()),
    ];
    RecordBatch::try_new(side_schema(), columns).unwrap()
}

fn context(watermark_ms: i64, late_watermark_ms: i64) -> BatchContext {
    BatchContext { batch_id: 0, watermark_ms, late_watermark_ms, timestamp_ms: 0, query: Default::default() }
}

/// Stages a batch; the numbers of the pairs it gives.
fn stage(operator: &Arc<JoinOperator>, left: &[Row], right: &[Row], context: &BatchContext) -> Vec<Pair> {
    operator.begin(context);
    let run = Run::try_new(operator.clone(), [vec![batch(left)], vec![batch(right)]], context, 1000).unwrap();
    let mut pairs = vec![];
    for rows in run {
        let rows = rows.unwrap();
        let ids = |at: usize| rows.columns().get(at).map(|c| c.as_primitive::<Int64Type>().iter().collect::<Vec<_>>());
        let left = ids(2).unwrap();
        let right = ids(5).unwrap_or_else(|| vec![None; left.len()]);
        pairs.extend(left.into_iter().zip(right));
    }
    pairs.sort_unstable();
    pairs
}

/// Rows of both sides in lists, with whether each has matched.
#[derive(Default)]
struct Model {
    sides: [Vec<(Row, bool)>; 2],
}

impl Model {
    fn step(&mut self, join_type: JoinType, rows: [&[Row]; 2], context: &BatchContext) -> Vec<Pair> {
        let mut pairs = vec![];
        for (side, rows) in rows.into_iter().enumerate() {
            for row in rows.iter().filter(|r| r.1 > context.late_watermark_ms) {
                let mut matched = false;
                for (other, other_matched) in &mut self.sides[1 - side] {
                    if row.0.is_some() && row.0 == other.0 {
                        (matched, *other_matched) = (true, true);
                        let (l, r) = if side == 0 { (row.2, other.2) } else { (other.2, row.2) };
                        pairs.push((Some(l), Some(r)));
                    }
                }
                self.sides[side].push((*row, matched));
            }
        }
        for (side, rows) in self.sides.iter_mut().enumerate() {
            rows.retain(|(row, matched)| {
                let lives = row.1 > context.watermark_ms - 1000;
                let keeps = [JoinType::Left, JoinType::Right][side] == join_type || join_type == JoinType::Full;
                if !lives && !matched && keeps {
                    pairs.push(if side == 0 { (Some(row.2), None) } else { (None, Some(row.2)) });
                }
                lives
            });
        }
        pairs.sort_unstable();
        pairs
    }

    /// Rows that only wait for being dropped, because NULL matches nothing, are not stored.
    fn stored(&self, join_type: JoinType) -> usize {
        let keeps = |side: usize| [JoinType::Left, JoinType::Right][side] == join_type || join_type == JoinType::Full;
        let count = |side: usize| self.sides[side].iter().filter(|(r, _)| r.0.is_some() || keeps(side)).count();
        count(0) + count(1)
    }
}

fn random_rows(rng: &mut StdRng, n: usize, now: i64, next: &mut i64) -> Vec<Row> {
    let row = |_| {
        *next += 1;
        let key = (rng.random_range(0..20) > 0).then(|| rng.random_range(0..2000));
        (key, now + rng.random_range(-1500..800), *next)
    };
    (0..n).map(row).collect()
}

/// Enough rows for generations to fill, die and be merged; a batch in between fails.
fn check(join_type: JoinType) {
    let mut rng = StdRng::seed_from_u64(3);
    let (operator, mut model) = (unbounded(join_type), Model::default());
    let (mut next, mut late) = (0, 0);
    for round in 0..40 {
        let now = 1000 + round * 300;
        let n = if round % 3 == 0 { 5 } else { 700 };
        let left = random_rows(&mut rng, n, now, &mut next);
        let right = random_rows(&mut rng, n, now, &mut next);
        let context = context(now - 1200, late);
        if round % 7 == 0 {
            stage(&operator, &right, &left, &context);
            operator.abort();
        }
        let got = stage(&operator, &left, &right, &context);
        operator.staged().unwrap();
        operator.publish().unwrap();
        assert_eq!(got, model.step(join_type, [&left, &right], &context), "{join_type}, round {round}");
        assert_eq!(operator.metrics().rows_total, model.stored(join_type) as u64, "{join_type}, round {round}");
        late = context.watermark_ms;
    }
}

#[test]
fn an_inner_join_gives_what_the_model_gives() {
    check(JoinType::Inner);
}

#[test]
fn a_left_join_gives_what_the_model_gives() {
    check(JoinType::Left);
}

#[test]
fn a_right_join_gives_what_the_model_gives() {
    check(JoinType::Right);
}

#[test]
fn a_full_join_gives_what_the_model_gives() {
    check(JoinType::Full);
}

#[test]
fn a_semi_join_gives_every_left_row_once() {
    let operator = unbounded(JoinType::LeftSemi);
    let step = |left: &[Row], right: &[Row]| {
        let pairs = stage(&operator, left, right, &context(0, 0));
        operator.publish().unwrap();
        (pairs.into_iter().filter_map(|p| p.0).collect::<Vec<_>>(), operator.metrics().rows_total)
    };
    assert_eq!(
        step(&[(Some(1), 5, 1), (Some(2), 5, 2), (None, 5, 3)], &[(Some(1), 5, 10), (Some(1), 6, 11)]),
        (vec![1], 3)
    );
    assert_eq!(step(&[], &[(Some(2), 5, 12), (Some(2), 5, 13), (None, 5, 14)]), (vec![2], 4));
    assert_eq!(step(&[(Some(2), 6, 4)], &[(Some(2), 5, 15)]), (vec![4], 5));
}

/// The same rows in state, whatever they were written as.
fn same_state(a: &JoinOperator, b: &JoinOperator) {
    let rows = |o: &JoinOperator| {
        let frozen = o.freeze().unwrap();
        let mut rows: Vec<Vec<String>> = vec![];
        for change in frozen.changes() {
            let change = change.unwrap();
            for row in 0..change.rows.num_rows() {
                let cells = change.rows.columns().iter().map(|c| format!("{:?}", c.slice(row, 1)));
                rows.push([change.store.to_string()].into_iter().chain(cells).collect());
            }
        }
        rows
    };
    assert_eq!(rows(a), rows(b));
    assert_eq!(a.metrics().rows_total, b.metrics().rows_total);
}

#[test]
fn a_log_and_a_snapshot_bring_the_state_back() {
    for join_type in [JoinType::Inner, JoinType::Full, JoinType::LeftSemi] {
        let mut rng = StdRng::seed_from_u64(5);
        let (operator, from_log) = (unbounded(join_type), unbounded(join_type));
        let (mut next, mut late) = (0, 0);
        for round in 0..20 {
            let now = 1000 + round * 300;
            let left = random_rows(&mut rng, 400, now, &mut next);
            let right = random_rows(&mut rng, 400, now, &mut next);
            let context = context(now - 1200, late);
            stage(&operator, &left, &right, &context);
            operator.staged().unwrap().iter().for_each(|change| from_log.apply(change).unwrap());
            operator.publish().unwrap();
            late = context.watermark_ms;
            same_state(&operator, &from_log);
        }
        let from_snapshot = unbounded(join_type);
        for change in operator.freeze().unwrap().changes() {
            from_snapshot.apply(&change.unwrap()).unwrap();
        }
        same_state(&operator, &from_snapshot);
        let (left, right) = (random_rows(&mut rng, 400, 7000, &mut next), random_rows(&mut rng, 400, 7000, &mut next));
        let expected = stage(&operator, &left, &right, &context(7000, late));
        assert_eq!(stage(&from_snapshot, &left, &right, &context(7000, late)), expected, "{join_type}");
        assert_eq!(stage(&from_log, &left, &right, &context(7000, late)), expected, "{join_type}");
    }
}

#[test]
fn state_over_the_memory_limit_is_an_error() {
    let operator = operator(JoinType::Inner, Arc::new(GreedyMemoryPool::new(100_000)));
    let rows: Vec<Row> = (0..10_000).map(|i| (Some(i), 5, i)).collect();
    operator.begin(&context(0, 0));
    let inputs = [vec![batch(&rows)], vec![batch(&rows)]];
    let mut run = Run::try_new(operator.clone(), inputs, &context(0, 0), 1000).unwrap();
    assert!(run.any(|rows| rows.is_err()));
    assert!(operator.staged().is_err(), "a batch that was not read to its end is not logged");
    operator.abort();
    assert_eq!(operator.metrics().rows_total, 0);
}
