//! Inputs that have had no rows for longer than their `watermark.idleTimeout`, and so hold no watermark back.
//!
//! The clock decides, but only before a batch: what it decided is in the batch's record, as its watermark.

use std::time::Duration;

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
    timeout_ms: i64,
    last_rows_ms: i64,
}

impl IdleInputs {
    /// Of these inputs, by name and timeout; they count as having had rows now.
    pub fn new<'n>(clock: Clock, inputs: impl Iterator<Item = (&'n str, Option<Duration>)>) -> Self {
        let now = clock.now_ms();
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        let input = |(name, timeout): (&str, Option<Duration>)| {
            Some(Input { name: name.to_owned(), timeout_ms: millis(timeout?), last_rows_ms: now })
        };
        Self { inputs: inputs.filter_map(input).collect(), clock }
    }

    /// Whether an input can become idle.
    pub fn is_used(&self) -> bool {
        !self.inputs.is_empty()
    }

    /// A batch is planned: these inputs have rows for it.
    pub fn look(&mut self, with_rows: &[&str]) {
        let now = self.clock.now_ms();
        for input in &mut self.inputs {
            // A clock that was set back must not make an input wait for the time that it lost.
            let had_rows = with_rows.contains(&input.name.as_str());
            input.last_rows_ms = if had_rows { now } else { input.last_rows_ms.min(now) };
        }
    }

    /// The inputs that are idle now.
    pub fn idle(&self) -> Vec<&str> {
        let now = self.clock.now_ms();
        self.inputs.iter().filter(|i| i.deadline_ms() <= now).map(|i| i.name.as_str()).collect()
    }

    /// Returns when another input becomes idle.
    pub async fn next(&self) {
        let now = self.clock.now_ms();
        match self.inputs.iter().map(Input::deadline_ms).filter(|d| *d > now).min() {
            Some(deadline) => self.clock.sleep_until(deadline).await,
            None => std::future::pending().await,
        }
    }
}

impl Input {
    fn deadline_ms(&self) -> i64 {
        self.last_rows_ms.saturating_add(self.timeout_ms)
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
        assert!(inputs.is_used() && inputs.idle().is_empty());
        manual.advance(Duration::from_secs(1));
        assert_eq!(inputs.idle(), ["a"]);
        inputs.look(&["a", "b"]);
        assert!(inputs.idle().is_empty());
        inputs.inputs[0].last_rows_ms = 1_000_000;
        inputs.look(&[]);
        manual.advance(Duration::from_secs(10));
        assert_eq!(inputs.idle(), ["a"], "the clock was set back");
    }
}
