//! Rows in topics of Kafka, as JSON.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::MemTable;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use uuid::Uuid;

use super::input::{Rows, quoted};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::source::NexmarkTable;

/// Partitions of a topic.
const PARTITIONS: i32 = 4;

/// The topics of one run, which nobody has used before.
#[derive(Debug)]
pub struct Topics {
    servers: String,
    prefix: String,
}

impl Topics {
    /// Makes the topics and fills them.
    ///
    /// # Errors
    /// The brokers do not answer, or refuse.
    pub async fn fill(servers: &str, rows: &Rows) -> Result<Self> {
        let topics = Self { servers: servers.to_owned(), prefix: format!("nexmark-{}", Uuid::new_v4().simple()) };
        topics.make().await.map_err(|e| {
            Error::io("KAFKA_FAILED", format!("making topics at '{servers}': {e}"))
                .with_help("the brokers must run, and let this user make topics")
        })?;
        for table in NexmarkTable::ALL {
            topics.fill_one(table, rows).await?;
        }
        Ok(topics)
    }

    fn name(&self, table: NexmarkTable) -> String {
        format!("{}-{}", self.prefix, table.name())
    }

    async fn make(&self) -> std::result::Result<(), String> {
        let mut config = ClientConfig::new();
        let admin: std::result::Result<AdminClient<DefaultClientContext>, _> =
            config.set("bootstrap.servers", &self.servers).create();
        let admin = admin.map_err(|e| e.to_string())?;
        let names = NexmarkTable::ALL.map(|table| self.name(table));
        let new = names.each_ref().map(|name| NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(-1)));
        let made = admin.create_topics(&new, &AdminOptions::new()).await.map_err(|e| e.to_string())?;
        made.into_iter().try_for_each(|made| made.map(drop).map_err(|(name, code)| format!("{name}: {code}")))
    }

    /// Writes the rows of a table, in turn to each partition, so that all of them are as far in time.
    async fn fill_one(&self, table: NexmarkTable, rows: &Rows) -> Result<()> {
        let session = Session::builder().target_partitions(1).build()?;
        let sql = format!(
            "CREATE SINK topic USING kafka OPTIONS (kafka.bootstrap.servers {}, topic {}, value.format 'json')",
            quoted(&self.servers),
            quoted(&self.name(table))
        );
        session.sql(&sql).await?;
        let mut fields: Vec<Arc<Field>> = table.schema().fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new("kafka_partition", DataType::Int32, true)));
        let schema = Arc::new(Schema::new(fields));
        for part in rows.of(table) {
            let with_partition = |batch: RecordBatch| {
                let partitions = Int32Array::from_iter_values((0..batch.num_rows()).map(|row| row as i32 % PARTITIONS));
                let partitions: ArrayRef = Arc::new(partitions);
                let columns = batch.columns().iter().cloned().chain([partitions]).collect();
                RecordBatch::try_new(schema.clone(), columns)
            };
            let batches = part?.into_iter().map(with_partition).collect::<std::result::Result<Vec<_>, _>>()?;
            session.context().deregister_table("part")?;
            session.context().register_table("part", Arc::new(MemTable::try_new(schema.clone(), vec![batches])?))?;
            session.sql("INSERT INTO topic SELECT * FROM part").await?;
        }
        Ok(())
    }

    /// The statement that makes a table's topic a stream of as many batches as there are parts.
    pub fn create_stream(&self, table: NexmarkTable, columns: &str, rows: &Rows) -> String {
        let per_trigger = (rows.count(&[table]) as usize).div_ceil(rows.parts.max(1)).max(1);
        format!(
            "CREATE STREAM {} ({columns}) USING kafka OPTIONS (kafka.bootstrap.servers {}, subscribe {}, startingOffsets 'earliest', \
             value.format 'json', maxOffsetsPerTrigger {per_trigger})",
            table.name(),
            quoted(&self.servers),
            quoted(&self.name(table))
        )
    }
}
