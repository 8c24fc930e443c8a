//! Topics of Apache Kafka.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;

use super::{Connector, ConnectorRequest, Role};
use crate::error::Result;
use crate::options::OptionSpec;
use crate::sink::{KafkaSink, Sink};
use crate::source::{KafkaStream, KafkaTable, StreamProvider, zone_of};

/// The connector `kafka`.
#[derive(Debug)]
pub struct Kafka;

#[async_trait]
impl Connector for Kafka {
    fn name(&self) -> &'static str {
        "kafka"
    }

    fn help(&self) -> &'static str {
        "Topics of Apache Kafka: as a stream, between two offsets as a table, and as a sink."
    }

    fn roles(&self) -> &'static [Role] {
        &Role::ALL
    }

    fn options(&self, role: Role) -> Vec<OptionSpec> {
        match role {
            Role::Table => KafkaTable::options(),
            Role::Sink => KafkaSink::options(),
            Role::Stream => KafkaStream::options(),
        }
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        let tz = zone_of(request.context);
        Ok(Arc::new(KafkaStream::new(request.name, request.declared, request.options, tz)?))
    }

    async fn table(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        let tz = zone_of(request.context);
        Ok(Arc::new(KafkaTable::new(request.name, request.declared, request.options, tz)?))
    }

    fn sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(KafkaSink::new(request.options)?))
    }
}
