//! The socket source: lines of text from a TCP server.
//!
//! Offsets count rows: a batch from `start` to `end` holds rows `start..end`, from 0. Without `wal` rows can be read
//! again only while this process has them; with it they survive the process.

mod buffer;
mod lines;
mod receiver;
mod rows;
mod wal;

use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{DataType, SchemaRef};
use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;

use super::provider::{fixed_schema, timestamp_type};
use super::{MemoryScan, RangeScan, ReadLimit, Source, SourceContext, SourceMetrics, StreamProvider};
use crate::error::{Error, Result};
use crate::format::{BadRecordCounter, BadRecords, bad_records};
use crate::offset::Offset;
use crate::options::OptionType::{self, Boolean, Text, Whole};
use crate::options::{OptionReader, OptionSpec, Options};

use buffer::ReceiveBuffer;
use lines::LineCutter;
use parking_lot::Mutex;
use receiver::Receiver;
use wal::Wal;

const OPTIONS: [OptionSpec; 6] = [
    OptionSpec::new("host", Text, "The server that sends lines.").required(),
    OptionSpec::new("port", Whole(1, 65_535), "The port of the server.").required(),
    OptionSpec::new("includeTimestamp", Boolean, "Whether there is a column timestamp: when a line came.").or("false"),
    OptionSpec::new("maxLineLength", Whole(1, 256 << 20), "A line of more bytes is a bad record.").or("1048576"),
    OptionSpec::new(
        "maxBufferedRows",
        OptionType::COUNT,
        "Rows that are received and in no batch yet; with so many, nothing is read.",
    )
    .or("1000000"),
    OptionSpec::new(
        "wal",
        Boolean,
        "Whether lines are written to the checkpoint before they are used, so that none is lost.",
    )
    .or("false"),
];

/// `CREATE STREAM … USING socket`.
#[derive(Debug, Clone)]
pub struct SocketStream {
    schema: SchemaRef,
    host: String,
    port: u16,
    include_timestamp: bool,
    max_line_bytes: usize,
    max_buffered_rows: u64,
    wal: bool,
    bad_records: BadRecords,
}

impl SocketStream {
    /// The options.
    pub const OPTIONS: &[&[OptionSpec]] = &[&OPTIONS, &bad_records::DROPPING];

    /// Reads the options.
    pub fn new(name: &str, declared: Option<SchemaRef>, options: &Options) -> Result<Self> {
        let mut reader = OptionReader::new("the socket source", options, Self::OPTIONS);
        let host = reader.required("host")?.to_string();
        reader.required("port")?;
        let port = reader.parse("port")?.unwrap_or_default();
        let include_timestamp = reader.bool("includeTimestamp")?;
        let max_line_bytes = reader.parse("maxLineLength")?.unwrap_or_default();
        let max_buffered_rows = reader.parse("maxBufferedRows")?.unwrap_or_default();
        let wal = reader.bool("wal")?;
        let bad_records = BadRecords::read(&mut reader)?;
        reader.finish()?;
        let mut columns = vec![("value", DataType::Utf8View)];
        if include_timestamp {
            columns.push(("timestamp", timestamp_type()));
        }
        let schema = fixed_schema("socket", name, declared, &columns)?;
        Ok(Self { schema, host, port, include_timestamp, max_line_bytes, max_buffered_rows, wal, bad_records })
    }

    async fn check_host(&self) -> Result<()> {
        match tokio::net::lookup_host((self.host.as_str(), self.port)).await.map(|mut a| a.next()) {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(self.unknown_host("it has no address")),
            Err(e) => Err(self.unknown_host(&e.to_string())),
        }
    }

    fn unknown_host(&self, reason: &str) -> Error {
        Error::io(
            "SOCKET_HOST_UNKNOWN",
            format!("the host '{}' of the socket source is not known: {reason}", self.host),
        )
        .with_help("check the option 'host'")
    }
}

#[async_trait]
impl StreamProvider for SocketStream {
    fn format(&self) -> &'static str {
        "socket"
    }

    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    async fn open(&self, ctx: SourceContext) -> Result<Arc<dyn Source>> {
        self.check_host().await?;
        let buffer = |base| Arc::new(ReceiveBuffer::new(self.schema.clone(), self.max_buffered_rows, base, &ctx));
        let (wal, buffer) = if self.wal {
            let dir = ctx.dir.join("wal");
            let open = SpawnedTask::spawn_blocking(move || Wal::open(&dir)).join().await;
            let (wal, base, mut rows) = open.map_err(|e| Error::internal(format!("opening the socket log: {e}")))??;
            let buffer = buffer(base);
            buffer.publish(&mut rows)?;
            (Some(Arc::new(Mutex::new(wal))), buffer)
        } else {
            (None, buffer(None))
        };
        let bad_counter = BadRecordCounter::default();
        let receiver = Receiver {
            host: self.host.clone(),
            port: self.port,
            include_timestamp: self.include_timestamp,
            bad_records: self.bad_records,
            bad_counter: bad_counter.clone(),
            clock: ctx.clock.clone(),
            buffer: buffer.clone(),
            wal: wal.clone(),
            cutter: LineCutter::new(self.max_line_bytes),
        };
        let task = Mutex::new(Some(SpawnedTask::spawn(receiver.run())));
        Ok(Arc::new(SocketSource { stream: self.clone(), buffer, wal, bad_counter, task }))
    }
}

/// One query's connection.
#[derive(Debug)]
struct SocketSource {
    stream: SocketStream,
    buffer: Arc<ReceiveBuffer>,
    wal: Option<Arc<Mutex<Wal>>>,
    bad_counter: BadRecordCounter,
    /// Ends with the source.
    task: Mutex<Option<SpawnedTask<()>>>,
}

impl SocketSource {
    async fn with_wal<T: Send + 'static>(&self, f: impl FnOnce(&mut Wal) -> T + Send + 'static) -> Result<Option<T>> {
        let Some(wal) = self.wal.clone() else { return Ok(None) };
        let run = move || f(&mut wal.lock());
        let done = SpawnedTask::spawn_blocking(run).join().await;
        done.map(Some).map_err(|e| Error::internal(format!("the socket log: {e}")))
    }
}

fn rows(offset: &Offset) -> Result<u64> {
    offset.as_u64().ok_or_else(|| Error::corrupt_checkpoint(format!("'{offset}' is no offset of a socket source")))
}

#[async_trait]
impl Source for SocketSource {
    fn schema(&self) -> SchemaRef {
        self.stream.schema.clone()
    }

    fn description(&self) -> String {
        format!("TextSocketV2[host: {}, port: {}]", self.stream.host, self.stream.port)
    }

    async fn initial_offset(&self) -> Result<Offset> {
        Ok(Offset::from(self.buffer.start_at(0)))
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        let start = rows(start)?;
        let end = self.buffer.end(start, limit == ReadLimit::Configured)?;
        Ok((end > start).then(|| Offset::from(end)))
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        let batches = self.buffer.read(rows(start)?, rows(end)?)?;
        Ok(MemoryScan::of(self.schema(), batches))
    }

    async fn commit(&self, end: &Offset) -> Result<()> {
        let end = rows(end)?;
        if self.buffer.commit(end)? {
            self.with_wal(move |wal| wal.truncate(end)).await?.transpose()?;
        }
        Ok(())
    }

    fn is_replayable(&self, start: &Offset, end: &Offset) -> bool {
        matches!((rows(start), rows(end)), (Ok(start), Ok(end)) if self.buffer.has(start, end))
    }

    async fn prepare_available_now(&self) -> Result<()> {
        self.buffer.fix_end();
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        None
    }

    fn metrics(&self) -> SourceMetrics {
        let custom = [("bufferedRows".to_string(), self.buffer.buffered_rows().to_string())].into();
        SourceMetrics { bad_records: self.bad_counter.get(), custom }
    }

    async fn stop(&self) -> Result<()> {
        drop(self.task.lock().take());
        self.with_wal(Wal::close).await.map(drop)
    }
}

#[cfg(test)]
mod tests;
