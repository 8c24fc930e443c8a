//! How much of what there is goes into a batch.

use std::time::Duration;

use super::offsets::Offsets;
use crate::error::Result;
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What [`Limits::read`] reads.
pub const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new(
        "maxOffsetsPerTrigger",
        OptionType::COUNT,
        "Offsets of a batch, shared between partitions by what each has; a partition with news gets one at least.",
    ),
    OptionSpec::new(
        "minOffsetsPerTrigger",
        OptionType::COUNT,
        "A batch waits until there are so many offsets; the first of a run does not.",
    ),
    OptionSpec::new("maxTriggerDelay", OptionType::Duration, "How long a batch waits for minOffsetsPerTrigger.")
        .or("15 minutes"),
];

/// Limits of a batch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Offsets of a batch at most, about.
    pub most: Option<i64>,
    /// Offsets that a batch waits for.
    pub least: Option<i64>,
    /// How long it waits.
    pub delay: Duration,
}

impl Limits {
    /// Reads the options.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn read(reader: &OptionReader<'_>) -> Result<Self> {
        let most: Option<i64> = reader.parse("maxOffsetsPerTrigger")?;
        let least: Option<i64> = reader.parse("minOffsetsPerTrigger")?;
        let delay = reader.duration("maxTriggerDelay")?.unwrap_or_default();
        if let (Some(least), Some(most)) = (least, most)
            && least > most
        {
            let problem = format!("is {least}, and higher than maxOffsetsPerTrigger, which is {most}");
            return Err(reader
                .refused("minOffsetsPerTrigger", &problem)
                .with_help("take a smaller one, or a higher maxOffsetsPerTrigger"));
        }
        Ok(Self { most, least, delay })
    }
}

/// How many offsets there are between the two.
pub fn backlog(start: &Offsets, end: &Offsets) -> i64 {
    end.iter().map(|(partition, to)| (to - start.start_of(&partition, end)).max(0)).sum()
}

/// The end of a batch of about `most` offsets: each partition gets its share of them by what it has, rounded down, but one at least. So a batch may
/// have a few more than `most`, or fewer.
pub fn limited(start: &Offsets, latest: &Offsets, most: i64) -> Offsets {
    let total = backlog(start, latest);
    if total <= most {
        return latest.clone();
    }
    let mut end = latest.clone();
    for (partition, to) in latest.iter() {
        let from = start.start_of(&partition, latest);
        let size = to - from;
        if size > 0 {
            let share = most as f64 * (size as f64 / total as f64);
            let share = if share < 1.0 { share.ceil() } else { share.floor() };
            end.set(&partition, to.min(from.saturating_add(share as i64)));
        }
    }
    end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offsets(numbers: &[i64]) -> Offsets {
        let partition = |number| crate::kafka::Partition { topic: "a".into(), number };
        numbers.iter().enumerate().map(|(i, offset)| (partition(i as i32), *offset)).collect()
    }

    #[test]
    fn shares_are_those_of_spark() {
        let end = |start: &[i64], latest: &[i64], most| {
            let end = limited(&offsets(start), &offsets(latest), most);
            end.iter().map(|(_, offset)| offset).collect::<Vec<_>>()
        };
        assert_eq!(end(&[0, 0, 0], &[10, 5, 1], 8), [5, 2, 1]);
        assert_eq!(end(&[5, 2, 1], &[10, 5, 1], 8), [10, 5, 1]);
        assert_eq!(end(&[0, 0, 0], &[2, 2, 1], 1), [1, 1, 1]);
        assert_eq!(end(&[0, 0], &[6, 6], 5), [2, 2]);
        assert_eq!(end(&[3], &[3], 5), [3]);
    }
}
