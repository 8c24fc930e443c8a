//! Decodes a run of lines in bulk and, when that fails, finds the bad ones by halving the run.
//!
//! Arrow's decoders fail for a whole buffer. Halving costs a few decodes for each bad record and nothing when there is
//! none; a decoder that glues two lines together (an open quote, an object over two lines) is caught by counting.

use std::ops::Range;

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use arrow::datatypes::SchemaRef;

use super::bad_records::{BadRecordCounter, BadRecords, malformed};
use crate::error::Result;

/// A format that decodes whole lines with a decoder of Arrow's.
pub trait RowDecoder {
    /// The format's name in messages.
    fn name(&self) -> &'static str;

    /// Columns of the rows.
    fn schema(&self) -> &SchemaRef;

    /// Whether a line is no record at all (empty, a comment).
    fn is_skipped(&self, line: &[u8]) -> bool;

    /// Decodes `rows` records, which are whole lines.
    fn decode(&self, bytes: &[u8], rows: usize) -> Result<RecordBatch>;

    /// One row of a line that [`RowDecoder::decode`] refused: what can be read of it, NULL for the rest.
    fn salvage(&self, line: &[u8]) -> Result<RecordBatch>;
}

/// The rows of `lines` of `block`, bad ones treated as `bad_records` says.
pub fn decode_lines(
    decoder: &impl RowDecoder,
    block: &[u8],
    lines: &[Range<usize>],
    bad_records: BadRecords,
    counter: &BadRecordCounter,
) -> Result<RecordBatch> {
    let records: Vec<_> = lines.iter().filter(|l| !decoder.is_skipped(&block[(*l).clone()])).cloned().collect();
    let mut run = Run { decoder, block, bad_records, counter, batches: vec![] };
    run.decode(&records)?;
    match run.batches.len() {
        1 => Ok(run.batches.remove(0)),
        _ => Ok(concat_batches(decoder.schema(), &run.batches)?),
    }
}

struct Run<'a, D> {
    decoder: &'a D,
    block: &'a [u8],
    bad_records: BadRecords,
    counter: &'a BadRecordCounter,
    batches: Vec<RecordBatch>,
}

impl<D: RowDecoder> Run<'_, D> {
    fn decode(&mut self, records: &[Range<usize>]) -> Result<()> {
        let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(()) };
        let reason = match self.decoder.decode(&self.block[first.start..last.end], records.len()) {
            Ok(batch) if batch.num_rows() == records.len() => {
                self.batches.push(batch);
                return Ok(());
            }
            Ok(batch) => format!("it holds {} records", batch.num_rows()),
            Err(e) => e.message().to_string(),
        };
        if records.len() == 1 {
            return self.bad_record(&self.block[first.clone()], &reason);
        }
        let (left, right) = records.split_at(records.len() / 2);
        self.decode(left)?;
        self.decode(right)
    }

    fn bad_record(&mut self, line: &[u8], reason: &str) -> Result<()> {
        self.counter.add(1);
        match self.bad_records {
            BadRecords::Drop => {}
            BadRecords::Null => self.batches.push(self.decoder.salvage(line)?),
            BadRecords::Fail => return Err(malformed(self.decoder.name(), line, reason)),
        }
        Ok(())
    }
}
