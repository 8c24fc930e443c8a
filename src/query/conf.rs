//! Settings of a query, read once when it opens.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::operator::WatermarkPolicy;
use crate::options::{Options, parse_bytes};
use crate::trigger::Delivery;

/// Which input's event time a watermark follows.
pub const WATERMARK_POLICY: &str = "multipleWatermarkPolicy";
/// Whether a watermark that has moved, or a timer that is due, is reason enough for a batch.
pub const NO_DATA_BATCHES: &str = "noDataMicroBatches.enabled";
/// Bytes of log from which a snapshot is worth its while.
pub const SNAPSHOT_LOG_BYTES: &str = "checkpoint.snapshotLogBytes";

/// Whether output waits until its record is durable, where rows are handed over as they arrive.
pub const DELIVERY: &str = "delivery";

const DEFAULT_SNAPSHOT_LOG_BYTES: u64 = 32 << 20;

/// The settings that the engine of one query goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryConf {
    pub policy: WatermarkPolicy,
    pub no_data_batches: bool,
    pub snapshot_log_bytes: u64,
    pub delivery: Delivery,
}

impl QueryConf {
    /// Those of the query, else of the session; what the checkpoint keeps comes before both.
    pub(super) fn read(query: &Options, session: &Options, kept: &BTreeMap<String, String>) -> Result<Self> {
        let get = |key| query.get(key).or_else(|| session.get(key));
        let policy = kept.get(WATERMARK_POLICY).map(String::as_str).or_else(|| get(WATERMARK_POLICY));
        Ok(Self {
            policy: policy.map_or(Ok(WatermarkPolicy::default()), watermark_policy)?,
            no_data_batches: get(NO_DATA_BATCHES).is_none_or(|v| !v.eq_ignore_ascii_case("false")),
            snapshot_log_bytes: get(SNAPSHOT_LOG_BYTES)
                .and_then(parse_bytes)
                .map_or(DEFAULT_SNAPSHOT_LOG_BYTES, |b| b as u64),
            delivery: delivery(query, session),
        })
    }

    /// What later runs must keep: another policy would move the watermark that state was built with.
    pub(super) fn kept(&self) -> (String, String) {
        (WATERMARK_POLICY.to_owned(), self.policy.name().to_owned())
    }
}

/// That of the query, else of the session.
pub fn delivery(query: &Options, session: &Options) -> Delivery {
    query.get(DELIVERY).or_else(|| session.get(DELIVERY)).and_then(Delivery::from_name).unwrap_or_default()
}

fn watermark_policy(name: &str) -> Result<WatermarkPolicy> {
    WatermarkPolicy::from_name(&name.to_ascii_lowercase()).ok_or_else(|| {
        let message = format!("setting '{WATERMARK_POLICY}' is '{name}'; expected one of min, max");
        Error::invalid("INVALID_CONF_VALUE.REQUIREMENT", message)
            .with_help("min waits for the slowest input, max follows the fastest")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_comes_before_the_session_and_the_checkpoint_before_both() {
        let session = Options::from_iter([(WATERMARK_POLICY, "max"), (SNAPSHOT_LOG_BYTES, "1MB")]);
        let query =
            Options::from_iter([(WATERMARK_POLICY, "MIN"), (NO_DATA_BATCHES, "False"), (DELIVERY, "At-Least-Once")]);
        let kept = BTreeMap::from([(WATERMARK_POLICY.to_owned(), "max".to_owned())]);
        let none = BTreeMap::new();
        let conf = QueryConf::read(&query, &session, &none).unwrap();
        assert_eq!((conf.policy.name(), conf.no_data_batches, conf.snapshot_log_bytes), ("min", false, 1 << 20));
        assert_eq!(conf.delivery, Delivery::AtLeastOnce);
        assert_eq!(QueryConf::read(&query, &session, &kept).unwrap().policy.name(), "max");
        let plain = QueryConf::read(&Options::new(), &Options::new(), &none).unwrap();
        assert_eq!((plain.policy.name(), plain.no_data_batches, plain.delivery), ("min", true, Delivery::ExactlyOnce));
        let wrong = Options::from_iter([(WATERMARK_POLICY, "middle")]);
        assert_eq!(QueryConf::read(&wrong, &session, &none).unwrap_err().condition(), "INVALID_CONF_VALUE.REQUIREMENT");
    }
}
