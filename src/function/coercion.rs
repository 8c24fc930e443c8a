//! The type that several values have in common: of the branches of CASE, the rows of a UNION, the elements of an array.
//!
//! These are Spark's ANSI rules, which differ from DataFusion's in that text follows the other side.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::cast::is_string;
use super::collection::map_of;
use super::decimal::decimal_of;
use super::scalar::list_of;
use crate::Error;
use crate::type_name::sql_type_name;

/// The type that both values can be cast to; none if there is none.
pub fn wider(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match (left, right) {
        (l, r) if l == r => l.clone(),
        (Null, other) | (other, Null) => other.clone(),
        (l, r) if is_string(l) && is_string(r) => Utf8View,
        (l, r) if is_string(l) => beside_text(r)?,
        (l, r) if is_string(r) => beside_text(l)?,
        (l, r) if l.is_numeric() && r.is_numeric() => wider_number(l, r)?,
        (Date32, Timestamp(_, zone)) | (Timestamp(_, zone), Date32) => Timestamp(TimeUnit::Microsecond, zone.clone()),
        (Timestamp(_, l), Timestamp(_, r)) => Timestamp(TimeUnit::Microsecond, l.clone().or_else(|| r.clone())),
        (l, r) if l.is_binary() && r.is_binary() => Binary,
        (List(l), List(r)) => list_of(wider(l.data_type(), r.data_type())?),
        (Map(l, _), Map(r, _)) => match (l.data_type(), r.data_type()) {
            (Struct(l), Struct(r)) if l.len() == 2 && r.len() == 2 => {
                map_of(wider(l[0].data_type(), r[0].data_type())?, wider(l[1].data_type(), r[1].data_type())?)
            }
            _ => return None,
        },
        (Struct(l), Struct(r)) if l.len() == r.len() => {
            let field = |(l, r): (&Arc<Field>, &Arc<Field>)| {
                let nullable = l.is_nullable() || r.is_nullable();
                Some(Field::new(l.name(), wider(l.data_type(), r.data_type())?, nullable))
            };
            Struct(l.iter().zip(r).map(field).collect::<Option<Vec<_>>>()?.into())
        }
        _ => return None,
    })
}

/// The type that all values can be cast to.
pub fn common<'t>(types: impl IntoIterator<Item = &'t DataType>) -> Option<DataType> {
    types.into_iter().try_fold(DataType::Null, |common, t| wider(&common, t))
}

/// The error of values of a function that have no type in common.
pub fn mismatch<'t>(name: &str, types: impl IntoIterator<Item = &'t DataType>) -> Error {
    let types: Vec<_> = types.into_iter().map(sql_type_name).collect();
    let message = format!("the values of '{name}' must have one type, not {}", types.join(" and "));
    Error::invalid("DATATYPE_MISMATCH.DATA_DIFF_TYPES", message)
        .with_help("cast them to one type, as in CAST(… AS STRING)")
}

/// What text becomes beside a value of this type.
fn beside_text(other: &DataType) -> Option<DataType> {
    match other {
        t if t.is_integer() => Some(DataType::Int64),
        t if t.is_numeric() => Some(DataType::Float64),
        DataType::Boolean | DataType::Date32 | DataType::Timestamp(_, _) => Some(other.clone()),
        t if t.is_binary() => Some(DataType::Binary),
        _ => None,
    }
}

fn wider_number(left: &DataType, right: &DataType) -> Option<DataType> {
    use DataType::*;
    Some(match (left, right) {
        (Float32, Float32) => Float32,
        // FLOAT beside an integer would lose digits.
        (l, r) if l.is_floating() || r.is_floating() => Float64,
        (l, r) if l.is_decimal() || r.is_decimal() => wider_decimal(&decimal_of(l)?, &decimal_of(r)?)?,
        (l, r) if l.is_signed_integer() && r.is_signed_integer() => {
            if l.primitive_width() >= r.primitive_width() {
                l.clone()
            } else {
                r.clone()
            }
        }
        _ => Int64,
    })
}

/// Room for the digits of both on either side of the point; where 38 are too few, those behind it are cut.
fn wider_decimal(left: &DataType, right: &DataType) -> Option<DataType> {
    let (DataType::Decimal128(p1, s1), DataType::Decimal128(p2, s2)) = (left, right) else { return None };
    let scale = *s1.max(s2);
    let whole = (i16::from(*p1) - i16::from(*s1)).max(i16::from(*p2) - i16::from(*s2));
    let precision = whole + i16::from(scale);
    if precision <= 38 {
        return Some(DataType::Decimal128(u8::try_from(precision).ok()?, scale));
    }
    Some(DataType::Decimal128(38, i8::try_from((38 - whole).max(0)).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use DataType::*;

    #[test]
    fn numbers_widen_and_text_follows() {
        for (left, right, common) in [
            (Int32, Int64, Int64),
            (Int32, Decimal128(2, 1), Decimal128(11, 1)),
            (Decimal128(5, 0), Decimal128(4, 3), Decimal128(8, 3)),
            (Decimal128(38, 0), Decimal128(38, 20), Decimal128(38, 0)),
            (Int32, Float32, Float64),
            (Decimal128(3, 1), Float64, Float64),
            (Utf8View, Int8, Int64),
            (Utf8View, Date32, Date32),
            (Null, Boolean, Boolean),
            (list_of(Int32), list_of(Null), list_of(Int32)),
        ] {
            assert_eq!(wider(&left, &right), Some(common.clone()), "{left} and {right}");
            assert_eq!(wider(&right, &left), Some(common), "{right} and {left}");
        }
        assert_eq!(wider(&Boolean, &Int32), None);
        assert_eq!(wider(&list_of(Int32), &Int32), None);
    }
}
