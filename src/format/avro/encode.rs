//! Rows to records, and the schema that Spark would give them.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use serde_json::{Value, json};

use super::input::{put_bytes, put_long};
use super::schema::{Id, Kind, Schema};
use crate::error::{Error, Result};
use crate::type_name::type_name;

/// The JSON of the schema for rows, as Spark names and orders it.
///
/// # Errors
/// Columns of types that Avro does not have, and names that it cannot have.
pub fn schema_of(columns: &Fields, name: &str, namespace: &str) -> Result<Value> {
    record(columns, name, namespace)
}

/// Named types are in the namespace of the record around them, so that no two have one name.
fn record(columns: &Fields, name: &str, namespace: &str) -> Result<Value> {
    let full = if namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") };
    let fields = columns.iter().map(|f| {
        check_name(f.name())?;
        Ok(json!({ "name": f.name(), "type": optional(f, f.name(), &full)? }))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    Ok(match namespace.is_empty() {
        true => json!({ "type": "record", "name": name, "fields": fields }),
        false => json!({ "type": "record", "name": name, "namespace": namespace, "fields": fields }),
    })
}

fn optional(field: &Field, name: &str, namespace: &str) -> Result<Value> {
    let of = type_of(field.data_type(), name, namespace)?;
    Ok(if *field.data_type() == DataType::Null { of } else { json!([of, "null"]) })
}

fn type_of(data_type: &DataType, name: &str, namespace: &str) -> Result<Value> {
    let logical = |of: &str, logical: &str| json!({ "type": of, "logicalType": logical });
    Ok(match data_type {
        DataType::Null => json!("null"),
        DataType::Boolean => json!("boolean"),
        DataType::Int8 | DataType::Int16 | DataType::Int32 => json!("int"),
        DataType::Int64 => json!("long"),
        DataType::Float32 => json!("float"),
        DataType::Float64 => json!("double"),
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => json!("string"),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => json!("bytes"),
        DataType::Date32 => logical("int", "date"),
        DataType::Timestamp(_, Some(_)) => logical("long", "timestamp-micros"),
        DataType::Timestamp(_, None) => logical("long", "local-timestamp-micros"),
        DataType::Interval(IntervalUnit::YearMonth) => {
            json!({ "type": "int", "spark.sql.catalyst.type": type_name(data_type) })
        }
        DataType::Duration(_) => json!({ "type": "long", "spark.sql.catalyst.type": type_name(data_type) }),
        DataType::Decimal128(precision, scale) => json!({
            "type": "fixed", "name": "fixed", "namespace": format!("{namespace}.{name}"), "size": decimal_bytes(*precision),
            "logicalType": "decimal", "precision": precision, "scale": scale,
        }),
        DataType::List(item) => json!({ "type": "array", "items": optional(item, name, namespace)? }),
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(kv) if kv.len() == 2 && is_text(kv[0].data_type()) => {
                json!({ "type": "map", "values": optional(&kv[1], name, namespace)? })
            }
            _ => return Err(unsupported(data_type)),
        },
        DataType::Struct(fields) => record(fields, name, namespace)?,
        _ => return Err(unsupported(data_type)),
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View)
}

/// How many bytes hold every number of so many digits.
fn decimal_bytes(precision: u8) -> usize {
    let greatest = 10_i128.pow(precision.into()) - 1;
    // A bit for the sign.
    (128 - greatest.leading_zeros() + 1).div_ceil(8) as usize
}

fn unsupported(data_type: &DataType) -> Error {
    Error::invalid("UNSUPPORTED_DATA_TYPE_FOR_DATASOURCE", format!("Avro has no type for {}", type_name(data_type)))
        .with_help("cast it to another type, e.g. with to_json(…) or CAST(… AS STRING)")
}

fn check_name(name: &str) -> Result<()> {
    let mut letters = name.chars();
    let is_start = letters.next().is_some_and(|c| c.is_alphabetic() || c == '_');
    if is_start && letters.all(|c| c.is_alphanumeric() || c == '_') {
        return Ok(());
    }
    Err(Error::invalid("INVALID_COLUMN_NAME", format!("'{name}' is no name of a field in Avro"))
        .with_help("give the column a name of letters, digits and _ with AS"))
}

/// Writes rows by the schema of [`schema_of`].
#[derive(Debug)]
pub struct RecordEncoder;

impl RecordEncoder {
    /// The records of a batch.
    ///
    /// # Errors
    /// Types that the schema does not have.
    pub fn encode(batch: &RecordBatch) -> Result<Vec<u8>> {
        let columns = batch.columns().iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let mut out = vec![];
        for row in 0..batch.num_rows() {
            columns.iter().for_each(|column| column.put(row, &mut out));
        }
        Ok(out)
    }

    /// Each row as a message of its own, behind `frame`.
    ///
    /// # Errors
    /// Types that the schema does not have.
    pub fn messages(columns: &[ArrayRef], rows: usize, frame: &[u8]) -> Result<BinaryArray> {
        let columns = columns.iter().map(Column::new).collect::<Result<Vec<_>>>()?;
        let mut messages = BinaryBuilder::with_capacity(rows, 0);
        let mut message = vec![];
        for row in 0..rows {
            message.clear();
            message.extend_from_slice(frame);
            columns.iter().for_each(|column| column.put(row, &mut message));
            messages.append_value(&message);
        }
        Ok(messages.finish())
    }
}

/// A column, or what is inside it, that is written value by value.
enum Column {
    Null,
    Values(Option<ArrayRef>, Box<Of>),
}

enum Of {
    Boolean(BooleanArray),
    Int(Int32Array),
    Long(Int64Array),
    Float(Float32Array),
    Double(Float64Array),
    Text(StringViewArray),
    Binary(BinaryArray),
    Decimal(Decimal128Array, usize),
    List(ListArray, Box<Column>),
    Map(MapArray, StringViewArray, Box<Column>),
    Struct(Vec<Column>),
}

impl Column {
    fn new(array: &ArrayRef) -> Result<Self> {
        let to = |to: &DataType| Ok::<_, Error>(arrow::compute::cast(array, to)?);
        let of = match array.data_type() {
            DataType::Null => return Ok(Self::Null),
            DataType::Boolean => Of::Boolean(array.as_boolean().clone()),
            DataType::Int8 | DataType::Int16 | DataType::Int32 | DataType::Date32 => {
                Of::Int(to(&DataType::Int32)?.as_primitive::<Int32Type>().clone())
            }
            DataType::Interval(IntervalUnit::YearMonth) => {
                Of::Int(array.as_primitive::<IntervalYearMonthType>().reinterpret_cast())
            }
            DataType::Int64 => Of::Long(array.as_primitive::<Int64Type>().clone()),
            DataType::Timestamp(_, zone) => {
                let micros = to(&DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
                Of::Long(micros.as_primitive::<TimestampMicrosecondType>().reinterpret_cast())
            }
            DataType::Duration(_) => {
                let micros = to(&DataType::Duration(TimeUnit::Microsecond))?;
                Of::Long(micros.as_primitive::<DurationMicrosecondType>().reinterpret_cast())
            }
            DataType::Float32 => Of::Float(array.as_primitive::<Float32Type>().clone()),
            DataType::Float64 => Of::Double(array.as_primitive::<Float64Type>().clone()),
            data_type if is_text(data_type) => Of::Text(to(&DataType::Utf8View)?.as_string_view().clone()),
            DataType::Binary | DataType::LargeBinary | DataType::BinaryView => {
                Of::Binary(to(&DataType::Binary)?.as_binary::<i32>().clone())
            }
            DataType::Decimal128(precision, _) => {
                Of::Decimal(array.as_primitive::<Decimal128Type>().clone(), decimal_bytes(*precision))
            }
            DataType::List(_) => {
                let list = array.as_list::<i32>();
                Of::List(list.clone(), Box::new(Self::new(list.values())?))
            }
            DataType::Map(..) => {
                let map = array.as_map();
                let keys = arrow::compute::cast(map.keys(), &DataType::Utf8View)?;
                Of::Map(map.clone(), keys.as_string_view().clone(), Box::new(Self::new(map.values())?))
            }
            DataType::Struct(_) => {
                let fields = array.as_struct().columns().iter().map(Self::new).collect::<Result<_>>()?;
                Of::Struct(fields)
            }
            other => return Err(unsupported(other)),
        };
        Ok(Self::Values((array.null_count() > 0).then(|| Arc::clone(array)), Box::new(of)))
    }

    /// Writes the value of a row, behind the branch of its union.
    fn put(&self, row: usize, out: &mut Vec<u8>) {
        let Self::Values(nulls, of) = self else { return };
        if nulls.as_ref().is_some_and(|array| array.is_null(row)) {
            return put_long(out, 1);
        }
        put_long(out, 0);
        match of.as_ref() {
            Of::Boolean(a) => out.push(u8::from(a.value(row))),
            Of::Int(a) => put_long(out, a.value(row).into()),
            Of::Long(a) => put_long(out, a.value(row)),
            Of::Float(a) => out.extend_from_slice(&a.value(row).to_le_bytes()),
            Of::Double(a) => out.extend_from_slice(&a.value(row).to_le_bytes()),
            Of::Text(a) => put_bytes(out, a.value(row).as_bytes()),
            Of::Binary(a) => put_bytes(out, a.value(row)),
            Of::Decimal(a, len) => out.extend_from_slice(&a.value(row).to_be_bytes()[16 - len..]),
            Of::List(list, items) => {
                put_items(out, list.value_offsets(), row, |item, out| items.put(item, out));
            }
            Of::Map(map, keys, values) => put_items(out, map.value_offsets(), row, |item, out| {
                put_bytes(out, keys.value(item).as_bytes());
                values.put(item, out);
            }),
            Of::Struct(fields) => fields.iter().for_each(|field| field.put(row, out)),
        }
    }
}

fn put_items(out: &mut Vec<u8>, offsets: &[i32], row: usize, mut put: impl FnMut(usize, &mut Vec<u8>)) {
    let items = offsets[row] as usize..offsets[row + 1] as usize;
    if !items.is_empty() {
        put_long(out, items.len() as i64);
        items.for_each(|item| put(item, out));
    }
    put_long(out, 0);
}

/// Writes a default of a schema as a value of its type; that of a union is of its first branch.
pub fn put_default(schema: &Schema, id: Id, value: &Value, out: &mut Vec<u8>) -> Result<()> {
    let wrong = || {
        Error::invalid("INVALID_SCHEMA", format!("the Avro schema is malformed: {value} is no default of its type"))
            .with_help("change the default in the option avroSchema")
    };
    let bytes =
        |text: &str| text.chars().map(|c| u8::try_from(u32::from(c)).map_err(|_| wrong())).collect::<Result<Vec<_>>>();
    match (&schema.get(id).kind, value) {
        (Kind::Null, Value::Null) => {}
        (Kind::Boolean, Value::Bool(value)) => out.push(u8::from(*value)),
        (Kind::Int | Kind::Long, Value::Number(n)) => put_long(out, n.as_i64().ok_or_else(wrong)?),
        (Kind::Float, Value::Number(n)) => {
            out.extend_from_slice(&(n.as_f64().ok_or_else(wrong)? as f32).to_le_bytes());
        }
        (Kind::Double, Value::Number(n)) => out.extend_from_slice(&n.as_f64().ok_or_else(wrong)?.to_le_bytes()),
        (Kind::String, Value::String(text)) => put_bytes(out, text.as_bytes()),
        (Kind::Bytes, Value::String(text)) => put_bytes(out, &bytes(text)?),
        (Kind::Fixed(len), Value::String(text)) => {
            let bytes = bytes(text)?;
            if bytes.len() != *len {
                return Err(wrong());
            }
            out.extend_from_slice(&bytes);
        }
        (Kind::Enum { symbols, .. }, Value::String(text)) => {
            put_long(out, symbols.iter().position(|s| s == text).ok_or_else(wrong)? as i64);
        }
        (Kind::Array(item), Value::Array(items)) => {
            if !items.is_empty() {
                put_long(out, items.len() as i64);
                items.iter().try_for_each(|value| put_default(schema, *item, value, out))?;
            }
            put_long(out, 0);
        }
        (Kind::Map(of), Value::Object(pairs)) => {
            if !pairs.is_empty() {
                put_long(out, pairs.len() as i64);
                for (key, value) in pairs {
                    put_bytes(out, key.as_bytes());
                    put_default(schema, *of, value, out)?;
                }
            }
            put_long(out, 0);
        }
        (Kind::Record(fields), Value::Object(values)) => {
            for field in fields {
                let value = values.get(&field.name).or(field.default.as_ref()).ok_or_else(wrong)?;
                put_default(schema, field.type_id, value, out)?;
            }
        }
        (Kind::Union(branches), value) => {
            put_long(out, 0);
            put_default(schema, *branches.first().ok_or_else(wrong)?, value, out)?;
        }
        _ => return Err(wrong()),
    }
    Ok(())
}
