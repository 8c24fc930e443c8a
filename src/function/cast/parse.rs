//! Numbers and booleans read from text, as Spark's casts read them.

use std::str::FromStr;

/// Spark trims white space and control characters around every value.
pub fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c <= ' ' || c == '\u{7f}')
}

/// An optional sign and digits; no point, no exponent.
pub fn integer<T: FromStr>(text: &str) -> Option<T> {
    trim(text).parse().ok()
}

/// `Double.parseDouble`, and `inf`, `infinity`, `nan` in any case.
pub fn double(text: &str) -> Option<f64> {
    let text = java_number(text)?;
    text.parse().ok()
}

/// The same for FLOAT, rounded once.
pub fn float(text: &str) -> Option<f32> {
    java_number(text)?.parse().ok()
}

/// Cuts what Java accepts and Rust does not: a type suffix after a digit or point.
fn java_number(text: &str) -> Option<&str> {
    let text = trim(text);
    match text.as_bytes() {
        [.., digit, b'd' | b'D' | b'f' | b'F'] if digit.is_ascii_digit() || *digit == b'.' => {
            text.get(..text.len() - 1)
        }
        _ => Some(text),
    }
}

/// Spark's words for true and false.
pub fn boolean(text: &str) -> Option<bool> {
    let text = trim(text);
    let is_one_of = |words: &[&str]| words.iter().any(|w| text.eq_ignore_ascii_case(w));
    if is_one_of(&["true", "t", "yes", "y", "1"]) {
        Some(true)
    } else if is_one_of(&["false", "f", "no", "n", "0"]) {
        Some(false)
    } else {
        None
    }
}

/// Why a text is no decimal of the wanted size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DecimalError {
    /// Not a number.
    Malformed,
    /// Too large for 38 digits.
    TooLarge,
}

/// The unscaled value of a decimal number with `scale` digits after the point, rounded half up.
pub fn decimal(text: &str, scale: i8) -> Result<i128, DecimalError> {
    let text = trim(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().map_err(|_| DecimalError::Malformed)?),
        None => (text, 0),
    };
    let (negative, digits) = match mantissa.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let value = unscaled(digits, i64::from(exponent) + i64::from(scale))?;
    Ok(if negative { -value } else { value })
}

/// `digits` (with a point or without) times ten to the power `shift`, rounded half up.
fn unscaled(digits: &[u8], shift: i64) -> Result<i128, DecimalError> {
    let point = digits.iter().position(|b| *b == b'.').unwrap_or(digits.len());
    let count = digits.len() - usize::from(point < digits.len());
    if count == 0 || digits.iter().enumerate().any(|(i, b)| !b.is_ascii_digit() && i != point) {
        return Err(DecimalError::Malformed);
    }
    let kept = point as i64 + shift;
    let mut value: i128 = 0;
    let mut push = |digit: u8| -> Result<(), DecimalError> {
        let next = value.checked_mul(10).and_then(|v| v.checked_add(digit.into())).ok_or(DecimalError::TooLarge)?;
        value = next;
        Ok(())
    };
    let mut read = 0;
    for byte in digits.iter().filter(|b| **b != b'.') {
        if read >= kept {
            let half_up = read == kept && *byte >= b'5';
            return Ok(value + i128::from(half_up));
        }
        push(byte - b'0')?;
        read += 1;
    }
    // Zero stays zero however large the exponent; any other value overflows within 39 steps.
    while read < kept && value != 0 {
        value = value.checked_mul(10).ok_or(DecimalError::TooLarge)?;
        read += 1;
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_trimmed_and_strict() {
        assert_eq!(integer::<i32>(" 7 "), Some(7));
        assert_eq!(integer::<i32>("+7"), Some(7));
        assert_eq!(integer::<i32>("12x"), None);
        assert_eq!(integer::<i32>("1.5"), None);
        assert_eq!(integer::<i32>("2147483648"), None);
    }

    #[test]
    fn doubles_take_javas_forms() {
        assert_eq!(double("1.5d"), Some(1.5));
        assert_eq!(double(" 1e3 "), Some(1000.0));
        assert_eq!(double("-Infinity"), Some(f64::NEG_INFINITY));
        assert!(double("NaN").is_some_and(f64::is_nan));
        assert_eq!(double(""), None);
    }

    #[test]
    fn decimals_round_half_up() {
        assert_eq!(decimal("2.555", 2), Ok(256));
        assert_eq!(decimal("-2.555", 2), Ok(-256));
        assert_eq!(decimal("1.5e2", 1), Ok(1500));
        assert_eq!(decimal("5e-1", 0), Ok(1));
        assert_eq!(decimal("4e-2", 0), Ok(0));
        assert_eq!(decimal(".5", 1), Ok(5));
        assert_eq!(decimal("7.", 1), Ok(70));
        assert_eq!(decimal("1e40", 0), Err(DecimalError::TooLarge));
        assert_eq!(decimal("1.2.3", 0), Err(DecimalError::Malformed));
        assert_eq!(decimal(".", 0), Err(DecimalError::Malformed));
    }
}
