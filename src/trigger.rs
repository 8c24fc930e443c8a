//! When batches run.

use std::fmt;
use std::time::Duration;

/// When a query looks for new rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trigger {
    /// As soon as the last batch has ended and there is something to do.
    #[default]
    Default,
    /// On a grid of this width, aligned to the epoch; the first batch at once, a late one at once after the last.
    ProcessingTime(Duration),
    /// One batch with everything there is, then the query ends.
    Once,
    /// Everything there was at the start, in batches within the sources' limits, then the query ends.
    AvailableNow,
    /// Rows are handed over as they arrive. This often the log is durable at the latest, and sources are told what will not be
    /// asked for again; [`Delivery`] says whether output waits for that.
    Continuous(Duration),
}

/// What a crash may do to the output of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Nothing: output is shown once its record is durable, so that the same batch comes again or none.
    #[default]
    ExactlyOnce,
    /// It may come twice: output is shown before its record is durable.
    AtLeastOnce,
}

impl Delivery {
    /// As users write it.
    pub const NAMES: &[&str] = &["exactly-once", "at-least-once"];

    /// By one of [`Delivery::NAMES`].
    pub fn from_name(name: &str) -> Option<Self> {
        let is = |n: &&str| name.eq_ignore_ascii_case(n);
        match Self::NAMES.iter().position(is)? {
            0 => Some(Self::ExactlyOnce),
            _ => Some(Self::AtLeastOnce),
        }
    }
}

impl fmt::Display for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ExactlyOnce => "exactly-once",
            Self::AtLeastOnce => "at-least-once",
        })
    }
}

/// A batch and its time, for what below a plan depends on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TriggerInstant {
    /// Dense, from 0.
    pub batch_id: u64,
    /// Trigger time in milliseconds since the epoch.
    pub timestamp_ms: i64,
}

impl Trigger {
    /// The next time to run, in milliseconds since the epoch, for a processing-time trigger at `now_ms`.
    pub fn next_ms(self, now_ms: i64) -> i64 {
        match self {
            Self::ProcessingTime(every) if !every.is_zero() => {
                let every = i64::try_from(every.as_millis()).unwrap_or(i64::MAX).max(1);
                now_ms.div_euclid(every).saturating_mul(every).saturating_add(every)
            }
            _ => now_ms,
        }
    }
}

impl fmt::Display for Trigger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::ProcessingTime(d) => write!(f, "every {} ms", d.as_millis()),
            Self::Once => f.write_str("once"),
            Self::AvailableNow => f.write_str("available now"),
            Self::Continuous(d) => write!(f, "continuous {} ms", d.as_millis()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grid_is_aligned_to_the_epoch() {
        let t = Trigger::ProcessingTime(Duration::from_secs(5));
        for (now, next) in [(0, 5000), (1, 5000), (4999, 5000), (5000, 10_000), (-1, 0)] {
            assert_eq!(t.next_ms(now), next, "now {now}");
        }
    }
}
