//! Options as users write them: ordered, case-insensitive keys, each with its place in the text.
//!
//! [`OptionReader`] is the only way to use them: it converts, checks, and refuses what nobody asked for, so that no
//! option is accepted and ignored.

use std::str::FromStr;
use std::time::Duration;

use crate::error::{Error, Result, Span};

/// Key-value pairs of an `OPTIONS (…)` clause or of `.option(…)` calls.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    entries: Vec<OptionEntry>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct OptionEntry {
    key: String,
    value: String,
    span: Option<Span>,
}

impl Options {
    /// No options.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets `key`, replacing an earlier value.
    pub fn set(&mut self, key: impl Into<String>, value: impl ToString) {
        self.set_at(key, value, None);
    }

    /// Sets `key`, with its place in the text.
    pub fn set_at(&mut self, key: impl Into<String>, value: impl ToString, span: Option<Span>) {
        let key = key.into();
        self.entries.retain(|e| !e.key.eq_ignore_ascii_case(&key));
        self.entries.push(OptionEntry { key, value: value.to_string(), span });
    }

    /// The value of `key`, in any case.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.entry(key).map(|e| e.value.as_str())
    }

    /// The place of `key` in the text.
    pub fn span(&self, key: &str) -> Option<Span> {
        self.entry(key).and_then(|e| e.span)
    }

    /// Takes `key` out.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        let i = self.entries.iter().position(|e| e.key.eq_ignore_ascii_case(key))?;
        Some(self.entries.remove(i).value)
    }

    /// Keys and values, in the order given; values of keys that look like secrets are hidden.
    pub fn display(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|e| (e.key.as_str(), if is_secret(&e.key) { "*****" } else { e.value.as_str() }))
    }

    /// Keys and values, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|e| (e.key.as_str(), e.value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn entry(&self, key: &str) -> Option<&OptionEntry> {
        self.entries.iter().find(|e| e.key.eq_ignore_ascii_case(key))
    }
}

impl<K: Into<String>, V: ToString> FromIterator<(K, V)> for Options {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(iter: T) -> Self {
        let mut o = Self::new();
        iter.into_iter().for_each(|(k, v)| o.set(k, v));
        o
    }
}

/// Whether a key's value must never be printed.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["password", "secret", "token", "sasl.jaas", "credential", "private"].iter().any(|s| key.contains(s))
}

/// Reads options of one object, e.g. of "the socket source", and at the end refuses the rest.
#[derive(Debug)]
pub struct OptionReader<'a> {
    owner: String,
    options: &'a Options,
    known: Vec<&'static str>,
}

impl<'a> OptionReader<'a> {
    /// `owner` names the object in messages: `the socket source`.
    pub fn new(owner: impl Into<String>, options: &'a Options) -> Self {
        Self { owner: owner.into(), options, known: vec![] }
    }

    /// The text of `key`.
    pub fn string(&mut self, key: &'static str) -> Option<&'a str> {
        self.known.push(key);
        self.options.get(key)
    }

    /// The text of `key`, which must be there.
    pub fn required(&mut self, key: &'static str) -> Result<&'a str> {
        self.string(key).ok_or_else(|| {
            let error = Error::invalid("MISSING_OPTION", format!("{} needs the option '{key}'", self.owner));
            // One that was meant to be it.
            let near = self.options.iter().map(|(given, _)| given).find(|given| did_you_mean(given, [key]).is_some());
            match near {
                Some(given) => error
                    .with_help(format!("did you mean '{key}' instead of '{given}'?"))
                    .with_span(self.options.span(given)),
                None => error.with_help(format!("add it: OPTIONS ({key} '…')")),
            }
        })
    }

    /// `key` as a number, or another type that parses from text; `what` names the type in the message.
    pub fn parse<T: FromStr>(&mut self, key: &'static str, what: &str) -> Result<Option<T>> {
        let Some(text) = self.string(key) else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| self.invalid(key, text, what))
    }

    /// `key` as `true` or `false`.
    pub fn bool(&mut self, key: &'static str, default: bool) -> Result<bool> {
        match self.string(key).map(|s| s.trim().to_ascii_lowercase()).as_deref() {
            None => Ok(default),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(text) => Err(self.invalid(key, text, "true or false")),
        }
    }

    /// `key` as a duration: `10 seconds`, `500ms`, `1 minute 30 seconds`; a bare number is milliseconds.
    pub fn duration(&mut self, key: &'static str) -> Result<Option<Duration>> {
        let Some(text) = self.string(key) else { return Ok(None) };
        parse_duration(text).map(Some).ok_or_else(|| self.invalid(key, text, "a duration such as '10 seconds'"))
    }

    /// `key` as one of `choices`, in any case.
    pub fn choice(&mut self, key: &'static str, choices: &[&'static str]) -> Result<Option<&'static str>> {
        let Some(text) = self.string(key) else { return Ok(None) };
        match choices.iter().find(|c| c.eq_ignore_ascii_case(text.trim())) {
            Some(c) => Ok(Some(c)),
            None => Err(self.invalid(key, text, &format!("one of {}", choices.join(", ")))),
        }
    }

    /// The error for a value of `key` that does not fit.
    pub fn invalid(&self, key: &str, value: &str, expected: &str) -> Error {
        let value = if is_secret(key) { "*****" } else { value };
        Error::invalid("INVALID_OPTION", format!("option '{key}' of {} is '{value}'; expected {expected}", self.owner))
            .with_span(self.options.span(key))
            .with_help(
                match expected.strip_prefix("one of ").and_then(|choices| did_you_mean(value, choices.split(", "))) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("write {key} as {expected}, or leave it out for its default"),
                },
            )
    }

    /// Refuses every option that was not asked for.
    pub fn finish(self) -> Result<()> {
        for e in &self.options.entries {
            if !self.known.iter().any(|k| k.eq_ignore_ascii_case(&e.key)) {
                let mut err = Error::invalid("UNKNOWN_OPTION", format!("{} has no option '{}'", self.owner, e.key))
                    .with_span(e.span);
                err = match did_you_mean(&e.key, self.known.iter().copied()) {
                    Some(near) => err.with_help(format!("did you mean '{near}'?")),
                    None if self.known.is_empty() => err.with_help("it takes no options"),
                    None => err.with_help(format!("it has: {}", self.known.join(", "))),
                };
                return Err(err);
            }
        }
        Ok(())
    }
}

/// The candidate nearest to `word`, if one is near enough to be meant.
pub fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|c| (strsim::damerau_levenshtein(&word, &c.to_lowercase()), c))
        .filter(|(d, c)| *d <= 1 + c.len().min(word.len()) / 4)
        .min_by_key(|(d, _)| *d)
        .map(|(_, c)| c)
}

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
    fn unknown_option_names_the_nearest() {
        let options = Options::from_iter([("prot", "1")]);
        let mut r = OptionReader::new("the socket source", &options);
        r.string("host");
        r.string("port");
        let e = r.finish().unwrap_err();
        assert_eq!(e.condition(), "UNKNOWN_OPTION");
        assert_eq!(e.help(), Some("did you mean 'port'?"));
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [("512MB", 512 << 20), ("2g", 2 << 30), ("1.5 KiB", 1536), ("100", 100)] {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
    }
}
