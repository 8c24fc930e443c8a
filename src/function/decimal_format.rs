//! Numbers by a pattern such as `#,##0.00`, with the meaning of Java's `DecimalFormat`.

use crate::{Error, Result};

/// What `format_number` does with an empty pattern.
const DEFAULT: &str = "#,##0";

/// A pattern taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    prefix: String,
    suffix: String,
    /// Around negative numbers, if the pattern says so.
    negative: Option<(String, String)>,
    /// How many digits the number is moved to the left by: 2 for a percentage.
    shift: usize,
    min_whole: usize,
    min_fraction: usize,
    max_fraction: usize,
    group: Option<usize>,
    /// A point even where no digit follows.
    point: bool,
}

/// What stands between prefix and suffix: digits in front of zeros, zeros, and digits behind them.
#[derive(Debug, Default)]
struct Digits {
    left: usize,
    zeros: usize,
    right: usize,
    point: Option<usize>,
    group: Option<usize>,
}

impl Pattern {
    pub fn parse(text: &str) -> Result<Self> {
        let text = if text.is_empty() { DEFAULT } else { text };
        let (positive, rest) = half(text, text)?;
        let mut digits = positive.digits;
        // `#.##` has a zero in front of the point.
        if let (Some(point), 0, 1..) = (digits.point, digits.zeros, digits.left) {
            let whole = point.max(1);
            digits = Digits { left: whole - 1, zeros: 1, right: digits.left - whole, ..digits };
        }
        let total = digits.left + digits.zeros + digits.right;
        let wrong_point = match digits.point {
            None => digits.right > 0,
            Some(point) => point < digits.left || point > digits.left + digits.zeros,
        };
        if wrong_point || digits.group == Some(0) {
            return Err(malformed(text));
        }
        let negative = match rest {
            Some(rest) => half(rest, text).map(|(half, _)| Some((half.prefix, half.suffix)))?,
            None => None,
        };
        Ok(Self {
            prefix: positive.prefix,
            suffix: positive.suffix,
            negative,
            shift: positive.shift,
            min_whole: digits.point.unwrap_or(total) - digits.left,
            min_fraction: digits.point.map_or(0, |point| digits.left + digits.zeros - point),
            max_fraction: digits.point.map_or(0, |point| total - point),
            group: digits.group,
            point: digits.point.is_some_and(|point| point == 0 || point == total),
        })
    }

    /// How many digits behind the point are shown at most, counted in the number before it is moved.
    pub fn places(&self) -> usize {
        self.max_fraction
    }

    /// The power of ten by which numbers are multiplied first.
    pub fn shift(&self) -> usize {
        self.shift
    }

    /// A number, given by its digits after rounding.
    pub fn write(&self, number: &str) -> String {
        let (negative, number) = number.strip_prefix('-').map_or((false, number), |n| (true, n));
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let whole = whole.trim_start_matches('0');
        let mut whole = format!("{whole:0>width$}", width = self.min_whole);
        let fraction = fraction.trim_end_matches('0');
        let fraction = format!("{fraction:0<width$}", width = self.min_fraction);
        if whole.is_empty() && fraction.is_empty() {
            whole.push('0');
        }
        if let Some(size) = self.group {
            whole = grouped(&whole, size);
        }
        let point = if !fraction.is_empty() || self.point { "." } else { "" };
        self.around(negative, &format!("{whole}{point}{fraction}"))
    }

    /// Infinity, which has no digits.
    pub fn infinity(&self, negative: bool) -> String {
        self.around(negative, "∞")
    }

    fn around(&self, negative: bool, number: &str) -> String {
        match (&self.negative, negative) {
            (Some((prefix, suffix)), true) => format!("{prefix}{number}{suffix}"),
            (_, negative) => format!("{}{}{number}{}", if negative { "-" } else { "" }, self.prefix, self.suffix),
        }
    }
}

/// One side of the semicolon.
#[derive(Debug, Default)]
struct Half {
    prefix: String,
    suffix: String,
    shift: usize,
    digits: Digits,
}

/// The half that the text begins with, and what is behind the semicolon.
fn half<'t>(text: &'t str, all: &str) -> Result<(Half, Option<&'t str>)> {
    let mut half = Half::default();
    let (mut quoted, mut digits_seen, mut digits_over) = (false, false, false);
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        let is_digit = matches!(c, '#' | '0' | ',' | '.') && !quoted;
        if is_digit {
            if digits_over {
                return Err(malformed(all));
            }
            digits_seen = true;
            half.digits.push(c).ok_or_else(|| malformed(all))?;
            continue;
        }
        if c == 'E' && !quoted && digits_seen && !digits_over {
            let message = format!("the pattern '{all}' has an exponent, which is not supported");
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("print the number itself for an exponent: CAST(v AS STRING)"));
        }
        digits_over = digits_seen;
        let affix = if digits_over { &mut half.suffix } else { &mut half.prefix };
        match c {
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
                affix.push('\'');
            }
            '\'' => quoted = !quoted,
            ';' if !quoted => return Ok((half, Some(&text[at + 1..]))),
            '%' | '‰' if !quoted => {
                half.shift = if c == '%' { 2 } else { 3 };
                affix.push(c);
            }
            c => affix.push(c),
        }
    }
    if quoted { Err(malformed(all)) } else { Ok((half, None)) }
}

impl Digits {
    fn push(&mut self, c: char) -> Option<()> {
        match c {
            '.' => {
                if self.point.is_some() {
                    return None;
                }
                self.point = Some(self.left + self.zeros + self.right);
                return Some(());
            }
            ',' => {
                self.group = Some(0);
                return Some(());
            }
            '0' if self.right > 0 => return None,
            '0' => self.zeros += 1,
            _ if self.zeros > 0 => self.right += 1,
            _ => self.left += 1,
        }
        if let (Some(group), None) = (&mut self.group, self.point) {
            *group += 1;
        }
        Some(())
    }
}

fn grouped(whole: &str, size: usize) -> String {
    let mut out = String::with_capacity(whole.len() * 2);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i).is_multiple_of(size) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

fn malformed(text: &str) -> Error {
    Error::execution("INVALID_PARAMETER_VALUE.PATTERN", format!("the number pattern '{text}' is malformed"))
        .with_help("write digits as # or 0, as in '#,##0.00', and other characters in single quotes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_by_pattern() {
        for (number, pattern, text) in [
            ("12332.123", "##################.###", "12332.123"),
            ("12332.12", "#,###.00", "12,332.12"),
            ("0.12", "#.##", "0.12"),
            ("0.12", "#.00", ".12"),
            ("12.00", "#.00", "12.00"),
            ("1234567", "#,###,###", "1,234,567"),
            ("123456789012", "#,####", "1234,5678,9012"),
            ("1234.6", "000000.0", "001234.6"),
            ("12", "abc", "abc12"),
            ("50", "0%", "50%"),
            ("-5.0", "0.0;(0.0)", "(5.0)"),
            ("-0.0", "0.0", "-0.0"),
            ("0", "#", "0"),
            ("2", "#.", "2."),
            ("2", "'#'0", "#2"),
            ("123456.79", ",###.##", "123,456.79"),
        ] {
            assert_eq!(Pattern::parse(pattern).unwrap().write(number), text, "{number} by {pattern}");
        }
    }

    #[test]
    fn malformed_patterns() {
        for pattern in ["0.0.0", "0#", "#,", "0,0.0,0", "'0", "0 #"] {
            let e = Pattern::parse(pattern).unwrap_err();
            assert_eq!(e.condition(), "INVALID_PARAMETER_VALUE.PATTERN", "{pattern}");
        }
        assert_eq!(Pattern::parse("0E0").unwrap_err().condition(), "UNSUPPORTED_FEATURE");
    }
}
