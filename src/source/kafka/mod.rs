//! The Kafka source: topics as streams and, between two offsets, as tables.
//!
//! Offsets are kept by the query alone, as Spark writes them. Which topic stands behind a name is kept as well: one that is deleted and made
//! anew is told from the old one by its id.

mod columns;
mod group;
mod known;
mod limits;
mod offsets;
mod position;
mod reader;
mod rows;
mod scan;
mod source;
mod subscription;
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use rdkafka::ClientConfig;

use self::limits::Limits;
use self::position::Position;
use self::rows::RowFormat;
use self::scan::Reading;
use self::source::KafkaSource;
use self::subscription::Subscription;
use super::{Source, SourceContext, StreamProvider};
use crate::error::Result;
use crate::kafka::{ClientKind, Partition, SETTINGS, Settings, Topic};
use crate::options::OptionType::{self, Boolean, Bytes, Text};
use crate::options::{OptionReader, OptionSpec, Options};
use crate::time_zone::Tz;

pub use table::KafkaTable;

/// What streams and tables read.
const COMMON: [OptionSpec; 7] = [
    OptionSpec::new("failOnDataLoss", Boolean, "Whether records that are gone before they were read end the query; else it goes on with what is there, and says so.").or("true"),
    OptionSpec::new("includeHeaders", Boolean, "Whether there is a column headers.").or("false"),
    OptionSpec::new("minPartitions", OptionType::COUNT, "Partitions of a batch at least: longer ones are cut."),
    OptionSpec::new("maxRecordsPerPartition", OptionType::COUNT, "Offsets of a partition of a batch at most: longer ones are cut."),
    OptionSpec::new("kafkaConsumer.pollTimeoutMs", OptionType::COUNT, "How long no record may come where there are some, in milliseconds.").or("120000"),
    OptionSpec::new("fetchOffset.numRetries", OptionType::WHOLE, "How often a topic that is not there is looked for again.").or("3"),
    OptionSpec::new("fetchOffset.retryIntervalMs", OptionType::WHOLE, "How long to wait before that, in milliseconds.").or("250"),
];
/// What streams read beside that.
const OF_STREAM: [OptionSpec; 4] = [
    OptionSpec::new("watermark.byPartition", Boolean, "Whether each partition holds watermarks by itself, and watermark.idleTimeout is of a partition; else the latest time of all counts, as in Spark.").or("false"),
    OptionSpec::new("groupIdPrefix", Text, "What the name of the consumer group begins with, if kafka.group.id does not give all of it; the query's name follows.").or("tidemill"),
    OptionSpec::new("commitOffsets", Boolean, "Whether the consumer group is told after each batch where the query stands, for tools that show its lag.").or("true"),
    OptionSpec::new("maxPrefetchBytes", Bytes, "Room for records that are fetched while a batch runs, of all partitions together.").or("64MB"),
];

/// What streams and tables have in common.
#[derive(Debug, Clone)]
struct Common {
    settings: Settings,
    subscription: Subscription,
    start: Position,
    /// Whether a partition without a record of the starting time begins at its end.
    or_latest: bool,
    reading: Arc<Reading>,
    retry: Retry,
}

/// How a topic that is not there is looked for again.
#[derive(Debug, Clone, Copy)]
struct Retry {
    times: u64,
    pause: Duration,
}

impl Common {
    fn read(
        reader: &OptionReader<'_>,
        options: &Options,
        (name, declared): (&str, Option<SchemaRef>),
        tz: Tz,
        of_table: bool,
    ) -> Result<Self> {
        let settings = Settings::read(reader, ClientKind::Consumer)?;
        let subscription = Subscription::read(reader)?;
        let start = Position::start(reader, of_table)?;
        let or_latest = reader.choice("startingOffsetsByTimestampStrategy")? == Some("latest");
        let has_headers = reader.bool("includeHeaders")?;
        let milliseconds =
            |key| -> Result<Duration> { Ok(Duration::from_millis(reader.parse(key)?.unwrap_or_default())) };
        let reading = Reading {
            rows: RowFormat::read(reader, options, name, declared, has_headers, tz)?,
            fails_on_data_loss: reader.bool("failOnDataLoss")?,
            patience: milliseconds("kafkaConsumer.pollTimeoutMs")?,
            min_partitions: reader.parse("minPartitions")?,
            max_records_per_partition: reader.parse("maxRecordsPerPartition")?,
        };
        let retry = Retry {
            times: reader.parse("fetchOffset.numRetries")?.unwrap_or_default(),
            pause: milliseconds("fetchOffset.retryIntervalMs")?,
        };
        Ok(Self { settings, subscription, start, or_latest, reading: Arc::new(reading), retry })
    }

    /// The settings of a client that reads, with this room for the records of a partition.
    fn config(&self, kbytes: u64) -> ClientConfig {
        let kbytes = kbytes.to_string();
        let mut config = self.settings.with_defaults(&[
            // Spark's default, and that of the Java client.
            ("isolation.level", "read_uncommitted"),
            ("queued.max.messages.kbytes", &kbytes),
            ("queued.min.messages", "1000000"),
            // How long a broker waits for more than nothing: the end of a transaction is seen no earlier.
            ("fetch.wait.max.ms", "100"),
            ("fetch.error.backoff.ms", "50"),
            // How long a partition rests whose room is full.
            ("fetch.queue.backoff.ms", "5"),
            ("socket.nagle.disable", "true"),
            ("topic.metadata.refresh.interval.ms", "10000"),
            ("reconnect.backoff.max.ms", "1000"),
        ]);
        config.remove("group.id");
        config.set("enable.partition.eof", "true").set("auto.offset.reset", "error").set("enable.auto.commit", "false");
        config
    }
}

/// `CREATE STREAM … USING kafka`.
#[derive(Debug, Clone)]
pub struct KafkaStream {
    common: Common,
    limits: Limits,
    group_prefix: String,
    commits_offsets: bool,
    prefetch_bytes: u64,
    /// Whether each partition holds watermarks by itself.
    by_partition: bool,
}

impl KafkaStream {
    const OPTIONS: &[&[OptionSpec]] =
        &[&subscription::OPTIONS, &position::OF_STREAM, &limits::OPTIONS, &COMMON, &OF_STREAM, &SETTINGS];

    /// The options, those of formats among them.
    pub fn options() -> Vec<OptionSpec> {
        [Self::OPTIONS.concat(), rows::OPTIONS.to_vec(), rows::format_options()].concat()
    }

    /// Reads the options; local times are those of `tz`.
    pub fn new(name: &str, declared: Option<SchemaRef>, options: &Options, tz: Tz) -> Result<Self> {
        let reader = rows::option_reader("the kafka source", options, Self::OPTIONS);
        if let Some(key) = ["endingOffsets", "endingTimestamp", "endingOffsetsByTimestamp"]
            .into_iter()
            .find(|key| options.get(key).is_some())
        {
            return Err(reader
                .refused(key, "is not for a stream, which has no end")
                .with_help("a table has one: CREATE TABLE … USING kafka"));
        }
        let mut common = Common::read(&reader, options, (name, declared), tz, false)?;
        let by_partition = reader.bool("watermark.byPartition")?;
        if by_partition {
            let reading = Arc::make_mut(&mut common.reading);
            reading.rows = reading.rows.with_marked_partitions();
        }
        let limits = Limits::read(&reader)?;
        let group_prefix = reader.text("groupIdPrefix").to_owned();
        let commits_offsets = reader.bool("commitOffsets")?;
        let prefetch_bytes = reader.bytes("maxPrefetchBytes")?.unwrap_or_default();
        reader.finish()?;
        Ok(Self { common, limits, group_prefix, commits_offsets, prefetch_bytes, by_partition })
    }

    /// The consumer group that is told where the query stands.
    fn group(&self, ctx: &SourceContext) -> String {
        let own = || format!("{}-{}", self.group_prefix, ctx.query);
        self.common.settings.get("group.id").map_or_else(own, str::to_owned)
    }
}

#[async_trait]
impl StreamProvider for KafkaStream {
    fn format(&self) -> &'static str {
        "kafka"
    }

    fn schema(&self) -> SchemaRef {
        self.common.reading.rows.schema().clone()
    }

    fn schema_with_hidden(&self) -> Option<SchemaRef> {
        self.common.reading.rows.with_hidden().cloned()
    }

    fn watermarks_by_partition(&self) -> bool {
        self.by_partition
    }

    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(KafkaSource::open(self, &ctx).await?))
    }
}

/// All partitions of some topics, in order.
fn partitions_of(topics: &BTreeMap<Arc<str>, Topic>) -> Vec<Partition> {
    let partition = |(name, topic): (&Arc<str>, &Topic)| {
        let name = name.clone();
        topic.partitions.clone().into_iter().map(move |number| Partition { topic: name.clone(), number })
    };
    topics.iter().flat_map(partition).collect()
}
