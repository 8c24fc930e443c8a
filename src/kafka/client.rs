//! A connection to the brokers of a cluster, which any number of requests and readers share.

use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel as Level;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::error::failed;
use crate::error::Result;

/// Events that are heard at a time.
const EVENTS: usize = 8;

/// What a client has told of itself.
#[derive(Debug, Default)]
pub struct Watch {
    /// An error that only the user can mend, such as a wrong password.
    refusal: Mutex<Option<KafkaError>>,
}

impl Watch {
    /// Why the brokers do not let this client in, if they do not.
    pub fn refusal(&self) -> Option<KafkaError> {
        self.refusal.lock().clone()
    }

    /// A broker has answered.
    pub fn answered(&self) {
        *self.refusal.lock() = None;
    }
}

/// Listens to a client.
#[derive(Debug, Clone, Default)]
pub struct Context(pub Arc<Watch>);

impl ClientContext for Context {
    fn log(&self, level: Level, facility: &str, message: &str) {
        // Lost connections are told by whoever waits for them, once.
        match level {
            Level::Emerg | Level::Alert | Level::Critical => tracing::warn!("kafka: {facility}: {message}"),
            _ => tracing::debug!("kafka: {facility}: {message}"),
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!("kafka: {error}: {reason}");
        if let Some(RDKafkaErrorCode::Authentication | RDKafkaErrorCode::SSL) = error.rdkafka_error_code() {
            *self.0.refusal.lock() = Some(error);
        }
    }
}

impl ConsumerContext for Context {}

/// A connection that reads; without a consumer group, so that it has no position of its own.
pub struct Client {
    consumer: BaseConsumer<Context>,
    watch: Arc<Watch>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Client")
    }
}

impl Client {
    /// Connects in the background.
    ///
    /// # Errors
    /// Settings that do not fit each other.
    pub fn new(config: &ClientConfig, servers: &str) -> Result<Arc<Self>> {
        let context = Context::default();
        let watch = context.0.clone();
        let consumer = config.create_with_context(context).map_err(|e| failed("no client can be made", servers, &e))?;
        Ok(Arc::new(Self { consumer, watch }))
    }

    /// For requests.
    pub fn consumer(&self) -> &BaseConsumer<Context> {
        &self.consumer
    }

    /// The handle of librdkafka, valid as long as this.
    pub fn native(&self) -> *mut rdkafka::bindings::rd_kafka_t {
        self.consumer.client().native_ptr()
    }

    /// What it has told of itself, up to now.
    pub fn watch(&self) -> &Watch {
        // Events are told by polling, one at a time. Without a group no record comes here.
        (0..EVENTS).for_each(|_| drop(self.consumer.poll(std::time::Duration::ZERO)));
        &self.watch
    }
}
