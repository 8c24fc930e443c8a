//! Apache Kafka: settings, requests to brokers, and records as librdkafka holds them. What source and sink share.

mod broker;
mod client;
mod error;
mod record;
mod settings;
mod waiting;

pub use broker::{Broker, EARLIEST, LATEST, Partition, Topic, is_internal};
pub use client::{Client, Context};
pub use error::{data_loss, failed, is_transient};
pub use record::{Record, RecordQueue};
pub use settings::{ClientKind, SETTINGS, Settings};
pub use waiting::Waiting;
