//! Slices over batches: late rows, eviction, restart, crash.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, TimeUnit};
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use futures::executor::block_on;

use super::{AggregateOperator, GroupKeys};
use crate::error::Error;
use crate::operator::{BatchContext, EventTimeKey};
use crate::output_mode::OutputMode;
use crate::state::{ChangeKind, OperatorState, StateBackend, StateChange, StateSpace};

const SECOND: i64 = 1_000_000;

fn operator(mode: OutputMode) -> Arc<AggregateOperator> {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let input =
        Arc::new(Schema::new(vec![Field::new("ts", time.clone(), true), Field::new("sum(v)", DataType::Int64, true)]));
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("sum(v)", &input).unwrap()])
        .schema(input.clone())
        .alias("sum(v)")
        .build()
        .unwrap();
    let key = EventTimeKey::new(0, &time);
    let space = StateSpace { pool: Arc::new(UnboundedMemoryPool::default()), backend: StateBackend::default() };
    let keys = GroupKeys { count: 1, event_time: Some(key), window: None };
    let made = AggregateOperator::try_new(&input, input.clone(), keys, vec![Arc::new(sum)], mode, &space);
    Arc::new(made.unwrap())
}

/// Partial rows of these seconds and sums.
fn rows(values: &[(Option<i64>, i64)]) -> RecordBatch {
    let times: TimestampMicrosecondArray = values.iter().map(|(t, _)| t.map(|t| t * SECOND)).collect();
    let sums: Int64Array = values.iter().map(|(_, v)| Some(*v)).collect();
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(sums)];
    RecordBatch::try_from_iter_with_nullable([("ts", columns[0].clone(), true), ("sum", columns[1].clone(), true)])
        .unwrap()
}

/// Stages a batch with the watermarks of the batch before and of this one, in seconds; what it gives, by time.
fn stage(
    o: &Arc<AggregateOperator>,
    late: i64,
    watermark: i64,
    values: &[(Option<i64>, i64)],
) -> Vec<(Option<i64>, i64)> {
    let batch = BatchContext {
        batch_id: 0,
        watermark_ms: watermark * 1000,
        late_watermark_ms: late * 1000,
        timestamp_ms: 0,
        query: Default::default(),
    };
    let partials = futures::stream::iter([Ok::<_, Error>(rows(values))]);
    let arrivals = block_on(o.clone().arrivals(partials, late * SECOND)).unwrap();
    block_on(o.merge(arrivals, &batch)).unwrap();
    let mut out = vec![];
    for batch in o.emit(8192) {
        let batch = batch.unwrap();
        let times = batch.column(0).as_primitive::<datafusion::arrow::datatypes::TimestampMicrosecondType>();
        let sums = batch.column(1).as_primitive::<Int64Type>();
        let seconds = |i: usize| times.is_valid(i).then(|| times.value(i) / SECOND);
        out.extend((0..batch.num_rows()).map(|i| (seconds(i), sums.value(i))));
    }
    out.sort_unstable();
    out
}

#[test]
fn append_gives_a_group_once_when_it_is_final() {
    let o = operator(OutputMode::Append);
    assert_eq!(stage(&o, 0, 0, &[(Some(3), 1), (Some(14), 2), (Some(-1), 7), (None, 9)]), []);
    o.publish().unwrap();
    let m = o.metrics();
    assert_eq!((m.rows_total, m.rows_updated, m.rows_dropped_by_watermark), (3, 3, 1));

    // Rows between the two watermarks are taken; of a slice in which the watermark is, the later ones stay.
    assert_eq!(stage(&o, 0, 12, &[(Some(3), 10), (Some(12), 5)]), [(Some(3), 11), (Some(12), 5)]);
    o.publish().unwrap();
    let m = o.metrics();
    assert_eq!((m.rows_total, m.rows_updated, m.rows_removed), (2, 2, 2));

    assert_eq!(stage(&o, 12, 20, &[(Some(12), 100), (Some(14), 1)]), [(Some(14), 3)]);
    o.publish().unwrap();
    let m = o.metrics();
    assert_eq!((m.rows_total, m.rows_dropped_by_watermark, m.rows_removed), (1, 1, 1));
}

#[test]
fn a_group_that_is_gone_and_comes_again_is_new() {
    let o = operator(OutputMode::Append);
    stage(&o, 0, 0, &[(Some(3), 1), (Some(8), 2)]);
    o.publish().unwrap();
    assert_eq!(stage(&o, 0, 5, &[]), [(Some(3), 1)]);
    o.publish().unwrap();
    assert_eq!((o.metrics().rows_total, o.metrics().rows_removed), (1, 1));
    // No batch is given such a row, whose time the batch before has evicted: nothing of the old group may come back.
    assert_eq!(stage(&o, 0, 5, &[(Some(3), 10), (Some(8), 20)]), [(Some(3), 10)]);
    o.publish().unwrap();
    assert_eq!(stage(&o, 5, 30, &[]), [(Some(8), 22)]);
    o.publish().unwrap();
    assert_eq!((o.metrics().rows_total, o.metrics().memory_used_bytes), (0, 0));
}

#[test]
fn update_gives_touched_groups_before_it_removes_them() {
    let o = operator(OutputMode::Update);
    assert_eq!(stage(&o, 0, 0, &[(Some(3), 1), (Some(4), 2)]), [(Some(3), 1), (Some(4), 2)]);
    o.publish().unwrap();
    assert_eq!(stage(&o, 0, 30, &[(Some(3), 1)]), [(Some(3), 2)]);
    o.publish().unwrap();
    assert_eq!((o.metrics().rows_total, o.metrics().rows_removed), (0, 2));
}

#[test]
fn a_failed_batch_leaves_the_state_as_it_was() {
    let o = operator(OutputMode::Append);
    stage(&o, 0, 0, &[(Some(3), 1), (Some(14), 2)]);
    o.publish().unwrap();
    stage(&o, 0, 12, &[(Some(3), 10), (Some(40), 4)]);
    o.abort();
    assert_eq!(stage(&o, 0, 12, &[(Some(3), 100)]), [(Some(3), 101)]);
    o.publish().unwrap();
    assert_eq!((o.metrics().rows_total, o.metrics().rows_dropped_by_watermark), (1, 0));
}

#[test]
fn what_is_logged_brings_the_same_state_back() {
    let o = operator(OutputMode::Append);
    let mut log: Vec<StateChange> = vec![];
    /// Late watermark, watermark, rows.
    type Batch = (i64, i64, &'static [(Option<i64>, i64)]);
    let batches: [Batch; 3] = [
        (0, 0, &[(Some(3), 1), (Some(14), 2), (Some(-5), 1), (None, 1)]),
        (0, 12, &[(Some(8), 1), (Some(13), 5), (Some(31), 2)]),
        (12, 13, &[(Some(31), 3)]),
    ];
    for (late, watermark, values) in batches {
        stage(&o, late, watermark, values);
        log.extend(o.staged().unwrap());
        o.publish().unwrap();
    }
    assert_eq!(log.iter().filter(|c| c.kind == ChangeKind::Evict).count(), 2);
    // The group of second 8 comes and goes within one batch: its slice is not logged.
    let logged: usize = log.iter().filter(|c| c.kind == ChangeKind::Put).map(|c| c.rows.num_rows()).sum();
    assert_eq!(logged, 3 + 2 + 1);

    let frozen = o.freeze().unwrap();
    let image: Vec<StateChange> = frozen.changes().map(|c| c.unwrap()).collect();
    for changes in [log, image] {
        let again = operator(OutputMode::Append);
        changes.iter().for_each(|c| again.apply(c).unwrap());
        assert_eq!(again.metrics().rows_total, o.metrics().rows_total);
        assert_eq!(stage(&again, 13, 50, &[]), [(Some(14), 2), (Some(31), 5)]);
    }
}

#[test]
fn state_is_bounded_over_a_thousand_slices() {
    let o = operator(OutputMode::Append);
    let mut given = 0;
    for second in (0..10_000).step_by(10) {
        let (late, watermark) = ((second - 20).max(0), (second - 10).max(0));
        given += stage(&o, late, watermark, &[(Some(second + 1), 1), (Some(second + 2), 1)]).len();
        o.publish().unwrap();
        assert!(o.metrics().rows_total <= 6, "{} rows at {second}", o.metrics().rows_total);
    }
    assert_eq!(given, 2 * 1000 - 4);
}
