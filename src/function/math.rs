//! `round`, `bround` and `hash`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;

use super::cast::is_string;
use super::scalar::{Call, Types, function};
use crate::type_name::sql_type_name;
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("round", 1..=2, round_type, |call| round(call, Half::Up)),
        function("bround", 1..=2, round_type, |call| round(call, Half::Even)),
        function("hash", 1..=usize::MAX, |_| Ok(DataType::Int32), hash),
    ]
}

fn places_of(types: &Types) -> i8 {
    let places: Option<i64> = types.literal(1).and_then(|v| v.to_string().parse().ok());
    places.map_or(0, |n| n.clamp(i8::MIN.into(), i8::MAX.into()) as i8)
}

/// Where a half goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Away from zero.
    Up,
    /// To the even neighbour.
    Even,
}

fn round_type(types: &Types) -> Result<DataType> {
    Ok(match types.get(0) {
        DataType::Decimal128(p, s) => {
            let scale = places_of(types).clamp(0, (*s).max(0));
            // Rounding up may need one digit more in front of the point.
            let precision = i16::from(*p) - i16::from(*s) + i16::from(scale) + 1;
            DataType::Decimal128(precision.clamp(1, 38) as u8, scale)
        }
        t if t.is_integer() || t == &DataType::Float32 => t.clone(),
        _ => DataType::Float64,
    })
}

fn round(call: &Call, half: Half) -> Result<ArrayRef> {
    let places = if call.len() > 1 { call.ints(1)? } else { Int32Array::from(vec![0; call.rows()]) };
    let result: ArrayRef = match call.value(0).data_type() {
        DataType::Decimal128(_, scale) => return round_decimals(call, scale, &places, half),
        t if t.is_integer() => {
            let rows = call.longs(0)?;
            let rows = rows.iter().zip(places.iter());
            let rows = rows.map(|(v, n)| v.zip(n).map(|(v, n)| round_long(v, n, half)).transpose());
            Arc::new(rows.collect::<Result<Int64Array>>()?)
        }
        DataType::Float32 => {
            // The text of a float, not that of the double beside it.
            let rows = call.array(0)?;
            let rows = rows.as_primitive::<Float32Type>().iter().zip(places.iter());
            let rows = rows.map(|(v, n)| Some(round_text(&format!("{:e}", v?), v?.into(), n?, half) as f32));
            return Ok(Arc::new(rows.collect::<Float32Array>()));
        }
        _ => {
            let rows = call.doubles(0)?;
            let rows = rows.iter().zip(places.iter());
            let rows = rows.map(|(v, n)| Some(round_text(&format!("{:e}", v?), v?, n?, half)));
            return Ok(Arc::new(rows.collect::<Float64Array>()));
        }
    };
    super::cast::cast_array(&result, call.return_type(), super::cast::Mode::Ansi, call.tz())
}

fn round_decimals(call: &Call, scale: i8, places: &Int32Array, half: Half) -> Result<ArrayRef> {
    let values = call.array(0)?;
    let to = call.return_type();
    let kept = if let DataType::Decimal128(_, s) = to { *s } else { 0 };
    let unit = 10_i128.pow((scale - kept).max(0) as u32);
    let rows = values.as_primitive::<Decimal128Type>().iter().zip(places.iter());
    let rows = rows.map(|(v, n)| Some(rounded(v?, i32::from(scale).saturating_sub(n?), half) / unit));
    Ok(Arc::new(rows.collect::<Decimal128Array>().with_data_type(to.clone())))
}

fn round_long(value: i64, places: i32, half: Half) -> Result<i64> {
    let rounded = rounded(value.into(), places.saturating_neg(), half);
    rounded.try_into().map_err(|_| super::arithmetic::arithmetic_overflow(&DataType::Int64))
}

/// `value` with its last `digits` digits rounded away (they become zeros).
fn rounded(value: i128, digits: i32, half: Half) -> i128 {
    let Ok(digits) = u32::try_from(digits) else { return value };
    // Every value is less than half of the next power.
    let Some(unit) = 10_i128.checked_pow(digits) else { return 0 };
    let (quotient, remainder) = (value / unit, value % unit);
    let twice = remainder.unsigned_abs().saturating_mul(2);
    let away = match half {
        Half::Up => twice >= unit.unsigned_abs(),
        Half::Even => twice > unit.unsigned_abs() || (twice == unit.unsigned_abs() && quotient % 2 != 0),
    };
    if away { (quotient + value.signum()).saturating_mul(unit) } else { quotient * unit }
}

/// Rounds the decimal number that the text says, as Java's `BigDecimal` of a double does: 2.675 is what it prints as.
fn round_text(text: &str, value: f64, places: i32, half: Half) -> f64 {
    // A double has at most 17 digits, so 18 behind the point are enough unless it is tiny (then nothing is left of it).
    const SCALE: i8 = 18;
    if !value.is_finite() || places >= SCALE.into() {
        return value;
    }
    match super::cast::parse::decimal(text, SCALE) {
        Ok(digits) => {
            let result = rounded(digits, i32::from(SCALE) - places, half);
            let text = Decimal128Type::format_decimal(result, 38, SCALE);
            text.parse().unwrap_or(value)
        }
        // Too large to have a fraction.
        Err(_) => value,
    }
}

/// Spark's Murmur3 hash of all arguments, seed 42; NULL leaves the hash as it is.
fn hash(call: &Call) -> Result<ArrayRef> {
    let mut hashes = vec![42_u32; call.rows()];
    for array in call.arrays()? {
        for (row, hash) in hashes.iter_mut().enumerate() {
            *hash = hash_value(&array, row, *hash)?;
        }
    }
    Ok(Arc::new(hashes.into_iter().map(|h| h as i32).collect::<Int32Array>()))
}

fn hash_value(array: &dyn Array, row: usize, seed: u32) -> Result<u32> {
    if array.is_null(row) {
        return Ok(seed);
    }
    macro_rules! value {
        ($t:ty) => {
            array.as_primitive::<$t>().value(row)
        };
    }
    Ok(match array.data_type() {
        DataType::Null => seed,
        DataType::Boolean => hash_int(array.as_boolean().value(row).into(), seed),
        DataType::Int8 => hash_int(value!(Int8Type) as u32, seed),
        DataType::Int16 => hash_int(value!(Int16Type) as u32, seed),
        DataType::Int32 => hash_int(value!(Int32Type) as u32, seed),
        DataType::Date32 => hash_int(value!(Date32Type) as u32, seed),
        DataType::Int64 => hash_long(value!(Int64Type) as u64, seed),
        DataType::Timestamp(TimeUnit::Microsecond, _) => hash_long(value!(TimestampMicrosecondType) as u64, seed),
        // Both zeros have one hash.
        DataType::Float32 => hash_int((value!(Float32Type) + 0.0).to_bits(), seed),
        DataType::Float64 => hash_long((value!(Float64Type) + 0.0).to_bits(), seed),
        DataType::Decimal128(p, _) if *p <= 18 => hash_long(value!(Decimal128Type) as u64, seed),
        DataType::Decimal128(_, _) => hash_bytes(minimal_bytes(&value!(Decimal128Type).to_be_bytes()), seed),
        t if is_string(t) || t.is_binary() => {
            let bytes = arrow::compute::cast(&array.slice(row, 1), &DataType::BinaryView)?;
            hash_bytes(bytes.as_binary_view().value(0), seed)
        }
        DataType::List(_) => {
            let items = array.as_list::<i32>().value(row);
            (0..items.len()).try_fold(seed, |seed, i| hash_value(&items, i, seed))?
        }
        DataType::Struct(_) => {
            array.as_struct().columns().iter().try_fold(seed, |seed, column| hash_value(column, row, seed))?
        }
        other => {
            let message = format!("function 'hash' does not take {}", sql_type_name(other));
            return Err(Error::invalid("DATATYPE_MISMATCH.HASH_MAP_TYPE", message)
                .with_help("hash its sorted entries: hash(array_sort(map_entries(m)))"));
        }
    })
}

/// Java's `BigInteger.toByteArray`: the shortest two's complement.
fn minimal_bytes(bytes: &[u8]) -> &[u8] {
    let redundant = |pair: &[u8]| (pair[0] == 0 && pair[1] < 128) || (pair[0] == 255 && pair[1] >= 128);
    let skip = bytes.windows(2).take_while(|pair| redundant(pair)).count();
    &bytes[skip..]
}

fn mix_key(key: u32) -> u32 {
    key.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593)
}

fn mix_hash(hash: u32, key: u32) -> u32 {
    (hash ^ mix_key(key)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64)
}

fn finish(hash: u32, length: u32) -> u32 {
    let mut h = hash ^ length;
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^ (h >> 16)
}

fn hash_int(value: u32, seed: u32) -> u32 {
    finish(mix_hash(seed, value), 4)
}

fn hash_long(value: u64, seed: u32) -> u32 {
    finish(mix_hash(mix_hash(seed, value as u32), (value >> 32) as u32), 8)
}

/// Words of four bytes, then, unlike the usual Murmur3, every byte that is left as a word of its own.
fn hash_bytes(bytes: &[u8], seed: u32) -> u32 {
    let (words, rest) = bytes.as_chunks::<4>();
    let hash = words.iter().fold(seed, |hash, word| mix_hash(hash, u32::from_le_bytes(*word)));
    let hash = rest.iter().fold(hash, |hash, byte| mix_hash(hash, *byte as i8 as u32));
    finish(hash, bytes.len() as u32)
}
