//! The columns that Spark sees in an Avro schema.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, TimeUnit};

use super::plan::Scaling;
use super::schema::{Id, Kind, Logical, Schema};
use crate::error::{Error, Result};
use crate::function::map_of;
use crate::function::scalar::{list_of, timestamp};
use crate::type_name::sql_type_name;

const MILLIS_PER_DAY: i64 = 24 * 60 * 60 * 1000;

impl Schema {
    /// The columns of a record.
    ///
    /// # Errors
    /// A schema that is no record, and types that no column can have.
    pub fn columns(&self) -> Result<Fields> {
        match self.data_type(self.root(), &mut vec![])? {
            DataType::Struct(columns) => Ok(columns),
            _ => Err(refused("the schema is no record")),
        }
    }

    /// The type of a column; `inside` are the types around it.
    fn data_type(&self, id: Id, inside: &mut Vec<Id>) -> Result<DataType> {
        if inside.contains(&id) {
            return Err(refused("a type is inside itself, so that it has no end"));
        }
        inside.push(id);
        let of = self.get(id);
        let is_interval =
            |what: &str| of.catalyst.as_deref().is_some_and(|c| c.starts_with("interval") && c.contains(what));
        let data_type = match (&of.kind, of.logical) {
            (Kind::Null, _) => DataType::Null,
            (Kind::Boolean, _) => DataType::Boolean,
            (Kind::Int, Some(Logical::Date)) => DataType::Date32,
            (Kind::Int, _) if is_interval("year") || is_interval("month") => {
                DataType::Interval(IntervalUnit::YearMonth)
            }
            (Kind::Int, _) => DataType::Int32,
            (Kind::Long, Some(Logical::TimestampMillis | Logical::TimestampMicros)) => timestamp(),
            (Kind::Long, Some(Logical::LocalMillis | Logical::LocalMicros)) => {
                DataType::Timestamp(TimeUnit::Microsecond, None)
            }
            (Kind::Long, Some(Logical::TimeOrNanos)) => {
                return Err(refused("times of day and nanoseconds are no columns"));
            }
            (Kind::Long, _) if is_interval("") => DataType::Duration(TimeUnit::Microsecond),
            (Kind::Long, _) => DataType::Int64,
            (Kind::Float, _) => DataType::Float32,
            (Kind::Double, _) => DataType::Float64,
            (Kind::Bytes | Kind::Fixed(_), Some(Logical::Decimal { precision, scale })) => {
                match u8::try_from(precision).ok().filter(|p| *p <= 38) {
                    Some(precision) => DataType::Decimal128(precision, scale as i8),
                    None => return Err(refused(&format!("decimals of {precision} digits are longer than 38"))),
                }
            }
            (Kind::Bytes | Kind::Fixed(_), _) => DataType::Binary,
            (Kind::String | Kind::Enum { .. }, _) => DataType::Utf8View,
            (Kind::Array(item), _) => list_of(self.data_type(*item, inside)?),
            (Kind::Map(value), _) => map_of(DataType::Utf8View, self.data_type(*value, inside)?),
            (Kind::Record(fields), _) => {
                let fields = fields.iter().map(|f| Ok(Field::new(&f.name, self.data_type(f.type_id, inside)?, true)));
                DataType::Struct(fields.collect::<Result<_>>()?)
            }
            (Kind::Union(branches), _) => self.union(branches, inside)?,
        };
        inside.pop();
        Ok(data_type)
    }

    fn union(&self, branches: &[Id], inside: &mut Vec<Id>) -> Result<DataType> {
        let values: Vec<Id> = branches.iter().copied().filter(|id| !matches!(self.get(*id).kind, Kind::Null)).collect();
        if let [only] = values[..] {
            return self.data_type(only, inside);
        }
        if is_both(self, &values, |k| matches!(k, Kind::Int), |k| matches!(k, Kind::Long)) {
            return Ok(DataType::Int64);
        }
        if is_both(self, &values, |k| matches!(k, Kind::Float), |k| matches!(k, Kind::Double)) {
            return Ok(DataType::Float64);
        }
        let members = values.iter().enumerate();
        let members = members.map(|(i, id)| Ok(Field::new(format!("member{i}"), self.data_type(*id, inside)?, true)));
        Ok(DataType::Struct(members.collect::<Result<Vec<_>>>()?.into_iter().map(Arc::new).collect()))
    }
}

fn refused(why: &str) -> Error {
    Error::invalid("INCOMPATIBLE_SCHEMA", format!("the Avro schema has no columns: {why}"))
}

/// Whether these are two types, one of each kind.
pub fn is_both(schema: &Schema, ids: &[Id], one: fn(&Kind) -> bool, other: fn(&Kind) -> bool) -> bool {
    let [a, b] = ids else { return false };
    let (a, b) = (&schema.get(*a).kind, &schema.get(*b).kind);
    one(a) && other(b) || one(b) && other(a)
}

/// How a long becomes a value of a column; `None` if it cannot.
pub fn type_of_long(logical: Option<Logical>, to: &DataType) -> Option<Scaling> {
    use Logical::*;
    Some(match (logical, to) {
        (_, DataType::Int64 | DataType::Duration(_)) => Scaling::One,
        // What has no logical type is a number of milliseconds, as in files of old Spark.
        (None | Some(TimestampMillis | LocalMillis), DataType::Date32) => Scaling::Over(MILLIS_PER_DAY),
        (None | Some(TimestampMillis), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
        | (None | Some(LocalMillis), DataType::Timestamp(TimeUnit::Microsecond, None)) => Scaling::Times(1000),
        (Some(TimestampMicros), DataType::Timestamp(TimeUnit::Microsecond, Some(_)))
        | (Some(LocalMicros), DataType::Timestamp(TimeUnit::Microsecond, None)) => Scaling::One,
        _ => return None,
    })
}

/// What a type holds, for messages.
pub fn values_of(schema: &Schema, id: Id) -> String {
    match &schema.get(id).kind {
        Kind::Record(_) => "a record".to_owned(),
        Kind::Array(_) => "an array".to_owned(),
        Kind::Map(_) => "a map".to_owned(),
        Kind::Union(_) => "a union of several types".to_owned(),
        _ => match schema.data_type(id, &mut vec![]) {
            Ok(data_type) => sql_type_name(&data_type),
            Err(_) => "of a type that is no column".to_owned(),
        },
    }
}
