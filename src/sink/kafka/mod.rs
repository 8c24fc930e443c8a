//! The Kafka sink: rows become records of topics.
//!
//! Delivery is exactly once where the query has a checkpoint: the records of a batch and the batch's identity are one transaction. The identity is a record
//! of a small compacted topic, under the transactional id of the query, and is read back when the query starts again. Two other places were
//! weighed. Offsets with metadata of a consumer group need no topic, but the brokers forget them some days after the group was used last, and a query
//! may stand still for longer. Finishing a transaction of a dead process by its producer id needs none either, but only until the transaction
//! times out. The topic keeps the last record of every query for ever.
//!
//! Who starts with a transactional id fences whoever had it before, and ends that one's transaction, before the identity is read: so what is read is final.

mod commits;
mod producer;
mod rows;

use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Fields, SchemaRef};
use async_trait::async_trait;
use futures::TryStreamExt;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use self::commits::Commits;
use self::producer::{Producer, ProducerState};
use self::rows::RecordShape;
use super::rows::{Prepared, not_open, not_prepared};
use super::{BATCH_INSERTS, BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::format::message::{self, MessageEncoder, Part, WRITTEN_FORMATS};
use crate::kafka::{ClientKind, SETTINGS, Settings};
use crate::options::OptionType::{Boolean, Choice, Text};
use crate::options::{OptionReader, OptionSpec, Options};
use crate::output_mode::OutputMode;
use crate::trigger::Delivery;

const OPTIONS: [OptionSpec; 5] = [
    OptionSpec::new("topic", Text, "The topic of all records; else the column topic says it."),
    OptionSpec::new(
        "delivery",
        Choice(&["exactly-once", "at-least-once"]),
        "Whether a batch is one transaction, which a reader with read_committed sees once and whole; exactly-once where the query has a checkpoint.",
    ),
    OptionSpec::new("includeHeaders", Boolean, "Whether the column headers is written, if there is one.").or("true"),
    OptionSpec::new("transactionalIdPrefix", Text, "What the transactional id begins with; the query's id follows.")
        .or("tidemill-"),
    OptionSpec::new(
        "commitsTopic",
        Text,
        "The topic that says which batch of a query was written last; made as a compacted topic if it is not there.",
    )
    .or("tidemill-commits"),
];

/// What says how rows become records, beside the options of formats.
const FORMATS: [OptionSpec; 4] = [
    OptionSpec::new(
        "value.format",
        Choice(WRITTEN_FORMATS),
        "What the query's columns are written as, into the value; without it the columns are those of a record.",
    ),
    OptionSpec::new(
        "key.format",
        Choice(WRITTEN_FORMATS),
        "What the columns of key.columns are written as, into the key.",
    ),
    OptionSpec::new("key.columns", Text, "The columns that make the key, separated by commas."),
    message::FIELDS_INCLUDE,
];

/// How rows become keys and values, if the columns are not those of a record.
#[derive(Debug, Clone)]
struct Formats {
    value: Option<&'static str>,
    key: Option<&'static str>,
    key_columns: Vec<String>,
    /// Whether the value has the columns of the key as well.
    has_key_columns: bool,
    /// For the formats.
    options: Options,
}

impl Formats {
    fn read(reader: &OptionReader<'_>, options: &Options) -> Result<Self> {
        let columns = reader.string("key.columns").unwrap_or_default();
        let key_columns = columns.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
        let (value, include) = (reader.choice("value.format")?, reader.choice("value.fields-include")?);
        let formats = Self {
            value,
            has_key_columns: message::has_key_columns(value.unwrap_or_default(), include),
            key: reader.choice("key.format")?,
            key_columns: key_columns.collect(),
            options: options.clone(),
        };
        formats.check(reader)?;
        Ok(formats)
    }

    /// The options of the formats that are in use.
    fn specs(options: &Options) -> Vec<&'static [OptionSpec]> {
        let formats = ["value.format", "key.format"].into_iter().filter_map(|key| options.get(key));
        formats.flat_map(|format| message::writing_options(&format.to_ascii_lowercase())).collect()
    }

    fn check(&self, reader: &OptionReader<'_>) -> Result<()> {
        let needs = |has: &str, needed: &str, help: &str| {
            Err(reader.refused(has, &format!("needs {needed} beside it")).with_help(help))
        };
        if self.value.is_none() && reader.string("value.fields-include").is_some() {
            return needs("value.fields-include", "value.format", "say how values are written");
        }
        match (self.value, self.key, self.key_columns.is_empty()) {
            (None, Some(_), _) => needs("key.format", "value.format", "say how values are written"),
            (None, None, false) => needs("key.columns", "value.format", "say how values are written"),
            (_, Some(_), true) => needs("key.format", "key.columns", "name the columns that make the key"),
            (_, None, false) => needs("key.columns", "key.format", "say how keys are written"),
            _ => Ok(()),
        }
    }

    fn encoder(&self, part: Part, columns: Fields) -> Result<Option<MessageEncoder>> {
        let format = if part == Part::Key { self.key } else { self.value };
        format.map(|format| MessageEncoder::new(format, part, columns, &self.options)).transpose()
    }
}

/// `CREATE SINK … USING kafka`.
#[derive(Debug)]
pub struct KafkaSink {
    settings: Settings,
    topic: Option<String>,
    delivery: Option<Delivery>,
    has_headers: bool,
    id_prefix: String,
    commits_topic: String,
    formats: Formats,
    /// Of its producer.
    state: Arc<ProducerState>,
    writer: Mutex<Option<Writer>>,
}

/// One query's way in.
#[derive(Debug)]
struct Writer {
    producer: Arc<Producer>,
    shape: Arc<RecordShape>,
    /// Where the identity of a batch goes; none if delivery is at least once.
    commits: Option<Commits>,
    /// A batch between `prepare` and `commit`: its rows are in an open transaction, or else here.
    prepared: Option<Prepared>,
    schema: SchemaRef,
    failpoints: Failpoints,
}

impl KafkaSink {
    const OPTIONS: &[&[OptionSpec]] = &[&OPTIONS, &FORMATS, &SETTINGS];

    /// The options, those of formats among them.
    pub fn options() -> Vec<OptionSpec> {
        [Self::OPTIONS.concat(), message::all_options(WRITTEN_FORMATS, message::writing_options)].concat()
    }

    /// Reads the options.
    pub fn new(options: &Options) -> Result<Self> {
        let reader = OptionReader::new("the kafka sink", options, Self::OPTIONS).beside(&Formats::specs(options));
        let formats = Formats::read(&reader, options)?;
        let settings = Settings::read(&reader, ClientKind::Producer)?;
        let delivery = reader.choice("delivery")?.map(|word| match word {
            "exactly-once" => Delivery::ExactlyOnce,
            _ => Delivery::AtLeastOnce,
        });
        let sink = Self {
            settings,
            topic: reader.string("topic").map(str::to_owned),
            delivery,
            has_headers: reader.bool("includeHeaders")?,
            id_prefix: reader.text("transactionalIdPrefix").to_owned(),
            commits_topic: reader.text("commitsTopic").to_owned(),
            formats,
            state: Arc::default(),
            writer: Mutex::default(),
        };
        reader.finish()?;
        Ok(sink)
    }

    fn shape(&self, schema: &SchemaRef) -> Result<RecordShape> {
        match &self.formats.value {
            None => RecordShape::new(schema, self.topic.as_deref(), self.has_headers),
            Some(_) => RecordShape::formatted(schema, self.topic.as_deref(), self.has_headers, &self.formats),
        }
    }

    fn delivery(&self, context: &SinkContext) -> Delivery {
        let default = match context.is_durable {
            true => context.delivery,
            false => Delivery::AtLeastOnce,
        };
        self.delivery.unwrap_or(default)
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn is_exactly_once(&self) -> bool {
        self.delivery == Some(Delivery::ExactlyOnce)
    }

    fn description(&self) -> String {
        let topic = self.topic.as_deref().unwrap_or("by column topic");
        format!("KafkaSink[{topic} at {}]", self.settings.servers())
    }

    fn check(&self, _: OutputMode, schema: &SchemaRef) -> Result<()> {
        self.shape(schema).map(drop)
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        let mut shape = self.shape(&context.schema)?;
        shape.open(context.time_zone).await?;
        let shape = Arc::new(shape);
        let (producer, commits) = match self.delivery(context) {
            Delivery::AtLeastOnce => (Producer::new(&self.settings, None, self.state.clone()).await?, None),
            Delivery::ExactlyOnce => {
                // Inserts without a query have nobody who would come again.
                let owner = match context.query_id {
                    BATCH_INSERTS => uuid::Uuid::new_v4(),
                    id => id,
                };
                let id = format!("{}{owner}", self.id_prefix);
                Commits::prepare(&self.settings, &self.commits_topic).await?;
                let producer = Producer::new(&self.settings, Some(&id), self.state.clone()).await?;
                // The transaction of whoever had the id before has ended by now.
                let last = Commits::read(&self.settings, &self.commits_topic, &id).await?;
                (producer, Some(Commits::new(&self.commits_topic, &id, last)))
            }
        };
        let (schema, failpoints) = (context.schema.clone(), context.failpoints.clone());
        *self.writer.lock().await = Some(Writer { producer, shape, commits, prepared: None, schema, failpoints });
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        let writer = self.writer.lock().await;
        Ok(match writer.as_ref().and_then(|writer| writer.commits.as_ref()) {
            None => LastCommitted::Unknown,
            Some(commits) => commits.last().map_or(LastCommitted::Nothing, LastCommitted::Batch),
        })
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let mut guard = self.writer.lock().await;
        let writer = guard.as_mut().ok_or_else(|| not_open("the kafka sink"))?;
        if writer.commits.is_none() {
            let prepared = Prepared::collect(batch_id, &writer.schema, rows.in_order()).await?;
            prepared.rows.iter().try_for_each(|rows| writer.shape.check_rows(rows))?;
            let count = prepared.num_rows();
            writer.prepared = Some(prepared);
            return Ok(Some(count));
        }
        writer.producer.begin().await?;
        // From here on there is a transaction to abort.
        writer.prepared = Some(Prepared { batch_id, rows: vec![] });
        // Partitions are computed and sent beside each other, as by Spark's tasks: rows of one keep their order. Dropped, they end.
        let mut tasks = JoinSet::new();
        for mut partition in rows.into_partitions() {
            let (producer, shape) = (writer.producer.clone(), writer.shape.clone());
            tasks.spawn(async move {
                let mut count = 0;
                while let Some(rows) = partition.try_next().await? {
                    count += rows.num_rows() as u64;
                    send(&producer, &shape, rows).await?;
                }
                Ok::<_, Error>(count)
            });
        }
        let mut count = 0;
        while let Some(sent) = tasks.join_next().await {
            count += sent.map_err(|e| Error::internal(format!("sending records: {e}")))??;
        }
        writer.failpoints.hit("kafkasink.sent")?;
        Ok(Some(count))
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let mut guard = self.writer.lock().await;
        let writer = guard.as_mut().ok_or_else(|| not_open("the kafka sink"))?;
        let prepared = writer.prepared.take().filter(|prepared| prepared.batch_id == batch.batch_id);
        let prepared = prepared.ok_or_else(|| not_prepared("the kafka sink", batch.batch_id))?;
        match &mut writer.commits {
            Some(commits) => {
                commits.send(&writer.producer, batch).await?;
                if writer.failpoints.is_armed("kafkasink.identified") {
                    writer.producer.flush().await?;
                }
                writer.failpoints.hit("kafkasink.identified")?;
                writer.producer.commit().await?;
                commits.committed(batch);
            }
            None => {
                for rows in prepared.rows {
                    send(&writer.producer, &writer.shape, rows).await?;
                }
                writer.producer.flush().await?;
            }
        }
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        let mut guard = self.writer.lock().await;
        let Some(writer) = guard.as_mut() else { return Ok(()) };
        match writer.prepared.take() {
            Some(_) if writer.commits.is_some() => writer.producer.abort().await,
            _ => Ok(()),
        }
    }

    fn is_waiting(&self) -> bool {
        self.state.is_waiting()
    }

    async fn close(&self) -> Result<()> {
        self.state.close();
        self.abort().await?;
        let Some(writer) = self.writer.lock().await.take() else { return Ok(()) };
        // Ending waits for threads of librdkafka.
        let end = tokio::task::spawn_blocking(move || drop(writer));
        end.await.map_err(|e| Error::internal(format!("closing a Kafka producer: {e}")))
    }
}

async fn send(producer: &Arc<Producer>, shape: &Arc<RecordShape>, rows: RecordBatch) -> Result<()> {
    let (producer, shape) = (producer.clone(), shape.clone());
    let sent = tokio::task::spawn_blocking(move || producer.send(&shape, &rows)).await;
    sent.map_err(|e| Error::internal(format!("sending records: {e}")))?
}
