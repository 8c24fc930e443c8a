//! Sizes and durations as options write them.

use std::time::Duration;

/// `512MB`, `2g`, `1.5 GiB`, or bytes: units are powers of 1024, as Spark's.
pub fn parse_bytes(text: &str) -> Option<usize> {
    let text = text.trim().to_ascii_lowercase();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let exponent = match text[digits..].trim() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 1,
        "m" | "mb" | "mib" => 2,
        "g" | "gb" | "gib" => 3,
        "t" | "tb" | "tib" => 4,
        _ => return None,
    };
    let bytes = number * 1024f64.powi(exponent);
    (1.0..9e18).contains(&bytes).then_some(bytes as usize)
}

/// A non-negative duration of fixed units, in Spark's interval spelling or with a unit suffix; `None` if it is not one.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("interval").unwrap_or(&text).trim().replace(['\'', '"'], "");
    if let Ok(ms) = text.parse::<u64>() {
        return Some(Duration::from_millis(ms));
    }
    let mut total_us: u128 = 0;
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = rest[digits..].trim_start();
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_us: f64 = match &rest[..letters] {
            "us" | "microsecond" | "microseconds" => 1.0,
            "ms" | "millisecond" | "milliseconds" => 1e3,
            "s" | "sec" | "secs" | "second" | "seconds" => 1e6,
            "m" | "min" | "mins" | "minute" | "minutes" => 60e6,
            "h" | "hour" | "hours" => 3600e6,
            "d" | "day" | "days" => 86400e6,
            "week" | "weeks" => 7.0 * 86400e6,
            _ => return None,
        };
        total_us += (number * unit_us).round() as u128;
        rest = rest[letters..].trim_start();
    }
    Some(Duration::from_micros(u64::try_from(total_us).ok().filter(|_| !text.is_empty())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("10 seconds", 10_000),
            ("1 minute 30 seconds", 90_000),
            ("500ms", 500),
            ("250", 250),
            ("INTERVAL 2 HOURS", 7_200_000),
        ] {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "ten seconds", "10 parsecs", "-5 seconds", "1 month"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512MB", 512 << 20), ("2g", 2 << 30), ("1.5 KiB", 1536), ("100", 100)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
    }
}
