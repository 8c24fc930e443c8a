//! What a flow has left out: records that could not be read and rows that were late. Said as it happens, but not more often
//! than is useful, and once more when the flow ends.

use super::progress::iso_timestamp;
use crate::checkpoint::SourceRange;
use crate::source::Source;
use crate::time::Clock;

/// Between two warnings. What was left out meanwhile is in the next one.
const PAUSE_MS: i64 = 10_000;

/// What was left out in this run.
#[derive(Debug, Clone)]
pub(super) struct Losses {
    clock: Clock,
    /// By source: records that could not be read.
    bad: Vec<Count>,
    /// By operator: rows behind the watermark.
    late: Vec<Count>,
    batches: u64,
    rows: u64,
    last_said_ms: Option<i64>,
}

#[derive(Debug, Default, Clone)]
struct Count {
    total: u64,
    unsaid: u64,
    /// Of those that were not said.
    first: String,
}

impl Count {
    fn add(&mut self, n: u64, place: impl FnOnce() -> String) {
        if n > 0 && self.unsaid == 0 {
            self.first = place();
        }
        self.total += n;
        self.unsaid += n;
    }
}

/// A source after a batch.
pub(super) struct SourceSeen<'a> {
    pub source: &'a dyn Source,
    pub range: &'a SourceRange,
}

impl Losses {
    /// Of a query with so many operators.
    pub fn new(clock: Clock, sources: usize, operators: usize) -> Self {
        let (bad, late) = (vec![Count::default(); sources], vec![Count::default(); operators]);
        Self { clock, bad, late, batches: 0, rows: 0, last_said_ms: None }
    }

    /// Late rows of each operator so far.
    pub fn late_rows(&self) -> Vec<u64> {
        self.late.iter().map(|c| c.total).collect()
    }

    /// A batch has ended that read `rows` rows, of which each operator dropped some that are older than the watermark.
    pub fn count<'a>(
        &mut self,
        rows: u64,
        sources: impl Iterator<Item = SourceSeen<'a>>,
        late: impl Iterator<Item = (&'static str, u64)>,
        watermark_ms: i64,
    ) {
        self.batches += 1;
        self.rows += rows;
        for (count, SourceSeen { source, range }) in self.bad.iter_mut().zip(sources) {
            let new = source.metrics().bad_records.saturating_sub(count.total);
            count.add(new, || {
                let place = source.first_bad_record().map(|place| format!("in {place}"));
                let place = place.unwrap_or_else(|| format!("after offset {}", range.start));
                format!("of stream '{}', the first {place}", range.name)
            });
        }
        for (count, (operator, new)) in self.late.iter_mut().zip(late) {
            count.add(new, || {
                format!("left out at {operator}, older than the watermark {}", iso_timestamp(watermark_ms))
            });
        }
    }

    /// Warns of what was left out and not said yet, if it is time to.
    pub fn say(&mut self, query: &str, batch: u64) {
        let now = self.clock.now_ms();
        if self.last_said_ms.is_some_and(|last| (0..PAUSE_MS).contains(&(now - last))) {
            return;
        }
        let parts = self.take_unsaid();
        if !parts.is_empty() {
            self.last_said_ms = Some(now);
            tracing::warn!(query, batch, "{}", parts.join("; "));
        }
    }

    fn take_unsaid(&mut self) -> Vec<String> {
        let mut parts = vec![];
        for (counts, what) in [(&mut self.bad, "bad record"), (&mut self.late, "late row")] {
            for count in counts.iter_mut().filter(|c| c.unsaid > 0) {
                let n = std::mem::take(&mut count.unsaid);
                parts.push(format!("{} {}", plural(n, what), std::mem::take(&mut count.first)));
            }
        }
        parts
    }

    /// The flow has ended: what was not said yet, and everything of this run.
    pub fn end(mut self, query: &str, next_batch: u64) {
        let parts = self.take_unsaid();
        if !parts.is_empty() {
            tracing::warn!(query, "{}", parts.join("; "));
        }
        let summary = self.summary();
        match summary.is_loss() {
            true => tracing::warn!(query, "ends before batch {next_batch}: {summary}"),
            false => tracing::info!(query, "ends before batch {next_batch}: {summary}"),
        }
    }

    fn summary(&self) -> Summary {
        let sum = |counts: &[Count]| counts.iter().map(|c| c.total).sum();
        Summary { batches: self.batches, rows: self.rows, bad: sum(&self.bad), late: sum(&self.late) }
    }
}

/// What a run has read and left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Summary {
    batches: u64,
    rows: u64,
    bad: u64,
    late: u64,
}

impl Summary {
    /// Whether something is missing in the result.
    pub fn is_loss(&self) -> bool {
        self.bad + self.late > 0
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let batches = if self.batches == 1 { "1 batch".to_owned() } else { format!("{} batches", self.batches) };
        write!(f, "{} in {batches}", plural(self.rows, "row"))?;
        if self.is_loss() {
            write!(f, "; {} and {} in all", plural(self.bad, "bad record"), plural(self.late, "late row"))?;
        }
        Ok(())
    }
}

fn plural(n: u64, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn late(losses: &mut Losses, n: u64) {
        losses.count(10, std::iter::empty(), [("stateStoreSave", n)].into_iter(), 5000);
    }

    #[test]
    fn said_at_once_and_then_with_pauses() {
        let clock = Clock::manual();
        let Clock::Manual(hand) = &clock else { panic!("a manual clock") };
        let mut losses = Losses::new(clock.clone(), 0, 1);
        late(&mut losses, 0);
        losses.say("f", 0);
        assert_eq!(losses.last_said_ms, None);
        late(&mut losses, 2);
        losses.say("f", 1);
        assert_eq!((losses.last_said_ms, losses.late[0].unsaid), (Some(0), 0));
        late(&mut losses, 3);
        losses.say("f", 2);
        hand.advance(Duration::from_secs(9));
        late(&mut losses, 1);
        losses.say("f", 3);
        assert_eq!(losses.late[0].unsaid, 4);
        assert_eq!(
            losses.clone().take_unsaid(),
            ["4 late rows left out at stateStoreSave, older than the watermark 1970-01-01T00:00:05.000Z"]
        );
        hand.advance(Duration::from_secs(1));
        losses.say("f", 4);
        assert_eq!((losses.last_said_ms, losses.late[0].unsaid), (Some(10_000), 0));
        assert_eq!(losses.late_rows(), [6]);
        assert_eq!(losses.summary().to_string(), "40 rows in 4 batches; 0 bad records and 6 late rows in all");
    }
}
