//! How many arguments a function takes.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::wrong_count;
use crate::error::Result;

/// The counts that a function can be called with.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Arity {
    OneOf(Vec<usize>),
    AtLeast(usize),
    Pairs,
}

impl Arity {
    fn parse(text: &str) -> Option<Self> {
        if text == "even" {
            return Some(Self::Pairs);
        }
        match text.strip_suffix('+') {
            Some(least) => least.parse().ok().map(Self::AtLeast),
            None => text.split(' ').map(|n| n.parse().ok()).collect::<Option<_>>().map(Self::OneOf),
        }
    }

    fn takes(&self, count: usize) -> bool {
        match self {
            Self::OneOf(counts) => counts.contains(&count),
            Self::AtLeast(least) => count >= *least,
            Self::Pairs => count.is_multiple_of(2),
        }
    }

    /// In words, for messages.
    fn words(&self) -> String {
        match self {
            Self::OneOf(counts) => counts.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or "),
            Self::AtLeast(least) => format!("at least {least}"),
            Self::Pairs => "pairs of".to_owned(),
        }
    }
}

static ARITIES: LazyLock<HashMap<&'static str, Arity>> = LazyLock::new(|| {
    let lines = include_str!("arity.txt").lines().filter(|line| !line.starts_with('#'));
    let parsed = lines.filter_map(|line| {
        let (counts, names) = line.split_once(": ")?;
        Some((Arity::parse(counts)?, names))
    });
    parsed.flat_map(|(arity, names)| names.split(' ').map(move |name| (name, arity.clone()))).collect()
});

/// Refuses a call with more or fewer arguments than Spark's function of this name takes; others are not known here.
pub fn check_count(name: &str, count: usize) -> Result<()> {
    match ARITIES.get(name) {
        Some(Arity::Pairs) if count % 2 == 1 => {
            let error = wrong_count(name, &Arity::Pairs.words(), count);
            Err(error.with_help(format!("give names or keys with their values: {name}(k, v, …)")))
        }
        Some(arity) if !arity.takes(count) => Err(wrong_count(name, &arity.words(), count)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_read() {
        let lines = include_str!("arity.txt").lines().filter(|line| !line.starts_with('#'));
        let names: usize = lines.map(|line| line.split_once(": ").unwrap().1.split(' ').count()).sum();
        assert_eq!((ARITIES.len(), names > 500), (names, true));
    }

    #[test]
    fn counts_are_those_of_the_table() {
        for (name, count, fits) in [
            ("substring", 1, false),
            ("substring", 2, true),
            ("substring", 3, true),
            ("substring", 4, false),
            ("greatest", 1, false),
            ("map", 3, false),
            ("no_such_function", 9, true),
        ] {
            assert_eq!(check_count(name, count).is_ok(), fits, "{name}({count})");
        }
        let e = check_count("substring", 1).unwrap_err();
        assert_eq!(e.condition(), "WRONG_NUM_ARGS.WITHOUT_SUGGESTION");
        assert_eq!(e.message(), "function 'substring' takes 2 or 3 arguments, not 1");
    }
}
