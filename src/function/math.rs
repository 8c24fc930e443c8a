//! `bround` and `hash`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;

use super::cast::is_string;
use super::scalar::{Call, Types, function};
use super::type_name::sql_type_name;
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("bround", 1..=2, bround_type, bround),
        function("hash", 1..=usize::MAX, |_| Ok(DataType::Int32), hash),
    ]
}

fn places_of(types: &Types) -> i8 {
    types.literal(1).and_then(|v| v.to_string().parse().ok()).unwrap_or(0)
}

fn bround_type(types: &Types) -> Result<DataType> {
    Ok(match types.get(0) {
        DataType::Decimal128(p, s) => {
            let scale = places_of(types).clamp(0, *s);
            // Rounding up may need one digit more in front of the point.
            DataType::Decimal128((*p as i16 - i16::from(*s) + i16::from(scale) + 1).clamp(1, 38) as u8, scale)
        }
        t if t.is_integer() => t.clone(),
        _ => DataType::Float64,
    })
}

/// Rounds a half to the even neighbour.
fn bround(call: &Call) -> Result<ArrayRef> {
    let places = if call.len() > 1 { call.ints(1)? } else { Int32Array::from(vec![0; call.rows()]) };
    match call.value(0).data_type() {
        DataType::Decimal128(_, scale) => {
            let values = call.array(0)?;
            let to = call.return_type();
            let kept = if let DataType::Decimal128(_, s) = to { *s } else { 0 };
            let rows = values.as_primitive::<Decimal128Type>().iter().zip(places.iter());
            let rows = rows.map(|(v, n)| {
                let digits = i32::from(scale) - n?;
                let rounded = half_even(v?, digits);
                Some(rounded / 10_i128.pow((scale - kept).max(0) as u32))
            });
            Ok(Arc::new(rows.collect::<Decimal128Array>().with_data_type(to.clone())))
        }
        t if t.is_integer() => {
            let rows = call.longs(0)?;
            let rows = rows.iter().zip(places.iter()).map(|(v, n)| Some(half_even(v?.into(), -n?) as i64));
            Ok(arrow::compute::cast(&rows.collect::<Int64Array>(), call.return_type())?)
        }
        _ => {
            let rows = call.doubles(0)?;
            let rows = rows.iter().zip(places.iter()).map(|(v, n)| Some(round_double(v?, n?)));
            Ok(Arc::new(rows.collect::<Float64Array>()))
        }
    }
}

/// `value` with its last `digits` digits rounded away (they become zeros).
fn half_even(value: i128, digits: i32) -> i128 {
    let Some(unit) = u32::try_from(digits).ok().filter(|d| *d > 0).and_then(|d| 10_i128.checked_pow(d)) else {
        return value;
    };
    let (quotient, remainder) = (value.div_euclid(unit), value.rem_euclid(unit));
    let up = remainder * 2 > unit || (remainder * 2 == unit && quotient % 2 != 0);
    (quotient + i128::from(up)) * unit
}

/// Through the exact decimal text, so that 2.675 is what it prints as.
fn round_double(value: f64, places: i32) -> f64 {
    if !value.is_finite() {
        return value;
    }
    let digits = super::cast::parse::decimal(&format!("{value:e}"), 18);
    match digits {
        Ok(digits) if (0..=17).contains(&places) => half_even(digits, 18 - places) as f64 / 1e18,
        _ if places < 0 => (value / 10_f64.powi(-places)).round_ties_even() * 10_f64.powi(-places),
        _ => value,
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
            let message = format!("function \"hash\" does not take \"{}\"", sql_type_name(other));
            return Err(Error::invalid("DATATYPE_MISMATCH.HASH_MAP_TYPE", message));
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
