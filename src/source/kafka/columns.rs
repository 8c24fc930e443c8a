//! Spark's columns of a record, built from what librdkafka holds.

use std::sync::Arc;

use arrow::array::{
    ArrayBuilder, ArrayRef, BinaryBuilder, Int32Builder, Int64Builder, ListBuilder, StringViewBuilder, StructBuilder,
    TimestampMicrosecondBuilder,
};
use arrow::datatypes::{DataType, Field, Fields};

use crate::kafka::{Partition, Record};
use crate::source::provider::timestamp_type;

/// A column of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordColumn {
    Key,
    Value,
    Topic,
    Partition,
    Offset,
    Timestamp,
    TimestampType,
    Headers,
}

impl RecordColumn {
    /// In Spark's order; `Headers` only where they are asked for.
    pub const ALL: [Self; 8] = [
        Self::Key,
        Self::Value,
        Self::Topic,
        Self::Partition,
        Self::Offset,
        Self::Timestamp,
        Self::TimestampType,
        Self::Headers,
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::Value => "value",
            Self::Topic => "topic",
            Self::Partition => "partition",
            Self::Offset => "offset",
            Self::Timestamp => "timestamp",
            Self::TimestampType => "timestampType",
            Self::Headers => "headers",
        }
    }

    /// Its name beside columns that values are decoded into, where it is hidden.
    pub fn hidden_name(self) -> &'static str {
        match self {
            Self::Key => "kafka_key",
            Self::Value => "kafka_value",
            Self::Topic => "kafka_topic",
            Self::Partition => "kafka_partition",
            Self::Offset => "kafka_offset",
            Self::Timestamp => "kafka_timestamp",
            Self::TimestampType => "kafka_timestamp_type",
            Self::Headers => "kafka_headers",
        }
    }

    /// Whether a column of this name is hidden in every record.
    pub fn is_hidden_name(name: &str) -> bool {
        Self::ALL.iter().any(|column| column.hidden_name().eq_ignore_ascii_case(name))
    }

    /// Its type.
    pub fn data_type(self) -> DataType {
        match self {
            Self::Key | Self::Value => DataType::Binary,
            Self::Topic => DataType::Utf8View,
            Self::Partition | Self::TimestampType => DataType::Int32,
            Self::Offset => DataType::Int64,
            Self::Timestamp => timestamp_type(),
            Self::Headers => DataType::List(Arc::new(Field::new("item", DataType::Struct(header_fields()), true))),
        }
    }

    fn builder(self, rows: usize) -> Builder {
        match self {
            Self::Key | Self::Value => Builder::Bytes(BinaryBuilder::with_capacity(rows, 0)),
            Self::Topic => Builder::Text(StringViewBuilder::with_capacity(rows)),
            Self::Partition | Self::TimestampType => Builder::Int(Int32Builder::with_capacity(rows)),
            Self::Offset => Builder::Long(Int64Builder::with_capacity(rows)),
            Self::Timestamp => {
                Builder::Time(TimestampMicrosecondBuilder::with_capacity(rows).with_data_type(timestamp_type()))
            }
            Self::Headers => {
                let fields: Vec<Box<dyn ArrayBuilder>> =
                    vec![Box::new(StringViewBuilder::new()), Box::new(BinaryBuilder::new())];
                Builder::Headers(Box::new(ListBuilder::new(StructBuilder::new(header_fields(), fields))))
            }
        }
    }

    /// This column of some records of a partition.
    pub fn build(self, partition: &Partition, records: &[Record]) -> ArrayRef {
        let mut builder = self.builder(records.len());
        for record in records {
            match (self, &mut builder) {
                (Self::Key, Builder::Bytes(b)) => b.append_option(record.key()),
                (_, Builder::Bytes(b)) => b.append_option(record.value()),
                (_, Builder::Text(b)) => b.append_value(&partition.topic),
                (Self::Partition, Builder::Int(b)) => b.append_value(partition.number),
                (_, Builder::Int(b)) => b.append_value(i32::from(record.timestamp().1)),
                (_, Builder::Long(b)) => b.append_value(record.offset()),
                (_, Builder::Time(b)) => b.append_value(record.timestamp().0.saturating_mul(1000)),
                (_, Builder::Headers(b)) => append_headers(b, record),
            }
        }
        builder.finish()
    }
}

/// `STRUCT<key STRING, value BINARY>`.
fn header_fields() -> Fields {
    Fields::from(vec![Field::new("key", DataType::Utf8View, true), Field::new("value", DataType::Binary, true)])
}

enum Builder {
    Bytes(BinaryBuilder),
    Text(StringViewBuilder),
    Int(Int32Builder),
    Long(Int64Builder),
    Time(TimestampMicrosecondBuilder),
    Headers(Box<ListBuilder<StructBuilder>>),
}

impl Builder {
    fn finish(mut self) -> ArrayRef {
        match &mut self {
            Self::Bytes(b) => Arc::new(b.finish()),
            Self::Text(b) => Arc::new(b.finish()),
            Self::Int(b) => Arc::new(b.finish()),
            Self::Long(b) => Arc::new(b.finish()),
            Self::Time(b) => Arc::new(b.finish()),
            Self::Headers(b) => Arc::new(b.finish()),
        }
    }
}

/// A record without headers has NULL, as in Spark.
fn append_headers(list: &mut ListBuilder<StructBuilder>, record: &Record) {
    let Some(headers) = record.headers() else {
        list.append(false);
        return;
    };
    for (name, value) in headers {
        let header = list.values();
        if let Some(names) = header.field_builder::<StringViewBuilder>(0) {
            names.append_value(String::from_utf8_lossy(name));
        }
        if let Some(values) = header.field_builder::<BinaryBuilder>(1) {
            values.append_option(value);
        }
        header.append(true);
    }
    list.append(true);
}
