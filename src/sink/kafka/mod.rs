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
use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use futures::TryStreamExt;
use tokio::sync::Mutex;

use self::commits::Commits;
use self::producer::Producer;
use self::rows::RecordShape;
use super::rows::{Prepared, not_open, not_prepared};
use super::{BATCH_INSERTS, BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::error::{Error, Result};
use crate::failpoint::Failpoints;
use crate::kafka::{ClientKind, SETTINGS, Settings};
use crate::options::OptionType::{Boolean, Choice, Text};
use crate::options::{OptionReader, OptionSpec, Options};
use crate::output_mode::OutputMode;

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

/// `CREATE SINK … USING kafka`.
#[derive(Debug)]
pub struct KafkaSink {
    settings: Settings,
    topic: Option<String>,
    delivery: Option<Delivery>,
    has_headers: bool,
    id_prefix: String,
    commits_topic: String,
    writer: Mutex<Option<Writer>>,
}

/// What a crash may do to the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Delivery {
    /// Nothing: each is there once.
    ExactlyOnce,
    /// They may come twice.
    AtLeastOnce,
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
    /// The options.
    pub const OPTIONS: &[&[OptionSpec]] = &[&OPTIONS, &SETTINGS];

    /// Reads the options.
    pub fn new(options: &Options) -> Result<Self> {
        let reader = OptionReader::new("the kafka sink", options, Self::OPTIONS);
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
            writer: Mutex::default(),
        };
        reader.finish()?;
        Ok(sink)
    }

    fn shape(&self, schema: &SchemaRef) -> Result<RecordShape> {
        RecordShape::new(schema, self.topic.as_deref(), self.has_headers)
    }

    fn delivery(&self, context: &SinkContext) -> Delivery {
        let default = match context.is_durable {
            true => Delivery::ExactlyOnce,
            false => Delivery::AtLeastOnce,
        };
        self.delivery.unwrap_or(default)
    }
}

#[async_trait]
impl Sink for KafkaSink {
    fn description(&self) -> String {
        let topic = self.topic.as_deref().unwrap_or("by column topic");
        format!("KafkaSink[{topic} at {}]", self.settings.servers())
    }

    fn check(&self, _: OutputMode, schema: &SchemaRef) -> Result<()> {
        self.shape(schema).map(drop)
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        let shape = Arc::new(self.shape(&context.schema)?);
        let (producer, commits) = match self.delivery(context) {
            Delivery::AtLeastOnce => (Producer::new(&self.settings, None).await?, None),
            Delivery::ExactlyOnce => {
                // Inserts without a query have nobody who would come again.
                let owner = match context.query_id {
                    BATCH_INSERTS => uuid::Uuid::new_v4(),
                    id => id,
                };
                let id = format!("{}{owner}", self.id_prefix);
                Commits::prepare(&self.settings, &self.commits_topic).await?;
                let producer = Producer::new(&self.settings, Some(&id)).await?;
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
        let mut stream = rows.in_order();
        if writer.commits.is_none() {
            let prepared = Prepared::collect(batch_id, &writer.schema, stream).await?;
            prepared.rows.iter().try_for_each(|rows| writer.shape.check_rows(rows))?;
            let count = prepared.num_rows();
            writer.prepared = Some(prepared);
            return Ok(Some(count));
        }
        writer.producer.begin().await?;
        // From here on there is a transaction to abort.
        let mut count = 0;
        writer.prepared = Some(Prepared { batch_id, rows: vec![] });
        while let Some(rows) = stream.try_next().await? {
            count += rows.num_rows() as u64;
            writer.send(rows).await?;
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
                    writer.send(rows).await?;
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

    async fn close(&self) -> Result<()> {
        self.abort().await?;
        let Some(writer) = self.writer.lock().await.take() else { return Ok(()) };
        // Ending waits for threads of librdkafka.
        let end = tokio::task::spawn_blocking(move || drop(writer));
        end.await.map_err(|e| Error::internal(format!("closing a Kafka producer: {e}")))
    }
}

impl Writer {
    async fn send(&self, rows: RecordBatch) -> Result<()> {
        let (producer, shape) = (self.producer.clone(), self.shape.clone());
        let sent = tokio::task::spawn_blocking(move || producer.send(&shape, &rows)).await;
        sent.map_err(|e| Error::internal(format!("sending records: {e}")))?
    }
}
