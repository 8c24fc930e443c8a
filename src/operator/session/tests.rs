//! Sessions over batches: growth, merging, eviction, recovery, and an endless stream.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, StructArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit};
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;

use super::{SessionInput, SessionOperator};
use crate::operator::event_time::bound_us;
use crate::output_mode::OutputMode;
use crate::state::{OperatorState, StateBackend, StateChange, StateSpace};

const SECOND: i64 = 1_000_000;

fn window() -> DataType {
    let bound = |name| Field::new(name, DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true);
    DataType::Struct(vec![bound("start"), bound("end")].into())
}

fn input_schema() -> SchemaRef {
    let fields = [("k", DataType::Utf8), ("w", window()), ("v", DataType::Int64)];
    Arc::new(Schema::new(fields.map(|(name, t)| Field::new(name, t, true)).to_vec()))
}

fn operator(mode: OutputMode) -> Arc<SessionOperator> {
    let input = input_schema();
    let sum = AggregateExprBuilder::new(sum_udaf(), vec![col("v", &input).unwrap()]).schema(input.clone()).alias("sum");
    let aggregates = vec![(Arc::new(sum.build().unwrap()), None)];
    let session = col("w", &input).unwrap();
    let rows = SessionInput::try_new(&input, vec![col("k", &input).unwrap()], session, aggregates).unwrap();
    let space = StateSpace { pool: Arc::new(UnboundedMemoryPool::default()), backend: StateBackend::default() };
    Arc::new(SessionOperator::try_new(rows, input, (1, true), mode, &space).unwrap())
}

/// Rows of a key, a start and an end in seconds, and a value.
fn rows(values: &[(&str, i64, i64, i64)]) -> RecordBatch {
    let DataType::Struct(fields) = window() else { unreachable!() };
    let times = |pick: fn(&(&str, i64, i64, i64)) -> i64| -> ArrayRef {
        let times = TimestampMicrosecondArray::from_iter_values(values.iter().map(|v| pick(v) * SECOND));
        Arc::new(times.with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(values.iter().map(|v| v.0))),
        Arc::new(StructArray::new(fields, vec![times(|v| v.1), times(|v| v.2)], None)),
        Arc::new(Int64Array::from_iter_values(values.iter().map(|v| v.3))),
    ];
    RecordBatch::try_new(input_schema(), columns).unwrap()
}

type Session = (String, i64, i64, i64);

/// Stages a batch; what it gives.
fn stage(o: &Arc<SessionOperator>, late: i64, watermark: i64, values: &[(&str, i64, i64, i64)]) -> Vec<Session> {
    let rows = o.rows_in_time(&rows(values), Some(bound_us(late * 1000))).unwrap();
    o.stage(&[rows], bound_us(watermark * 1000)).unwrap();
    let mut out = vec![];
    for batch in o.emit(2) {
        let batch = batch.unwrap();
        let (keys, sums) = (batch.column(0).as_string::<i32>(), batch.column(2).as_primitive::<Int64Type>());
        let times = |i: usize| {
            let times = batch.column(1).as_struct().column(i);
            times.as_primitive::<datafusion::arrow::datatypes::TimestampMicrosecondType>().clone()
        };
        let (starts, ends) = (times(0), times(1));
        out.extend(
            (0..batch.num_rows())
                .map(|i| (keys.value(i).to_owned(), starts.value(i) / SECOND, ends.value(i) / SECOND, sums.value(i))),
        );
    }
    out.sort();
    out
}

fn run(o: &Arc<SessionOperator>, late: i64, watermark: i64, values: &[(&str, i64, i64, i64)]) -> Vec<Session> {
    let out = stage(o, late, watermark, values);
    o.publish().unwrap();
    out
}

/// Another operator, of the changes of this one.
fn restored(mode: OutputMode, changes: &[StateChange]) -> Arc<SessionOperator> {
    let o = operator(mode);
    changes.iter().for_each(|c| o.apply(c).unwrap());
    o
}

fn session(key: &str, start: i64, end: i64, sum: i64) -> Session {
    (key.to_owned(), start, end, sum)
}

#[test]
fn sessions_grow_touch_and_merge() {
    let o = operator(OutputMode::Complete);
    let first = run(&o, 0, 0, &[("a", 20, 25, 1), ("b", 20, 25, 2), ("a", 1, 5, 4), ("a", 40, 45, 8)]);
    assert_eq!(first.len(), 4);
    // Touches the first, bridges to the second; the third stays.
    let second = run(&o, 0, 0, &[("a", 5, 12, 16), ("a", 12, 20, 32)]);
    assert_eq!(second, [session("a", 1, 25, 53), session("a", 40, 45, 8), session("b", 20, 25, 2)]);
    let m = o.metrics();
    assert_eq!((m.rows_total, m.rows_updated, m.rows_removed), (3, 2, 1));
}

#[test]
fn a_session_is_given_once_when_it_has_ended() {
    let o = operator(OutputMode::Append);
    assert!(run(&o, 0, 0, &[("a", 1, 5, 1), ("b", 7, 12, 2)]).is_empty());
    assert_eq!(run(&o, 0, 5, &[]), [session("a", 1, 5, 1)]);
    // Late by its own end, although b's session is still open; twice the same is one.
    assert!(run(&o, 5, 5, &[("b", 3, 5, 9), ("b", 3, 5, 9), ("b", 3, 8, 4)]).is_empty());
    assert_eq!(o.metrics().rows_dropped_by_watermark, 1);
    // Taken and given in one batch.
    assert_eq!(run(&o, 5, 30, &[("c", 10, 11, 1)]), [session("b", 3, 12, 6), session("c", 10, 11, 1)]);
    assert_eq!((o.metrics().rows_total, o.metrics().rows_removed), (0, 2));
}

#[test]
fn an_aborted_batch_leaves_no_trace() {
    let o = operator(OutputMode::Append);
    run(&o, 0, 0, &[("a", 1, 5, 1), ("b", 100, 105, 1)]);
    stage(&o, 0, 50, &[("a", 4, 9, 1), ("new", 4, 9, 1), ("b", 90, 100, 1)]);
    o.abort();
    assert_eq!(run(&o, 0, 50, &[("new", 60, 65, 7)]), [session("a", 1, 5, 1)]);
    assert_eq!(run(&o, 0, 200, &[]), [session("b", 100, 105, 1), session("new", 60, 65, 7)]);
}

#[test]
fn recovery_gives_the_same_sessions() {
    for mode in [OutputMode::Append, OutputMode::Complete] {
        let o = operator(mode);
        let mut log: Vec<StateChange> = vec![];
        let mut random = 7_u64;
        for batch in 0..60_i64 {
            let values: Vec<_> = (0..20)
                .map(|_| {
                    random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                    let start = batch * 10 + (random >> 33) as i64 % 60;
                    (["a", "b", "c", "d"][(random >> 60) as usize % 4], start, start + 1 + (random >> 40) as i64 % 9, 1)
                })
                .collect();
            stage(&o, (batch - 1) * 10, batch * 10, &values);
            log.extend(o.staged().unwrap());
            o.publish().unwrap();
        }
        let image: Vec<_> = o.freeze().unwrap().changes().map(Result::unwrap).collect();
        let (from_log, from_image) = (restored(mode, &log), restored(mode, &image));
        assert_eq!(from_log.metrics().rows_total, o.metrics().rows_total);
        let expected = run(&o, 600, 100_000, &[("a", 601, 700, 1)]);
        assert!(expected.len() > 2);
        assert_eq!(run(&from_log, 600, 100_000, &[("a", 601, 700, 1)]), expected);
        assert_eq!(run(&from_image, 600, 100_000, &[("a", 601, 700, 1)]), expected);
    }
}

#[test]
fn an_endless_stream_needs_no_more_state() {
    let o = operator(OutputMode::Append);
    let mut sizes = vec![];
    for batch in 0..3000_i64 {
        let keys: Vec<String> = (0..50).map(|i| format!("key {}", batch * 50 + i)).collect();
        let values: Vec<_> = keys.iter().map(|k| (k.as_str(), batch * 10, batch * 10 + 5, 1)).collect();
        let given = run(&o, batch * 10 - 20, batch * 10 - 10, &values);
        assert_eq!(given.len(), if batch > 1 { 50 } else { 0 });
        assert!(o.metrics().rows_total <= 100);
        sizes.push(o.metrics().memory_used_bytes);
    }
    let (early, late) = (sizes[500..1500].iter().max(), sizes[1500..].iter().max());
    assert!(late <= early, "{late:?} bytes after {early:?}");
}
