//! Panes put together against a sum over the rows of every window.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Int64Type, Schema, TimeUnit};
use datafusion::execution::memory_pool::UnboundedMemoryPool;
use datafusion::functions_aggregate::{min_max::max_udaf, sum::sum_udaf};
use datafusion::physical_expr::aggregate::AggregateExprBuilder;
use datafusion::physical_expr::expressions::col;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::{AggregateOperator, GroupKeys, WindowKey};
use crate::operator::{EventTimeKey, Windows};
use crate::output_mode::OutputMode;
use crate::state::{StateBackend, StateSpace};

/// Pane, key, value.
type Row = (i64, Option<i64>, i64);
/// By window and key, sum and maximum.
type Groups = BTreeMap<(i64, Option<i64>), (i64, i64)>;

fn time() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Sums and maxima by window and key, or by window only.
fn operator(windows: Windows, keyed: bool) -> AggregateOperator {
    let bounds: Fields = vec![Field::new("start", time(), true), Field::new("end", time(), true)].into();
    let key = keyed.then(|| Field::new("k", DataType::Int64, true));
    let values = ["s", "m"].map(|name| Field::new(name, DataType::Int64, true));
    let schema = |first: DataType| {
        let window = [Field::new("w", first, true)];
        Arc::new(Schema::new(window.into_iter().chain(key.clone()).chain(values.clone()).collect::<Vec<_>>()))
    };
    let partial = schema(time());
    let aggregate = |udaf, name: &str| {
        let built = AggregateExprBuilder::new(udaf, vec![col(name, &partial).unwrap()]).schema(partial.clone());
        Arc::new(built.alias(name).build().unwrap())
    };
    let aggregates = vec![aggregate(sum_udaf(), "s"), aggregate(max_udaf(), "m")];
    let window = DataType::Struct(bounds.clone());
    let keys = GroupKeys {
        count: 1 + usize::from(keyed),
        event_time: Some(EventTimeKey::new(0, &window)),
        window: Some(WindowKey { column: 0, windows, fields: bounds }),
    };
    let space = StateSpace { pool: Arc::new(UnboundedMemoryPool::default()), backend: StateBackend::default() };
    AggregateOperator::try_new(&partial, schema(window), keys, aggregates, OutputMode::Append, &space).unwrap()
}

fn partials(rows: &[Row], keyed: bool) -> RecordBatch {
    let panes = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|r| r.0)).with_timezone("UTC");
    let keys: ArrayRef = Arc::new(rows.iter().map(|r| r.1).collect::<Int64Array>());
    let values: ArrayRef = Arc::new(rows.iter().map(|r| Some(r.2)).collect::<Int64Array>());
    let mut columns: Vec<(&str, ArrayRef, bool)> = vec![("w", Arc::new(panes), true)];
    columns.extend(keyed.then_some(("k", keys, true)));
    columns.extend([("s", values.clone(), true), ("m", values, true)]);
    RecordBatch::try_from_iter_with_nullable(columns).unwrap()
}

fn add(groups: &mut Groups, group: (i64, Option<i64>), (sum, max): (i64, i64)) {
    let of = groups.entry(group).or_insert((0, i64::MIN));
    *of = (of.0 + sum, of.1.max(max));
}

/// What comes into the windows, and into how many pieces of one at most.
fn found(operator: &AggregateOperator, rows: &[Row], keyed: bool) -> (Groups, usize) {
    let window = operator.window.clone().unwrap();
    let (mut groups, mut pieces) = (Groups::new(), BTreeMap::<i64, usize>::new());
    for (end, part) in operator.in_windows(&window, &partials(rows, keyed)).unwrap() {
        *pieces.entry(end).or_default() += 1;
        assert_eq!(part.keys.len(), part.rows.num_rows());
        let column = |i: usize| part.rows.column(i + usize::from(keyed)).as_primitive::<Int64Type>().clone();
        let (sums, maxima) = (column(0), column(1));
        let mut once = BTreeSet::new();
        for row in 0..part.rows.num_rows() {
            let keys = keyed.then(|| part.rows.column(0).as_primitive::<Int64Type>().iter().nth(row).flatten());
            let key = keys.flatten();
            assert!(rows.len() < 3 || once.insert(key), "a piece has a key once");
            add(&mut groups, (end, key), (sums.value(row), maxima.value(row)));
        }
    }
    (groups, pieces.into_values().max().unwrap_or(0))
}

#[test]
fn every_window_gets_the_rows_of_its_panes() {
    let mut random = StdRng::seed_from_u64(17);
    for round in 0..400 {
        let slide = random.random_range(1..8_i64);
        let windows = Windows { size: slide + random.random_range(1..20), slide, start: random.random_range(0..slide) };
        let (span, keyed) = (random.random_range(1..80), round % 4 > 0);
        let operator = operator(windows, keyed);
        let width = windows.pane_width();
        // Partial rows have a pane and key once.
        let mut rows: BTreeMap<(i64, Option<i64>), i64> = BTreeMap::new();
        for _ in 0..random.random_range(1..200) {
            let pane = windows.pane(random.random_range(-span..span), width).unwrap();
            let key = random.random_range(0..6_i64);
            rows.insert((pane, Some(key).filter(|k| keyed && *k > 0)), random.random_range(-99..99));
        }
        let mut rows: Vec<Row> = rows.into_iter().map(|((pane, key), value)| (pane, key, value)).collect();
        for i in (1..rows.len()).rev() {
            rows.swap(i, random.random_range(0..=i));
        }
        let mut expected = Groups::new();
        for (pane, key, value) in &rows {
            for window in windows.of(*pane) {
                add(&mut expected, (window.unwrap().1, *key), (*value, *value));
            }
        }
        let (groups, pieces) = found(&operator, &rows, keyed);
        assert_eq!(groups, expected, "{windows:?}");
        assert!(pieces <= 2, "a window is in {pieces} pieces");
    }
}
