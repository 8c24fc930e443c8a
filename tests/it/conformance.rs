//! The conformance suites over everything that comes with Tidemill.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tidemill::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringViewArray};
use tidemill::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use tidemill::datafusion::physical_plan::repartition::RepartitionExec;
use tidemill::datafusion::physical_plan::{ExecutionPlan, Partitioning};
use tidemill::testing::sink::{self, TestedSink};
use tidemill::testing::source::{self, TestedSource};
use tidemill::{
    BatchIdentity, BatchRows, Clock, ConnectorRequest, LastCommitted, ManualClock, MemorySink, MemoryStream, NoopSink,
    Offset, Options, RangeScan, ReadLimit, Result, ScanRequest, Session, Sink, SinkContext, Source, SourceContext,
    StreamProvider, async_trait,
};

/// A stream of a format with options.
async fn stream(format: &str, columns: Option<Schema>, options: &[(&str, String)]) -> Result<Arc<dyn StreamProvider>> {
    let session = Session::new();
    let options = Options::from_iter(options.iter().map(|(k, v)| ((*k).to_owned(), v.clone())));
    let request =
        ConnectorRequest { context: session.context(), name: "s", declared: columns.map(Arc::new), options: &options };
    session.connectors().stream(format, request).await
}

struct Memory(MemoryStream, i64);

fn numbers(from: i64, count: i64) -> RecordBatch {
    let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(from..from + count));
    let texts: ArrayRef = Arc::new(StringViewArray::from_iter_values((from..from + count).map(|n| format!("row {n}"))));
    RecordBatch::try_from_iter_with_nullable([("n", numbers, true), ("t", texts, true)]).unwrap()
}

#[async_trait]
impl TestedSource for Memory {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(self.0.clone()))
    }

    async fn add_rows(&mut self) -> Result<()> {
        self.1 += 7;
        self.0.add_data(numbers(self.1, 7)).map(drop)
    }
}

#[tokio::test]
async fn memory_streams_conform() {
    source::conforms(|| Box::new(Memory(MemoryStream::new(numbers(0, 1).schema()), 0))).await.unwrap();
}

/// Files of a format, one more each time.
struct Files {
    dir: tempfile::TempDir,
    format: &'static str,
    written: i64,
}

impl Files {
    fn boxed(format: &'static str) -> Box<dyn TestedSource> {
        Box::new(Self { dir: tempfile::tempdir().unwrap(), format, written: 0 })
    }

    fn columns(&self) -> Option<Schema> {
        let columns = vec![Field::new("n", DataType::Int64, true), Field::new("t", DataType::Utf8View, true)];
        (self.format != "text").then(|| Schema::new(columns))
    }
}

#[async_trait]
impl TestedSource for Files {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        stream(self.format, self.columns(), &[("path", self.dir.path().display().to_string())]).await
    }

    async fn add_rows(&mut self) -> Result<()> {
        self.written += 1;
        let (dir, n) = (self.dir.path().display(), self.written * 100);
        let columns = if self.format == "text" { "t" } else { "n, t" };
        let sql = format!(
            "CREATE TABLE out ({}) USING {} OPTIONS (path '{dir}');
             INSERT INTO out SELECT {columns} FROM (SELECT id + {n} AS n, concat('row ', id + {n}) AS t FROM range(50))",
            if self.format == "text" { "t STRING" } else { "n BIGINT, t STRING" },
            self.format
        );
        Session::new().sql(&sql).await.map(drop)
    }
}

#[tokio::test]
async fn file_streams_conform() {
    for format in ["csv", "json", "parquet", "text", "avro", "orc", "arrow"] {
        source::conforms(|| Files::boxed(format)).await.unwrap_or_else(|e| panic!("{format}: {e}"));
    }
}

/// Lines of a server, which a query connects to once.
struct Lines {
    server: Arc<TcpListener>,
    clients: Arc<Mutex<Option<TcpStream>>>,
    wal: bool,
    sent: usize,
}

impl Lines {
    fn boxed(wal: bool) -> Box<dyn TestedSource> {
        let server = Arc::new(TcpListener::bind("127.0.0.1:0").unwrap());
        Box::new(Self { server, clients: Arc::default(), wal, sent: 0 })
    }
}

#[async_trait]
impl TestedSource for Lines {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        let port = self.server.local_addr().unwrap().port();
        // Whoever comes now is not the one of before.
        *self.clients.lock().unwrap() = None;
        let options = [("host", "127.0.0.1".to_owned()), ("port", port.to_string()), ("wal", self.wal.to_string())];
        stream("socket", None, &options).await
    }

    async fn add_rows(&mut self) -> Result<()> {
        let (server, clients) = (self.server.clone(), self.clients.clone());
        self.sent += 1;
        let lines: String = (0..5).map(|i| format!("line {i} of {}\n", self.sent)).collect();
        let send = move || {
            let mut client = clients.lock().unwrap();
            let client = client.get_or_insert_with(|| server.accept().unwrap().0);
            client.write_all(lines.as_bytes()).unwrap();
        };
        tokio::task::spawn_blocking(send).await.unwrap();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn socket_streams_conform() {
    for wal in [false, true] {
        source::conforms(|| Lines::boxed(wal)).await.unwrap_or_else(|e| panic!("wal {wal}: {e}"));
    }
}

/// Rows that come as time passes.
struct Rate(Arc<ManualClock>);

#[async_trait]
impl TestedSource for Rate {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        stream("rate", None, &[("rowsPerSecond", "5".to_owned())]).await
    }

    async fn add_rows(&mut self) -> Result<()> {
        self.0.advance(std::time::Duration::from_secs(3));
        Ok(())
    }

    fn clock(&self) -> Clock {
        Clock::Manual(self.0.clone())
    }
}

#[tokio::test]
async fn rate_streams_conform() {
    source::conforms(|| Box::new(Rate(Arc::default()))).await.unwrap();
}

/// A sink of files, read as a table of its format.
struct FileOutput {
    dir: tempfile::TempDir,
    format: &'static str,
}

impl FileOutput {
    fn boxed(format: &'static str) -> Box<dyn TestedSink> {
        Box::new(Self { dir: tempfile::tempdir().unwrap(), format })
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("out")
    }
}

#[async_trait]
impl TestedSink for FileOutput {
    async fn sink(&mut self) -> Result<Arc<dyn Sink>> {
        let session = Session::new();
        let options = Options::from_iter([("path", self.path().display())]);
        let request = ConnectorRequest { context: session.context(), name: "s", declared: None, options: &options };
        session.connectors().sink(self.format, request)
    }

    async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        if !self.path().exists() {
            return Ok(Some(vec![]));
        }
        let session = Session::new();
        let (format, path) = (self.format, self.path());
        session
            .sql(&format!("CREATE TABLE seen (n BIGINT) USING {format} OPTIONS (path '{}')", path.display()))
            .await?;
        Ok(Some(session.context().table("seen").await?.collect().await?))
    }
}

#[tokio::test]
async fn file_sinks_conform() {
    for format in ["csv", "json", "parquet", "avro", "orc", "arrow"] {
        sink::conforms(|| FileOutput::boxed(format)).await.unwrap_or_else(|e| panic!("{format}: {e}"));
    }
}

struct MemoryOutput(Arc<MemorySink>);

#[async_trait]
impl TestedSink for MemoryOutput {
    async fn sink(&mut self) -> Result<Arc<dyn Sink>> {
        Ok(self.0.clone())
    }

    async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        Ok(Some(self.0.rows()))
    }
}

struct Nothing;

#[async_trait]
impl TestedSink for Nothing {
    async fn sink(&mut self) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(NoopSink))
    }

    async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        Ok(None)
    }
}

#[tokio::test]
async fn sinks_without_a_place_conform() {
    sink::conforms(|| Box::new(MemoryOutput(Arc::new(MemorySink::new("t"))))).await.unwrap();
    sink::conforms(|| Box::new(Nothing)).await.unwrap();
}

/// A sink that shows rows before they are committed, and forgets which batch it had.
#[derive(Debug)]
struct Hasty(Arc<MemorySink>);

#[async_trait]
impl Sink for Hasty {
    fn description(&self) -> String {
        "Hasty".to_owned()
    }

    async fn open(&self, context: &SinkContext) -> Result<()> {
        self.0.open(context).await
    }

    async fn last_committed(&self) -> Result<LastCommitted> {
        Ok(LastCommitted::Nothing)
    }

    async fn prepare(&self, batch_id: u64, rows: BatchRows) -> Result<Option<u64>> {
        let counted = self.0.prepare(batch_id, rows).await?;
        self.0.commit(BatchIdentity { batch_id, record_hash: 0 }).await?;
        Ok(counted)
    }

    async fn commit(&self, _: BatchIdentity) -> Result<()> {
        Ok(())
    }

    async fn abort(&self) -> Result<()> {
        Ok(())
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}

struct HastyOutput(Arc<MemorySink>);

#[async_trait]
impl TestedSink for HastyOutput {
    async fn sink(&mut self) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(Hasty(self.0.clone())))
    }

    async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        Ok(Some(self.0.rows()))
    }
}

/// A stream whose rows lose their order when they are read in several partitions.
#[derive(Debug)]
struct Shuffled(MemoryStream);

#[async_trait]
impl StreamProvider for Shuffled {
    fn format(&self) -> &'static str {
        "shuffled"
    }

    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    async fn open(&self, context: SourceContext) -> Result<Arc<dyn Source>> {
        Ok(Arc::new(ShuffledSource(self.0.open(context).await?)))
    }
}

#[derive(Debug)]
struct ShuffledSource(Arc<dyn Source>);

#[async_trait]
impl Source for ShuffledSource {
    fn schema(&self) -> SchemaRef {
        self.0.schema()
    }

    fn description(&self) -> String {
        self.0.description()
    }

    async fn initial_offset(&self) -> Result<Offset> {
        self.0.initial_offset().await
    }

    async fn latest_offset(&self, start: &Offset, limit: ReadLimit) -> Result<Option<Offset>> {
        self.0.latest_offset(start, limit).await
    }

    async fn scan(&self, start: &Offset, end: &Offset) -> Result<Arc<dyn RangeScan>> {
        Ok(Arc::new(ShuffledScan(self.0.scan(start, end).await?)))
    }

    async fn commit(&self, end: &Offset) -> Result<()> {
        self.0.commit(end).await
    }

    fn is_replayable(&self, start: &Offset, end: &Offset) -> bool {
        self.0.is_replayable(start, end)
    }

    async fn prepare_available_now(&self) -> Result<()> {
        Ok(())
    }

    fn poll_interval(&self) -> Option<Duration> {
        None
    }

    async fn stop(&self) -> Result<()> {
        self.0.stop().await
    }
}

#[derive(Debug)]
struct ShuffledScan(Arc<dyn RangeScan>);

impl RangeScan for ShuffledScan {
    fn pieces(&self) -> usize {
        self.0.pieces()
    }

    fn num_rows(&self) -> Option<usize> {
        self.0.num_rows()
    }

    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
        let one = self.0.plan(pieces, &ScanRequest { partitions: 1, ..request.clone() })?;
        Ok(match request.partitions {
            1 => one,
            n => Arc::new(RepartitionExec::try_new(one, Partitioning::RoundRobinBatch(n))?),
        })
    }
}

struct ShuffledRows(Memory);

#[async_trait]
impl TestedSource for ShuffledRows {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(Shuffled(self.0.0.clone())))
    }

    async fn add_rows(&mut self) -> Result<()> {
        self.0.add_rows().await?;
        self.0.add_rows().await
    }
}

#[tokio::test]
async fn what_breaks_the_contract_is_told_by_its_clause() {
    let broken = sink::conforms(|| Box::new(HastyOutput(Arc::new(MemorySink::new("t"))))).await.unwrap_err();
    assert_eq!(broken.condition(), "CONTRACT_BROKEN");
    for clause in
        ["visible when they are committed", "aborted leaves nothing", "between prepare and commit", "the last batch"]
    {
        assert!(broken.message().contains(clause), "{clause}: {broken}");
    }
    assert!(!broken.message().contains("a batch may be empty: a reader"), "{broken}");

    let rows = || Memory(MemoryStream::new(numbers(0, 1).schema()), 0);
    let broken = source::conforms(|| Box::new(ShuffledRows(rows()))).await.unwrap_err();
    assert!(broken.message().contains("keep the order"), "{broken}");
    assert!(!broken.message().contains("the same rows again"), "{broken}");
    // A source that never ends what it was told to end with: the memory stream does, the wrapper does not pass it on.
    assert!(broken.message().contains("available now"), "{broken}");
}
