//! The console sink: every batch as a box of text, byte for byte as Spark prints it.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::time_zone::Tz;
use async_trait::async_trait;
use datafusion::common::runtime::SpawnedTask;
use futures::TryStreamExt;
use tokio::sync::Mutex;

use super::rows::{not_open, not_prepared, rename};
use super::table::{TextTable, Truncate};
use super::{BatchIdentity, BatchRows, LastCommitted, Sink, SinkContext};
use crate::error::{Error, OutputError, Result};
use crate::options::{OptionReader, OptionSpec, OptionType, Options};

const RULE: &str = "-------------------------------------------";

/// Where console sinks write to. A batch is written in one go, so that queries do not mix within a table.
#[derive(Clone)]
pub struct ConsoleWriter(Arc<WriteFn>);

type WriteFn = dyn Fn(&str) -> io::Result<()> + Send + Sync;

impl ConsoleWriter {
    /// Hands the whole text of a batch to `write`.
    pub fn new(write: impl Fn(&str) -> io::Result<()> + Send + Sync + 'static) -> Self {
        Self(Arc::new(write))
    }

    /// The standard output, flushed after every batch; the standard error while [`console_on_stderr`] says so.
    pub fn stdout() -> Self {
        Self::new(|text| {
            let write = |out: &mut dyn Write| out.write_all(text.as_bytes()).and_then(|()| out.flush());
            if ON_STDERR.load(Ordering::Relaxed) {
                return write(&mut io::stderr().lock());
            }
            write(&mut io::stdout().lock())
        })
    }
}

static ON_STDERR: AtomicBool = AtomicBool::new(false);
static SEVERAL_FLOWS: AtomicBool = AtomicBool::new(false);

/// From now on the console is the standard error: the standard output is for something that another program reads.
pub fn console_on_stderr() {
    ON_STDERR.store(true, Ordering::Relaxed);
}

/// Whether several flows of this process print, so that each box must say whose it is. Of one flow, the console shows what
/// Spark's shows.
pub fn set_several_flows(several: bool) {
    SEVERAL_FLOWS.store(several, Ordering::Relaxed);
}

/// What stands above the rows of a batch.
fn title(batch_id: u64, flow: Option<&str>) -> String {
    match flow {
        Some(name) => format!("{RULE}\nFlow: {name}\nBatch: {batch_id}\n{RULE}\n"),
        None => format!("{RULE}\nBatch: {batch_id}\n{RULE}\n"),
    }
}

impl Default for ConsoleWriter {
    fn default() -> Self {
        Self::stdout()
    }
}

impl fmt::Debug for ConsoleWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConsoleWriter")
    }
}

/// Prints the first rows of every batch. Delivery is at least once: a console cannot tell what it has shown.
#[derive(Debug)]
pub struct ConsoleSink {
    writer: ConsoleWriter,
    num_rows: usize,
    truncate: Truncate,
    /// In place of the session's.
    time_zone: Option<Tz>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    context: Option<SinkContext>,
    /// Batch id and text.
    prepared: Option<(u64, String)>,
}

impl ConsoleSink {
    /// The options.
    pub const OPTIONS: &[&[OptionSpec]] = &[&[
        OptionSpec::new("numRows", OptionType::WHOLE, "How many rows of a batch are shown.").or("20"),
        OptionSpec::new(
            "truncate",
            OptionType::Text,
            "true cuts values to 20 characters, false to none, a number to so many.",
        )
        .or("true"),
        OptionSpec::new("timeZone", OptionType::TimeZone, "The zone in which times are shown; else the session's."),
    ]];

    /// Options: `numRows` (20), `truncate` (`true` = 20, `false`, or a length), `timeZone` (the session's).
    pub fn new(options: &Options, writer: ConsoleWriter) -> Result<Self> {
        let mut reader = OptionReader::new("the console sink", options, Self::OPTIONS);
        let num_rows = reader.parse("numRows")?.unwrap_or_default();
        let truncate = read_truncate(&mut reader)?;
        let time_zone = reader.parse("timeZone")?;
        reader.finish()?;
        Ok(Self { writer, num_rows, truncate, time_zone, state: Mutex::default() })
    }
}

fn read_truncate(reader: &mut OptionReader<'_>) -> Result<Truncate> {
    let text = reader.text("truncate");
    match text.trim().to_ascii_lowercase().as_str() {
        "true" => Ok(Truncate::At(20)),
        "false" | "0" => Ok(Truncate::Never),
        n => n.parse().map(Truncate::At).map_err(|_| reader.invalid("truncate", text, "true, false or a length")),
    }
}

#[async_trait]
impl Sink for ConsoleSink {
    fn description(&self) -> String {
        let truncate = match self.truncate {
            Truncate::Never => "false".to_owned(),
            Truncate::At(20) => "true".to_owned(),
            Truncate::At(n) => n.to_string(),
        };
        format!("ConsoleSink[numRows={}, truncate={truncate}]", self.num_rows)
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        *self.state.lock().await = State { context: Some(context.clone()), prepared: None };
        Ok(())
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        Ok(LastCommitted::Unknown)
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let mut state = self.state.lock().await;
        let context = state.context.as_ref().ok_or_else(|| not_open("the console sink"))?;
        let (schema, time_zone) = (&context.schema, self.time_zone.unwrap_or(context.time_zone));
        let mut table = TextTable::new(schema, self.num_rows, self.truncate, time_zone);
        let (mut rows, mut num_rows) = (rows.in_order(), 0);
        while let Some(batch) = rows.try_next().await? {
            num_rows += batch.num_rows() as u64;
            table.push(&rename(&batch, schema)?);
        }
        state.prepared = Some((batch_id, table.finish()));
        Ok(Some(num_rows))
    }

    async fn commit(&self, batch: BatchIdentity) -> Result<()> {
        let mut state = self.state.lock().await;
        let flow = state.context.as_ref().and_then(|c| c.query_name.clone());
        let flow = flow.filter(|_| SEVERAL_FLOWS.load(Ordering::Relaxed));
        let prepared = state.prepared.take().filter(|(id, _)| *id == batch.batch_id);
        drop(state);
        let (id, table) = prepared.ok_or_else(|| not_prepared("the console sink", batch.batch_id))?;
        let text = title(id, flow.as_deref()) + &table;
        // A reader that stops would otherwise take a thread of the runtime, with one worker the one that hears signals.
        let writer = self.writer.clone();
        let written = SpawnedTask::spawn_blocking(move || (writer.0)(&text)).join().await;
        let written = written.map_err(|e| Error::internal(format!("writing to the console: {e}")))?;
        written.map_err(|e| {
            Error::io("SINK_WRITE", format!("the console cannot be written to: {e}"))
                .with_help("the reader of the standard output has gone or is full")
                .with_source(OutputError(e))
        })
    }

    async fn abort(&self) -> Result<()> {
        self.state.lock().await.prepared = None;
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        self.abort().await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as StdMutex;

    use super::*;
    use crate::sink::testing::{context, ints, run_batch};

    async fn console(options: Options, batches: &[&[i32]]) -> String {
        let out = Arc::new(StdMutex::new(String::new()));
        let shared = out.clone();
        let writer = ConsoleWriter::new(move |text| {
            shared.lock().unwrap().push_str(text);
            Ok(())
        });
        let sink = ConsoleSink::new(&options, writer).unwrap();
        sink.open(&context()).await.unwrap();
        for (id, values) in batches.iter().enumerate() {
            run_batch(&sink, id as u64, vec![ints(values)]).await;
        }
        out.lock().unwrap().clone()
    }

    #[tokio::test]
    async fn prints_what_spark_prints() {
        let rule = "-------------------------------------------\n";
        let head = "+-----+\n|value|\n+-----+\n";
        let text = console(Options::new(), &[&[1, 2, 3], &[]]).await;
        let expected = format!(
            "{rule}Batch: 0\n{rule}{head}|    1|\n|    2|\n|    3|\n+-----+\n\n{rule}Batch: 1\n{rule}{head}+-----+\n\n"
        );
        assert_eq!(text, expected);
        let text = console(Options::from_iter([("NUMROWS", 2)]), &[&[1, 2, 3]]).await;
        assert_eq!(text, format!("{rule}Batch: 0\n{rule}{head}|    1|\n|    2|\n+-----+\nonly showing top 2 rows\n"));
    }

    #[test]
    fn a_box_of_several_flows_says_whose_it_is() {
        assert_eq!(title(3, None), format!("{RULE}\nBatch: 3\n{RULE}\n"));
        assert_eq!(title(3, Some("counts")), format!("{RULE}\nFlow: counts\nBatch: 3\n{RULE}\n"));
    }

    #[test]
    fn refuses_what_it_does_not_have() {
        let new = |k, v| ConsoleSink::new(&Options::from_iter([(k, v)]), ConsoleWriter::stdout()).unwrap_err();
        assert_eq!(new("numRow", "1").help(), Some("did you mean 'numRows'?"));
        assert_eq!(new("truncate", "maybe").condition(), "INVALID_OPTION");
    }

    #[tokio::test]
    async fn times_are_shown_in_the_zone_of_the_session() {
        use arrow::array::{RecordBatch, TimestampMicrosecondArray};
        let out = Arc::new(StdMutex::new(String::new()));
        let shared = out.clone();
        let writer = ConsoleWriter::new(move |text| {
            shared.lock().unwrap().push_str(text);
            Ok(())
        });
        let times = TimestampMicrosecondArray::from(vec![0]).with_timezone("UTC");
        let batch = RecordBatch::try_from_iter([("t", Arc::new(times) as arrow::array::ArrayRef)]).unwrap();
        let sink = ConsoleSink::new(&Options::new(), writer).unwrap();
        let tokyo =
            SinkContext { schema: batch.schema(), time_zone: Tz::Region(chrono_tz::Tz::Asia__Tokyo), ..context() };
        sink.open(&tokyo).await.unwrap();
        run_batch(&sink, 0, vec![batch]).await;
        assert!(out.lock().unwrap().contains("|1970-01-01 09:00:00|"), "{}", out.lock().unwrap());
    }
}
