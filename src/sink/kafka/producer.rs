//! A producer of librdkafka: what was sent and did not arrive is an error of the batch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use parking_lot::Mutex;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::{DeliveryResult, Header, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use rdkafka::types::RDKafkaRespErr;

use super::rows::{OutRecord, RecordShape};
use crate::error::{Error, Result};
use crate::kafka::{Context, Settings, Waiting, failed, is_transient};

/// How long one call waits before it looks around and is made again.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN: Duration = Duration::from_millis(100);
/// How long a topic that is not there is looked for: one that was just made is not known at once.
const PROPAGATION: Duration = Duration::from_secs(3);
/// How long a transaction may be open before the brokers end it.
const TRANSACTION_TIMEOUT_MS: &str = "300000";

/// Takes what became of records.
#[derive(Debug, Clone, Default)]
pub struct Deliveries {
    context: Context,
    /// The first that did not arrive: why, and where to.
    failure: Arc<Mutex<Option<(KafkaError, String)>>>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: Level, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        // What is purged was given up before.
        let is_purged = |e: &KafkaError| matches!(e.rdkafka_error_code(), Some(Code::PurgeQueue | Code::PurgeInflight));
        if let Err((error, record)) = result
            && !is_purged(error)
        {
            let place = format!("a record for topic '{}'", record.topic());
            self.failure.lock().get_or_insert_with(|| (error.clone(), place));
        }
    }
}

/// See the module.
pub struct Producer {
    producer: ThreadedProducer<Deliveries>,
    deliveries: Deliveries,
    servers: String,
    /// The number of partitions of the topics that were written to.
    topics: Mutex<BTreeMap<String, i32>>,
    state: Arc<ProducerState>,
}

/// What others see of a producer, and say to it.
#[derive(Debug, Default)]
pub struct ProducerState {
    /// Requests that wait for brokers which are away.
    waiting: AtomicUsize,
    /// Nobody wants to go on waiting.
    is_closed: AtomicBool,
}

impl ProducerState {
    /// Whether something waits for brokers that are away.
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) > 0
    }

    /// Ends all waiting.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::Relaxed);
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("servers", &self.servers).finish_non_exhaustive()
    }
}

impl Producer {
    /// Connects; with a transactional id it also ends the transaction of whoever had the id, and shuts that one out.
    pub async fn new(
        settings: &Settings,
        transactional_id: Option<&str>,
        state: Arc<ProducerState>,
    ) -> Result<Arc<Self>> {
        let mut config = settings.with_defaults(&[
            // As the Java client: a key's partition is the same whoever writes it.
            ("partitioner", "murmur2_random"),
            ("enable.idempotence", "true"),
            ("socket.nagle.disable", "true"),
            ("reconnect.backoff.max.ms", "1000"),
            ("queue.buffering.max.messages", "1000000"),
        ]);
        match transactional_id {
            Some(id) => {
                config.set("transactional.id", id);
                if settings.get("transaction.timeout.ms").is_none() {
                    config.set("transaction.timeout.ms", TRANSACTION_TIMEOUT_MS);
                }
            }
            // A broker that is away is waited for.
            None if settings.get("message.timeout.ms").is_none() && settings.get("delivery.timeout.ms").is_none() => {
                config.set("message.timeout.ms", "0");
            }
            None => {}
        }
        let servers = settings.servers().to_owned();
        let deliveries = Deliveries::default();
        let made: std::result::Result<ThreadedProducer<Deliveries>, _> = config.create_with_context(deliveries.clone());
        let producer = made.map_err(|e| match &e {
            KafkaError::ClientCreation(said) => {
                Error::invalid("INVALID_OPTION", format!("the settings 'kafka.…' of the kafka sink do not fit: {said}"))
                    .with_help("exactly-once delivery needs kafka.acks 'all' and kafka.enable.idempotence 'true'")
            }
            _ => failed("no producer can be made", &servers, &e),
        })?;
        let this = Arc::new(Self { producer, deliveries, servers, topics: Mutex::default(), state });
        if transactional_id.is_some() {
            this.until_answered(|p| p.producer.init_transactions(PATIENCE), "the start of transactions").await?;
        }
        Ok(this)
    }

    /// Makes a call until it is answered.
    async fn until_answered(
        self: &Arc<Self>,
        call: impl Fn(&Self) -> std::result::Result<(), KafkaError> + Clone + Send + 'static,
        what: &'static str,
    ) -> Result<()> {
        let mut waiting = Waiting::new(what, &self.servers).counted(&self.state.waiting);
        loop {
            let (this, call) = (self.clone(), call.clone());
            let answer = tokio::task::spawn_blocking(move || call(&this)).await;
            let Err(error) = answer.map_err(|e| Error::internal(format!("asking a broker: {e}")))? else {
                waiting.end();
                return Ok(());
            };
            self.look_for_failure()?;
            let may_pass = match &error {
                KafkaError::Transaction(e) => e.is_retriable() && !e.is_fatal() && !e.txn_requires_abort(),
                e => e.rdkafka_error_code().is_some_and(is_transient),
            };
            waiting.go_on(&error, self.refusal(), may_pass && !self.is_closed())?;
            tokio::time::sleep(BETWEEN).await;
        }
    }

    fn is_closed(&self) -> bool {
        self.state.is_closed.load(Ordering::Relaxed)
    }

    /// Why the brokers do not let this client in, if they do not.
    fn refusal(&self) -> Option<KafkaError> {
        self.deliveries.context.0.refusal()
    }

    /// The crate's own call looks only every tenth of a second.
    fn flush_now(&self) -> std::result::Result<(), KafkaError> {
        let client = self.producer.client().native_ptr();
        // SAFETY: the client lives as long as the producer.
        match unsafe { rdkafka::bindings::rd_kafka_flush(client, PATIENCE.as_millis() as i32) } {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
            code => Err(KafkaError::Flush(code.into())),
        }
    }

    fn look_for_failure(&self) -> Result<()> {
        let failure = self.deliveries.failure.lock().take();
        // What ends the producer is the reason of all else.
        if let Some((code, _)) = self.producer.client().fatal_error() {
            return Err(failed("writing a batch", &self.servers, &KafkaError::Global(code)));
        }
        match failure {
            Some((error, what)) => Err(failed(&what, &self.servers, &error)),
            None => Ok(()),
        }
    }

    /// Begins a transaction.
    pub async fn begin(self: &Arc<Self>) -> Result<()> {
        *self.deliveries.failure.lock() = None;
        self.until_answered(|p| p.producer.begin_transaction(), "the start of a transaction").await
    }

    /// Commits the transaction; returns when the brokers have it.
    pub async fn commit(self: &Arc<Self>) -> Result<()> {
        self.until_answered(
            |p| p.flush_now().and_then(|()| p.producer.commit_transaction(PATIENCE)),
            "the commit of a batch",
        )
        .await?;
        self.look_for_failure()
    }

    /// Aborts the transaction. If no broker is there, the next start does.
    pub async fn abort(self: &Arc<Self>) -> Result<()> {
        let this = self.clone();
        let aborted = tokio::task::spawn_blocking(move || this.producer.abort_transaction(PATIENCE)).await;
        if let Ok(Err(e)) = aborted {
            tracing::debug!("kafka: a transaction is left to be aborted by the next start: {e}");
        }
        *self.deliveries.failure.lock() = None;
        Ok(())
    }

    /// Returns when all records have arrived.
    pub async fn flush(self: &Arc<Self>) -> Result<()> {
        self.until_answered(|p| p.flush_now(), "the delivery of a batch").await?;
        self.look_for_failure()
    }

    /// Sends the records of some rows; waits where the buffer of librdkafka is full. Blocks.
    pub fn send(&self, shape: &RecordShape, rows: &RecordBatch) -> Result<()> {
        let columns = shape.columns(rows)?;
        for row in 0..rows.num_rows() {
            self.send_one(&columns.record(row)?)?;
        }
        self.look_for_failure()
    }

    /// Sends a record. Blocks.
    pub fn send_one(&self, record: &OutRecord<'_>) -> Result<()> {
        self.check(record)?;
        let mut sent = BaseRecord::<[u8], [u8]>::to(record.topic);
        sent.key = record.key;
        sent.payload = record.value;
        sent.partition = record.partition;
        if !record.headers.is_empty() {
            let headers = OwnedHeaders::new_with_capacity(record.headers.len());
            let add =
                |all: OwnedHeaders, (key, value): &(&str, Option<&[u8]>)| all.insert(Header { key, value: *value });
            sent.headers = Some(record.headers.iter().fold(headers, add));
        }
        loop {
            match self.producer.send(sent) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(Code::QueueFull), again)) if !self.is_closed() => {
                    self.look_for_failure()?;
                    std::thread::sleep(Duration::from_millis(1));
                    sent = again;
                }
                Err((error, _)) => {
                    self.look_for_failure()?;
                    let size = record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
                    let what = format!("a record of {size} bytes for topic '{}'", record.topic);
                    return Err(failed(&what, &self.servers, &error));
                }
            }
        }
    }

    /// librdkafka would wait for a partition or a topic that is not there.
    fn check(&self, record: &OutRecord<'_>) -> Result<()> {
        let known = self.topics.lock().get(record.topic).copied();
        let fits = |count: i32| record.partition.is_none_or(|number| (0..count).contains(&number));
        if known.is_some_and(fits) {
            return Ok(());
        }
        let count = self.partitions(record.topic)?;
        self.topics.lock().insert(record.topic.to_owned(), count);
        match record.partition {
            Some(number) if !fits(count) => Err(Error::execution(
                "KAFKA_UNKNOWN_PARTITION",
                format!(
                    "a record is for partition {number} of topic '{}', which has {count}: 0 to {}",
                    record.topic,
                    count - 1
                ),
            )
            .with_help("a partition of NULL is chosen by the key")),
            _ => Ok(()),
        }
    }

    fn partitions(&self, topic: &str) -> Result<i32> {
        let what = format!("the topic '{topic}'");
        let since = Instant::now();
        let mut waiting = Waiting::new(&what, &self.servers).counted(&self.state.waiting);
        loop {
            let found = self.producer.client().fetch_metadata(Some(topic), PATIENCE);
            let error = match &found {
                Ok(metadata) => match metadata.topics().iter().find(|t| t.name() == topic) {
                    Some(found) if found.error().is_none() && !found.partitions().is_empty() => {
                        waiting.end();
                        return Ok(found.partitions().len() as i32);
                    }
                    found => KafkaError::MetadataFetch(
                        found.and_then(|t| t.error()).map_or(Code::UnknownTopicOrPartition, Code::from),
                    ),
                },
                Err(e) => e.clone(),
            };
            let code = error.rdkafka_error_code().unwrap_or(Code::Fail);
            let is_missing = matches!(code, Code::UnknownTopicOrPartition | Code::UnknownTopic);
            if !is_missing || since.elapsed() >= PROPAGATION {
                waiting.go_on(&error, self.refusal(), is_transient(code) && !self.is_closed())?;
            }
            std::thread::sleep(BETWEEN);
        }
    }
}
