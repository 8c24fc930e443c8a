//! Literals with Spark's types.

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::sql::sqlparser::ast::Value;

use crate::function::cast::temporal;
use crate::function::scalar::parse_time_zone;

/// The value of a literal; `None` if this kind of literal does not exist in Spark.
pub fn value(v: &Value) -> Option<Result<ScalarValue, String>> {
    Some(match v {
        Value::Number(n, long) => number(n, *long),
        Value::SingleQuotedString(s) | Value::DoubleQuotedString(s) | Value::SingleQuotedRawStringLiteral(s) => {
            Ok(ScalarValue::Utf8View(Some(s.clone())))
        }
        Value::HexStringLiteral(s) => binary(s),
        Value::Boolean(b) => Ok(ScalarValue::Boolean(Some(*b))),
        Value::Null => Ok(ScalarValue::Null),
        _ => return None,
    })
}

/// A number, with a sign and a suffix if it has them: INT or BIGINT as it fits, DECIMAL, or DOUBLE with an exponent.
pub fn number(text: &str, long: bool) -> Result<ScalarValue, String> {
    let upper = text.to_ascii_uppercase();
    let out_of_range = || format!("the number '{text}' is out of range");
    let (digits, suffix) = split_suffix(&upper);
    let parsed = match if long { "L" } else { suffix } {
        "L" => digits.parse().ok().map(|n| ScalarValue::Int64(Some(n))),
        "S" => digits.parse().ok().map(|n| ScalarValue::Int16(Some(n))),
        "Y" => digits.parse().ok().map(|n| ScalarValue::Int8(Some(n))),
        "D" => double(digits),
        "F" => digits.parse().ok().filter(|n: &f32| n.is_finite()).map(|n| ScalarValue::Float32(Some(n))),
        "BD" => decimal(digits),
        _ if digits.contains('E') => double(digits),
        _ if digits.contains('.') => decimal(digits),
        _ => integer(digits),
    };
    parsed.ok_or_else(out_of_range)
}

fn split_suffix(upper: &str) -> (&str, &str) {
    let suffix = ["BD", "L", "S", "Y", "D", "F"].into_iter().find(|s| upper.ends_with(s)).unwrap_or("");
    (&upper[..upper.len() - suffix.len()], suffix)
}

fn double(digits: &str) -> Option<ScalarValue> {
    digits.parse().ok().filter(|n: &f64| n.is_finite()).map(|n| ScalarValue::Float64(Some(n)))
}

fn integer(digits: &str) -> Option<ScalarValue> {
    if let Ok(n) = digits.parse::<i32>() {
        return Some(ScalarValue::Int32(Some(n)));
    }
    digits.parse::<i64>().map(|n| ScalarValue::Int64(Some(n))).ok().or_else(|| decimal(digits))
}

/// The narrowest decimal: `0.5` is `DECIMAL(1,1)`.
fn decimal(digits: &str) -> Option<ScalarValue> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let unscaled: i128 = format!("{whole}{fraction}").parse().ok()?;
    let scale = u8::try_from(fraction.len()).ok().filter(|s| *s <= 38)?;
    let precision = (unscaled.unsigned_abs().to_string().len() as u8).max(scale);
    (precision <= 38).then_some(ScalarValue::Decimal128(Some(unscaled), precision, scale as i8))
}

fn binary(hex: &str) -> Result<ScalarValue, String> {
    let padded = if hex.len() % 2 == 1 { format!("0{hex}") } else { hex.to_owned() };
    let bytes =
        padded.as_bytes().chunks(2).map(|c| std::str::from_utf8(c).ok().and_then(|c| u8::from_str_radix(c, 16).ok()));
    match bytes.collect::<Option<Vec<u8>>>() {
        Some(bytes) => Ok(ScalarValue::Binary(Some(bytes))),
        None => Err(format!("'{hex}' is not hexadecimal")),
    }
}

/// `TYPE 'text'` for DATE, TIMESTAMP and TIMESTAMP_NTZ; a time without a zone is in `time_zone`.
pub fn typed(data_type: &DataType, text: &str, time_zone: Option<&str>) -> Option<Result<ScalarValue, String>> {
    let text = text.trim();
    let wrong = |kind: &str| format!("'{text}' is not a {kind}");
    Some(match data_type {
        DataType::Date32 => match temporal::parse_date(text) {
            Some(d) => Ok(ScalarValue::Date32(Some(d))),
            None => Err(wrong("DATE")),
        },
        DataType::Timestamp(_, None) => match temporal::parse_timestamp(text, None) {
            Some(us) => Ok(ScalarValue::TimestampMicrosecond(Some(us), None)),
            None => Err(wrong("TIMESTAMP_NTZ")),
        },
        DataType::Timestamp(_, Some(_)) => {
            let zone = parse_time_zone(time_zone.unwrap_or("UTC"));
            match temporal::parse_timestamp(text, Some(zone.unwrap_or(crate::time_zone::Tz::UTC))) {
                Some(us) => Ok(ScalarValue::TimestampMicrosecond(Some(us), Some("UTC".into()))),
                None => Err(wrong("TIMESTAMP")),
            }
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_take_sparks_types() {
        for (text, value) in [
            ("1", ScalarValue::Int32(Some(1))),
            ("-2147483648", ScalarValue::Int32(Some(i32::MIN))),
            ("2147483648", ScalarValue::Int64(Some(2147483648))),
            ("1.50", ScalarValue::Decimal128(Some(150), 3, 2)),
            ("0.5", ScalarValue::Decimal128(Some(5), 1, 1)),
            (".5", ScalarValue::Decimal128(Some(5), 1, 1)),
            ("1.0E7", ScalarValue::Float64(Some(1e7))),
            ("1d", ScalarValue::Float64(Some(1.0))),
            ("7Y", ScalarValue::Int8(Some(7))),
            ("99999999999999999999", ScalarValue::Decimal128(Some(99999999999999999999), 20, 0)),
        ] {
            assert_eq!(number(text, false), Ok(value), "{text}");
        }
        assert!(number("300Y", false).is_err());
    }

    #[test]
    fn timestamps_are_read_in_the_zone() {
        let at = |zone| typed(&super::super::types::timestamp(), "1970-01-01 00:00:05", Some(zone)).unwrap().unwrap();
        assert_eq!(at("UTC"), ScalarValue::TimestampMicrosecond(Some(5_000_000), Some("UTC".into())));
        assert_eq!(
            at("+01:00"),
            ScalarValue::TimestampMicrosecond(Some(5_000_000 - 3_600_000_000), Some("UTC".into()))
        );
    }
}
