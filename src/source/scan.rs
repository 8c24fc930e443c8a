//! What a batch reads: a range of a source as pieces, and the plan that reads them.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use crate::error::Result;

/// What a query wants of the rows of a stream. It is known when the query is planned, and the same for every batch.
#[derive(Debug, Clone, PartialEq)]
pub struct ScanRequest {
    /// The columns of [`Source::schema`](super::Source::schema), by number and in this order; all of them if there is none.
    pub projection: Option<Vec<usize>>,
    /// Conditions of the query: it has no use for a row for which one of them is not true. A source may leave out such rows where
    /// that is cheap, and need not leave out all.
    pub filters: Vec<Expr>,
    /// How many partitions the plan has at most.
    pub partitions: usize,
}

impl Default for ScanRequest {
    /// All rows and columns, in one partition.
    fn default() -> Self {
        Self { projection: None, filters: vec![], partitions: 1 }
    }
}

/// The rows of a source between two offsets, cut into pieces: contiguous parts, in the order of the source. Nothing is read
/// before a plan is executed.
///
/// Whoever asks may give some of the pieces to one plan and the rest to another: plans over contiguous ranges of pieces, read one
/// after the other, give the rows of the source in order.
pub trait RangeScan: Send + Sync + fmt::Debug {
    /// How many pieces there are.
    fn pieces(&self) -> usize;

    /// About how many rows there are, if that is known cheaply.
    fn num_rows(&self) -> Option<usize>;

    /// About how many bytes are to be read, if that is known cheaply.
    fn num_bytes(&self) -> Option<u64> {
        None
    }

    /// What tells these rows from any others, if they may be read before the batch that they are for: reading them has no effect that can be
    /// seen, and an error may wait.
    fn identity(&self) -> Option<String> {
        None
    }

    /// The plan that reads some of the pieces. Its partitions, at most as many as asked for, are contiguous: read one after the
    /// other they give the rows in order. Its columns are those asked for.
    ///
    /// # Errors
    /// What can be told before anything is read.
    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>>;
}

/// The numbers of all columns of a schema, if there is one.
pub fn all_columns(schema: Option<&SchemaRef>) -> Option<Vec<usize>> {
    schema.map(|schema| (0..schema.fields().len()).collect())
}

/// Cuts `total` into `parts` contiguous ranges of about the same length.
pub fn cut(total: usize, parts: usize) -> impl Iterator<Item = Range<usize>> {
    let at = move |part: usize| (total as u128 * part as u128 / parts.max(1) as u128) as usize;
    (0..parts).map(move |part| at(part)..at(part + 1))
}

/// What DataFusion is told of a condition that a scan uses, or does not: it is computed above the scan in either case.
pub fn pushdown(is_used: bool) -> TableProviderFilterPushDown {
    match is_used {
        true => TableProviderFilterPushDown::Inexact,
        false => TableProviderFilterPushDown::Unsupported,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_tile_the_whole() {
        for (total, parts) in [(0, 1), (0, 3), (10, 1), (10, 3), (2, 5), (1_000_003, 7)] {
            let all: Vec<_> = cut(total, parts).collect();
            assert_eq!((all.len(), all[0].start, all[parts - 1].end), (parts, 0, total));
            assert!(all.windows(2).all(|w| w[0].end == w[1].start));
        }
    }
}
