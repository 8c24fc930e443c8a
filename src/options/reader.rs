//! Reads the options of one object by their declarations.

use std::cell::RefCell;
use std::str::FromStr;
use std::time::Duration;

use super::units::{parse_bytes, parse_duration};
use super::{OptionSpec, Options, did_you_mean, is_secret};
use crate::error::{Error, Result};

/// Reads options of one object, e.g. of "the socket source". [`OptionReader::finish`] refuses those that are not declared; what is
/// declared must have been read by then.
#[derive(Debug)]
pub struct OptionReader<'a> {
    owner: String,
    options: &'a Options,
    specs: Vec<&'a OptionSpec>,
    /// Names of specs of somebody else, who reads the same options.
    foreign: Vec<&'a OptionSpec>,
    read: RefCell<Vec<&'static str>>,
}

impl<'a> OptionReader<'a> {
    /// `owner` names the object in messages: `the socket source`. The options that it has are those of all `sets`.
    pub fn new(owner: impl Into<String>, options: &'a Options, sets: &[&'a [OptionSpec]]) -> Self {
        let specs = sets.iter().copied().flatten().collect();
        Self { owner: owner.into(), options, specs, foreign: vec![], read: RefCell::default() }
    }

    /// The same where some options are read elsewhere.
    #[must_use]
    pub fn beside(mut self, sets: &[&'a [OptionSpec]]) -> Self {
        let is_new = |spec: &&OptionSpec| !self.specs.iter().any(|own| own.is_named(spec.name));
        self.foreign = sets.iter().copied().flatten().filter(is_new).collect();
        self
    }

    fn spec(&self, key: &'static str) -> Option<&'a OptionSpec> {
        let spec = self.specs.iter().find(|spec| spec.name == key).copied();
        debug_assert!(spec.is_some(), "{} reads the option '{key}', which is not declared", self.owner);
        self.read.borrow_mut().push(key);
        spec
    }

    /// The text of `key`, if it is given.
    pub fn string(&self, key: &'static str) -> Option<&'a str> {
        self.spec(key).and_then(|_| self.options.get(key))
    }

    /// All options that `key`, a name that ends with `.*`, stands for: names as they are given, and values.
    pub fn family(&self, key: &'static str) -> Vec<(&'a str, &'a str)> {
        let spec = self.spec(key);
        self.options.iter().filter(|(given, _)| spec.is_some_and(|spec| spec.is_named(given))).collect()
    }

    /// The text of an option that somebody else reads, if it is one of these.
    pub fn given(&self, key: &str) -> Option<&'a str> {
        self.options.get(key)
    }

    /// The text of `key`, or its default, or nothing.
    pub fn text(&self, key: &'static str) -> &'a str {
        let default = self.spec(key).and_then(|spec| spec.default);
        self.options.get(key).or(default).unwrap_or_default()
    }

    /// The text of `key`, which must be there.
    ///
    /// # Errors
    /// `MISSING_OPTION`.
    pub fn required(&self, key: &'static str) -> Result<&'a str> {
        self.string(key).ok_or_else(|| self.missing(key))
    }

    fn missing(&self, key: &str) -> Error {
        let error = Error::invalid("MISSING_OPTION", format!("{} needs the option '{key}'", self.owner));
        // One that was meant to be it.
        let near = self.options.iter().map(|(given, _)| given).find(|given| did_you_mean(given, [key]).is_some());
        match near {
            Some(given) => error
                .with_help(format!("did you mean '{key}' instead of '{given}'?"))
                .with_span(self.options.span(given)),
            None => error.with_help(format!("add it: OPTIONS ({key} '…')")),
        }
    }

    /// What `read` makes of the value of `key`, or of its default.
    fn value<T>(&self, key: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>> {
        let Some(spec) = self.spec(key) else { return Ok(None) };
        let Some(text) = self.options.get(key) else { return Ok(spec.default.and_then(read)) };
        let value = spec.takes(text).then(|| read(text.trim())).flatten();
        value.map(Some).ok_or_else(|| self.invalid(key, text, &spec.expected()))
    }

    /// `key` as a number, or another type that parses from text.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn parse<T: FromStr>(&self, key: &'static str) -> Result<Option<T>> {
        self.value(key, |text| text.parse().ok())
    }

    /// `key` as `true` or `false`, which is also what nothing at all means.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn bool(&self, key: &'static str) -> Result<bool> {
        Ok(self.value(key, |text| text.to_ascii_lowercase().parse().ok())?.unwrap_or(false))
    }

    /// `key` as a duration: `10 seconds`, `500ms`, `1 minute 30 seconds`; a bare number is milliseconds.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn duration(&self, key: &'static str) -> Result<Option<Duration>> {
        self.value(key, parse_duration)
    }

    /// `key` as a number of bytes: `64MB`, `1g`, or a bare number.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn bytes(&self, key: &'static str) -> Result<Option<u64>> {
        self.value(key, |text| parse_bytes(text).map(|bytes| bytes as u64))
    }

    /// `key` as one of the words that it takes, as they are declared.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn choice(&self, key: &'static str) -> Result<Option<&'static str>> {
        let Some(super::OptionType::Choice(words)) = self.spec(key).map(|spec| spec.option_type) else {
            return Err(Error::internal(format!("the option '{key}' of {} has no choices", self.owner)));
        };
        self.value(key, |text| words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied())
    }

    /// The error for a value of `key` that does not fit.
    pub fn invalid(&self, key: &str, value: &str, expected: &str) -> Error {
        let is_secret = is_secret(key) || self.specs.iter().any(|spec| spec.is_named(key) && spec.is_secret());
        let value = if is_secret { "*****" } else { value };
        Error::invalid("INVALID_OPTION", format!("option '{key}' of {} is '{value}'; expected {expected}", self.owner))
            .with_span(self.options.span(key))
            .with_help(
                match expected.strip_prefix("one of ").and_then(|choices| did_you_mean(value, choices.split(", "))) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("write {key} as {expected}, or leave it out for its default"),
                },
            )
    }

    /// The error for an option that is there and must not be: `problem` ends the sentence that its name begins.
    pub fn refused(&self, key: &str, problem: &str) -> Error {
        Error::invalid("INVALID_OPTION", format!("option '{key}' of {} {problem}", self.owner))
            .with_span(self.options.span(key))
    }

    /// The error for an option that there is not.
    pub fn unknown(&self, key: &str) -> Error {
        Error::invalid("UNKNOWN_OPTION", format!("{} has no option '{key}'", self.owner))
            .with_span(self.options.span(key))
    }

    /// Refuses every option that is not declared.
    ///
    /// # Errors
    /// `UNKNOWN_OPTION`.
    pub fn finish(self) -> Result<()> {
        self.refuse_unknown()?;
        let is_read = |spec: &&&OptionSpec| self.read.borrow().contains(&spec.name);
        let unread = self.specs.iter().find(|spec| !is_read(spec));
        debug_assert!(unread.is_none(), "{} declares the option {unread:?}, and does not read it", self.owner);
        Ok(())
    }

    fn refuse_unknown(&self) -> Result<()> {
        let known = || self.specs.iter().chain(&self.foreign);
        for (key, _) in self.options.iter() {
            if known().any(|spec| spec.is_named(key)) {
                continue;
            }
            let error = self.unknown(key);
            // Those of a store last: they are many, and mostly not what is meant.
            let own = known().filter(|spec| !spec.name.contains('.'));
            let of_stores = known().filter(|spec| spec.name.contains('.'));
            let names: Vec<_> = own.chain(of_stores).map(|spec| spec.name).collect();
            return Err(match did_you_mean(key, names.iter().copied()) {
                Some(near) => error.with_help(format!("did you mean '{near}'?")),
                None if names.is_empty() => error.with_help("it takes no options"),
                None => error.with_help(format!("it has: {}", names.join(", "))),
            });
        }
        Ok(())
    }

    /// Checks all options by their declarations alone: unknown ones, values of another type, and what is missing.
    ///
    /// # Errors
    /// `UNKNOWN_OPTION`, `INVALID_OPTION`, `MISSING_OPTION`.
    pub fn check(self) -> Result<()> {
        for spec in &self.specs {
            match self.options.get(spec.name) {
                Some(value) if !spec.takes(value) => return Err(self.invalid(spec.name, value, &spec.expected())),
                None if spec.is_required => return Err(self.missing(spec.name)),
                _ => {}
            }
        }
        self.refuse_unknown()
    }
}

#[cfg(test)]
mod tests {
    use super::super::OptionType;
    use super::*;

    const SPECS: [OptionSpec; 4] = [
        OptionSpec::new("host", OptionType::Text, "").required(),
        OptionSpec::new("port", OptionType::Whole(1, 65535), "").or("9999"),
        OptionSpec::new("mode", OptionType::Choice(&["FAST", "SLOW"]), "").or("SLOW"),
        OptionSpec::new("apiKey", OptionType::Secret, ""),
    ];

    #[test]
    fn values_are_checked_by_their_declarations() {
        let options = Options::from_iter([("HOST", "h"), ("mode", "fast")]);
        let reader = OptionReader::new("the thing", &options, &[&SPECS]);
        assert_eq!(reader.required("host").unwrap(), "h");
        assert_eq!(reader.parse::<u16>("port").unwrap(), Some(9999));
        assert_eq!(reader.choice("mode").unwrap(), Some("FAST"));
        assert_eq!(reader.string("apiKey"), None);
        reader.finish().unwrap();
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let error = |pairs: &[(&str, &str)]| {
            let options = Options::from_iter(pairs.iter().copied());
            let e = OptionReader::new("the thing", &options, &[&SPECS]).check().unwrap_err();
            (e.condition().to_owned(), e.help().unwrap_or_default().to_owned())
        };
        assert_eq!(error(&[]).0, "MISSING_OPTION");
        assert_eq!(error(&[("host", "h"), ("prot", "1")]), ("UNKNOWN_OPTION".into(), "did you mean 'port'?".into()));
        assert_eq!(error(&[("host", "h"), ("port", "0")]).0, "INVALID_OPTION");
        assert_eq!(error(&[("host", "h"), ("mode", "fsat")]).1, "did you mean 'FAST'?");
        assert_eq!(error(&[("hots", "h")]).1, "did you mean 'host' instead of 'hots'?");
    }

    #[test]
    #[should_panic(expected = "does not read it")]
    fn a_declared_option_must_be_read() {
        let options = Options::new();
        let _ = OptionReader::new("the thing", &options, &[&SPECS]).finish();
    }
}
