//! The task that keeps the connection and receives lines.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::runtime::SpawnedTask;
use parking_lot::Mutex;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::buffer::ReceiveBuffer;
use super::lines::{BadLine, LineCutter};
use super::rows::Rows;
use super::wal::Wal;
use crate::error::{Error, Result};
use crate::format::{BadRecordCounter, BadRecords};
use crate::time::Clock;

const READ_BYTES: usize = 256 << 10;
/// What is there already is read up to this much before the lines are handed over.
const GATHER_BYTES: usize = 1 << 20;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(5);

/// Connects, receives and reconnects, for ever.
#[derive(Debug)]
pub struct Receiver {
    pub host: String,
    pub port: u16,
    pub include_timestamp: bool,
    pub bad_records: BadRecords,
    pub bad_counter: BadRecordCounter,
    pub clock: Clock,
    pub buffer: Arc<ReceiveBuffer>,
    pub wal: Option<Arc<Mutex<Wal>>>,
    pub cutter: LineCutter,
}

impl Receiver {
    /// Runs until the task is dropped, or something fails that no new connection mends.
    pub async fn run(mut self) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            match self.receive().await {
                Ok((received, end)) => {
                    if received {
                        backoff = FIRST_BACKOFF;
                    }
                    let (host, port) = (&self.host, self.port);
                    tracing::warn!(host, port, "socket source: {end}; connecting again in {backoff:?}");
                }
                Err(e) => return self.buffer.fail(e),
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    /// One connection: whether anything came, and how it ended.
    async fn receive(&mut self) -> Result<(bool, String)> {
        let mut stream = match TcpStream::connect((self.host.as_str(), self.port)).await {
            Ok(stream) => stream,
            Err(e) => return Ok((false, format!("no connection ({e})"))),
        };
        let mut received = false;
        loop {
            self.buffer.wait_for_space().await;
            let end = match self.read(&mut stream).await {
                Ok(0) => "the peer closed the connection".to_string(),
                Ok(_) => {
                    received = true;
                    self.hand_over(false).await?;
                    continue;
                }
                Err(e) => format!("the connection broke ({e})"),
            };
            self.hand_over(true).await?;
            return Ok((received, end));
        }
    }

    /// Waits for bytes, then takes what else is there; 0 if the peer closed.
    async fn read(&mut self, stream: &mut TcpStream) -> io::Result<usize> {
        let buffer = &mut self.cutter.buffer;
        buffer.reserve(READ_BYTES);
        let mut total = stream.read_buf(buffer).await?;
        while total > 0 && total < GATHER_BYTES {
            buffer.reserve(READ_BYTES);
            match stream.try_read_buf(buffer) {
                // The end, or the error, shows again at the next read.
                Ok(0) | Err(_) => break,
                Ok(n) => total += n,
            }
        }
        Ok(total)
    }

    /// Gives the whole lines, or at the end of a connection all there is, to the query.
    async fn hand_over(&mut self, at_end: bool) -> Result<()> {
        let mut rows = Rows::default();
        rows.bytes.reserve(self.cutter.buffer.len());
        let mut failure = None;
        let (mode, counter) = (self.bad_records, &self.bad_counter);
        let bad = |why, rows: &mut Rows| {
            counter.add(1);
            match mode {
                BadRecords::Drop => {}
                BadRecords::Null => rows.push_null(),
                BadRecords::Fail => failure = Some(bad_line(why)),
            }
        };
        if at_end {
            self.cutter.finish(&mut rows, bad);
        } else {
            self.cutter.cut(&mut rows, bad);
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        if self.include_timestamp {
            rows.stamp(self.clock.now_ms() * 1000);
        }
        if let Some(wal) = self.wal.clone().filter(|_| !rows.is_empty()) {
            rows = log(wal, self.buffer.wait_for_base().await, rows).await?;
        }
        self.buffer.publish(&mut rows)
    }
}

async fn log(wal: Arc<Mutex<Wal>>, first_row: u64, rows: Rows) -> Result<Rows> {
    let append = move || wal.lock().append(first_row, &rows).map(|()| rows);
    SpawnedTask::spawn_blocking(append)
        .join()
        .await
        .map_err(|e| Error::internal(format!("writing the socket log: {e}")))?
}

fn bad_line(why: BadLine) -> Error {
    let (what, help) = match why {
        BadLine::NotUtf8 => ("is not valid UTF-8", "badRecords 'null' or 'drop' lets the query go on"),
        BadLine::TooLong => (
            "is longer than 'maxLineLength'",
            "raise 'maxLineLength', or let the query go on with badRecords 'null' or 'drop'",
        ),
    };
    Error::execution("MALFORMED_RECORD_IN_PARSING", format!("a line of the socket source {what}")).with_help(help)
}
