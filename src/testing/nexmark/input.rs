//! The rows of a run: in memory, in files, or in topics, and as tables for the check.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch, StringViewArray};
use datafusion::datasource::MemTable;
use tempfile::TempDir;

use super::{NexmarkBench, NexmarkFormat, NexmarkInput};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::source::{MemoryStream, NexmarkGenerator, NexmarkSettings, NexmarkTable};
use crate::type_name::sql_type_name;

/// Rows of a batch of Arrow.
const BATCH_ROWS: i64 = 8192;
/// Keys of the table that q13 joins with.
const SIDE_ROWS: i64 = 10_000;

/// Rows of each table, by parts of the same events.
pub type Parts = [Vec<Vec<RecordBatch>>; 3];

/// What makes rows.
#[derive(Debug, Clone)]
pub struct Rows {
    pub events: i64,
    pub parts: usize,
    pub settings: NexmarkSettings,
}

impl Rows {
    /// The events of each part.
    fn ranges(&self) -> impl Iterator<Item = Range<i64>> {
        let (events, parts) = (i128::from(self.events), self.parts.max(1) as i128);
        let at = move |part: i128| (events * part / parts) as i64;
        (0..parts).map(move |part| at(part)..at(part + 1))
    }

    /// The rows of a table, part by part.
    pub fn of(&self, table: NexmarkTable) -> impl Iterator<Item = Result<Vec<RecordBatch>>> {
        let generator = NexmarkGenerator::new(table, self.settings.clone());
        self.ranges().map(move |events| {
            let (from, to) = (table.rows_before(events.start), table.rows_before(events.end));
            let starts = (from..to).step_by(BATCH_ROWS as usize);
            starts.map(|start| generator.rows(start..to.min(start + BATCH_ROWS))).collect()
        })
    }

    fn all(&self) -> Result<Parts> {
        let [person, auction, bid] = NexmarkTable::ALL.map(|table| self.of(table).collect::<Result<Vec<_>>>());
        Ok([person?, auction?, bid?])
    }

    /// How many rows these tables have.
    pub fn count(&self, tables: &[NexmarkTable]) -> i64 {
        tables.iter().map(|table| table.rows_before(self.events)).sum()
    }
}

/// Rows that are ready to be read, again and again.
#[derive(Debug)]
pub struct Input {
    rows: Rows,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Memory(Arc<Parts>),
    Files {
        dir: TempDir,
        format: NexmarkFormat,
    },
    #[cfg(feature = "kafka")]
    Topics(super::topics::Topics),
}

impl Input {
    /// Makes the rows and puts them where the bench reads them.
    ///
    /// # Errors
    /// They cannot be written.
    pub async fn prepare(bench: &NexmarkBench) -> Result<Self> {
        let rows = bench.rows();
        let kind = match &bench.input {
            NexmarkInput::Memory => Kind::Memory(Arc::new(rows.all()?)),
            NexmarkInput::Files(format) => {
                let dir = tempfile::tempdir().map_err(|e| temporary(&e))?;
                write(&rows, dir.path(), *format).await?;
                Kind::Files { dir, format: *format }
            }
            #[cfg(feature = "kafka")]
            NexmarkInput::Kafka(servers) => Kind::Topics(super::topics::Topics::fill(servers, &rows).await?),
            #[cfg(not(feature = "kafka"))]
            NexmarkInput::Kafka(_) => {
                return Err(Error::unsupported("DATA_SOURCE_NOT_FOUND", "there is no stream format 'kafka'")
                    .with_help("build tidemill with the cargo feature 'kafka'"));
            }
        };
        Ok(Self { rows, kind })
    }

    /// How many rows these tables have.
    pub fn count(&self, tables: &[NexmarkTable]) -> i64 {
        self.rows.count(tables)
    }

    /// Names the streams in a session; what feeds them, if they do not feed themselves.
    ///
    /// # Errors
    /// A name is taken.
    pub async fn register_streams(&self, session: &Session) -> Result<Feed> {
        side_input(session)?;
        match &self.kind {
            Kind::Memory(parts) => {
                let streams = NexmarkTable::ALL.map(|table| MemoryStream::new(table.schema()));
                for (table, stream) in NexmarkTable::ALL.into_iter().zip(&streams) {
                    session.register_stream(table.name(), Arc::new(stream.clone()))?;
                }
                return Ok(Feed { parts: Some((parts.clone(), streams)), next: 0 });
            }
            Kind::Files { dir, format } => {
                for table in NexmarkTable::ALL {
                    let sql =
                        create("STREAM", table, *format, &dir.path().join(table.name()), ", maxFilesPerTrigger 1");
                    session.sql(&sql).await?;
                }
            }
            #[cfg(feature = "kafka")]
            Kind::Topics(topics) => {
                for table in NexmarkTable::ALL {
                    session.sql(&topics.create_stream(table, &columns(table), &self.rows)).await?;
                }
            }
        }
        Ok(Feed { parts: None, next: 0 })
    }

    /// Names the same rows as tables in a session.
    ///
    /// # Errors
    /// As [`Input::register_streams`].
    pub async fn register_tables(&self, session: &Session) -> Result<()> {
        side_input(session)?;
        for (place, table) in NexmarkTable::ALL.into_iter().enumerate() {
            let batches = match &self.kind {
                Kind::Memory(parts) => parts[place].concat(),
                Kind::Files { dir, format } => {
                    let sql = create("TABLE", table, *format, &dir.path().join(table.name()), "");
                    session.sql(&sql).await?;
                    continue;
                }
                #[cfg(feature = "kafka")]
                Kind::Topics(_) => self.rows.of(table).collect::<Result<Vec<_>>>()?.concat(),
            };
            let memory = MemTable::try_new(table.schema(), vec![batches])?;
            session.context().register_table(table.name(), Arc::new(memory))?;
        }
        Ok(())
    }
}

/// What gives streams in memory their rows, part by part.
#[derive(Debug)]
pub struct Feed {
    parts: Option<(Arc<Parts>, [MemoryStream; 3])>,
    next: usize,
}

impl Feed {
    /// Gives them the next part; whether there was one.
    ///
    /// # Errors
    /// None; the rows fit.
    pub fn next(&mut self) -> Result<bool> {
        let Some((parts, streams)) = &self.parts else { return Ok(false) };
        for (parts, stream) in parts.iter().zip(streams) {
            for batch in parts.get(self.next).into_iter().flatten() {
                stream.add_data(batch.clone())?;
            }
        }
        self.next += 1;
        Ok(self.next <= parts[0].len())
    }
}

/// The columns of a table as a statement declares them.
fn columns(table: NexmarkTable) -> String {
    let columns = table.columns().into_iter().map(|(name, data_type)| format!("{name} {}", sql_type_name(&data_type)));
    columns.collect::<Vec<_>>().join(", ")
}

fn create(kind: &str, table: NexmarkTable, format: NexmarkFormat, path: &Path, more: &str) -> String {
    let (name, format, path) = (table.name(), format.name(), quoted(&path.display().to_string()));
    format!("CREATE {kind} {name} ({}) USING {format} OPTIONS (path {path}{more})", columns(table))
}

/// A text as SQL writes it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The table `side_input` with as many keys as q13 asks for.
fn side_input(session: &Session) -> Result<()> {
    let keys = Int64Array::from_iter_values(0..SIDE_ROWS);
    let values = StringViewArray::from_iter_values((0..SIDE_ROWS).map(|key| format!("value {key}")));
    let rows = RecordBatch::try_from_iter_with_nullable([
        ("key", Arc::new(keys) as Arc<dyn arrow::array::Array>, true),
        ("value", Arc::new(values), true),
    ])?;
    let table = MemTable::try_new(rows.schema(), vec![vec![rows]])?;
    session.context().register_table("side_input", Arc::new(table))?;
    Ok(())
}

/// Writes the tables as folders of files, one file for each part.
///
/// # Errors
/// A folder of this name is there already; writing failed.
pub async fn write(rows: &Rows, dir: &Path, format: NexmarkFormat) -> Result<()> {
    let folders = NexmarkTable::ALL.map(|table| (table, dir.join(table.name())));
    if let Some((_, folder)) = folders.iter().find(|(_, folder)| folder.exists()) {
        return Err(Error::invalid("PATH_ALREADY_EXISTS", format!("'{}' is there already", folder.display()))
            .with_help("remove it, or name another directory"));
    }
    for (table, folder) in folders {
        write_table(rows, table, folder, format).await?;
    }
    Ok(())
}

async fn write_table(rows: &Rows, table: NexmarkTable, folder: PathBuf, format: NexmarkFormat) -> Result<()> {
    std::fs::create_dir_all(&folder).map_err(|e| temporary(&e))?;
    let session = Session::builder().target_partitions(1).build()?;
    session.sql(&create("TABLE", table, format, &folder, "")).await?;
    for part in rows.of(table) {
        let part = MemTable::try_new(table.schema(), vec![part?])?;
        session.context().deregister_table("part")?;
        session.context().register_table("part", Arc::new(part))?;
        session.sql(&format!("INSERT INTO {} SELECT * FROM part", table.name())).await?;
    }
    Ok(())
}

/// The error for a directory or file that cannot be made.
pub fn temporary(e: &std::io::Error) -> Error {
    Error::io("FILE_IO", format!("a directory for the rows or the checkpoint: {e}"))
        .with_help("make room, or name another place with TMPDIR")
}
