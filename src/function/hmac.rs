//! `hmac`, the keyed hash of RFC 2104, and texts in base 32.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;
use sha2::Digest;

use super::cast::is_string;
use super::jaro_winkler::similarity;
use super::scalar::{Call, Types, function};
use super::wrong_type;
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("hmac", 2..=3, |types| bytes("hmac", types, 2).map(|()| DataType::Binary), hmacs),
        function(
            "to_base32",
            1..=1,
            |types| bytes("to_base32", types, 1).map(|()| DataType::Utf8View),
            |call| {
                let bytes = call.cast(0, &DataType::Binary)?;
                Ok(Arc::new(bytes.as_binary::<i32>().iter().map(|b| b.map(encoded)).collect::<StringViewArray>()))
            },
        ),
        function(
            "from_base32",
            1..=1,
            |_| Ok(DataType::Binary),
            |call| Ok(Arc::new(call.strings(0)?.iter().map(|s| s.map(decoded)).collect::<BinaryArray>())),
        ),
        function(
            "jaro_winkler_similarity",
            2..=2,
            |_| Ok(DataType::Float64),
            |call| {
                let (a, b) = (call.strings(0)?, call.strings(1)?);
                let pairs = a.iter().zip(b.iter());
                Ok(Arc::new(pairs.map(|(a, b)| Some(similarity(a?, b?))).collect::<Float64Array>()))
            },
        ),
    ]
}

/// Checks that the first `count` arguments are texts or binaries.
fn bytes(name: &str, types: &Types, count: usize) -> Result<()> {
    let all = types.all();
    let fits = |t: &&DataType| is_string(t) || t.is_binary() || t.is_null();
    match all.iter().take(count).find(|t| !fits(t)) {
        Some(other) => Err(wrong_type(name, "BINARY or STRING", other)),
        None => Ok(()),
    }
}

fn hmacs(call: &Call) -> Result<ArrayRef> {
    let (keys, messages) = (call.cast(0, &DataType::Binary)?, call.cast(1, &DataType::Binary)?);
    let (keys, messages) = (keys.as_binary::<i32>(), messages.as_binary::<i32>());
    let names = if call.len() > 2 { Some(call.strings(2)?) } else { None };
    let mut out = BinaryBuilder::new();
    for row in 0..keys.len() {
        let name = names.as_ref().map_or(Some("SHA256"), |n| (!n.is_null(row)).then(|| n.value(row)));
        if let (false, false, Some(name)) = (keys.is_null(row), messages.is_null(row), name) {
            out.append_value(hmac(keys.value(row), messages.value(row), name)?);
        } else {
            out.append_null();
        }
    }
    Ok(Arc::new(out.finish()))
}

fn hmac(key: &[u8], message: &[u8], algorithm: &str) -> Result<Vec<u8>> {
    if key.is_empty() {
        return Err(Error::execution("INVALID_PARAMETER_VALUE.HMAC_CRYPTO_ERROR", "the key of 'hmac' is empty")
            .with_help("give a key of at least one byte"));
    }
    Ok(match algorithm.to_uppercase().replace('-', "").as_str() {
        "MD5" => keyed::<md5::Md5>(key, message, 64),
        "SHA1" => keyed::<sha1::Sha1>(key, message, 64),
        "SHA224" => keyed::<sha2::Sha224>(key, message, 64),
        "SHA256" => keyed::<sha2::Sha256>(key, message, 64),
        "SHA384" => keyed::<sha2::Sha384>(key, message, 128),
        "SHA512" => keyed::<sha2::Sha512>(key, message, 128),
        _ => {
            let message = format!("'hmac' knows no algorithm '{algorithm}'");
            return Err(Error::execution("INVALID_PARAMETER_VALUE.HMAC_ALGORITHM", message)
                .with_help("write MD5, SHA1, SHA224, SHA256, SHA384 or SHA512"));
        }
    })
}

/// `block` is how many bytes the hash takes at once.
fn keyed<D: Digest>(key: &[u8], message: &[u8], block: usize) -> Vec<u8> {
    let mut padded = if key.len() > block { D::digest(key).to_vec() } else { key.to_vec() };
    padded.resize(block, 0);
    let with = |mask: u8| padded.iter().map(|b| b ^ mask).collect::<Vec<u8>>();
    let inner = D::new().chain_update(with(0x36)).chain_update(message).finalize();
    D::new().chain_update(with(0x5c)).chain_update(inner).finalize().to_vec()
}

const DIGITS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// Eight digits for five bytes, filled up with `=`.
fn encoded(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut word = [0u8; 8];
        word[3..3 + group.len()].copy_from_slice(group);
        let word = u64::from_be_bytes(word);
        let digits = (group.len() * 8).div_ceil(5);
        for i in 0..8 {
            let digit = word >> (35 - 5 * i) & 31;
            out.push(if i < digits { char::from(DIGITS[digit as usize]) } else { '=' });
        }
    }
    out
}

/// The bytes of the digits, in any case; other characters are passed over, and nothing is read behind `=`.
fn decoded(text: &str) -> Vec<u8> {
    let (mut bits, mut count, mut digits, mut out) = (0u32, 0, 0usize, vec![]);
    for c in text.bytes().take_while(|c| *c != b'=') {
        let Some(digit) = DIGITS.iter().position(|d| *d == c.to_ascii_uppercase()) else { continue };
        bits = bits << 5 | digit as u32;
        count += 5;
        digits += 1;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
        bits &= (1 << count) - 1;
    }
    // A digit by itself says too little for a byte; Spark makes one of what there is.
    if digits % 8 == 1 {
        out.push((bits >> 2) as u8);
    }
    out
}
