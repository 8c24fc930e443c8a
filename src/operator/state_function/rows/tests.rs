//! Values that go through Arrow and back.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::arrow::array::{Decimal128Array, DictionaryArray, Int32Array, StringArray};
use datafusion::arrow::datatypes::{Field, Fields, Int32Type, Schema, TimeUnit};
use serde::Deserialize;

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Inner {
    a: Option<i32>,
    tags: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Event {
    name: String,
    n: i64,
    x: f64,
    flag: Option<bool>,
    inner: Option<Inner>,
    counts: BTreeMap<String, i64>,
    at: i64,
}

fn schema() -> SchemaRef {
    let inner = Fields::from(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("tags", DataType::new_list(DataType::Utf8View, true), true),
    ]);
    let entry =
        Fields::from(vec![Field::new("key", DataType::Utf8, false), Field::new("value", DataType::Int64, true)]);
    let entries = Arc::new(Field::new("entries", DataType::Struct(entry), false));
    Arc::new(Schema::new(vec![
        Field::new("name", DataType::Utf8View, true),
        Field::new("n", DataType::Int64, true),
        Field::new("x", DataType::Float64, true),
        Field::new("flag", DataType::Boolean, true),
        Field::new("inner", DataType::Struct(inner), true),
        Field::new("counts", DataType::Map(entries, false), true),
        Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("Europe/Prague".into())), true),
    ]))
}

fn event(i: i64) -> Event {
    Event {
        name: format!("name number {i} of some length"),
        n: i64::MAX - i,
        x: [1.5, -0.0, f64::INFINITY][i as usize % 3],
        flag: [None, Some(true)][i as usize % 2],
        inner: (i != 1).then(|| Inner { a: (i > 1).then_some(7), tags: vec![String::new(), "ü".into()] }),
        counts: (0..i).map(|k| (k.to_string(), k)).collect(),
        at: i * 1_000_001 - 1,
    }
}

#[test]
fn structs_come_back() {
    let events: Vec<_> = (0..5).map(event).collect();
    let batch = encode_rows(&events, &schema()).unwrap();
    assert_eq!(batch.schema(), schema());
    assert_eq!(decode_rows::<Event>(&batch).unwrap(), events);
}

#[test]
fn rows_are_tuples_too() {
    let schema = Arc::new(Schema::new(vec![
        Field::new("k", DataType::Utf8, true),
        Field::new("n", DataType::Int64, true),
        Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into())), true),
    ]));
    let rows = vec![
        ("a".to_owned(), Some(1), "1970-01-01T00:00:01.5Z".to_owned()),
        (String::new(), None, "1969-12-31T23:59:59Z".into()),
    ];
    let batch = encode_rows(&rows, &schema).unwrap();
    assert_eq!(decode_rows::<(String, Option<i64>, String)>(&batch).unwrap()[1], rows[1]);
    let micros: Vec<(String, Option<i64>, i64)> = decode_rows(&batch).unwrap();
    assert_eq!((micros[0].2, micros[1].2), (1_500_000, -1_000_000));
    let mut groups = <Rows<(String, Option<i64>, i64)>>::decode(&batch).unwrap();
    assert_eq!(<Rows<_> as GroupRows>::next(&mut groups, 1).len(), 1);
    assert!(decode_rows::<(String,)>(&batch).is_err());
    assert_eq!(decode_rows::<()>(&batch).unwrap().len(), 2);
}

#[test]
fn one_column_is_the_value_itself() {
    let keys = StringArray::from(vec![Some("a"), None]);
    let batch = RecordBatch::try_from_iter_with_nullable([("k", Arc::new(keys) as ArrayRef, true)]).unwrap();
    assert_eq!(decode_column::<Option<String>>(&batch, "a key").unwrap(), [Some("a".to_owned()), None]);
    let refused = decode_column::<String>(&batch, "a key").unwrap_err();
    assert_eq!(refused.condition(), "EXPRESSION_DECODING_FAILED");
    let decimals = Decimal128Array::from(vec![150, -5]).with_precision_and_scale(10, 2).unwrap();
    let words: DictionaryArray<Int32Type> = ["x", "y"].into_iter().collect();
    let batch = RecordBatch::try_from_iter([("d", Arc::new(decimals) as ArrayRef), ("w", Arc::new(words))]).unwrap();
    let read: Vec<(String, String)> = decode_column(&batch, "a key").unwrap();
    assert_eq!(read, [("1.50".to_owned(), "x".to_owned()), ("-0.05".into(), "y".into())]);
}

#[test]
fn what_does_not_fit_is_said() {
    let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int32, false)]));
    #[derive(Serialize)]
    struct Other {
        m: i32,
    }
    let failed = |e: Result<RecordBatch>| assert_eq!(e.unwrap_err().condition(), "EXPRESSION_ENCODING_FAILED");
    failed(encode_rows(&[Other { m: 1 }], &schema));
    failed(encode_rows(&[(1, 2)], &schema));
    failed(encode_rows(&[5], &schema));
    failed(encode_rows(&[(None::<i32>,)], &schema));
    failed(encode_rows(&[(i64::MAX,)], &schema));
    assert_eq!(encode_rows(&[(1,), (2,)], &schema).unwrap().column(0).as_ref(), &Int32Array::from(vec![1, 2]));
}

#[test]
fn arrow_rows_are_slices() {
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
    let mut groups = <RecordBatch as GroupRows>::decode(&batch).unwrap();
    assert_eq!(<RecordBatch as GroupRows>::next(&mut groups, 2).num_rows(), 2);
    let last = <RecordBatch as GroupRows>::next(&mut groups, 2);
    let mut buffer = ArrowBuffer::default();
    last.append_to(&mut buffer);
    <RecordBatch as OutputRows>::none().append_to(&mut buffer);
    let given = buffer.finish(&batch.schema(), 10).unwrap();
    assert_eq!(given[0].column(0).as_ref(), &Int32Array::from(vec![3]));
    let mut buffer = ArrowBuffer::default();
    batch.append_to(&mut buffer);
    let other = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
    assert_eq!(buffer.finish(&other, 10).unwrap_err().condition(), "EXPRESSION_ENCODING_FAILED");
}
