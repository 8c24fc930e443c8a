//! A range of offsets, cut into pieces, and the plan that reads them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::{RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::{EquivalenceProperties, PhysicalExpr};
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PlanProperties, ReplaceChildrenOptions,
};
use tokio::sync::mpsc::Sender;

use super::columns::RecordColumn;
use super::offsets::Offsets;
use super::reader::{Lease, Progress, Readers};
use crate::error::{Error, Result};
use crate::format::BATCH_ROWS;
use crate::kafka::{Partition, Record, data_loss};
use crate::source::scan::{RangeScan, ScanRequest, cut};

/// Bytes of keys and values of a batch of rows, about.
const BATCH_BYTES: usize = 8 << 20;
/// How long a reader waits before it looks whether anybody still wants its rows.
const GLANCE: Duration = Duration::from_millis(100);
/// Fewer records than this are not worth another partition.
const MIN_PARTITION_RECORDS: i64 = 1024;

/// How a scan reads, whatever its range.
#[derive(Debug)]
pub struct Reading {
    /// The columns, in the order of the schema.
    pub columns: Vec<RecordColumn>,
    pub schema: SchemaRef,
    /// Whether records that are gone end the query.
    pub fails_on_data_loss: bool,
    /// How long no record may come where the offsets say that there are some.
    pub patience: Duration,
    pub min_partitions: Option<usize>,
    pub max_records_per_partition: Option<i64>,
}

/// Offsets of one partition.
#[derive(Debug, Clone)]
struct Piece {
    partition: Partition,
    offsets: Range<i64>,
}

impl Piece {
    fn len(&self) -> i64 {
        self.offsets.end - self.offsets.start
    }
}

/// The records between two offsets of all partitions.
#[derive(Debug)]
pub struct KafkaScan {
    reading: Arc<Reading>,
    readers: Arc<Readers>,
    pieces: Vec<Piece>,
}

impl KafkaScan {
    /// The records from `start` up to `end`.
    pub fn new(reading: Arc<Reading>, readers: Arc<Readers>, start: &Offsets, end: &Offsets) -> Self {
        let ranges = end.iter().map(|(partition, to)| {
            let offsets = start.start_of(&partition, end)..to;
            Piece { partition, offsets }
        });
        let pieces = ranges.filter(|piece| piece.len() > 0).collect();
        let pieces = split(pieces, reading.min_partitions, reading.max_records_per_partition);
        Self { reading, readers, pieces }
    }
}

/// Pieces that are long compared with the others are cut, until there are as many as wanted.
fn split(pieces: Vec<Piece>, least: Option<usize>, longest: Option<i64>) -> Vec<Piece> {
    let total: i64 = pieces.iter().map(Piece::len).sum();
    let parts = |piece: &Piece| {
        let by_length = longest.map_or(1, |longest| (piece.len() - 1) / longest + 1);
        let by_number = match least {
            Some(least) if least > pieces.len() => (least as i128 * i128::from(piece.len()) / i128::from(total)) as i64,
            _ => 1,
        };
        by_length.max(by_number).clamp(1, piece.len()) as usize
    };
    let cut = |piece: &Piece| {
        let (partition, from) = (piece.partition.clone(), piece.offsets.start);
        cut(piece.len() as usize, parts(piece)).map(move |part| Piece {
            partition: partition.clone(),
            offsets: from + part.start as i64..from + part.end as i64,
        })
    };
    pieces.iter().flat_map(cut).collect()
}

impl RangeScan for KafkaScan {
    fn pieces(&self) -> usize {
        self.pieces.len()
    }

    fn num_rows(&self) -> Option<usize> {
        usize::try_from(self.pieces.iter().map(Piece::len).sum::<i64>()).ok()
    }

    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
        let pieces = &self.pieces[pieces];
        let schema = match &request.projection {
            Some(columns) => Arc::new(self.reading.schema.project(columns)?),
            None => self.reading.schema.clone(),
        };
        let columns = match &request.projection {
            Some(columns) => columns.iter().map(|column| self.reading.columns[*column]).collect(),
            None => self.reading.columns.clone(),
        };
        let partitions = shared(pieces, request.partitions);
        let properties = Arc::new(PlanProperties::new(
            EquivalenceProperties::new(schema.clone()),
            Partitioning::UnknownPartitioning(partitions.len()),
            EmissionType::Incremental,
            Boundedness::Bounded,
        ));
        let (reading, readers) = (self.reading.clone(), self.readers.clone());
        Ok(Arc::new(KafkaExec { reading, readers, schema, columns, partitions, properties }))
    }
}

/// Contiguous groups of about the same number of offsets.
fn shared(pieces: &[Piece], most: usize) -> Vec<Vec<Piece>> {
    let total: i64 = pieces.iter().map(Piece::len).sum();
    let groups = (total / MIN_PARTITION_RECORDS).clamp(1, most.max(1) as i64);
    let mut shared = vec![vec![]; groups as usize];
    let mut before = 0;
    for piece in pieces {
        // A piece belongs where its middle is.
        let middle = i128::from(before + piece.len() / 2);
        let group = (middle * i128::from(groups) / i128::from(total.max(1))).min(i128::from(groups - 1));
        shared[group as usize].push(piece.clone());
        before += piece.len();
    }
    shared
}

/// Reads pieces of topics.
#[derive(Debug)]
struct KafkaExec {
    reading: Arc<Reading>,
    readers: Arc<Readers>,
    schema: SchemaRef,
    columns: Vec<RecordColumn>,
    partitions: Vec<Vec<Piece>>,
    properties: Arc<PlanProperties>,
}

impl DisplayAs for KafkaExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns: Vec<_> = self.columns.iter().map(|column| column.name()).collect();
        write!(f, "KafkaExec: partitions={}, columns=[{}]", self.partitions.len(), columns.join(", "))
    }
}

impl ExecutionPlan for KafkaExec {
    fn name(&self) -> &'static str {
        "KafkaExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        vec![]
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn replace_children(
        self: Arc<Self>,
        _: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn with_new_children(self: Arc<Self>, _: Vec<Arc<dyn ExecutionPlan>>) -> DfResult<Arc<dyn ExecutionPlan>> {
        Ok(self)
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> DfResult<SendableRecordBatchStream> {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema.clone(), 2);
        let task = PieceReader {
            reading: self.reading.clone(),
            readers: self.readers.clone(),
            schema: self.schema.clone(),
            columns: self.columns.clone(),
            rows: builder.tx(),
        };
        let pieces = self.partitions[partition].clone();
        builder.spawn_blocking(move || {
            for piece in &pieces {
                if !task.read(piece)? {
                    break;
                }
            }
            Ok(())
        });
        Ok(builder.build())
    }
}

/// Reads pieces one after the other, on a thread of its own.
struct PieceReader {
    reading: Arc<Reading>,
    readers: Arc<Readers>,
    schema: SchemaRef,
    columns: Vec<RecordColumn>,
    rows: Sender<DfResult<RecordBatch>>,
}

impl PieceReader {
    /// Sends the rows of a piece; `false` if nobody wants them any more.
    fn read(&self, piece: &Piece) -> Result<bool> {
        let mut lease = self.readers.lease(&piece.partition, piece.offsets.start)?;
        let mut records: Vec<Record> = vec![];
        let mut since = Instant::now();
        let mut is_waiting = false;
        loop {
            let before = records.len();
            let progress = lease.reader()?.read(piece.offsets.end, BATCH_ROWS, GLANCE, &mut records)?;
            if records.len() > before {
                since = Instant::now();
                is_waiting = false;
            }
            let bytes = || {
                records.iter().map(|r| r.key().map_or(0, <[u8]>::len) + r.value().map_or(0, <[u8]>::len)).sum::<usize>()
            };
            if progress == Progress::Full
                || (progress == Progress::Done && !records.is_empty())
                || bytes() > BATCH_BYTES
            {
                let batch = self.batch(&piece.partition, &records)?;
                records.clear();
                if self.rows.blocking_send(Ok(batch)).is_err() {
                    return Ok(false);
                }
            }
            match progress {
                Progress::Done => return Ok(true),
                Progress::Full => {}
                Progress::OutOfRange => self.skip(piece, &mut lease)?,
                Progress::Idle if self.rows.is_closed() => return Ok(false),
                Progress::Idle if since.elapsed() < self.reading.patience => {}
                Progress::Idle => {
                    since = Instant::now();
                    self.wait(piece, &mut lease, &mut is_waiting)?;
                }
            }
        }
    }

    fn batch(&self, partition: &Partition, records: &[Record]) -> Result<RecordBatch> {
        let columns = self.columns.iter().map(|column| column.build(partition, records)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// The next offset of the piece is not there: goes on at the first that is, if that is allowed.
    fn skip(&self, piece: &Piece, lease: &mut Lease) -> Result<()> {
        let next = lease.reader()?.next();
        let Some((first, end)) = lease.reader()?.ends()? else { return lease.seek(next) };
        if next >= first && next < end {
            // It was not there a moment ago, as after a change of leader.
            return lease.seek(next);
        }
        if self.reading.fails_on_data_loss {
            return Err(lost(piece, next, first, end));
        }
        tracing::warn!(
            "kafka: partition {}: offsets {next} to {} are gone, going on behind them",
            piece.partition,
            first.min(piece.offsets.end)
        );
        // What is left of the piece may be nothing.
        lease.seek(if next < first { first.min(piece.offsets.end) } else { piece.offsets.end })
    }

    /// Nothing has come for long: why?
    fn wait(&self, piece: &Piece, lease: &mut Lease, is_waiting: &mut bool) -> Result<()> {
        let next = lease.reader()?.next();
        match lease.reader()?.ends()? {
            None => {
                if !*is_waiting {
                    tracing::warn!("kafka: no broker gives partition {}; waiting for one", piece.partition);
                    *is_waiting = true;
                }
                Ok(())
            }
            Some((first, end)) if next < first || piece.offsets.end > end => match self.reading.fails_on_data_loss {
                true => Err(lost(piece, next, first, end)),
                false => lease.seek(piece.offsets.end),
            },
            Some(_) => Err(Error::io(
                "KAFKA_POLL_TIMEOUT",
                format!(
                    "partition {} gave no record at offset {next} in {} seconds",
                    piece.partition,
                    self.reading.patience.as_secs_f64()
                ),
            )
            .with_help("give the brokers more time with kafkaConsumer.pollTimeoutMs")),
        }
    }
}

/// The error for records of a piece that are not there.
fn lost(piece: &Piece, next: i64, first: i64, end: i64) -> Error {
    let (partition, offsets) = (&piece.partition, &piece.offsets);
    data_loss(
        "KAFKA_DATA_LOSS.COULD_NOT_READ_OFFSET_RANGE",
        format!(
            "partition {partition} was to give the offsets {} to {}, but {next} is not there: it has {first} to {end}",
            offsets.start, offsets.end
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(lengths: &[i64]) -> Vec<Piece> {
        let piece = |(number, length): (usize, &i64)| Piece {
            partition: Partition { topic: "a".into(), number: number as i32 },
            offsets: 10..10 + length,
        };
        lengths.iter().enumerate().map(piece).collect()
    }

    #[test]
    fn pieces_are_cut_and_shared_without_loss() {
        let ranges =
            |pieces: &[Piece]| pieces.iter().map(|p| (p.partition.number, p.offsets.clone())).collect::<Vec<_>>();
        assert_eq!(
            ranges(&split(pieces(&[5, 5]), Some(4), None)),
            [(0, 10..12), (0, 12..15), (1, 10..12), (1, 12..15)]
        );
        assert_eq!(ranges(&split(pieces(&[5]), None, Some(2))), [(0, 10..11), (0, 11..13), (0, 13..15)]);
        assert_eq!(split(pieces(&[1, 1]), Some(9), None).len(), 2);
        for (lengths, most, groups) in [(&[5000, 5000, 10][..], 2, 2), (&[10, 10], 4, 1), (&[9000], 3, 3), (&[], 3, 1)]
        {
            let all = pieces(lengths);
            let shared = shared(&all, most);
            assert_eq!((shared.len(), ranges(&shared.concat())), (groups, ranges(&all)));
        }
    }
}
