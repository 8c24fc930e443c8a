//! How often the log of a query that hands rows over as they arrive is durable at the latest, and what its sources are told then.

use std::time::Duration;

use crate::error::Result;
use crate::offset::Offset;

/// Sources in memory keep rows until they are told: so many batches, or rows of them, are worth a look at the disk before its time.
const MAX_BATCHES: u64 = 1000;
const MAX_ROWS: u64 = 1 << 20;

/// What waits for the disk, and since when.
#[derive(Debug)]
pub(super) struct Durability {
    every_ms: i64,
    next_ms: i64,
    /// The ends of the last batch that the sink has, unless they were asked for already.
    acknowledged: Option<Vec<Offset>>,
    /// How many batches these are the ends of, and rows.
    batches: u64,
    rows: u64,
    /// The record that was asked for, and the ends of the last batch that the sink had by then.
    asked: Option<(u64, Vec<Offset>)>,
}

impl Durability {
    /// Nothing waits at `now_ms`.
    pub fn new(every: Duration, now_ms: i64) -> Self {
        let every_ms = i64::try_from(every.as_millis()).unwrap_or(i64::MAX);
        Self {
            every_ms,
            next_ms: now_ms.saturating_add(every_ms),
            acknowledged: None,
            batches: 0,
            rows: 0,
            asked: None,
        }
    }

    /// The sink has a batch of so many rows with these ends.
    pub fn acknowledge(&mut self, ends: Vec<Offset>, rows: u64) {
        self.acknowledged = Some(ends);
        self.batches += 1;
        self.rows += rows;
    }

    /// When the disk is to be asked next, if anything waits for that.
    pub fn due_ms(&self) -> Option<i64> {
        let is_much = self.batches >= MAX_BATCHES || self.rows >= MAX_ROWS;
        let due = if is_much { i64::MIN } else { self.next_ms };
        (self.acknowledged.is_some() && self.asked.is_none()).then_some(due)
    }

    /// The record whose durability is waited for.
    pub fn asked(&self) -> Option<u64> {
        self.asked.as_ref().map(|(lsn, _)| *lsn)
    }

    /// Asks for `lsn` if it is time; whether it did.
    pub fn ask(&mut self, now_ms: i64, lsn: impl FnOnce() -> u64) -> Option<u64> {
        if self.due_ms().is_none_or(|due| due > now_ms) {
            return None;
        }
        let ends = self.acknowledged.take()?;
        (self.batches, self.rows) = (0, 0);
        let lsn = lsn();
        self.asked = Some((lsn, ends));
        self.next_ms = now_ms.saturating_add(self.every_ms);
        Some(lsn)
    }

    /// The ends of the last batch that never runs again, once that is durable.
    pub fn settle(&mut self, is_durable: impl FnOnce(u64) -> Result<bool>) -> Result<Option<Vec<Offset>>> {
        match &self.asked {
            Some((lsn, _)) if is_durable(*lsn)? => Ok(self.asked.take().map(|(_, ends)| ends)),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_sink_has_is_durable_by_the_interval() {
        let mut d = Durability::new(Duration::from_secs(1), 500);
        assert_eq!((d.due_ms(), d.ask(5000, || 1)), (None, None));
        d.acknowledge(vec![1.into()], 1);
        assert_eq!(d.ask(1499, || 1), None);
        d.acknowledge(vec![2.into()], 1);
        assert_eq!(d.due_ms(), Some(1500));
        assert_eq!(d.ask(1600, || 7), Some(7));
        d.acknowledge(vec![3.into()], 1);
        assert_eq!((d.due_ms(), d.asked()), (None, Some(7)), "one is waited for at a time");
        assert_eq!(d.settle(|_| Ok(false)).unwrap(), None);
        assert_eq!(d.settle(|lsn| Ok(lsn == 7)).unwrap(), Some(vec![2.into()]));
        assert_eq!(d.due_ms(), Some(2600));
        d.acknowledge(vec![4.into()], MAX_ROWS);
        assert_eq!((d.due_ms(), d.ask(1601, || 8)), (Some(i64::MIN), Some(8)), "what a source has to keep is bounded");
    }
}
