//! Where reading begins and, for a table, where it ends.

use std::collections::BTreeMap;

use super::offsets::{Offsets, names};
use crate::error::{Error, Result};
use crate::kafka::{Broker, EARLIEST, LATEST, Partition, data_loss};
use crate::options::OptionType::{Choice, Text};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What [`Position::start`] reads, for a stream.
pub const OF_STREAM: [OptionSpec; 4] = [
    OptionSpec::new(
        "startingOffsets",
        Text,
        "earliest, latest, or offsets as {\"a\":{\"0\":23,\"1\":-2}}, where -2 is earliest and -1 latest.",
    )
    .or("latest"),
    STARTING_TIMESTAMP,
    STARTING_OFFSETS_BY_TIMESTAMP,
    STRATEGY,
];
/// The same for a table.
pub const OF_TABLE: [OptionSpec; 7] = [
    OptionSpec::new(
        "startingOffsets",
        Text,
        "earliest, or offsets as {\"a\":{\"0\":23,\"1\":-2}}, where -2 is earliest.",
    )
    .or("earliest"),
    STARTING_TIMESTAMP,
    STARTING_OFFSETS_BY_TIMESTAMP,
    STRATEGY,
    OptionSpec::new(
        "endingOffsets",
        Text,
        "latest, or offsets as {\"a\":{\"0\":50,\"1\":-1}}, where -1 is latest; the end itself is not read.",
    )
    .or("latest"),
    OptionSpec::new(
        "endingTimestamp",
        OptionType::WHOLE,
        "Milliseconds since the epoch: every partition ends before its first record of this time or later.",
    ),
    OptionSpec::new("endingOffsetsByTimestamp", Text, "The same by partition, as {\"a\":{\"0\":1000}}."),
];

const STARTING_TIMESTAMP: OptionSpec = OptionSpec::new(
    "startingTimestamp",
    OptionType::WHOLE,
    "Milliseconds since the epoch: every partition begins at its first record of this time or later. Goes before startingOffsetsByTimestamp.",
);
const STARTING_OFFSETS_BY_TIMESTAMP: OptionSpec = OptionSpec::new(
    "startingOffsetsByTimestamp",
    Text,
    "The same by partition, as {\"a\":{\"0\":1000}}. Goes before startingOffsets.",
);
const STRATEGY: OptionSpec = OptionSpec::new(
    "startingOffsetsByTimestampStrategy",
    Choice(&["error", "latest"]),
    "What a partition does that has no record of that time or later: it is an error, or it begins at its end.",
)
.or("error");

/// One end of what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    /// The first record of every partition.
    Earliest,
    /// Behind the last record of every partition.
    Latest,
    /// An offset for each partition, -1 for latest and -2 for earliest.
    Offsets(Offsets),
    /// The first record of this time or later.
    Timestamp(i64),
    /// The same, a time for each partition.
    Timestamps(Offsets),
}

/// Which end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Start,
    Stop,
}

/// What is given for each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Given {
    Offsets,
    Times,
}

impl Position {
    /// Reads where it begins; `of_table` has an end as well, and cannot begin there.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn start(reader: &OptionReader<'_>, of_table: bool) -> Result<Self> {
        let at = reader.parse("startingTimestamp")?;
        let times = by_partition(reader, "startingOffsetsByTimestamp")?;
        let key = "startingOffsets";
        let value = reader.text(key);
        let offsets = match value.trim().to_ascii_lowercase().as_str() {
            "earliest" => Self::Earliest,
            "latest" if of_table => {
                return Err(reader.invalid(key, value, "a place before the end: a table cannot begin at 'latest'"));
            }
            "latest" => Self::Latest,
            _ => {
                let offsets = offsets(reader, key, value)?;
                if of_table && offsets.iter().any(|(_, offset)| offset == LATEST) {
                    return Err(reader.invalid(
                        key,
                        value,
                        "offsets before the end: a table cannot begin at -1, the latest",
                    ));
                }
                Self::Offsets(offsets)
            }
        };
        Ok(at.map(Self::Timestamp).or(times.map(Self::Timestamps)).unwrap_or(offsets))
    }

    /// Reads where a table ends.
    ///
    /// # Errors
    /// `INVALID_OPTION`.
    pub fn end(reader: &OptionReader<'_>) -> Result<Self> {
        let at = reader.parse("endingTimestamp")?;
        let times = by_partition(reader, "endingOffsetsByTimestamp")?;
        let key = "endingOffsets";
        let value = reader.text(key);
        let offsets = match value.trim().to_ascii_lowercase().as_str() {
            "latest" => Self::Latest,
            "earliest" => {
                return Err(reader.invalid(
                    key,
                    value,
                    "a place behind the beginning: a table cannot end at 'earliest'",
                ));
            }
            _ => {
                let offsets = offsets(reader, key, value)?;
                if offsets.iter().any(|(_, offset)| offset == EARLIEST) {
                    return Err(reader.invalid(
                        key,
                        value,
                        "offsets behind the beginning: a table cannot end at -2, the earliest",
                    ));
                }
                Self::Offsets(offsets)
            }
        };
        Ok(at.map(Self::Timestamp).or(times.map(Self::Timestamps)).unwrap_or(offsets))
    }

    /// The offsets at which reading begins.
    ///
    /// # Errors
    /// Partitions that do not fit those that are there, times without a record unless `or_latest`.
    pub async fn starting(&self, broker: &Broker, partitions: &[Partition], or_latest: bool) -> Result<Offsets> {
        self.resolve(broker, partitions, End::Start, or_latest).await
    }

    /// The offsets at which reading ends.
    ///
    /// # Errors
    /// Partitions that do not fit those that are there.
    pub async fn ending(&self, broker: &Broker, partitions: &[Partition]) -> Result<Offsets> {
        self.resolve(broker, partitions, End::Stop, true).await
    }

    async fn resolve(&self, broker: &Broker, partitions: &[Partition], end: End, or_latest: bool) -> Result<Offsets> {
        let all = |at: i64| partitions.iter().map(|p| (p.clone(), at)).collect::<Vec<_>>();
        match self {
            Self::Earliest => found(broker, all(EARLIEST)).await,
            Self::Latest => found(broker, all(LATEST)).await,
            Self::Offsets(offsets) => {
                fit(offsets, partitions, end, Given::Offsets)?;
                let ends = offsets.iter().filter(|(_, offset)| matches!(*offset, EARLIEST | LATEST)).collect();
                let ends = found(broker, ends).await?;
                Ok(offsets.iter().map(|(p, offset)| (p.clone(), ends.get(&p).unwrap_or(offset))).collect())
            }
            Self::Timestamp(time) => at_times(broker, all(*time), or_latest).await,
            Self::Timestamps(times) => {
                fit(times, partitions, end, Given::Times)?;
                at_times(broker, times.iter().collect(), or_latest).await
            }
        }
    }
}

fn offsets(reader: &OptionReader<'_>, key: &str, value: &str) -> Result<Offsets> {
    let expected = r#"'earliest', 'latest' or offsets such as {"topicA":{"0":23,"1":-1}}"#;
    let offsets = Offsets::from_option(value).filter(|offsets| offsets.iter().all(|(_, offset)| offset >= EARLIEST));
    offsets.ok_or_else(|| reader.invalid(key, value, expected))
}

fn by_partition(reader: &OptionReader<'_>, key: &'static str) -> Result<Option<Offsets>> {
    let Some(value) = reader.string(key) else { return Ok(None) };
    let times = Offsets::from_option(value).filter(|times| times.iter().all(|(_, time)| time >= 0));
    times.map(Some).ok_or_else(|| {
        reader.invalid(key, value, r#"milliseconds by partition, such as {"topicA":{"0":1000,"1":2000}}"#)
    })
}

/// Partitions that are named must be those that are there.
fn fit(given: &Offsets, partitions: &[Partition], end: End, what: Given) -> Result<()> {
    let mut there: Vec<_> = partitions.to_vec();
    there.sort();
    let named: Vec<_> = given.iter().map(|(partition, _)| partition).collect();
    if named == there {
        return Ok(());
    }
    let (condition, word) = match (end, what) {
        (_, Given::Times) => ("KAFKA_TIMESTAMP_OFFSET_DOES_NOT_MATCH_ASSIGNED", "times of the start or the end"),
        (End::Start, Given::Offsets) => ("KAFKA_START_OFFSET_DOES_NOT_MATCH_ASSIGNED", "starting offsets"),
        (End::Stop, Given::Offsets) => ("KAFKA_END_OFFSET_DOES_NOT_MATCH_ASSIGNED", "ending offsets"),
    };
    Err(Error::invalid(
        condition,
        format!(
            "{word} by partition must name all partitions and no other; named: {}; there: {}",
            names(&named),
            names(&there)
        ),
    )
    .with_help("use -1 for latest and -2 for earliest where an offset does not matter"))
}

async fn found(broker: &Broker, wanted: Vec<(Partition, i64)>) -> Result<Offsets> {
    let asked = wanted.clone();
    let found = broker.offsets(wanted).await?;
    let mut offsets = Offsets::default();
    for (partition, _) in asked {
        let offset = found.get(&partition).copied().flatten().ok_or_else(|| gone(&partition))?;
        offsets.set(&partition, offset);
    }
    Ok(offsets)
}

async fn at_times(broker: &Broker, wanted: Vec<(Partition, i64)>, or_latest: bool) -> Result<Offsets> {
    let found_at = broker.offsets(wanted.clone()).await?;
    let later: BTreeMap<_, _> =
        wanted.into_iter().filter(|(p, _)| found_at.get(p).copied().flatten().is_none()).collect();
    if !or_latest && let Some((partition, time)) = later.first_key_value() {
        return Err(Error::execution(
            "KAFKA_NO_OFFSET_FOR_TIMESTAMP",
            format!("partition {partition} has no record of the time {time} or later"),
        )
        .with_help("take an earlier time, or set startingOffsetsByTimestampStrategy 'latest' to begin at its end"));
    }
    let ends = found(broker, later.into_keys().map(|partition| (partition, LATEST)).collect()).await?;
    let exact = found_at.into_iter().filter_map(|(partition, offset)| Some((partition, offset?)));
    Ok(exact.chain(ends.iter()).collect())
}

/// The error for a partition that was there a moment ago.
fn gone(partition: &Partition) -> Error {
    data_loss("KAFKA_DATA_LOSS.PARTITIONS_DELETED", format!("partition {partition} has been deleted"))
}
