//! Which columns of a row are what of a record.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int32Type, SchemaRef};

use super::Formats;
use crate::error::{Error, Result};
use crate::format::message::{MessageEncoder, Part};
use crate::time_zone::Tz;
use crate::type_name::type_name;

/// The columns that a record can be made of.
const COLUMNS: [&str; 5] = ["key", "value", "topic", "headers", "partition"];
/// The columns that say where a record goes, beside those that make its value.
const CONTROL: [&str; 3] = ["kafka_topic", "kafka_headers", "kafka_partition"];

/// The topic of all records, or the column that has it.
type TopicOf<Column> = std::result::Result<String, Column>;

/// Where the parts of a record are in the rows of a query.
#[derive(Debug)]
pub struct RecordShape {
    key: Option<Bytes>,
    value: Bytes,
    headers: Option<usize>,
    partition: Option<usize>,
    topic: TopicOf<usize>,
}

/// Where the bytes of keys or values come from.
#[derive(Debug)]
enum Bytes {
    /// A column has them.
    Column(usize),
    /// These columns in a format; times are local to a zone.
    Encoded(Vec<usize>, Box<MessageEncoder>, Tz),
}

impl Bytes {
    fn of(&self, rows: &RecordBatch) -> Result<ArrayRef> {
        match self {
            Self::Column(column) => Ok(cast(rows.column(*column), &DataType::Binary)?),
            Self::Encoded(columns, encoder, tz) => {
                let columns: Vec<_> = columns.iter().map(|i| rows.column(*i).clone()).collect();
                Ok(Arc::new(encoder.encode(&columns, rows.num_rows(), *tz)?))
            }
        }
    }
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
        let key = column(schema, "key", is_bytes, "STRING or BINARY")?.map(Bytes::Column);
        let value = column(schema, "value", is_bytes, "STRING or BINARY")?.ok_or_else(|| {
            unfit("the kafka sink needs a column 'value'")
                .with_help("name one: SELECT … AS value, or to_json(struct(*)) AS value; or set value.format")
        })?;
        let names = ["topic", "headers", "partition"];
        Self::with_control(schema, names, topic, has_headers, key, Bytes::Column(value))
    }

    /// Records whose keys and values are columns in a format: of all columns but those that say where the record goes.
    ///
    /// # Errors
    /// No topic, no columns, columns of types that the format does not have.
    pub fn formatted(schema: &SchemaRef, topic: Option<&str>, has_headers: bool, formats: &Formats) -> Result<Self> {
        let is_control = |name: &str| CONTROL.iter().any(|control| control.eq_ignore_ascii_case(name));
        let places: Vec<usize> = (0..schema.fields().len()).filter(|i| !is_control(schema.field(*i).name())).collect();
        if places.is_empty() {
            return Err(unfit("there is no column for the value").with_help("select one"));
        }
        let place = |name: &String| {
            let found = places.iter().copied().find(|i| schema.field(*i).name().eq_ignore_ascii_case(name));
            found.ok_or_else(|| {
                unfit(format!("'{name}' of key.columns is no column of the query"))
                    .with_help("name columns that it has")
            })
        };
        let in_key = formats.key_columns.iter().map(place).collect::<Result<Vec<_>>>()?;
        let bytes = |part: Part, places: &[usize]| -> Result<Option<Bytes>> {
            let fields = places.iter().map(|i| schema.fields()[*i].clone()).collect();
            let encoder = formats.encoder(part, fields)?;
            Ok(encoder.map(|encoder| Bytes::Encoded(places.to_vec(), Box::new(encoder), Tz::UTC)))
        };
        let mut in_value = places.clone();
        if !formats.has_key_columns && in_key.len() < places.len() {
            in_value.retain(|i| !in_key.contains(i));
        }
        let names: Vec<_> = in_value.iter().map(|i| schema.field(*i).name().to_lowercase()).collect();
        if let Some(name) = names.iter().enumerate().find_map(|(i, name)| names[..i].contains(name).then_some(name)) {
            return Err(unfit(format!("two columns of the value are called '{name}'"))
                .with_help("give one another name with AS"));
        }
        let (key, value) = (bytes(Part::Key, &in_key)?, bytes(Part::Value, &in_value)?);
        let value = value.ok_or_else(|| Error::internal("a sink with a format has none"))?;
        let shape = Self::with_control(schema, CONTROL, topic, has_headers, key, value)?;
        let needs_topic = [shape.key.as_ref(), Some(&shape.value)].into_iter().flatten().any(|bytes| match bytes {
            Bytes::Column(_) => false,
            Bytes::Encoded(_, encoder, _) => encoder.needs_topic(),
        });
        match shape.topic {
            Err(_) if needs_topic => Err(unfit("a schema is registered for one topic, and the rows go to several")
                .with_help("set the option 'topic'")),
            _ => Ok(shape),
        }
    }

    /// What the columns `topic`, `headers` and `partition` say, by the names that they have.
    fn with_control(
        schema: &SchemaRef,
        [topic_name, headers, partition]: [&str; 3],
        topic: Option<&str>,
        has_headers: bool,
        key: Option<Bytes>,
        value: Bytes,
    ) -> Result<Self> {
        let by_column = column(schema, topic_name, is_text, "STRING")?;
        let headers = column(schema, headers, is_headers, "ARRAY<STRUCT<key: STRING, value: BINARY>>")?;
        let partition = column(schema, partition, |t| *t == DataType::Int32 || *t == DataType::Null, "INT")?;
        let topic = match (topic, by_column) {
            (Some(topic), _) => Ok(topic.to_owned()),
            (None, Some(column)) => Err(column),
            (None, None) => {
                let message =
                    format!("the kafka sink knows no topic: neither the option 'topic' nor a column {topic_name}");
                return Err(unfit(message).with_help("name it: OPTIONS (topic 'out')"));
            }
        };
        Ok(Self { key, value, headers: headers.filter(|_| has_headers), partition, topic })
    }

    /// Gets ready to write: local times are those of `zone`, and schemas are registered.
    ///
    /// # Errors
    /// A schema registry that does not answer.
    pub async fn open(&mut self, zone: Tz) -> Result<()> {
        let parts = self.key.as_mut().map(|key| (Part::Key, key)).into_iter().chain([(Part::Value, &mut self.value)]);
        for (part, bytes) in parts {
            let Bytes::Encoded(_, encoder, tz) = bytes else { continue };
            *tz = zone;
            if let Ok(topic) = &self.topic {
                encoder.open(part, topic).await?;
            }
        }
        Ok(())
    }

    /// The columns of these rows.
    ///
    /// # Errors
    /// A row without a topic.
    pub fn columns(&self, rows: &RecordBatch) -> Result<RecordColumns> {
        self.check_rows(rows)?;
        let of = |column: usize, to: &DataType| Ok::<_, Error>(cast(rows.column(column), to)?);
        let optional = |column: Option<usize>, to: &DataType| column.map(|c| of(c, to)).transpose();
        let topic = match &self.topic {
            Ok(topic) => Ok(topic.clone()),
            Err(column) => Err(of(*column, &DataType::Utf8)?),
        };
        Ok(RecordColumns {
            key: self.key.as_ref().map(|key| key.of(rows)).transpose()?,
            value: self.value.of(rows)?,
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

/// The number of a column, if there is one of the name.
fn column(schema: &SchemaRef, name: &str, takes: fn(&DataType) -> bool, expected: &str) -> Result<Option<usize>> {
    let Some(i) = schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name)) else {
        return Ok(None);
    };
    let data_type = schema.field(i).data_type();
    match takes(data_type) {
        true => Ok(Some(i)),
        false => Err(unfit(format!("column '{name}' has the type {}; it must be {expected}", type_name(data_type)))
            .with_help(format!("write CAST({name} AS …), or make a text of several columns with to_json(struct(…))"))),
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
