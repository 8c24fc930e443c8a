//! Text, CSV and JSON files as a source of DataFusion's file scan: it groups files and byte ranges, and gives partition columns; how
//! a record is read is ours, with Spark's meaning.

use std::fmt;
use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpenFuture, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DfResult;
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::apply_expression_roots;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::projection::{ProjectionOpener, SplitProjection};
use futures::StreamExt;

use super::cursor;
use super::entry::FileEntry;
use super::read::FileReader;
use crate::error::Error;

/// See the module.
#[derive(Clone)]
pub struct RecordSource {
    name: &'static str,
    reader: Arc<FileReader>,
    schema: TableSchema,
    projection: SplitProjection,
    metrics: ExecutionPlanMetricsSet,
}

impl RecordSource {
    /// The source of files that `reader` reads; `schema` has its columns and those of partitions.
    pub fn new(name: &'static str, reader: Arc<FileReader>, schema: TableSchema) -> Self {
        let projection = SplitProjection::unprojected(&schema);
        Self { name, reader, schema, projection, metrics: ExecutionPlanMetricsSet::new() }
    }
}

impl FileSource for RecordSource {
    fn create_file_opener(
        &self,
        _store: Arc<dyn ObjectStore>,
        _config: &FileScanConfig,
        _partition: usize,
    ) -> DfResult<Arc<dyn FileOpener>> {
        let columns = &self.projection.file_indices;
        let all = columns.iter().copied().eq(0..self.reader.schema.fields().len());
        let (reader, columns) = match all {
            true => (self.reader.clone(), None),
            false if self.reader.format.is_projectable() => (Arc::new(self.reader.project(columns)?), None),
            false => (self.reader.clone(), Some(columns.clone())),
        };
        let opener: Arc<dyn FileOpener> = Arc::new(RecordOpener { reader, columns });
        ProjectionOpener::try_new(self.projection.clone(), opener, self.schema.file_schema())
    }

    fn table_schema(&self) -> &TableSchema {
        &self.schema
    }

    fn with_batch_size(&self, _batch_size: usize) -> Arc<dyn FileSource> {
        Arc::new(self.clone())
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        Some(&self.projection.source)
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        &self.metrics
    }

    fn file_type(&self) -> &str {
        self.name
    }

    /// Files are cut where the scan is made.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> DfResult<Option<Arc<dyn FileSource>>> {
        let merged = self.projection.source.try_merge(projection)?;
        let projection = SplitProjection::new(self.schema.file_schema(), &merged);
        Ok(Some(Arc::new(Self { projection, ..self.clone() })))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        apply_expression_roots(self.projection.source.iter(), f)
    }
}

/// Opens the files of a partition, one after the other.
struct RecordOpener {
    reader: Arc<FileReader>,
    /// The columns to keep of those that are read, if not all.
    columns: Option<Vec<usize>>,
}

impl fmt::Debug for RecordOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecordOpener").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl FileOpener for RecordOpener {
    fn open(&self, file: PartitionedFile) -> DfResult<FileOpenFuture> {
        let entry = file.extension::<FileEntry>().ok_or_else(|| Error::internal("a file without its entry"))?;
        let range = match &file.range {
            Some(range) => range.start as u64..range.end as u64,
            None => 0..entry.size,
        };
        let rows = cursor::rows(self.reader.clone(), entry.clone(), range);
        let columns = self.columns.clone();
        Ok(Box::pin(async move {
            Ok(match columns {
                Some(columns) => rows.map(move |batch| Ok(batch?.project(&columns)?)).boxed(),
                None => rows,
            })
        }))
    }
}
