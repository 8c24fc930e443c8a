//! `format_number`: with a number of decimals, or by a pattern.

use std::sync::Arc;

use arrow::array::*;
use arrow::datatypes::DataType;
use datafusion::logical_expr::ScalarUDF;

use super::cast::is_string;
use super::decimal_format::Pattern;
use super::display::{Style, write_value};
use super::scalar::{Call, function};
use crate::Result;

/// All functions of this module.
pub fn functions() -> Vec<ScalarUDF> {
    vec![function("format_number", 2..=2, |_| Ok(DataType::Utf8View), format_number)]
}

/// The numbers of a call, exact or not.
struct Numbers<'c> {
    call: &'c Call,
    values: ArrayRef,
    inexact: Option<Float64Array>,
}

impl<'c> Numbers<'c> {
    fn new(call: &'c Call) -> Result<Self> {
        let values = call.array(0)?;
        let exact = values.data_type().is_integer() || matches!(values.data_type(), DataType::Decimal128(_, _));
        let inexact = if exact { None } else { Some(call.doubles(0)?) };
        // An array of type NULL does not say that its values are.
        let values = inexact.as_ref().map_or(values, |doubles| Arc::new(doubles.clone()));
        Ok(Self { call, values, inexact })
    }

    /// The number times a power of ten, with exactly `places` digits behind the point, rounded half even.
    fn rounded(&self, row: usize, shift: usize, places: usize) -> String {
        match &self.inexact {
            Some(doubles) => rounded_double(doubles.value(row) * 10_f64.powi(shift as i32), places),
            None => {
                let mut text = String::new();
                write_value(&mut text, &self.values, row, self.call.tz(), Style::Cast);
                rounded_half_even(&shifted(&text, shift), places)
            }
        }
    }
}

fn format_number(call: &Call) -> Result<ArrayRef> {
    if is_string(&call.value(1).data_type()) { by_pattern(call) } else { by_places(call) }
}

/// How many digits behind the point the smallest double has.
const MAX_DIGITS: usize = 1074;

/// `#,###,##0.00` with as many decimals as the second argument says, rounded half even as Java's `DecimalFormat`.
fn by_places(call: &Call) -> Result<ArrayRef> {
    let (places, numbers) = (call.ints(1)?, Numbers::new(call)?);
    let row = |row: usize| {
        let places = places.is_valid(row).then(|| usize::try_from(places.value(row)).ok()).flatten()?;
        // No number has more digits than that; the formatter's own limit is 65535.
        let exact = places.min(MAX_DIGITS);
        let number = || match numbers.inexact.as_ref().map(|d| d.value(row)) {
            Some(x) if x.is_infinite() => if x < 0.0 { "-∞" } else { "∞" }.to_owned(),
            Some(x) if x.is_nan() => "NaN".to_owned(),
            _ => grouped(&numbers.rounded(row, 0, exact)) + &"0".repeat(places - exact),
        };
        numbers.values.is_valid(row).then(number)
    };
    Ok(Arc::new((0..call.rows()).map(row).collect::<StringViewArray>()))
}

fn by_pattern(call: &Call) -> Result<ArrayRef> {
    let (patterns, numbers) = (call.strings(1)?, Numbers::new(call)?);
    let mut known: Option<(&str, Pattern)> = None;
    let mut builder = StringViewBuilder::with_capacity(call.rows());
    for (row, text) in patterns.iter().enumerate() {
        let Some(text) = text.filter(|_| numbers.values.is_valid(row)) else {
            builder.append_null();
            continue;
        };
        if known.as_ref().is_none_or(|(last, _)| *last != text) {
            known = Some((text, Pattern::parse(text)?));
        }
        if let Some((_, pattern)) = &known {
            builder.append_value(shown(pattern, &numbers, row));
        }
    }
    Ok(Arc::new(builder.finish()))
}

fn shown(pattern: &Pattern, numbers: &Numbers, row: usize) -> String {
    match numbers.inexact.as_ref().map(|d| d.value(row)) {
        Some(x) if x.is_nan() => "NaN".to_owned(),
        Some(x) if x.is_infinite() => pattern.infinity(x < 0.0),
        _ => pattern.write(&numbers.rounded(row, pattern.shift(), pattern.places())),
    }
}

/// By the shortest digits that mean the number, as far as they are enough.
fn rounded_double(x: f64, places: usize) -> String {
    let shortest = x.to_string();
    let fraction = shortest.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    if x.is_finite() && fraction <= places { rounded_half_even(&shortest, places) } else { format!("{x:.places$}") }
}

/// A plain decimal number with its point moved to the right.
fn shifted(number: &str, by: usize) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let fraction = format!("{fraction:0<by$}");
    let (front, back) = fraction.split_at(by);
    if back.is_empty() { format!("{whole}{front}") } else { format!("{whole}{front}.{back}") }
}

/// A plain decimal number with exactly `places` digits behind the point.
fn rounded_half_even(number: &str, places: usize) -> String {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.len() <= places {
        let point = if places > 0 { "." } else { "" };
        return format!("{whole}{point}{fraction:0<places$}");
    }
    let digits = format!("{}{}", whole.trim_start_matches('-'), &fraction[..places]);
    let rest = &fraction[places..];
    let odd = digits.as_bytes().last().is_some_and(|d| d % 2 == 1);
    let above = rest.as_bytes()[0] > b'5' || (rest.as_bytes()[0] == b'5' && rest[1..].bytes().any(|b| b != b'0'));
    let up = above || (rest.as_bytes()[0] == b'5' && odd);
    let value = digits.parse::<i128>().unwrap_or(i128::MAX).saturating_add(i128::from(up));
    let text = format!("{value:0>width$}", width = places + 1);
    let (whole, fraction) = text.split_at(text.len() - places);
    let sign = if number.starts_with('-') { "-" } else { "" };
    format!("{sign}{whole}{}{fraction}", if places > 0 { "." } else { "" })
}

/// Puts commas between groups of three digits.
fn grouped(number: &str) -> String {
    let (sign, number) = number.strip_prefix('-').map_or(("", number), |n| ("-", n));
    let (whole, fraction) = number.find('.').map_or((number, ""), |at| number.split_at(at));
    let mut out = String::from(sign);
    for (i, digit) in whole.chars().enumerate() {
        if i > 0 && (whole.len() - i) % 3 == 0 && digit.is_ascii_digit() {
            out.push(',');
        }
        out.push(digit);
    }
    out + fraction
}
