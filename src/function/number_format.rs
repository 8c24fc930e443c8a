//! Numbers by a format such as `$99,999.99S`: `to_number`, `try_to_number`, `to_char`.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::*;
use datafusion::logical_expr::ScalarUDF;

use super::scalar::{Call, Types, function};
use crate::{Error, Result};

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![
        function("to_number", 2..=2, number_type, |call| to_number(call, false)),
        function("try_to_number", 2..=2, number_type, |call| to_number(call, true)),
        function("to_char", 2..=2, |_| Ok(DataType::Utf8View), to_char).with_aliases(["to_varchar"]),
    ]
}

/// How the sign is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    None,
    /// `S`: plus or minus.
    Always(Side),
    /// `MI`: minus or a space.
    Minus(Side),
    /// `PR`: angle brackets around a negative number.
    Brackets,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Front,
    Back,
}

/// A format taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Format {
    sign: Sign,
    dollar: bool,
    /// `0`, `9` and, for a group separator, `,`.
    whole: Vec<u8>,
    /// `0` and `9`; none without a point.
    fraction: Option<Vec<u8>>,
}

impl Format {
    fn parse(text: &str) -> Result<Self> {
        let wrong = || {
            Error::invalid("INVALID_FORMAT.UNEXPECTED_TOKEN", format!("the number format '{text}' is malformed"))
                .with_help(
                    "write digits as 0 or 9, a point as . or D, a separator as , or G, and a sign as S, MI or PR",
                )
        };
        let upper = text.to_ascii_uppercase();
        let mut rest = upper.as_str();
        let mut sign = Sign::None;
        if let Some(r) = rest.strip_prefix("MI") {
            (sign, rest) = (Sign::Minus(Side::Front), r);
        } else if let Some(r) = rest.strip_prefix('S') {
            (sign, rest) = (Sign::Always(Side::Front), r);
        }
        let dollar = rest.starts_with('$');
        rest = rest.strip_prefix('$').unwrap_or(rest);
        let back = [("MI", Sign::Minus(Side::Back)), ("PR", Sign::Brackets), ("S", Sign::Always(Side::Back))];
        if let Some((r, s)) = back.iter().find_map(|(mark, s)| rest.strip_suffix(mark).map(|r| (r, *s))) {
            if sign != Sign::None {
                return Err(wrong());
            }
            (sign, rest) = (s, r);
        }
        let (whole, fraction) = match rest.find(['.', 'D']) {
            Some(at) => (&rest[..at], Some(rest.as_bytes()[at + 1..].to_vec())),
            None => (rest, None),
        };
        let whole = whole.replace('G', ",").into_bytes();
        let is_digit = |b: &u8| matches!(b, b'0' | b'9');
        let legal = whole.iter().all(|b| is_digit(b) || *b == b',') && fraction.iter().flatten().all(is_digit);
        let count = whole.iter().chain(fraction.iter().flatten()).filter(|b| is_digit(b)).count();
        if !legal || !(1..=38).contains(&count) || whole.starts_with(b",") || whole.ends_with(b",") {
            return Err(wrong());
        }
        Ok(Self { sign, dollar, whole, fraction })
    }

    fn whole_digits(&self) -> usize {
        self.whole.iter().filter(|b| **b != b',').count()
    }

    fn scale(&self) -> usize {
        self.fraction.as_ref().map_or(0, Vec::len)
    }

    /// The unscaled value of a text that fits the format.
    fn read(&self, text: &str) -> Option<i128> {
        let text = text.trim();
        let (negative, text) = match self.sign {
            Sign::None => (false, text),
            Sign::Brackets => match text.strip_prefix('<').and_then(|t| t.strip_suffix('>')) {
                Some(inner) => (true, inner),
                None => (false, text),
            },
            Sign::Always(side) | Sign::Minus(side) => {
                let strip = |c: char| if side == Side::Front { text.strip_prefix(c) } else { text.strip_suffix(c) };
                let plus = if matches!(self.sign, Sign::Always(_)) { strip('+') } else { None };
                strip('-').map_or((false, plus.unwrap_or(text)), |t| (true, t))
            }
        };
        let text = text.trim();
        let text = if self.dollar { text.strip_prefix('$')? } else { text };
        let (whole, fraction) = match text.split_once('.') {
            Some((whole, fraction)) => (whole, Some(fraction)),
            None => (text, None),
        };
        if fraction.is_some() && self.fraction.is_none() {
            return None;
        }
        let digits = self.read_whole(whole)?;
        let fraction = fraction.unwrap_or("");
        let legal = fraction.len() <= self.scale() && fraction.bytes().all(|b| b.is_ascii_digit());
        if !legal || (digits.is_empty() && fraction.is_empty()) {
            return None;
        }
        let value: i128 = format!("0{digits}{fraction:0<width$}", width = self.scale()).parse().ok()?;
        Some(if negative { -value } else { value })
    }

    /// From the right, so that separators are where the format has them. A leading `0` wants all its digits.
    fn read_whole(&self, text: &str) -> Option<String> {
        let mut digits: Vec<u8> = vec![];
        let mut bytes = text.bytes().rev().peekable();
        for pattern in self.whole.iter().rev() {
            match (bytes.peek(), pattern) {
                (None, _) => break,
                (Some(b','), b',') => drop(bytes.next()),
                (Some(b), b'0' | b'9') if b.is_ascii_digit() => digits.extend(bytes.next()),
                _ => return None,
            }
        }
        let complete = self.whole.first() != Some(&b'0') || digits.len() == self.whole_digits();
        if bytes.next().is_some() || !complete || text.starts_with(',') {
            return None;
        }
        digits.reverse();
        String::from_utf8(digits).ok()
    }

    /// A value of `scale` digits behind the point, rounded to those of the format; `#` for what has too many in front.
    fn write(&self, value: i128, scale: i8) -> String {
        let negative = value < 0;
        let places = self.scale();
        let plain = plain_digits(value.unsigned_abs(), scale, places);
        let (whole, fraction) = plain.split_at(plain.len() - places);
        let whole = whole.trim_start_matches('0');
        let fits = whole.len() <= self.whole_digits();
        let mut front = String::new();
        let mut digits = format!("{whole:>width$}", width = self.whole_digits()).into_bytes().into_iter();
        let mut started = false;
        for pattern in &self.whole {
            match pattern {
                b',' => front.push(if started { ',' } else { ' ' }),
                pattern => {
                    let digit = digits.next().unwrap_or(b' ');
                    let zero = *pattern == b'0' || started;
                    started |= digit != b' ' || zero;
                    let shown = if digit == b' ' && zero { b'0' } else { digit };
                    front.push(if fits { char::from(shown) } else { '#' });
                }
            }
        }
        if whole.is_empty() && fits && front.ends_with(' ') {
            front.pop();
            front.push('0');
        }
        let mut number = front;
        if self.fraction.is_some() && places > 0 {
            number.push('.');
            number.push_str(&if fits { fraction.to_owned() } else { "#".repeat(places) });
        }
        let number = if self.dollar { format!("${number}") } else { number };
        match (self.sign, negative) {
            (Sign::None, false) | (Sign::Brackets, false) => number,
            (Sign::None, true) => format!("-{number}"),
            (Sign::Brackets, true) => format!("<{number}>"),
            (Sign::Always(Side::Front), _) => format!("{}{number}", if negative { '-' } else { '+' }),
            (Sign::Always(Side::Back), _) => format!("{number}{}", if negative { '-' } else { '+' }),
            (Sign::Minus(Side::Front), _) => format!("{}{number}", if negative { '-' } else { ' ' }),
            (Sign::Minus(Side::Back), _) => format!("{number}{}", if negative { '-' } else { ' ' }),
        }
    }
}

/// All digits of a value with `places` of them behind the point, and at least one in front.
fn plain_digits(value: u128, scale: i8, places: usize) -> String {
    let scale = usize::try_from(scale).unwrap_or(0);
    let mut digits = format!("{value:0>width$}", width = scale + 1);
    if places >= scale {
        digits.push_str(&"0".repeat(places - scale));
    } else {
        digits.truncate(digits.len() - (scale - places));
    }
    digits
}

fn format_argument(text: Option<&str>) -> Result<Format> {
    match text {
        Some(text) => Format::parse(text),
        None => {
            Err(Error::invalid("DATATYPE_MISMATCH.NON_FOLDABLE_INPUT", "the number format must be a string literal")
                .with_help("write it in quotes: to_number(text, '999.99')"))
        }
    }
}

fn number_type(types: &Types) -> Result<DataType> {
    let format = format_argument(types.literal_str(1))?;
    let precision = format.whole_digits() + format.scale();
    Ok(DataType::Decimal128(precision as u8, format.scale() as i8))
}

fn to_number(call: &Call, tolerant: bool) -> Result<ArrayRef> {
    let format = format_argument(call.literal_str(1))?;
    let mismatch = |text: &str| {
        let shown = call.literal_str(1).unwrap_or_default();
        let message = format!("the text '{text}' does not match the number format '{shown}'");
        Error::execution("INVALID_FORMAT.MISMATCH_INPUT", message).with_help("use `try_to_number` to get NULL instead")
    };
    let text = call.strings(0)?;
    let rows = text.iter().map(|text| match text.map(|t| (t, format.read(t))) {
        None => Ok(None),
        Some((_, Some(value))) => Ok(Some(value)),
        Some((_, None)) if tolerant => Ok(None),
        Some((text, None)) => Err(mismatch(text)),
    });
    Ok(Arc::new(rows.collect::<Result<Decimal128Array>>()?.with_data_type(call.return_type().clone())))
}

/// A number by a format, a time by a pattern, or binary as base64, hex or utf-8.
fn to_char(call: &Call) -> Result<ArrayRef> {
    let from = call.value(0).data_type();
    if from.is_temporal() || super::cast::is_string(&from) {
        return super::datetime::date_format(call);
    }
    if from.is_binary() {
        return binary_to_char(call);
    }
    let format = format_argument(call.literal_str(1))?;
    let scale = match &from {
        DataType::Decimal128(_, s) => *s,
        t if t.is_integer() => 0,
        _ => 18,
    };
    let values = call.cast(0, &DataType::Decimal128(38, scale))?;
    let values = values.as_primitive::<Decimal128Type>();
    Ok(Arc::new(values.iter().map(|v| v.map(|v| format.write(v, scale))).collect::<StringViewArray>()))
}

fn binary_to_char(call: &Call) -> Result<ArrayRef> {
    use base64::Engine;
    let (values, formats) = (call.cast(0, &DataType::Binary)?, call.strings(1)?);
    let show = |bytes: &[u8], format: &str| match format.to_ascii_lowercase().as_str() {
        "base64" => Ok(base64::engine::general_purpose::STANDARD.encode(bytes)),
        "hex" => Ok(bytes.iter().map(|b| format!("{b:02X}")).collect()),
        "utf-8" | "utf8" => Ok(String::from_utf8_lossy(bytes).into_owned()),
        _ => Err(Error::execution("INVALID_PARAMETER_VALUE.BINARY_FORMAT", format!("there is no format '{format}'"))
            .with_help("use one of base64, hex, utf-8")),
    };
    let rows = values.as_binary::<i32>().iter().zip(&formats);
    let rows = rows.map(|(bytes, format)| bytes.zip(format).map(|(b, f)| show(b, f)).transpose());
    Ok(Arc::new(rows.collect::<Result<Vec<_>>>()?.into_iter().collect::<StringViewArray>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: i128, scale: i8, format: &str) -> String {
        Format::parse(format).unwrap().write(value, scale)
    }

    #[test]
    fn numbers_are_written() {
        for (value, scale, format, text) in [
            (454, 0, "999", "454"),
            (45, 0, "9999", "  45"),
            (45, 0, "0999", "0045"),
            (1234, 0, "999", "###"),
            (12454, 0, "99G999", "12,454"),
            (454, 0, "99,999", "   454"),
            (-124548, 1, "99G999D9S", "12,454.8-"),
            (7812, 2, "$99.99", "$78.12"),
            (-5, 0, "9PR", "<5>"),
            (5, 1, "9.9", "0.5"),
        ] {
            assert_eq!(shown(value, scale, format), text, "{value} as {format}");
        }
    }

    #[test]
    fn numbers_are_read() {
        for (text, format, value) in [
            ("454", "999", Some(454)),
            ("12,454.8-", "99,999.9S", Some(-124548)),
            ("$78.12", "$99.99", Some(7812)),
            ("5", "999", Some(5)),
            ("5", "099", None),
            ("1,23", "9,999", None),
            ("abc", "999", None),
            ("<7>", "9PR", Some(-7)),
        ] {
            assert_eq!(Format::parse(format).unwrap().read(text), value, "{text} by {format}");
        }
        assert!(Format::parse("9x").is_err());
        assert!(Format::parse("").is_err());
    }
}
