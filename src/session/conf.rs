//! Settings: the keys there are, their values, and what they do to DataFusion.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::SessionStateBuilder;
use datafusion::execution::memory_pool::MemoryLimit;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::prelude::SessionContext;

use super::Session;
use crate::error::{Error, Result};
use crate::options::{Options, did_you_mean, is_secret, parse_bytes};
use crate::state::StateBackend;
use crate::trigger::{Delivery, Trigger};

/// What values a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Count,
    Bytes,
    Zone,
    Choice(&'static [&'static str]),
}

/// A setting that there is.
#[derive(Debug)]
struct Known {
    key: &'static str,
    kind: Kind,
    default: &'static str,
    /// Other spellings, without `spark.`, `spark.sql.` or `spark.sql.streaming.` before them.
    aliases: &'static [&'static str],
}

const fn known(key: &'static str, kind: Kind, default: &'static str, aliases: &'static [&'static str]) -> Known {
    Known { key, kind, default, aliases }
}

/// The zone of local times.
pub(super) const TIME_ZONE: &str = "session.timeZone";

/// Every setting. Those with one choice are Spark's, of which this engine has only what Spark does without them.
const KNOWN: &[Known] = &[
    known("checkpoint.root", Kind::Text, "", &["checkpointLocation"]),
    known(TIME_ZONE, Kind::Zone, "UTC", &["timeZone"]),
    known("default.parallelism", Kind::Count, "", &["partitions", "shuffle.partitions", "parallelism"]),
    known("batch.size", Kind::Count, "8192", &[]),
    known("memory.limit", Kind::Bytes, "", &[]),
    known("state.backend", Kind::Choice(&["auto", "memory", "disk"]), "auto", &[]),
    known("state.directory", Kind::Text, "", &[]),
    known("checkpoint.sourceChange", Kind::Choice(&["fail", "allow"]), "fail", &[]),
    known(crate::query::SNAPSHOT_LOG_BYTES, Kind::Bytes, "32MB", &[]),
    known(crate::query::WATERMARK_POLICY, Kind::Choice(&["min", "max"]), "min", &[]),
    known(crate::query::DELIVERY, Kind::Choice(Delivery::NAMES), "exactly-once", &[]),
    known(crate::query::NO_DATA_BATCHES, Kind::Choice(&["true", "false"]), "true", &[]),
];

/// Those that are one for all flows of a session.
const OF_SESSION: [&str; 6] =
    [TIME_ZONE, "default.parallelism", "batch.size", "memory.limit", "state.backend", "state.directory"];

/// The values that were set, by canonical key.
#[derive(Debug, Clone, Default)]
pub(super) struct Settings {
    values: Options,
}

impl Settings {
    /// Sets `key`, in any of its spellings.
    pub(super) fn set(&mut self, key: &str, value: &str) -> Result<()> {
        let known = find(key)?;
        let value = known.checked(value)?;
        self.values.set(known.key, value);
        Ok(())
    }

    /// Takes the values of `other` that are not those of `before`.
    pub(super) fn adopt(&mut self, other: &Self, before: &Self) {
        for (key, value) in other.values.iter().filter(|(k, v)| before.values.get(k) != Some(*v)) {
            self.values.set(key, value);
        }
    }

    /// The value of `key`, or its default.
    pub(super) fn get(&self, key: &str) -> Result<String> {
        let known = find(key)?;
        Ok(self.values.get(known.key).unwrap_or(known.default).to_owned())
    }

    /// What was set.
    pub(super) fn to_options(&self) -> Options {
        self.values.clone()
    }

    /// Every setting and its value.
    pub(super) fn all(&self) -> Vec<(&'static str, String)> {
        KNOWN.iter().map(|k| (k.key, self.values.get(k.key).unwrap_or(k.default).to_owned())).collect()
    }

    /// Hands to DataFusion what is DataFusion's.
    pub(super) fn apply(&self, context: &SessionContext) -> Result<()> {
        let (partitions, batch) = (self.count("default.parallelism"), self.count("batch.size"));
        let state = context.state_ref();
        let mut state = state.write();
        let options = state.config_mut().options_mut();
        options.execution.time_zone = Some(self.values.get(TIME_ZONE).unwrap_or("UTC").to_owned());
        if let Some(n) = partitions {
            options.execution.target_partitions = n;
        }
        if let Some(n) = batch {
            options.set("datafusion.execution.batch_size", &n.to_string())?;
        }
        let limit = self.values.get("memory.limit").and_then(parse_bytes);
        let backend = match (self.values.get("state.backend"), limit) {
            (Some("disk"), _) => StateBackend::disk(self.state_directory()),
            (Some("memory"), _) | (_, None) => StateBackend::default(),
            // Half is for the batches, which cannot do without.
            (_, Some(limit)) => StateBackend::spilling(self.state_directory(), limit / 2),
        };
        // One budget of memory for all queries of the session, as long as it stays the same.
        let known = state.config().get_extension::<StateBackend>();
        if !known.is_some_and(|known| known.is_like(&backend)) {
            state.config_mut().set_extension(Arc::new(backend));
        }
        // One pool for all queries of the session: a new one only for another limit.
        let is_new = |limit: &usize| !matches!(state.runtime_env().memory_pool.memory_limit(), MemoryLimit::Finite(l) if l == *limit);
        if let Some(limit) = limit.filter(is_new) {
            let runtime = RuntimeEnvBuilder::from_runtime_env(state.runtime_env()).with_memory_limit(limit, 1.0);
            let runtime = Arc::new(runtime.build()?);
            *state = SessionStateBuilder::from(state.clone()).with_runtime_env(runtime).build();
        }
        Ok(())
    }

    fn state_directory(&self) -> PathBuf {
        match self.values.get("state.directory") {
            Some(dir) if !dir.is_empty() => dir.into(),
            _ => std::env::temp_dir(),
        }
    }

    fn count(&self, key: &str) -> Option<usize> {
        self.values.get(key).and_then(|v| v.parse().ok())
    }
}

impl Known {
    fn checked(&self, value: &str) -> Result<String> {
        let value = value.trim();
        let lower = value.to_ascii_lowercase();
        let (fits, expected) = match self.kind {
            Kind::Text => (true, "a text".to_owned()),
            Kind::Count => (value.parse::<usize>().is_ok_and(|n| n > 0), "a whole number above 0".to_owned()),
            Kind::Bytes => (parse_bytes(value).is_some(), "a size such as 512MB or 2GB".to_owned()),
            Kind::Zone => (is_zone(value), "a time zone such as UTC, Europe/Prague or +02:00".to_owned()),
            Kind::Choice(choices) => (choices.contains(&lower.as_str()), format!("one of {}", choices.join(", "))),
        };
        if fits {
            return Ok(if matches!(self.kind, Kind::Choice(_)) { lower } else { value.to_owned() });
        }
        let shown = if is_secret(self.key) { "*****" } else { value };
        let condition = match self.kind {
            Kind::Choice(_) => "INVALID_CONF_VALUE.REQUIREMENT",
            Kind::Zone => "INVALID_CONF_VALUE.TIME_ZONE",
            _ => "INVALID_CONF_VALUE",
        };
        let example = match self.kind {
            Kind::Text | Kind::Count => "8",
            Kind::Bytes => "2GB",
            Kind::Zone => "UTC",
            Kind::Choice(choices) => choices.first().copied().unwrap_or_default(),
        };
        Err(Error::invalid(condition, format!("setting '{}' is '{shown}'; expected {expected}", self.key))
            .with_help(format!("write SET {} = '{example}'", self.key)))
    }
}

fn is_zone(text: &str) -> bool {
    text.parse::<crate::time_zone::Tz>().is_ok()
}

/// The setting of this name: in any case, with or without Spark's prefixes.
fn find(key: &str) -> Result<&'static Known> {
    let mut short = key.trim();
    for prefix in ["spark.", "sql.", "streaming."] {
        if short.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix)) {
            short = &short[prefix.len()..];
        }
    }
    let is = |name: &str| name.eq_ignore_ascii_case(short);
    KNOWN.iter().find(|k| is(k.key) || k.aliases.iter().any(|a| is(a))).ok_or_else(|| unknown(key, short))
}

fn unknown(key: &str, short: &str) -> Error {
    let e = Error::invalid("CONFIG_NOT_AVAILABLE", format!("there is no setting '{key}'"));
    match did_you_mean(short, KNOWN.iter().map(|k| k.key)) {
        Some(near) => e.with_help(format!("did you mean '{near}'?")),
        None => e.with_help(format!("there are: {}", KNOWN.iter().map(|k| k.key).collect::<Vec<_>>().join(", "))),
    }
}

/// Options of a flow: those of its own sink, which `declares` them, and settings of the query. Delivery is a setting where rows are handed
/// over as they arrive, and also an option of sinks that have it.
pub(super) fn split(
    options: &Options,
    trigger: Trigger,
    has_sink: bool,
    declares: impl Fn(&str) -> bool,
) -> Result<(Options, Options)> {
    let (mut sink, mut conf) = (Options::new(), Options::new());
    for (key, value) in options.iter() {
        let span = options.span(key);
        let is_both = has_sink && key.eq_ignore_ascii_case(crate::query::DELIVERY) && declares(key);
        let is_setting = is_known(key) && (!is_both || matches!(trigger, Trigger::Continuous(_)));
        if is_setting || !has_sink {
            let (key, value) = checked(key, value).and_then(of_a_flow).map_err(|e| e.with_span(span))?;
            conf.set_at(key, value, span);
        }
        if has_sink && (is_both || !is_setting) {
            sink.set_at(key, value, span);
        }
    }
    Ok((sink, conf))
}

/// A setting that a flow can have for itself.
fn of_a_flow((key, value): (&'static str, String)) -> Result<(&'static str, String)> {
    if !OF_SESSION.contains(&key) {
        return Ok((key, value));
    }
    let message = match key {
        TIME_ZONE => {
            "a flow has no time zone of its own: the names and times in its query are those of the session".to_owned()
        }
        _ => format!("setting '{key}' is one for all flows of a session"),
    };
    let help = match key {
        TIME_ZONE => "write SET TIME ZONE '…' before the flow".to_owned(),
        _ => format!("write SET {key} = '{value}' before the flow"),
    };
    Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help(help))
}

/// Whether there is a setting of this name.
pub fn is_known(key: &str) -> bool {
    find(key).is_ok()
}

/// A value of `key` under its canonical name, checked.
pub(super) fn checked(key: &str, value: &str) -> Result<(&'static str, String)> {
    let known = find(key)?;
    Ok((known.key, known.checked(value)?))
}

/// Settings of one query under their canonical names, checked.
#[cfg(feature = "cli")]
pub fn checked_all(options: &Options) -> Result<Options> {
    let mut all = Options::new();
    for (key, value) in options.iter() {
        let (key, value) = checked(key, value)?;
        all.set(key, value);
    }
    Ok(all)
}

/// The settings of a session. Those of running queries do not change.
#[derive(Debug)]
pub struct RuntimeConf<'s> {
    session: &'s Session,
}

impl<'s> RuntimeConf<'s> {
    pub(super) fn new(session: &'s Session) -> Self {
        Self { session }
    }

    /// Sets `key`.
    ///
    /// # Errors
    /// A key that there is not, or a value that does not fit.
    pub fn set(&self, key: &str, value: impl ToString) -> Result<()> {
        let mut settings = self.session.settings().clone();
        settings.set(key, &value.to_string())?;
        settings.apply(self.session.context())?;
        *self.session.settings() = settings;
        Ok(())
    }

    /// The value of `key`; its default if it was not set, which may be empty.
    ///
    /// # Errors
    /// A key that there is not.
    pub fn get(&self, key: &str) -> Result<String> {
        self.session.settings().get(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spark_spellings_are_the_same_setting() {
        let mut s = Settings::default();
        s.set("spark.sql.streaming.multipleWatermarkPolicy", "MIN").unwrap();
        s.set("spark.sql.shuffle.partitions", "7").unwrap();
        s.set("spark.sql.session.timeZone", "Europe/Prague").unwrap();
        assert_eq!(s.get("multiplewatermarkpolicy").unwrap(), "min");
        assert_eq!(s.get("default.parallelism").unwrap(), "7");
        assert_eq!(s.get("session.timeZone").unwrap(), "Europe/Prague");
        assert_eq!(s.get("batch.size").unwrap(), "8192");
    }

    #[test]
    fn wrong_keys_and_values() {
        let mut s = Settings::default();
        let e = s.set("checkpoint.rot", "x").unwrap_err();
        assert_eq!((e.condition(), e.help()), ("CONFIG_NOT_AVAILABLE", Some("did you mean 'checkpoint.root'?")));
        for (key, value) in
            [("batch.size", "0"), ("memory.limit", "2XB"), ("session.timeZone", "Mars"), ("state.backend", "x")]
        {
            assert!(s.set(key, value).unwrap_err().condition().starts_with("INVALID_CONF_VALUE"), "{key}");
        }
    }

    #[test]
    fn what_is_of_the_session_is_no_option_of_a_flow() {
        for (key, value) in [("spark.sql.shuffle.partitions", "2"), ("State.Backend", "disk"), ("memory.limit", "1GB")]
        {
            let mut options = Options::new();
            options.set(key, value);
            for has_sink in [false, true] {
                let error = split(&options, Trigger::Default, has_sink, |_| false).unwrap_err();
                assert_eq!(error.condition(), "UNSUPPORTED_FEATURE", "{key}");
                assert!(error.help().is_some_and(|h| h.starts_with("write SET ")), "{key}");
            }
        }
        let mut options = Options::new();
        options.set("multipleWatermarkPolicy", "max");
        let (_, conf) = split(&options, Trigger::Default, false, |_| false).unwrap();
        assert_eq!(conf.get("multipleWatermarkPolicy"), Some("max"));
    }
}
