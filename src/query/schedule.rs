//! When the next batch is due, and how much it may read. It knows no source and no operator: they say what they wait for.

use std::time::Duration;

use crate::source::ReadLimit;
use crate::trigger::Trigger;

/// The schedule of one run of a query.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    trigger: Trigger,
    /// Whether a watermark that has moved, or a timer that is due, is reason enough for a batch.
    no_data_batches: bool,
    started_ms: i64,
}

impl Schedule {
    pub(super) fn new(trigger: Trigger, no_data_batches: bool, started_ms: i64) -> Self {
        Self { trigger, no_data_batches: no_data_batches && trigger != Trigger::Once, started_ms }
    }

    /// How much of what a source has goes into a batch.
    pub(super) fn limit(&self) -> ReadLimit {
        if self.trigger == Trigger::Once { ReadLimit::All } else { ReadLimit::Configured }
    }

    /// Whether only rows that are there now are read.
    pub(super) fn ends_with_what_is_there(&self) -> bool {
        self.trigger == Trigger::AvailableNow
    }

    /// How often the log is durable at the latest, if rows are handed over as they arrive.
    pub(super) fn hands_over(&self) -> Option<Duration> {
        match self.trigger {
            Trigger::Continuous(every) => Some(every),
            _ => None,
        }
    }

    /// Whether a batch without rows runs because a watermark has moved.
    pub(super) fn follows_watermark(&self) -> bool {
        self.no_data_batches
    }

    /// When processing time alone is reason for a batch, in milliseconds since the epoch; `timers` has an item for each operator that waits for
    /// processing time, with the time of its first timer. On a grid of triggers that is at each of them but the first, as in
    /// Spark; when the query ends with the data, only what was due at its start.
    pub(super) fn due_ms(&self, next_batch: u64, mut timers: impl Iterator<Item = Option<i64>>) -> Option<i64> {
        if !self.no_data_batches {
            return None;
        }
        match self.trigger {
            Trigger::Once => None,
            Trigger::ProcessingTime(_) => timers.next().filter(|_| next_batch > 0).map(|_| i64::MIN),
            Trigger::AvailableNow => timers.flatten().min().filter(|due| *due <= self.started_ms),
            Trigger::Default | Trigger::Continuous(_) => timers.flatten().min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(trigger: Trigger, next_batch: u64, timers: &[Option<i64>]) -> Option<i64> {
        Schedule::new(trigger, true, 100).due_ms(next_batch, timers.iter().copied())
    }

    #[test]
    fn a_timer_is_due_as_the_trigger_has_it() {
        let timers = [None, Some(120), Some(90)];
        assert_eq!(due(Trigger::Default, 0, &timers), Some(90));
        assert_eq!(due(Trigger::Default, 3, &[None]), None);
        let grid = Trigger::ProcessingTime(Duration::from_secs(1));
        assert_eq!(due(grid, 0, &timers), None);
        assert_eq!(due(grid, 1, &[None]), Some(i64::MIN));
        assert_eq!(due(grid, 1, &[]), None);
        assert_eq!(due(Trigger::AvailableNow, 1, &timers), Some(90));
        assert_eq!(due(Trigger::AvailableNow, 1, &timers[..2]), None);
        assert_eq!(due(Trigger::Once, 1, &timers), None);
        assert_eq!(due(Trigger::Continuous(Duration::ZERO), 1, &timers), Some(90));
    }

    #[test]
    fn without_no_data_batches_only_rows_are_reason_for_a_batch() {
        let off = Schedule::new(Trigger::Default, false, 0);
        assert_eq!(off.due_ms(1, [Some(1)].into_iter()), None);
        assert!(!off.follows_watermark());
        assert!(!Schedule::new(Trigger::Once, true, 0).follows_watermark());
    }

    #[test]
    fn once_takes_everything() {
        assert_eq!(Schedule::new(Trigger::Once, true, 0).limit(), ReadLimit::All);
        assert_eq!(Schedule::new(Trigger::AvailableNow, true, 0).limit(), ReadLimit::Configured);
        assert!(Schedule::new(Trigger::AvailableNow, true, 0).ends_with_what_is_there());
    }
}
