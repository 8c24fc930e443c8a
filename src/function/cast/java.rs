//! Numbers as Java's parsers read them, which Spark's readers of records use: stricter than CAST.

use super::parse::{DecimalError, decimal};

/// An optional sign and digits, nothing around them.
pub fn integer<T: TryFrom<i64>>(text: &str) -> Option<T> {
    let bytes = text.as_bytes();
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    if digits.is_empty() || digits.len() > 18 {
        let whole: i64 = text.parse().ok()?;
        return T::try_from(whole).ok();
    }
    let mut value = 0i64;
    for b in digits {
        let digit = b.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    T::try_from(if negative { -value } else { value }).ok()
}

/// `Double.parseDouble`: blanks around the number, `NaN` and `Infinity` in this spelling, a suffix `d` or `f`.
pub fn double(text: &str) -> Option<f64> {
    real(text)
}

/// `Float.parseFloat`.
pub fn float(text: &str) -> Option<f32> {
    real(text)
}

fn real<T: std::str::FromStr>(text: &str) -> Option<T> {
    let text = text.trim_matches(|c: char| c <= ' ');
    let number = match text.as_bytes() {
        [.., b'd' | b'D' | b'f' | b'F'] => &text[..text.len() - 1],
        _ => text,
    };
    let unsigned = number.strip_prefix(['+', '-']).unwrap_or(number);
    let is_number = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let word = text.strip_prefix(['+', '-']).unwrap_or(text);
    if is_number { number.parse().ok() } else { matches!(word, "NaN" | "Infinity").then(|| text.parse().ok())? }
}

/// `new BigDecimal(text)` with `scale` digits after the point, rounded half up.
pub fn big_decimal(text: &str, scale: i8) -> Result<i128, DecimalError> {
    let is_trimmed =
        !text.starts_with(|c: char| c <= ' ' || c == '\x7f') && !text.ends_with(|c: char| c <= ' ' || c == '\x7f');
    if is_trimmed { decimal(text, scale) } else { Err(DecimalError::Malformed) }
}

/// `true` or `false` in any case.
pub fn boolean(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_is_stricter_than_cast() {
        assert_eq!(integer::<i32>("+7"), Some(7));
        assert_eq!(integer::<i32>(" 7"), None);
        assert_eq!(integer::<i8>("128"), None);
        assert_eq!(integer::<i64>("-9223372036854775808"), Some(i64::MIN));
        assert_eq!(integer::<i64>("0000000000000000000007"), Some(7));
        assert_eq!(double(" 1.5d "), Some(1.5));
        assert_eq!((double("inf"), double("nan"), double("1_0"), double("e5")), (None, None, None, None));
        assert_eq!(double("+Infinity"), Some(f64::INFINITY));
        assert_eq!(boolean("TRUE"), Some(true));
        assert_eq!(boolean("yes"), None);
        assert_eq!(big_decimal("1.555", 2), Ok(156));
        assert!(big_decimal("1.555 ", 2).is_err());
    }
}
