//! Inputs, and partitions of them, that have given no event time for longer than their `watermark.idleTimeout`, and so hold no watermark back.
//!
//! The clock decides, but only before a batch: what it decided is in the batch's record, as its watermark.

use std::collections::{BTreeMap, BTreeSet};
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
    seen: Seen,
    /// The same of each partition, if they hold watermarks by themselves.
    partitions: BTreeMap<String, Seen>,
}

/// What an input or a partition gave.
#[derive(Debug, Clone, Copy)]
struct Seen {
    /// When it gave an event time last.
    at_ms: i64,
    /// Whether the batch that is planned has rows of it.
    has_rows: bool,
    /// Whether the last batch with rows of it had no event time in them, as those that cannot be read.
    was_fruitless: bool,
}

impl Seen {
    fn new(now: i64) -> Self {
        Self { at_ms: now, has_rows: false, was_fruitless: false }
    }

    fn plan(&mut self, has_rows: bool, now: i64) {
        // A clock that was set back must not make an input wait for the time that it lost.
        self.at_ms = self.at_ms.min(now);
        self.has_rows = has_rows;
    }

    fn end(&mut self, has_times: bool, now: i64) {
        if has_times {
            self.at_ms = now;
        }
        if self.has_rows {
            self.was_fruitless = !has_times;
        }
        self.has_rows = false;
    }
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
            seen: Seen::new(now),
            partitions: BTreeMap::new(),
        };
        Self { inputs: inputs.map(input).collect(), clock }
    }

    /// A batch is planned that has this of the inputs.
    pub fn look(&mut self, planned: &[PlannedInput<'_>]) {
        let now = self.clock.now_ms();
        for input in &mut self.inputs {
            let planned = planned.iter().find(|p| p.name == input.name);
            input.seen.plan(planned.is_some_and(|p| p.has_rows), now);
            let partitions = planned.map(|p| p.partitions.as_slice()).unwrap_or_default();
            input.partitions.retain(|name, _| partitions.iter().any(|(known, _)| known == name));
            for (name, has_rows) in partitions {
                input.partitions.entry(name.clone()).or_insert(Seen::new(now)).plan(*has_rows, now);
            }
        }
    }

    /// The batch has ended: event times were seen in these inputs, and in these partitions.
    pub fn end(&mut self, inputs: &BTreeSet<String>, partitions: &BTreeSet<String>) {
        let now = self.clock.now_ms();
        for input in &mut self.inputs {
            input.seen.end(inputs.contains(&input.name), now);
            input.partitions.iter_mut().for_each(|(name, seen)| seen.end(partitions.contains(name), now));
        }
    }

    /// Whether an idle input, or partition, can let the watermark move.
    pub fn is_used(&self) -> bool {
        self.inputs.iter().any(|i| i.timeout_ms.is_some() || !i.partitions.is_empty())
    }

    /// The inputs and partitions that are idle now.
    pub fn idle(&self) -> Idle {
        let now = self.clock.now_ms();
        let is_idle = |input: &Input, seen: &Seen| {
            let is_over = input.deadline_ms(seen.at_ms).is_some_and(|deadline| deadline <= now);
            is_over && (!seen.has_rows || seen.was_fruitless)
        };
        let streams = self.inputs.iter().filter(|i| is_idle(i, &i.seen)).map(|i| i.name.clone());
        let partitions = self.inputs.iter().filter(|i| !i.partitions.is_empty()).map(|i| {
            (i.name.clone(), i.partitions.iter().map(|(name, seen)| (name.clone(), is_idle(i, seen))).collect())
        });
        Idle { streams: streams.collect(), partitions: partitions.collect() }
    }

    /// Returns when another input becomes idle.
    pub async fn next(&self) {
        let now = self.clock.now_ms();
        let deadlines = self
            .inputs
            .iter()
            .flat_map(|i| i.partitions.values().chain([&i.seen]).filter_map(|seen| i.deadline_ms(seen.at_ms)));
        match deadlines.filter(|deadline| *deadline > now).min() {
            Some(deadline) => self.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

impl Input {
    /// When it, or a partition of it, becomes idle that gave an event time last at this time.
    fn deadline_ms(&self, at_ms: i64) -> Option<i64> {
        Some(at_ms.saturating_add(self.timeout_ms?))
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
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        inputs.look(&[planned("a", true, &[]), planned("b", true, &[])]);
        assert!(inputs.idle().streams.is_empty(), "it has rows again");
        inputs.end(&names(&["a"]), &names(&[]));
        assert!(inputs.idle().streams.is_empty());
        inputs.inputs[0].seen.at_ms = 1_000_000;
        inputs.look(&[]);
        manual.advance(Duration::from_secs(10));
        assert_eq!(inputs.idle().streams, ["a"], "the clock was set back");
        inputs.look(&[planned("a", true, &[("p", true), ("q", false)])]);
        inputs.end(&names(&["a"]), &names(&["p"]));
        manual.advance(Duration::from_secs(6));
        inputs.look(&[planned("a", true, &[("p", true), ("q", false)])]);
        inputs.end(&names(&["a"]), &names(&["p"]));
        manual.advance(Duration::from_secs(6));
        let idle = inputs.idle();
        assert_eq!(
            (idle.streams.len(), &idle.partitions["a"][..]),
            (0, &[("p".into(), false), ("q".into(), true)][..])
        );
        // Rows without an event time hold nothing back for longer.
        inputs.look(&[planned("a", true, &[])]);
        inputs.end(&names(&[]), &names(&[]));
        manual.advance(Duration::from_secs(11));
        inputs.look(&[planned("a", true, &[])]);
        assert_eq!(inputs.idle().streams, ["a"]);
    }
}
