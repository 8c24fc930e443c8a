//! A source of files whose errors say which file it was, and which leaves out what cannot be read, if that is what the user wants.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, AsArray, BinaryViewArray, RecordBatch, RecordBatchOptions, StringViewArray};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::object_store::ObjectStore;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_plan::DisplayFormatType;
use datafusion::physical_plan::filter_pushdown::FilterPushdownPropagation;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt;
use futures::stream::BoxStream;

use super::entry::FileEntry;
use super::read::FileReader;
use crate::error::Error;

/// See the module.
#[derive(Clone)]
pub struct LenientSource {
    source: Arc<dyn FileSource>,
    reader: Arc<FileReader>,
}

impl LenientSource {
    /// `source`, whose files `reader` opens.
    pub fn new(source: Arc<dyn FileSource>, reader: Arc<FileReader>) -> Self {
        Self { source, reader }
    }

    fn over(&self, source: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self { source, reader: self.reader.clone() })
    }
}

impl FileSource for LenientSource {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Arc<dyn FileOpener>> {
        self.source.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> DfResult<Box<dyn Morselizer>> {
        let inner = self.source.create_morselizer(store, config, partition)?;
        Ok(Box::new(Files { inner, reader: self.reader.clone() }))
    }

    fn table_schema(&self) -> &TableSchema {
        self.source.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        self.over(self.source.with_batch_size(batch_size))
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.source.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.source.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.source.metrics()
    }

    fn file_type(&self) -> &str {
        self.source.file_type()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt_extra(t, f)
    }

    /// Files are cut where the scan is made.
    fn supports_repartitioning(&self) -> bool {
        false
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> DfResult<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let FilterPushdownPropagation { filters, updated_node } = self.source.try_pushdown_filters(filters, config)?;
        Ok(FilterPushdownPropagation { filters, updated_node: updated_node.map(|source| self.over(source)) })
    }

    fn try_pushdown_projection(&self, projection: &ProjectionExprs) -> DfResult<Option<Arc<dyn FileSource>>> {
        Ok(self.source.try_pushdown_projection(projection)?.map(|source| self.over(source)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> DfResult<TreeNodeRecursion>,
    ) -> DfResult<TreeNodeRecursion> {
        self.source.apply_expressions(f)
    }
}

/// Whether a file has columns of bytes that are not said to be text. Whoever reads the metadata of the file says so; the reader of
/// Parquet gives such bytes for a STRING as they are.
#[derive(Debug, Clone, Default)]
pub struct PlainBytes(Arc<AtomicBool>);

impl PlainBytes {
    /// The file has such columns.
    pub fn found(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The rows with U+FFFD in the place of bytes that are no text.
    fn as_texts(&self, batch: RecordBatch) -> DfResult<RecordBatch> {
        if !self.0.load(Ordering::Relaxed) {
            return Ok(batch);
        }
        let columns = batch.columns().iter().map(|column| match column.as_string_view_opt() {
            Some(texts) => texts_of(texts.clone().to_binary_view()),
            None => column.clone(),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        Ok(RecordBatch::try_new_with_options(batch.schema(), columns.collect(), &options)?)
    }
}

fn texts_of(bytes: BinaryViewArray) -> ArrayRef {
    Arc::new(bytes.iter().map(|bytes| bytes.map(String::from_utf8_lossy)).collect::<StringViewArray>())
}

#[derive(Debug)]
struct Files {
    inner: Box<dyn Morselizer>,
    reader: Arc<FileReader>,
}

impl Morselizer for Files {
    fn plan_file(&self, file: PartitionedFile) -> DfResult<Box<dyn MorselPlanner>> {
        let entry = file.extension::<FileEntry>().ok_or_else(|| Error::internal("a file without its entry"))?;
        let of = OneFile { entry: entry.clone(), reader: self.reader.clone(), bytes: PlainBytes::default() };
        if self.reader.open(entry)?.is_none() {
            return Ok(Box::new(Planner { inner: None, of }));
        }
        let inner = of.or_left_out(self.inner.plan_file(file.with_extension(of.bytes.clone())))?;
        Ok(Box::new(Planner { inner, of }))
    }
}

/// What is done with an error of one file.
#[derive(Debug, Clone)]
struct OneFile {
    entry: FileEntry,
    reader: Arc<FileReader>,
    bytes: PlainBytes,
}

impl OneFile {
    /// The value; `None` if there is none and the file, or its rest, is left out.
    fn or_left_out<T>(&self, result: DfResult<T>) -> DfResult<Option<T>> {
        match result {
            Ok(value) => Ok(Some(value)),
            Err(e) => self.reader.leave_out_corrupt(&self.entry.path, unreadable(e)).map(|()| None).map_err(Into::into),
        }
    }
}

/// An error of the reader, as one of ours.
fn unreadable(e: DataFusionError) -> Error {
    let is_ours = |e: &Error| {
        e.condition().starts_with("FAILED_READ_FILE") || ["SOURCE_FILE_CHANGED", "STORE_IO"].contains(&e.condition())
    };
    let known = Error::from(e);
    if is_ours(&known) {
        return known;
    }
    Error::execution("FAILED_READ_FILE", format!("the Parquet file cannot be read: {}", known.message()))
        .with_help("it may still be being written: write it elsewhere and rename it into the directory")
        .with_source(known)
}

#[derive(Debug)]
struct Planner {
    inner: Option<Box<dyn MorselPlanner>>,
    of: OneFile,
}

impl MorselPlanner for Planner {
    fn plan(self: Box<Self>) -> DfResult<Option<MorselPlan>> {
        let Some(inner) = self.inner else { return Ok(None) };
        let of = self.of;
        let Some(Some(mut plan)) = of.or_left_out(inner.plan())? else { return Ok(None) };
        let morsel = |inner| Box::new(Rows { inner, of: of.clone() }) as Box<dyn Morsel>;
        let planner = |inner| Box::new(Self { inner: Some(inner), of: of.clone() }) as Box<dyn MorselPlanner>;
        let morsels = plan.take_morsels().into_iter().map(morsel).collect();
        let planners = plan.take_ready_planners().into_iter().map(planner).collect();
        let mut lenient = MorselPlan::new().with_morsels(morsels).with_planners(planners);
        if let Some(pending) = plan.take_pending_planner() {
            let of = of.clone();
            lenient.set_pending_planner(async move {
                let inner = of.or_left_out(pending.await)?;
                Ok(Box::new(Self { inner, of }) as Box<dyn MorselPlanner>)
            });
        }
        Ok(Some(lenient))
    }
}

#[derive(Debug)]
struct Rows {
    inner: Box<dyn Morsel>,
    of: OneFile,
}

impl Morsel for Rows {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, DfResult<RecordBatch>> {
        let of = self.of;
        let rows = self.inner.into_stream().scan(false, move |ended, batch| {
            let batch = batch.and_then(|batch| of.bytes.as_texts(batch));
            let next = match (*ended, of.or_left_out(batch)) {
                (true, _) | (_, Ok(None)) => None,
                (_, Ok(Some(batch))) => Some(Ok(batch)),
                (_, Err(e)) => {
                    *ended = true;
                    Some(Err(e))
                }
            };
            std::future::ready(next)
        });
        rows.boxed()
    }
}
