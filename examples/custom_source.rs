//! A source of your own as a connector: dice that are thrown for ever, `CREATE STREAM … USING dice` in SQL.
//!
//! `cargo run --example custom_source` throws 30 times, ten a batch, and prints how often each face came up.

use std::sync::Arc;
use std::time::Duration;

use tidemill::arrow::array::{ArrayRef, Int32Array, RecordBatch};
use tidemill::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill::prelude::*;
use tidemill::{
    Connector, ConnectorRequest, MemoryScan, Offset, OptionReader, OptionSpec, OptionType, RangeScan, ReadLimit, Role,
    Source, SourceContext, StreamProvider, async_trait,
};

/// What `USING dice` makes.
#[derive(Debug)]
pub struct DiceConnector;

const OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new("throws", OptionType::WHOLE, "How many throws there are in all.").or("30"),
    OptionSpec::new("throwsPerBatch", OptionType::COUNT, "How many throws a batch takes at most.").or("10"),
];

#[async_trait]
impl Connector for DiceConnector {
    fn name(&self) -> &'static str {
        "dice"
    }

    fn help(&self) -> &'static str {
        "Dice that are thrown again and again."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Stream]
    }

    fn options(&self, _role: Role) -> Vec<OptionSpec> {
        OPTIONS.to_vec()
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        let options = OptionReader::new("the dice source", request.options, &[&OPTIONS]);
        let (throws, per_batch) = (options.parse("throws")?, options.parse("throwsPerBatch")?);
        options.finish()?;
        Ok(Arc::new(Dice { throws: throws.unwrap_or_default(), throws_per_batch: per_batch.unwrap_or(1) }))
    }
}

/// The stream as it is declared. Every query opens a source of its own.
#[derive(Debug, Clone)]
pub struct Dice {
    /// How many throws there are in all.
    pub throws: u64,
    /// How many of them a batch takes at most.
    pub throws_per_batch: u64,
}

fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![Field::new("face", DataType::Int32, true)]))
}

#[async_trait]
impl StreamProvider for Dice {
    fn format(&self) -> &'static str {
        "dice"
    }

    fn schema(&self) -> SchemaRef {
        schema()
    }

    async fn open(&self, _context: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(DiceSource(self.clone())))
    }
}

/// Offsets are the number of throws so far. The face of a throw depends on its number alone: so each range can be read
/// again after a crash, and a batch that runs again sees the same rows.
#[derive(Debug)]
struct DiceSource(Dice);

impl DiceSource {
    fn face(throw: u64) -> i32 {
        (throw.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32) as i32 % 6 + 1
    }

    fn number(offset: &Offset) -> Result<u64> {
        offset.as_u64().ok_or_else(|| Error::checkpoint("DICE_OFFSET", format!("'{offset}' is no number of throws")))
    }
}

#[async_trait]
impl Source for DiceSource {
    fn schema(&self) -> SchemaRef {
        schema()
    }

    fn description(&self) -> String {
        format!("Dice[throws={}]", self.0.throws)
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::from(0))
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        let start = Self::number(start)?;
        let end = match limit {
            ReadLimit::All => self.0.throws,
            ReadLimit::Configured => self.0.throws.min(start + self.0.throws_per_batch),
        };
        Ok((end > start).then(|| Offset::from(end)))
    }

    /// A scan of your own may also give another plan of DataFusion, such as one that reads files.
    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let throws = Self::number(start)?..Self::number(end)?;
        let faces: ArrayRef = Arc::new(Int32Array::from_iter_values(throws.map(Self::face)));
        let rows = RecordBatch::try_new(schema(), vec![faces])?;
        Ok(MemoryScan::of(schema(), vec![rows]))
    }

    /// A source that keeps what it has received until now drops it here.
    async fn commit(&self, _end: &Offset) -> Result<()> {
        Ok(())
    }

    fn is_replayable(&self, _start: &Offset, _end: &Offset) -> bool {
        true
    }

    /// What is there now is fixed by the number of throws.
    async fn prepare_available_now(&self) -> Result<()> {
        Ok(())
    }

    /// A source that notifies `SourceContext::wake` gives `None`.
    fn poll_interval(&self) -> Option<Duration> {
        Some(Duration::from_millis(100))
    }

    async fn stop(&self) -> Result<()> {
        Ok(())
    }
}

/// How often each face has come up, and how many batches that took.
pub async fn run() -> Result<(Vec<RecordBatch>, u64)> {
    let session = Session::new();
    session.register_connector(Arc::new(DiceConnector))?;
    session
        .sql(
            "CREATE STREAM dice USING dice OPTIONS (throws 30);
             CREATE FLOW counts USING memory OUTPUT MODE COMPLETE TRIGGER AVAILABLE NOW AS
             SELECT face, count(*) AS n FROM dice GROUP BY face ORDER BY face",
        )
        .await?;
    let query = session.streams().all().pop().ok_or_else(|| Error::internal("the flow did not start"))?;
    query.await_termination().await?;
    let batches = query.last_progress().map_or(0, |p| p.batch_id + 1);
    Ok((session.context().table("counts").await?.collect().await?, batches))
}

#[tokio::main]
async fn main() -> Result<()> {
    let (rows, batches) = run().await?;
    println!("{} in {batches} batches", tidemill::arrow::util::pretty::pretty_format_batches(&rows)?);
    Ok(())
}
