//! Topics between two offsets, as a table.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use tokio::sync::Notify;

use super::offsets::Offsets;
use super::position::{self, Position};
use super::reader::Readers;
use super::rows::BadMessages;
use super::scan::KafkaScan;
use super::{COMMON, Common, partitions_of, rows, subscription};
use crate::error::{Error, Result};
use crate::kafka::{Broker, Client, LATEST, SETTINGS, data_loss};
use crate::options::{OptionSpec, Options};
use crate::source::scan::{RangeScan, ScanRequest};
use crate::time_zone::Tz;

/// Room for the records of a partition that are fetched ahead.
const PREFETCH_KBYTES: u64 = 16 << 10;

/// `CREATE TABLE … USING kafka`: where it begins and ends is looked up whenever a scan of it is planned.
#[derive(Debug, Clone)]
pub struct KafkaTable {
    name: String,
    common: Common,
    end: Position,
    /// Whether hidden columns are among those of the table, for the queries that name them.
    with_hidden: bool,
}

impl KafkaTable {
    const OPTIONS: &[&[OptionSpec]] = &[&subscription::OPTIONS, &position::OF_TABLE, &COMMON, &SETTINGS];

    /// The options, those of formats among them.
    pub fn options() -> Vec<OptionSpec> {
        [Self::OPTIONS.concat(), rows::OPTIONS.to_vec(), rows::format_options()].concat()
    }

    /// Reads the options; local times are those of `tz`.
    pub fn new(name: &str, declared: Option<SchemaRef>, options: &Options, tz: Tz) -> Result<Self> {
        let reader = rows::option_reader("the kafka table", options, Self::OPTIONS);
        let common = Common::read(&reader, options, (name, declared), tz, true)?;
        let end = Position::end(&reader)?;
        reader.finish()?;
        Ok(Self { name: name.to_owned(), common, end, with_hidden: false })
    }

    /// The same table with its hidden columns behind the others; `None` if it has none.
    pub fn with_hidden(&self) -> Option<Self> {
        self.common.reading.rows.with_hidden()?;
        Some(Self { with_hidden: true, ..self.clone() })
    }

    async fn range(&self) -> Result<KafkaScan> {
        let common = &self.common;
        let servers = common.settings.servers();
        let config = common.config(PREFETCH_KBYTES);
        let broker = Broker::new(Client::new(&config, servers)?, servers);
        let topics = common.subscription.topics(&broker, common.retry).await?;
        let partitions = partitions_of(&topics);
        let start = common.start.starting(&broker, &partitions, common.or_latest).await?;
        let end = self.end.ending(&broker, &partitions).await?;
        let latest = broker.offsets(partitions.into_iter().map(|p| (p, LATEST)).collect()).await?;
        for (partition, to) in end.iter() {
            let from = start.get(&partition).unwrap_or(to);
            if from > to {
                return Err(Error::invalid(
                    "UNRESOLVED_START_OFFSET_GREATER_THAN_END_OFFSET",
                    format!("partition {partition} would be read from {from} to {to}"),
                )
                .with_help("give a start that is not behind the end"));
            }
            let last = latest.get(&partition).copied().flatten().unwrap_or(to);
            if to > last && common.reading.fails_on_data_loss {
                return Err(data_loss(
                    "KAFKA_DATA_LOSS.COULD_NOT_READ_OFFSET_RANGE",
                    format!("partition {partition} was to give the offsets {from} to {to}, but it ends at {last}"),
                ));
            }
        }
        let end: Offsets = end
            .iter()
            .map(|(p, to)| (p.clone(), latest.get(&p).copied().flatten().map_or(to, |last| to.min(last))))
            .collect();
        let readers = Readers::new(config, servers, Arc::new(Notify::new()));
        let bad = Arc::new(BadMessages::of_table(&self.name));
        Ok(KafkaScan::new(common.reading.clone(), readers, bad, &start, &end))
    }
}

#[async_trait]
impl TableProvider for KafkaTable {
    fn schema(&self) -> SchemaRef {
        let rows = &self.common.reading.rows;
        rows.with_hidden().filter(|_| self.with_hidden).unwrap_or(rows.schema()).clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _: &[Expr],
        _: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let scan = self.range().await?;
        let partitions = state.config().target_partitions();
        let all = || (0..self.schema().fields().len()).collect();
        let projection = Some(projection.cloned().unwrap_or_else(all));
        let request = ScanRequest { projection, filters: vec![], partitions };
        Ok(scan.plan(0..scan.pieces(), &request)?)
    }
}
