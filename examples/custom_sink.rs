//! A sink of your own that is exactly once: a file that always holds the last result, and which batch it is of.
//!
//! `cargo run --example custom_sink` counts words into `totals.txt` below the system's temporary directory, in two runs
//! over one checkpoint.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tidemill::arrow::array::{AsArray, RecordBatch};
use tidemill::arrow::datatypes::{DataType, Int64Type, SchemaRef};
use tidemill::prelude::*;
use tidemill::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext, async_trait};

/// Replaces the file with the rows of every batch. The first line says which batch the file is of: so after a crash the
/// query knows whether its last batch had got here.
#[derive(Debug)]
pub struct TotalsFile {
    path: PathBuf,
    prepared: Mutex<Option<(u64, String)>>,
}

impl TotalsFile {
    /// Writes to `path`.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), prepared: Mutex::default() }
    }

    fn prepared(&self) -> std::sync::MutexGuard<'_, Option<(u64, String)>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn failed(&self, e: std::io::Error) -> Error {
        Error::io("SINK_WRITE", format!("'{}': {e}", self.path.display())).with_source(e)
    }
}

#[async_trait]
impl Sink for TotalsFile {
    fn description(&self) -> String {
        format!("TotalsFile[{}]", self.path.display())
    }

    /// Before anything starts: what this sink cannot write is an error with a place in the script.
    fn check(&self, mode: OutputMode, schema: &SchemaRef) -> Result<()> {
        let types: Vec<_> = schema.fields().iter().map(|f| f.data_type()).collect();
        match (mode, types[..].as_ref()) {
            (OutputMode::Complete, [DataType::Utf8View, DataType::Int64]) => Ok(()),
            _ => Err(Error::invalid("TOTALS_FILE", "the file takes a text and a BIGINT, in complete mode")
                .with_help("SELECT key, count(*) … GROUP BY key, with OUTPUT MODE COMPLETE")),
        }
    }

    async fn open(&self, _context: &SinkContext) -> Result<()> {
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(LastCommitted::Nothing),
            Err(e) => return Err(self.failed(e)),
        };
        let mut first = text.lines().next().unwrap_or_default().split(' ');
        let batch_id = first.next().and_then(|n| n.parse().ok());
        let record_hash = first.next().and_then(|n| n.parse().ok());
        match (batch_id, record_hash) {
            (Some(batch_id), Some(record_hash)) => Ok(LastCommitted::Batch(BatchIdentity { batch_id, record_hash })),
            _ => Err(Error::io("TOTALS_FILE", format!("'{}' is no file of this sink", self.path.display()))),
        }
    }

    /// Nothing is visible yet: the batch may still fail. A sink that writes several files at once takes `rows.into_partitions()`.
    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let rows: Vec<RecordBatch> = tidemill::datafusion::physical_plan::common::collect(rows.in_order()).await?;
        let (mut text, mut count) = (String::new(), 0);
        for batch in &rows {
            let (words, totals) = (batch.column(0).as_string_view(), batch.column(1).as_primitive::<Int64Type>());
            for (word, total) in words.iter().zip(totals) {
                text.push_str(&format!("{} {}\n", word.unwrap_or("NULL"), total.unwrap_or_default()));
                count += 1;
            }
        }
        *self.prepared() = Some((batch_id, text));
        Ok(Some(count))
    }

    /// The batch is durable in the checkpoint: now all of it appears at once, with its identity.
    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let prepared = self.prepared().take().filter(|(id, _)| *id == batch.batch_id);
        let (id, rows) =
            prepared.ok_or_else(|| Error::internal(format!("batch {} was not prepared", batch.batch_id)))?;
        let new = self.path.with_extension("new");
        std::fs::write(&new, format!("{id} {}\n{rows}", batch.record_hash)).map_err(|e| self.failed(e))?;
        std::fs::rename(&new, &self.path).map_err(|e| self.failed(e))
    }

    async fn abort(&self) -> Result<()> {
        *self.prepared() = None;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.abort().await
    }
}

/// Counts the words of `*.txt` in `dir` that no run before has counted; what the file holds afterwards.
pub async fn run(dir: &Path) -> Result<String> {
    let session = Session::new();
    let lines = session.read_stream().format("text").option("path", dir.join("*.txt").display()).load().await?;
    let words = lines.select([explode(split(col("value"), lit(" "))).alias("word")])?;
    let totals = words
        .aggregate(vec![col("word")], vec![count(lit(1)).alias("total")])?
        .sort(vec![col("word").sort(true, true)])?;
    let file = dir.join("totals");
    let query = totals
        .write_stream()
        .sink(Arc::new(TotalsFile::new(&file)))
        .output_mode(OutputMode::Complete)
        .trigger(Trigger::AvailableNow)
        .option("checkpointLocation", dir.join("checkpoint").display())
        .start()
        .await?;
    query.await_termination().await?;
    std::fs::read_to_string(&file).map_err(|e| Error::io("SINK_WRITE", e.to_string()).with_source(e))
}

#[tokio::main]
async fn main() -> Result<()> {
    let dir = std::env::temp_dir().join("tidemill-custom-sink");
    for (file, text) in [("a.txt", "a b a\n"), ("b.txt", "b c\n")] {
        let written = std::fs::create_dir_all(&dir).and_then(|()| std::fs::write(dir.join(file), text));
        written.map_err(|e| Error::io("FILE_IO", e.to_string()).with_source(e))?;
        println!("{}", run(&dir).await?);
    }
    Ok(())
}
