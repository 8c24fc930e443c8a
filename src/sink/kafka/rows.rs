//! Which columns of a row are what of a record.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};

use crate::error::{Error, Result};
use crate::type_name::type_name;

/// The columns that a record can be made of.
const COLUMNS: [&str; 5] = ["key", "value", "topic", "headers", "partition"];

/// The topic of all records, or the column that has it.
type TopicOf<Column> = std::result::Result<String, Column>;

/// Where the parts of a record are in the rows of a query.
#[derive(Debug)]
pub struct RecordShape {
    key: Option<usize>,
    value: usize,
    headers: Option<usize>,
    partition: Option<usize>,
    topic: TopicOf<usize>,
}

/// The columns of some rows, ready to be sent.
#[derive(Debug)]
pub struct RecordColumns {
    key: Option<ArrayRef>,
    value: ArrayRef,
    headers: Option<ArrayRef>,
    partition: Option<ArrayRef>,
    topic: TopicOf<ArrayRef>,
}

/// The name of a header, and its value.
pub type OutHeader<'a> = (&'a str, Option<&'a [u8]>);

/// One record.
#[derive(Debug)]
pub struct OutRecord<'a> {
    pub topic: &'a str,
    pub partition: Option<i32>,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    pub headers: Vec<OutHeader<'a>>,
}

impl RecordShape {
    /// Finds the columns.
    ///
    /// # Errors
    /// No `value`, no topic, a column of another type, one that is no part of a record.
    pub fn new(schema: &SchemaRef, topic: Option<&str>, has_headers: bool) -> Result<Self> {
        for field in schema.fields() {
            if !COLUMNS.iter().any(|name| field.name().eq_ignore_ascii_case(name)) {
                return Err(unfit(format!("'{}' is no column of the kafka sink", field.name()))
                    .with_help(format!("it takes {}: name one of them, or leave the column out", COLUMNS.join(", "))));
            }
        }
        let column = |name: &str, takes: fn(&DataType) -> bool, expected: &str| {
            let Some(i) = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name)) else {
                return Ok(None);
            };
            let data_type = schema.field(i).data_type();
            match takes(data_type) {
                true => Ok(Some(i)),
                false => {
                    Err(unfit(format!("column '{name}' has the type {}; it must be {expected}", type_name(data_type)))
                        .with_help(format!(
                            "write CAST({name} AS …), or make a text of several columns with to_json(struct(…))"
                        )))
                }
            }
        };
        let key = column("key", is_bytes, "STRING or BINARY")?;
        let value = column("value", is_bytes, "STRING or BINARY")?;
        let by_column = column("topic", is_text, "STRING")?;
        let headers =
            column("headers", is_headers, "ARRAY<STRUCT<key: STRING, value: BINARY>>")?.filter(|_| has_headers);
        let partition = column("partition", |t| *t == DataType::Int32 || *t == DataType::Null, "INT")?;
        let value = value.ok_or_else(|| {
            unfit("the kafka sink needs a column 'value'")
                .with_help("name one: SELECT … AS value, or to_json(struct(*)) AS value")
        })?;
        let topic = match (topic, by_column) {
            (Some(topic), _) => Ok(topic.to_owned()),
            (None, Some(column)) => Err(column),
            (None, None) => {
                return Err(unfit("the kafka sink knows no topic: neither the option 'topic' nor a column topic")
                    .with_help("name it: OPTIONS (topic 'out')"));
            }
        };
        Ok(Self { key, value, headers, partition, topic })
    }

    /// The columns of these rows.
    ///
    /// # Errors
    /// A row without a topic.
    pub fn columns(&self, rows: &RecordBatch) -> Result<RecordColumns> {
        self.check_rows(rows)?;
        let of = |column: usize, to: &DataType| Ok::<_, Error>(cast(rows.column(column), to)?);
        let bytes = |column: usize| of(column, &DataType::Binary);
        let optional = |column: Option<usize>, to: &DataType| column.map(|c| of(c, to)).transpose();
        let topic = match &self.topic {
            Ok(topic) => Ok(topic.clone()),
            Err(column) => Err(of(*column, &DataType::Utf8)?),
        };
        Ok(RecordColumns {
            key: self.key.map(bytes).transpose()?,
            value: bytes(self.value)?,
            headers: self.headers.map(|column| rows.column(column).clone()),
            partition: optional(self.partition, &DataType::Int32)?,
            topic,
        })
    }

    /// Refuses rows that no record can be made of.
    ///
    /// # Errors
    /// A row without a topic.
    pub fn check_rows(&self, rows: &RecordBatch) -> Result<()> {
        match &self.topic {
            Err(column) if rows.column(*column).logical_null_count() > 0 => Err(Error::execution(
                "KAFKA_NULL_TOPIC_IN_DATA",
                "a row has NULL in the column topic, and the sink no option 'topic'",
            )
            .with_help("give every row a topic, or set the option 'topic'")),
            _ => Ok(()),
        }
    }
}

impl RecordColumns {
    /// The record of a row.
    ///
    /// # Errors
    /// A header without a name.
    pub fn record(&self, row: usize) -> Result<OutRecord<'_>> {
        Ok(OutRecord {
            topic: match &self.topic {
                Ok(topic) => topic,
                Err(topics) => topics.as_string::<i32>().value(row),
            },
            partition: self.partition.as_ref().and_then(|p| {
                let p = p.as_primitive::<Int32Type>();
                p.is_valid(row).then(|| p.value(row))
            }),
            key: self.key.as_ref().and_then(|key| bytes_at(key, row)),
            value: bytes_at(&self.value, row),
            headers: self.headers.as_ref().map(|headers| headers_at(headers, row)).transpose()?.unwrap_or_default(),
        })
    }
}

fn bytes_at(array: &ArrayRef, row: usize) -> Option<&[u8]> {
    let array = array.as_binary::<i32>();
    array.is_valid(row).then(|| array.value(row))
}

fn headers_at(headers: &ArrayRef, row: usize) -> Result<Vec<OutHeader<'_>>> {
    let lists = headers.as_list::<i32>();
    if lists.is_null(row) {
        return Ok(vec![]);
    }
    let items = lists.values().as_struct();
    let (names, values) = (items.column(0), items.column(1));
    let range = lists.value_offsets()[row] as usize..lists.value_offsets()[row + 1] as usize;
    let header = |i: usize| {
        let name = items.is_valid(i).then(|| text_at(names, i)).flatten();
        let name = name.ok_or_else(|| {
            Error::execution("KAFKA_NULL_HEADER_NAME", "a header of a record has no name: its key is NULL")
                .with_help("filter such headers out")
        })?;
        Ok((name, any_bytes_at(values, i)))
    };
    range.map(header).collect()
}

fn text_at(array: &ArrayRef, i: usize) -> Option<&str> {
    array.is_valid(i).then(|| match array.data_type() {
        DataType::Utf8View => array.as_string_view().value(i),
        DataType::LargeUtf8 => array.as_string::<i64>().value(i),
        _ => array.as_string::<i32>().value(i),
    })
}

fn any_bytes_at(array: &ArrayRef, i: usize) -> Option<&[u8]> {
    array.is_valid(i).then(|| match array.data_type() {
        DataType::BinaryView => array.as_binary_view().value(i),
        DataType::LargeBinary => array.as_binary::<i64>().value(i),
        _ => array.as_binary::<i32>().value(i),
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null)
}

fn is_binary(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Binary | DataType::BinaryView | DataType::LargeBinary)
}

fn is_bytes(data_type: &DataType) -> bool {
    is_text(data_type) || is_binary(data_type)
}

fn is_headers(data_type: &DataType) -> bool {
    let DataType::List(item) = data_type else { return false };
    let DataType::Struct(fields) = item.data_type() else { return false };
    matches!(&fields[..], [key, value] if is_text(key.data_type()) && *key.data_type() != DataType::Null && is_binary(value.data_type()))
}

fn unfit(message: impl Into<String>) -> Error {
    Error::invalid("INVALID_SINK_SCHEMA", message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow::array::{BinaryArray, Int32Array, StringViewArray};

    fn schema(columns: &[(&str, DataType)]) -> SchemaRef {
        let field = |(name, t): &(&str, DataType)| arrow::datatypes::Field::new(*name, t.clone(), true);
        Arc::new(arrow::datatypes::Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
    }

    #[test]
    fn columns_are_parts_of_a_record() {
        let schema =
            schema(&[("VALUE", DataType::Binary), ("topic", DataType::Utf8View), ("partition", DataType::Int32)]);
        let rows = RecordBatch::try_new(
            schema.clone(),
            vec![
                Arc::new(BinaryArray::from_opt_vec(vec![Some(b"v"), None])),
                Arc::new(StringViewArray::from(vec!["a", "b"])),
                Arc::new(Int32Array::from(vec![None, Some(3)])),
            ],
        )
        .unwrap();
        let columns = RecordShape::new(&schema, None, true).unwrap().columns(&rows).unwrap();
        let (first, second) = (columns.record(0).unwrap(), columns.record(1).unwrap());
        assert_eq!((first.topic, first.partition, first.value), ("a", None, Some(&b"v"[..])));
        assert_eq!((second.topic, second.partition, second.value, second.key), ("b", Some(3), None, None));
    }

    #[test]
    fn rows_that_are_no_records_are_refused() {
        let refused = |columns: &[(&str, DataType)], topic| {
            RecordShape::new(&schema(columns), topic, true).unwrap_err().message().to_owned()
        };
        let value = ("value", DataType::Utf8View);
        assert!(refused(&[("key", DataType::Utf8View)], Some("t")).contains("'value'"));
        assert!(refused(&[value.clone(), ("other", DataType::Int32)], Some("t")).contains("'other'"));
        assert!(refused(std::slice::from_ref(&value), None).contains("topic"));
        assert!(refused(&[("value", DataType::Int32)], Some("t")).contains("STRING or BINARY"));
        assert!(refused(&[value, ("partition", DataType::Int64)], Some("t")).contains("partition"));
    }
}
