//! A range of offsets, cut into pieces, and the plan that reads them.

use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use datafusion::common::Result as DfResult;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchReceiverStreamBuilder;
use datafusion::physical_plan::streaming::{PartitionStream, StreamingTableExec};
use tokio::sync::mpsc::Sender;

use super::offsets::Offsets;
use super::reader::{Lease, Progress, Readers};
use super::rows::{BadMessages, RowBuilder, RowFormat};
use crate::error::{Error, Result};
use crate::format::BATCH_ROWS;
use crate::kafka::{Partition, data_loss};
use crate::source::scan::{RangeScan, ScanRequest, cut};

/// How long a reader waits before it looks whether anybody still wants its rows.
const GLANCE: Duration = Duration::from_millis(100);
/// How long no record may come before a query that is stopped does not wait for one.
const NOTICE: Duration = Duration::from_secs(1);
/// Fewer records than this are not worth another partition.
const MIN_PARTITION_RECORDS: i64 = 1024;

/// How a scan reads, whatever its range.
#[derive(Debug, Clone)]
pub struct Reading {
    pub rows: RowFormat,
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
    bad: Arc<BadMessages>,
    pieces: Vec<Piece>,
}

impl KafkaScan {
    /// The records from `start` up to `end`.
    pub fn new(
        reading: Arc<Reading>,
        readers: Arc<Readers>,
        bad: Arc<BadMessages>,
        start: &Offsets,
        end: &Offsets,
    ) -> Self {
        let ranges = end.iter().map(|(partition, to)| {
            let offsets = start.start_of(&partition, end)..to;
            Piece { partition, offsets }
        });
        let pieces = ranges.filter(|piece| piece.len() > 0).collect();
        let pieces = split(pieces, reading.min_partitions, reading.max_records_per_partition);
        Self { reading, readers, bad, pieces }
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
        let rows = self.reading.rows.projected(request.projection.as_deref())?;
        let schema = rows.schema().clone();
        let reader = |pieces| {
            let (reading, readers, bad) = (self.reading.clone(), self.readers.clone(), self.bad.clone());
            Arc::new(PieceReader { reading, readers, bad, rows: rows.clone(), pieces }) as Arc<dyn PartitionStream>
        };
        let partitions = shared(pieces, request.partitions).into_iter().map(reader).collect();
        Ok(Arc::new(StreamingTableExec::try_new(schema, partitions, None, [], false, None)?))
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

/// Reads pieces one after the other, on a thread of its own.
#[derive(Debug, Clone)]
struct PieceReader {
    reading: Arc<Reading>,
    readers: Arc<Readers>,
    bad: Arc<BadMessages>,
    rows: RowBuilder,
    pieces: Vec<Piece>,
}

impl PartitionStream for PieceReader {
    fn schema(&self) -> &SchemaRef {
        self.rows.schema()
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let mut builder = RecordBatchReceiverStreamBuilder::new(self.schema().clone(), 2);
        let (reader, rows) = (self.clone(), builder.tx());
        builder.spawn_blocking(move || {
            for piece in &reader.pieces {
                if !reader.read(piece, &rows)? {
                    break;
                }
            }
            Ok(())
        });
        builder.build()
    }
}

impl PieceReader {
    /// Sends the rows of a piece; `false` if nobody wants them any more.
    fn read(&self, piece: &Piece, rows: &Sender<DfResult<RecordBatch>>) -> Result<bool> {
        let mut lease = self.readers.lease(&piece.partition, piece.offsets.start)?;
        let mut since = Instant::now();
        let mut is_waiting = false;
        let mut wait = None;
        loop {
            let mut records = vec![];
            let progress = lease.reader()?.read(piece.offsets.end, BATCH_ROWS, GLANCE, &mut records)?;
            if !records.is_empty() {
                since = Instant::now();
                is_waiting = false;
                wait = None;
                let batch = self.rows.build(&piece.partition, &records, &self.bad)?;
                if rows.blocking_send(Ok(batch)).is_err() {
                    return Ok(false);
                }
            }
            match progress {
                Progress::Done => return Ok(true),
                Progress::Full => {}
                Progress::OutOfRange => self.skip(piece, &mut lease)?,
                Progress::Idle if rows.is_closed() => return Ok(false),
                Progress::Idle if wait.is_none() && since.elapsed() > NOTICE => wait = Some(self.readers.wait()),
                Progress::Idle if since.elapsed() < self.reading.patience => {}
                Progress::Idle => {
                    since = Instant::now();
                    self.wait(piece, &mut lease, &mut is_waiting)?;
                }
            }
        }
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
