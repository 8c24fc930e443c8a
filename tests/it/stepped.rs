//! Queries over a memory stream, stepped batch by batch, in sessions that come and go as after restarts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use rand::RngExt;
use rand::rngs::StdRng;
use tidemill::arrow::array::{Array, AsArray, RecordBatch};
use tidemill::arrow::datatypes::{DataType, Float64Type};
use tidemill::arrow::util::display::{ArrayFormatter, FormatOptions};
use tidemill::datafusion::datasource::MemTable;
use tidemill::datafusion::prelude::DataFrame;
use tidemill::testing::{Environment, Failpoints, MicroBatchExecution, QuerySpec};
use tidemill::{Clock, MemorySink, MemoryStream, Options, OutputMode, Result, Session, StreamTable, Trigger};

/// How a session works; no result may depend on it.
#[derive(Debug, Clone, Copy)]
pub struct Setup {
    pub partitions: usize,
    pub batch_size: usize,
}

impl Setup {
    pub const PLAIN: Self = Self { partitions: 2, batch_size: 8192 };

    async fn session(self, static_side: &str, failpoints: &Failpoints) -> Result<Session> {
        let session = Session::builder()
            .target_partitions(self.partitions)
            .conf("batch.size", self.batch_size)
            .clock(Clock::manual())
            .failpoints(failpoints.clone())
            .build()?;
        if !static_side.is_empty() {
            session.sql(static_side).await?;
        }
        Ok(session)
    }
}

/// A query over the stream `s`, with what outlives its restarts.
pub struct Stepped<'a> {
    pub sql: &'a str,
    pub mode: OutputMode,
    /// Statements that make the static tables.
    pub static_side: &'a str,
    /// Statements that make views over the stream.
    pub views: &'a str,
    pub stream: MemoryStream,
    pub sink: Arc<MemorySink>,
    pub failpoints: Failpoints,
    pub checkpoint: &'a Path,
}

impl Stepped<'_> {
    /// A new session as after a restart, and the query in it.
    pub async fn open(&self, setup: Setup) -> Result<(Session, MicroBatchExecution)> {
        let session = setup.session(self.static_side, &self.failpoints).await?;
        let stream = Arc::new(StreamTable::new("s", Arc::new(self.stream.clone())));
        session.context().register_table("s", stream)?;
        if !self.views.is_empty() {
            session.sql(self.views).await?;
        }
        let plan = query(&session, self.sql).await?.into_unoptimized_plan();
        let spec = QuerySpec {
            name: Some("q".into()),
            column_names: plan.schema().fields().iter().map(|f| f.name().clone()).collect(),
            plan,
            text: self.sql.into(),
            sink: self.sink.clone(),
            output_mode: self.mode,
            trigger: Trigger::Default,
            checkpoint: Some(self.checkpoint.to_path_buf()),
            conf: Options::new(),
        };
        let env = Environment {
            context: session.context().clone(),
            clock: session.clock().clone(),
            failpoints: self.failpoints.clone(),
            conf: Options::new(),
        };
        let execution = MicroBatchExecution::open(&env, spec).await?;
        Ok((session, execution))
    }

    /// Runs the query over the pieces; it is stopped, or dies, and comes back in another setup.
    pub async fn run_over_restarts(
        &self,
        rng: &mut StdRng,
        pieces: &[RecordBatch],
        setup: impl Fn(&mut StdRng) -> Setup,
    ) -> Result<()> {
        let (mut session, mut query) = self.open(setup(rng)).await?;
        for piece in pieces {
            self.stream.add_data(piece.clone())?;
            if rng.random_range(0..4) == 0 {
                continue;
            }
            while query.run_batch().await? {}
            match rng.random_range(0..3) {
                0 => query.close().await?,
                1 => drop(query),
                _ => continue,
            }
            drop(session);
            (session, query) = self.open(setup(rng)).await?;
        }
        while query.run_batch().await? {}
        query.close().await?;
        drop(session);
        Ok(())
    }

    /// Rows of every batch that the sink got, in its order.
    pub fn batches(&self) -> Vec<Vec<Vec<String>>> {
        self.sink.batches().iter().map(|(_, rows)| texts(rows)).collect()
    }
}

/// The query as a DataFrame, planned as a script's queries are.
async fn query(session: &Session, sql: &str) -> Result<DataFrame> {
    session.sql(&format!("CREATE VIEW the_query AS {sql}")).await?;
    Ok(session.context().table("the_query").await?)
}

/// The same query over all rows at once.
pub async fn batch_query(sql: &str, statements: &str, rows: &[RecordBatch]) -> Result<Vec<Vec<String>>> {
    let session = Setup::PLAIN.session("", &Failpoints::default()).await?;
    let table = MemTable::try_new(rows[0].schema(), vec![rows.to_vec()])?;
    session.context().register_table("s", Arc::new(table))?;
    if !statements.is_empty() {
        session.sql(statements).await?;
    }
    Ok(texts(&query(&session, sql).await?.collect().await?))
}

/// Rows as text. Doubles have as many digits as do not depend on the order of additions.
pub fn texts(batches: &[RecordBatch]) -> Vec<Vec<String>> {
    let mut rows = vec![];
    for batch in batches {
        let columns: Vec<_> = batch.columns().iter().map(|c| cells(c.as_ref())).collect();
        rows.extend((0..batch.num_rows()).map(|i| columns.iter().map(|c| c[i].clone()).collect()));
    }
    rows
}

fn cells(column: &dyn Array) -> Vec<String> {
    if *column.data_type() == DataType::Float64 {
        let double = |v: Option<f64>| match v {
            None => "NULL".to_owned(),
            Some(v) if v.abs() < 1e-9 => "0".to_owned(),
            Some(v) => format!("{v:.8e}"),
        };
        return column.as_primitive::<Float64Type>().iter().map(double).collect();
    }
    let options = FormatOptions::new().with_null("NULL");
    let formatter = ArrayFormatter::try_new(column, &options).unwrap();
    (0..column.len()).map(|i| formatter.value(i).to_string()).collect()
}

/// The last row of every key: what a reader of update mode has.
pub fn last_by_key(batches: &[Vec<Vec<String>>], keys: usize) -> Vec<Vec<String>> {
    let rows = batches.iter().flatten();
    let last: BTreeMap<_, _> = rows.map(|row| (row[..keys].to_vec(), row.clone())).collect();
    last.into_values().collect()
}

pub fn sorted(mut rows: Vec<Vec<String>>) -> Vec<Vec<String>> {
    rows.sort();
    rows
}
