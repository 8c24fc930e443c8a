//! Which topics and partitions a stream reads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use regex::Regex;
use serde_json::Value;

use super::Retry;
use crate::error::{Error, Result};
use crate::function::regex::compile;
use crate::kafka::{Broker, Topic, is_internal};
use crate::options::{OptionReader, OptionSpec, OptionType::Text};

/// What [`Subscription::read`] reads.
pub const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new("subscribe", Text, "Topics, as a,b; one of subscribe, subscribePattern and assign must be given."),
    OptionSpec::new("subscribePattern", Text, "A regular expression: all topics in whose name it is found."),
    OptionSpec::new("assign", Text, "Partitions of topics, as {\"a\":[0,1]}."),
];

/// Topics, as options name them.
#[derive(Debug, Clone)]
pub enum Subscription {
    /// All partitions of these topics.
    Topics(BTreeSet<String>),
    /// All partitions of all topics in whose name this is found.
    Pattern(Regex),
    /// These partitions.
    Assign(BTreeMap<String, BTreeSet<i32>>),
}

impl Subscription {
    /// Reads the options.
    ///
    /// # Errors
    /// None of them, several, or one that says nothing.
    pub fn read(reader: &OptionReader<'_>) -> Result<Self> {
        let given = ["subscribe", "subscribePattern", "assign"].map(|key| (key, reader.string(key)));
        let mut given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
        let Some((key, value)) = given.next() else {
            return Err(Error::invalid(
                "MISSING_OPTION",
                "the kafka source needs one of the options 'subscribe', 'subscribePattern' and 'assign'",
            )
            .with_help("name the topics: OPTIONS (subscribe 'a,b')"));
        };
        if let Some((other, _)) = given.next() {
            return Err(reader
                .refused(
                    other,
                    &format!(
                        "cannot stand beside '{key}': only one of 'subscribe', 'subscribePattern' and 'assign' can"
                    ),
                )
                .with_help("leave one of them out"));
        }
        match key {
            "subscribe" => {
                let topics: BTreeSet<_> =
                    value.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect();
                if topics.is_empty() {
                    return Err(reader.invalid(key, value, "names of topics, as 'a,b'"));
                }
                Ok(Self::Topics(topics))
            }
            "subscribePattern" if value.is_empty() => Err(reader.invalid(key, value, "a regular expression")),
            "subscribePattern" => {
                let pattern = compile(value).map_err(|e| {
                    reader.invalid(key, value, "a regular expression").with_help(e.message().to_owned())
                })?;
                Ok(Self::Pattern(pattern))
            }
            _ => assignment(value)
                .map(Self::Assign)
                .ok_or_else(|| reader.invalid(key, value, r#"partitions by topic, as {"a":[0,1],"b":[2]}"#)),
        }
    }

    /// The topics and partitions that are there now. One that is named and not there is looked for again: when it was just made, not every broker
    /// knows.
    ///
    /// # Errors
    /// One that is named is not there.
    pub async fn topics(&self, broker: &Broker, retry: Retry) -> Result<BTreeMap<Arc<str>, Topic>> {
        for attempt in 0.. {
            match self.look(broker).await? {
                (found, missing) if missing.is_empty() => return Ok(found),
                (_, missing) if attempt >= retry.times => {
                    return Err(Error::io(
                        "KAFKA_UNKNOWN_TOPIC",
                        format!("not there at the brokers '{}': {}", broker.servers(), missing.join(", ")),
                    )
                    .with_help("create it first, or take it out of the options of the stream"));
                }
                _ => tokio::time::sleep(retry.pause).await,
            }
        }
        Ok(BTreeMap::new())
    }

    /// What is there, and what is named and not there.
    async fn look(&self, broker: &Broker) -> Result<(BTreeMap<Arc<str>, Topic>, Vec<String>)> {
        match self {
            Self::Topics(names) => {
                let names: Vec<_> = names.iter().filter(|name| !is_internal(name)).cloned().collect();
                let found = broker.topics(&names).await?;
                let missing = names.iter().filter(|name| !found.contains_key(name.as_str()));
                let missing = missing.map(|name| format!("topic '{name}'")).collect();
                Ok((found, missing))
            }
            Self::Pattern(pattern) => {
                let mut names = broker.topic_names().await?;
                names.retain(|name| pattern.is_match(name));
                Ok((broker.topics(&names).await?, vec![]))
            }
            Self::Assign(wanted) => {
                let names: Vec<_> = wanted.keys().cloned().collect();
                let mut found = broker.topics(&names).await?;
                let mut missing = vec![];
                for (name, numbers) in wanted {
                    let there = found.get(name.as_str()).map(|topic| topic.partitions.clone()).unwrap_or_default();
                    missing
                        .extend(numbers.iter().filter(|n| !there.contains(n)).map(|n| format!("partition {name}-{n}")));
                    if let Some(topic) = found.get_mut(name.as_str()) {
                        topic.partitions.retain(|n| numbers.contains(n));
                    }
                }
                Ok((found, missing))
            }
        }
    }
}

impl fmt::Display for Subscription {
    /// As Spark's progress has it: `Subscribe[a, b]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topics(names) => {
                write!(f, "Subscribe[{}]", names.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
            }
            Self::Pattern(pattern) => write!(f, "SubscribePattern[{pattern}]"),
            Self::Assign(wanted) => {
                let all =
                    wanted.iter().flat_map(|(topic, numbers)| numbers.iter().map(move |n| format!("{topic}-{n}")));
                write!(f, "Assign[{}]", all.collect::<Vec<_>>().join(", "))
            }
        }
    }
}

fn assignment(text: &str) -> Option<BTreeMap<String, BTreeSet<i32>>> {
    let value: Value = serde_json::from_str(text).ok()?;
    let number = |n: &Value| n.as_i64().and_then(|n| i32::try_from(n).ok()).filter(|n| *n >= 0);
    let numbers = |list: &Value| list.as_array()?.iter().map(number).collect::<Option<BTreeSet<_>>>();
    let topics = value.as_object()?.iter().map(|(topic, list)| Some((topic.clone(), numbers(list)?)));
    topics.collect::<Option<BTreeMap<_, _>>>().filter(|topics| topics.values().any(|numbers| !numbers.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn read(pairs: &[(&str, &str)]) -> Result<Subscription> {
        let options = Options::from_iter(pairs.iter().copied());
        Subscription::read(&OptionReader::new("the kafka source", &options, &[&OPTIONS]))
    }

    #[test]
    fn topics_are_named_in_one_of_three_ways() {
        let shown = |key, value| read(&[(key, value)]).unwrap().to_string();
        assert_eq!(shown("subscribe", " b ,a,,b"), "Subscribe[a, b]");
        assert_eq!(shown("subscribePattern", "x.*"), "SubscribePattern[x.*]");
        assert_eq!(shown("assign", r#"{"a":[2,0]}"#), "Assign[a-0, a-2]");
    }

    #[test]
    fn what_names_no_topic_is_refused() {
        let error = |pairs: &[(&str, &str)]| read(pairs).unwrap_err().condition().to_owned();
        assert_eq!(error(&[]), "MISSING_OPTION");
        for wrong in [
            &[("subscribe", " ,")][..],
            &[("subscribePattern", "")],
            &[("subscribePattern", "(")],
            &[("assign", "a")],
            &[("assign", r#"{"a":0}"#)],
            &[("subscribe", "a"), ("assign", r#"{"a":[0]}"#)],
        ] {
            assert_eq!(error(wrong), "INVALID_OPTION", "{wrong:?}");
        }
    }
}
