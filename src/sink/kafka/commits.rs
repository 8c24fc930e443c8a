//! Which batch of a query was written last: a record of a compacted topic, in the transaction of the batch.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode as Code;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::producer::Producer;
use super::rows::OutRecord;
use crate::error::{Error, Result};
use crate::kafka::{Broker, Client, Context, EARLIEST, LATEST, Partition, RecordQueue, Settings, failed};
use crate::sink::BatchIdentity;

/// How long a read of the topic waits for the next record before it looks whether there is one.
const GLANCE: Duration = Duration::from_millis(500);
/// How often an open transaction is looked at.
const BETWEEN: Duration = Duration::from_millis(200);

/// A batch, as the record says it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    batch_id: u64,
    record_hash: u32,
}

/// The batches of one query.
#[derive(Debug)]
pub struct Commits {
    topic: String,
    id: String,
    last: Option<BatchIdentity>,
}

impl Commits {
    /// For the query with this transactional id, whose last batch is known.
    pub fn new(topic: &str, id: &str, last: Option<BatchIdentity>) -> Self {
        Self { topic: topic.to_owned(), id: id.to_owned(), last }
    }

    /// The last batch that is visible.
    pub fn last(&self) -> Option<BatchIdentity> {
        self.last
    }

    /// The batch is visible.
    pub fn committed(&mut self, batch: BatchIdentity) {
        self.last = Some(batch);
    }

    /// Adds the identity of a batch to its transaction.
    ///
    /// # Errors
    /// The record cannot be sent.
    pub async fn send(&self, producer: &Arc<Producer>, batch: BatchIdentity) -> Result<()> {
        let written = Written { batch_id: batch.batch_id, record_hash: batch.record_hash };
        let value = serde_json::to_vec(&written).map_err(|e| Error::internal(e.to_string()))?;
        let (topic, id, producer) = (self.topic.clone(), self.id.clone(), producer.clone());
        let send = move || {
            let (key, value) = (Some(id.as_bytes()), Some(value.as_slice()));
            producer.send_one(&OutRecord { topic: &topic, partition: Some(0), key, value, headers: vec![] })
        };
        let sent = tokio::task::spawn_blocking(send).await;
        sent.map_err(|e| Error::internal(format!("sending the identity of a batch: {e}")))?
    }

    /// Makes the topic, unless it is there.
    ///
    /// # Errors
    /// It is not there and cannot be made.
    pub async fn prepare(settings: &Settings, topic: &str) -> Result<()> {
        let broker = broker(settings, "read_committed")?;
        if !broker.topics(&[topic.to_owned()]).await?.is_empty() {
            return Ok(());
        }
        let servers = settings.servers();
        let what = format!("making the topic '{topic}', which says which batches were written");
        let admin: std::result::Result<AdminClient<Context>, _> =
            settings.with_defaults(&[]).create_with_context(Context::default());
        let admin = admin.map_err(|e| failed(&what, servers, &e))?;
        let new = NewTopic::new(topic, 1, TopicReplication::Fixed(-1))
            .set("cleanup.policy", "compact")
            .set("min.cleanable.dirty.ratio", "0.1");
        let made = admin.create_topics(&[new], &AdminOptions::new()).await.map_err(|e| failed(&what, servers, &e))?;
        match made.into_iter().next() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => {
                let e = failed(&what, servers, &rdkafka::error::KafkaError::AdminOp(code));
                Err(e.with_help(format!(
                    "make it with the tools of Kafka: one partition, cleanup.policy=compact; or name another with commitsTopic; topic: {topic}"
                )))
            }
            _ => Ok(()),
        }
    }

    /// The last batch of the query with this transactional id that is visible. An open transaction of another query hides what was committed behind it:
    /// its end is waited for.
    ///
    /// # Errors
    /// The topic cannot be read, or says something else.
    pub async fn read(settings: &Settings, topic: &str, id: &str) -> Result<Option<BatchIdentity>> {
        let (all, committed) = (broker(settings, "read_uncommitted")?, broker(settings, "read_committed")?);
        let end = offset(&all, topic, LATEST).await?;
        let mut is_waiting = false;
        while offset(&committed, topic, LATEST).await? < end {
            if !is_waiting {
                is_waiting = true;
                tracing::warn!("kafka: waiting for an open transaction in the topic '{topic}' to end");
            }
            tokio::time::sleep(BETWEEN).await;
        }
        let start = offset(&committed, topic, EARLIEST).await?;
        let (topic, id) = (topic.to_owned(), id.to_owned());
        let read = tokio::task::spawn_blocking(move || last_of(&committed, &topic, &id, start, end)).await;
        read.map_err(|e| Error::internal(format!("reading the batches that were written: {e}")))?
    }
}

async fn offset(broker: &Broker, topic: &str, at: i64) -> Result<i64> {
    let partition = Partition { topic: topic.into(), number: 0 };
    let found = broker.offsets(vec![(partition.clone(), at)]).await?;
    found.get(&partition).copied().flatten().ok_or_else(|| {
        Error::io("KAFKA_UNKNOWN_TOPIC", format!("the topic '{topic}' has no partition 0"))
            .with_help("name another with commitsTopic")
    })
}

fn broker(settings: &Settings, isolation: &str) -> Result<Broker> {
    let mut config = settings.with_defaults(&[("fetch.wait.max.ms", "100"), ("reconnect.backoff.max.ms", "1000")]);
    config.remove("group.id");
    config
        .set("isolation.level", isolation)
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "earliest")
        .set("enable.auto.commit", "false");
    Ok(Broker::new(Client::new(&config, settings.servers())?, settings.servers()))
}

fn last_of(broker: &Broker, topic: &str, id: &str, from: i64, to: i64) -> Result<Option<BatchIdentity>> {
    let mut last = None;
    if from >= to {
        return Ok(last);
    }
    let what = || format!("reading the topic '{topic}', which says which batches were written");
    let failed = |code: Code| failed(&what(), broker.servers(), &rdkafka::error::KafkaError::MessageConsumption(code));
    let queue = RecordQueue::start(broker.client(), topic, 0, from, &Arc::new(Notify::new())).map_err(failed)?;
    let mut records = vec![];
    let mut next = from;
    while next < to {
        queue.take(1024, GLANCE, &mut records);
        for record in records.drain(..) {
            match record.error() {
                None => {
                    next = record.offset() + 1;
                    if record.offset() < to && record.key() == Some(id.as_bytes()) {
                        let written: Written =
                            serde_json::from_slice(record.value().unwrap_or_default()).map_err(|e| {
                                Error::execution(
                                    "KAFKA_COMMITS_DAMAGED",
                                    format!("{}: offset {}: {e}", what(), record.offset()),
                                )
                                .with_help("the topic is written by Tidemill alone; name another with commitsTopic")
                            })?;
                        last = Some(BatchIdentity { batch_id: written.batch_id, record_hash: written.record_hash });
                    }
                }
                Some(Code::PartitionEOF) => next = next.max(record.offset()),
                Some(code) if crate::kafka::is_transient(code) => {}
                Some(code) => return Err(failed(code)),
            }
        }
    }
    Ok(last)
}
