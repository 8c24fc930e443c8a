//! Options as users write them: ordered, case-insensitive keys, each with its place in the text.
//!
//! Which options there are is declared in tables of [`OptionSpec`]. [`OptionReader`] is the only way to use them: it converts, checks,
//! and refuses what is not declared, and what is declared must be read, so that no option is accepted and ignored.

mod reader;
mod spec;
mod units;

pub use reader::OptionReader;
pub use spec::{OptionSpec, OptionType};
pub use units::{parse_bytes, parse_duration};

use crate::error::Span;

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
    [
        "password",
        "secret",
        "token",
        "sasl.jaas",
        "credential",
        "private",
        "accountkey",
        "account.key",
        "accesskey",
        "access.key",
        "serviceaccountkey",
        "user.info",
    ]
    .iter()
    .any(|s| key.contains(s))
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
