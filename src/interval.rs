//! Interval literals: `INTERVAL 10 SECONDS`, `INTERVAL '1 2:3:4' DAY TO SECOND`, `INTERVAL '1 minute 30 seconds'`.
//!
//! Every spelling is first brought to one text of `number unit` pairs, and that text to months and microseconds.

use arrow::datatypes::IntervalMonthDayNano;

const US_PER_DAY: i128 = 86_400_000_000;

/// Months and microseconds; one of them is zero, since Spark does not mix the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interval {
    pub months: i64,
    pub micros: i64,
}

impl Interval {
    /// As Arrow's type, whole days apart from the time.
    pub fn to_arrow(self) -> Option<IntervalMonthDayNano> {
        let us_per_day = US_PER_DAY as i64;
        let days = i32::try_from(self.micros / us_per_day).ok()?;
        let nanos = (self.micros % us_per_day) * 1000;
        Some(IntervalMonthDayNano::new(i32::try_from(self.months).ok()?, days, nanos))
    }

    /// As milliseconds, with a month of 31 days: how Spark reads the delay of a watermark.
    pub fn to_delay_ms(self) -> Option<i64> {
        self.months.checked_mul(31 * 86_400_000)?.checked_add(self.micros / 1000)
    }
}

/// Parses pairs of number and unit, e.g. `1 minute -30.5 seconds`.
pub fn parse_interval(text: &str) -> Result<Interval, String> {
    let lower = text.trim().to_ascii_lowercase();
    let mut words = lower.strip_prefix("interval ").unwrap_or(&lower).split_whitespace();
    let (mut months, mut micros) = (0i128, 0i128);
    let (mut has_months, mut has_micros) = (false, false);
    while let Some(number) = words.next() {
        let unit = words.next().ok_or_else(|| format!("the interval '{text}' lacks a unit"))?;
        if let Some(factor) = months_per(unit) {
            has_months = true;
            let n: i128 = number.parse().map_err(|_| format!("'{number}' is not a whole number of {unit}"))?;
            months += n.saturating_mul(factor);
        } else {
            has_micros = true;
            let factor = micros_per(unit).ok_or_else(|| format!("unknown unit '{unit}' in the interval '{text}'"))?;
            micros = micros
                .saturating_add(scaled(number, factor).ok_or_else(|| format!("'{number}' is not a number of {unit}"))?);
        }
    }
    match (has_months, has_micros) {
        (false, false) => return Err(format!("the interval '{text}' is empty")),
        (true, true) => return Err(format!("the interval '{text}' mixes months or years with days or time")),
        _ => {}
    }
    let overflow = |_| format!("the interval '{text}' is too long");
    Ok(Interval { months: i64::try_from(months).map_err(overflow)?, micros: i64::try_from(micros).map_err(overflow)? })
}

/// A length of time as people write it: `1 minute 30 seconds`, `500 milliseconds`.
pub fn duration_text(micros: i64) -> String {
    const UNITS: [(&str, u64); 6] = [
        ("day", 86_400_000_000),
        ("hour", 3_600_000_000),
        ("minute", 60_000_000),
        ("second", 1_000_000),
        ("millisecond", 1_000),
        ("microsecond", 1),
    ];
    let mut rest = micros.unsigned_abs();
    let mut parts = vec![];
    for (unit, size) in UNITS {
        let n = rest / size;
        rest %= size;
        if n > 0 {
            parts.push(format!("{n} {unit}{}", if n == 1 { "" } else { "s" }));
        }
    }
    if parts.is_empty() {
        return "0 seconds".to_owned();
    }
    format!("{}{}", if micros < 0 { "-" } else { "" }, parts.join(" "))
}

/// The value of `'1 2:3:4.5' DAY TO SECOND` and the like as pairs of number and unit.
pub fn expand_range(value: &str, from: &str, to: &str) -> Option<String> {
    const TIME: [&str; 4] = ["day", "hour", "minute", "second"];
    let value = value.trim();
    let (sign, value) = match value.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", value.strip_prefix('+').unwrap_or(value)),
    };
    let (from, to) = (singular(from), singular(to));
    let (units, parts): (&[&str], Vec<&str>) = if from == "year" && to == "month" {
        (&["year", "month"], value.split('-').collect())
    } else {
        let first = TIME.iter().position(|u| *u == from)?;
        let last = TIME.iter().position(|u| *u == to)?;
        (TIME.get(first..=last)?, value.split([' ', ':']).filter(|p| !p.is_empty()).collect())
    };
    let numeric = |p: &&str| p.chars().all(|c| c.is_ascii_digit() || c == '.');
    if units.len() != parts.len() || !parts.iter().all(numeric) {
        return None;
    }
    let pairs: Vec<_> = parts.iter().zip(units).map(|(p, u)| format!("{sign}{p} {u}")).collect();
    Some(pairs.join(" "))
}

/// Whether `word` is a unit of an interval.
pub fn is_unit(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    months_per(&word).is_some() || micros_per(&word).is_some()
}

fn singular(unit: &str) -> String {
    let unit = unit.to_ascii_lowercase();
    unit.strip_suffix('s').map(str::to_owned).unwrap_or(unit)
}

fn months_per(unit: &str) -> Option<i128> {
    match unit {
        "year" | "years" => Some(12),
        "month" | "months" => Some(1),
        _ => None,
    }
}

fn micros_per(unit: &str) -> Option<i128> {
    Some(match unit {
        "week" | "weeks" => 7 * US_PER_DAY,
        "day" | "days" => US_PER_DAY,
        "hour" | "hours" => 3_600_000_000,
        "minute" | "minutes" => 60_000_000,
        "second" | "seconds" => 1_000_000,
        "millisecond" | "milliseconds" => 1_000,
        "microsecond" | "microseconds" => 1,
        _ => return None,
    })
}

/// `number`, which may have a sign and a fraction, times `factor`, exactly.
fn scaled(number: &str, factor: i128) -> Option<i128> {
    let (negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10i128.pow(fraction.len() as u32);
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = if fraction.is_empty() { 0 } else { fraction.parse().ok()? };
    let total = whole.checked_mul(factor)?.checked_add(fraction * factor / scale)?;
    Some(if negative { -total } else { total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs() {
        assert_eq!(parse_interval("1 minute 30.5 SECONDS"), Ok(Interval { months: 0, micros: 90_500_000 }));
        assert_eq!(parse_interval("-1 month").unwrap().to_delay_ms(), Some(-31 * 86_400_000));
        assert_eq!(parse_interval("1 year").unwrap().to_delay_ms(), Some(12 * 31 * 86_400_000));
        for text in ["", "10", "1 month 1 day", "x seconds", "1 parsec", "99999999999999 days"] {
            assert!(parse_interval(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_of_time() {
        assert_eq!(duration_text(90_000_000), "1 minute 30 seconds");
        assert_eq!(duration_text(-1_500_000), "-1 second 500 milliseconds");
        assert_eq!((duration_text(0), duration_text(86_400_000_000)), ("0 seconds".into(), "1 day".into()));
    }

    #[test]
    fn ranges() {
        let text = expand_range("-1 2:3:4.5", "DAY", "SECOND").unwrap();
        assert_eq!(text, "-1 day -2 hour -3 minute -4.5 second");
        assert_eq!(expand_range("1-2", "YEAR", "MONTH").unwrap(), "1 year 2 month");
        assert_eq!(expand_range("1:2", "DAY", "SECOND"), None);
    }
}
