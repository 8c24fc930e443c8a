//! Inputs, and partitions of them, that have had no rows for longer than their `watermark.idleTimeout`, and so hold no watermark back.
//!
//! The clock decides, but only before a batch: what it decided is in the batch's record, as its watermark.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::operator::Idle;
use crate::time::Clock;

/// When the inputs of a query had rows.
#[derive(Debug)]
pub(super) struct IdleInputs {
    clock: Clock,
    inputs: Vec<Input>,
}

#[derive(Debug)]
struct Input {
    name: String,
    /// None at all for ever.
    timeout_ms: Option<i64>,
    last_rows_ms: i64,
    /// When each partition had rows, if they hold watermarks by themselves.
    partitions: BTreeMap<String, i64>,
}

/// What a batch that is planned has of an input.
#[derive(Debug)]
pub(super) struct PlannedInput<'r> {
    pub name: &'r str,
    pub has_rows: bool,
    /// All partitions, and whether each has rows.
    pub partitions: Vec<(String, bool)>,
}

impl IdleInputs {
    /// Of these inputs, by name and timeout; they count as having had rows now.
    pub fn new<'n>(clock: Clock, inputs: impl Iterator<Item = (&'n str, Option<Duration>)>) -> Self {
        let now = clock.now_ms();
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let input = |(name, timeout): (&str, Option<Duration>)| Input {
            name: name.to_owned(),
            timeout_ms: timeout.map(millis),
            last_rows_ms: now,
            partitions: BTreeMap::new(),
        };
        Self { inputs: inputs.map(input).collect(), clock }
    }

    /// A batch is planned that has this of the inputs.
    pub fn look(&mut self, planned: &[PlannedInput<'_>]) {
        let now = self.clock.now_ms();
        // A clock that was set back must not make an input wait for the time that it lost.
        let seen = |last: i64, has_rows: bool| if has_rows { now } else { last.min(now) };
        for input in &mut self.inputs {
            let planned = planned.iter().find(|p| p.name == input.name);
            input.last_rows_ms = seen(input.last_rows_ms, planned.is_some_and(|p| p.has_rows));
            let partitions = planned.map(|p| p.partitions.as_slice()).unwrap_or_default();
            input.partitions.retain(|name, _| partitions.iter().any(|(known, _)| known == name));
            for (name, has_rows) in partitions {
                let last = input.partitions.entry(name.clone()).or_insert(now);
                *last = seen(*last, *has_rows);
            }
        }
    }

    /// Whether an idle input, or partition, can let the watermark move.
    pub fn is_used(&self) -> bool {
        self.inputs.iter().any(|i| i.timeout_ms.is_some() || !i.partitions.is_empty())
    }

    /// The inputs and partitions that are idle now.
    pub fn idle(&self) -> Idle {
        let now = self.clock.now_ms();
        let is_idle = |input: &Input, last: i64| input.deadline_ms(last).is_some_and(|deadline| deadline <= now);
        let streams = self.inputs.iter().filter(|i| is_idle(i, i.last_rows_ms)).map(|i| i.name.clone());
        let partitions = self.inputs.iter().filter(|i| !i.partitions.is_empty()).map(|i| {
            (i.name.clone(), i.partitions.iter().map(|(name, last)| (name.clone(), is_idle(i, *last))).collect())
        });
        Idle { streams: streams.collect(), partitions: partitions.collect() }
    }

    /// Returns when another input becomes idle.
    pub async fn next(&self) {
        let now = self.clock.now_ms();
        let deadlines = self
            .inputs
            .iter()
            .flat_map(|i| i.partitions.values().chain([&i.last_rows_ms]).filter_map(|last| i.deadline_ms(*last)));
        match deadlines.filter(|deadline| *deadline > now).min() {
            Some(deadline) => self.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

impl Input {
    /// When it, or a partition of it, becomes idle that had rows last at this time.
    fn deadline_ms(&self, last_rows_ms: i64) -> Option<i64> {
        Some(last_rows_ms.saturating_add(self.timeout_ms?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_make_an_input_busy_again() {
        let clock = Clock::manual();
        let Clock::Manual(manual) = &clock else { unreachable!() };
        let timeouts = [("a", Some(Duration::from_secs(10))), ("b", None)];
        let mut inputs = IdleInputs::new(clock.clone(), timeouts.into_iter());
        manual.advance(Duration::from_secs(9));
        assert!(inputs.is_used() && inputs.idle().streams.is_empty());
        manual.advance(Duration::from_secs(1));
        assert_eq!(inputs.idle().streams, ["a"]);
        let planned = |name, has_rows, partitions: &[(&str, bool)]| PlannedInput {
            name,
            has_rows,
            partitions: partitions.iter().map(|(name, has_rows)| ((*name).to_owned(), *has_rows)).collect(),
        };
        inputs.look(&[planned("a", true, &[]), planned("b", true, &[])]);
        assert!(inputs.idle().streams.is_empty());
        inputs.inputs[0].last_rows_ms = 1_000_000;
        inputs.look(&[]);
        manual.advance(Duration::from_secs(10));
        assert_eq!(inputs.idle().streams, ["a"], "the clock was set back");
        inputs.look(&[planned("a", true, &[("p", true), ("q", false)])]);
        manual.advance(Duration::from_secs(6));
        inputs.look(&[planned("a", true, &[("p", true), ("q", false)])]);
        manual.advance(Duration::from_secs(6));
        let idle = inputs.idle();
        assert_eq!(
            (idle.streams.len(), &idle.partitions["a"][..]),
            (0, &[("p".into(), false), ("q".into(), true)][..])
        );
    }
}
