//! Parquet files: DataFusion's own source, which prunes and prefetches, over files that are opened as all others are.

use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use arrow::datatypes::{DataType, FieldRef, Schema};
use bytes::Bytes;
use datafusion::common::DFSchema;
use datafusion::common::config::TableParquetOptions;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileSource, ParquetFileReaderFactory, ParquetSource};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{Expr, ExprSchemable};
use datafusion::parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::basic::{ConvertedType, Type as PhysicalType};
use datafusion::parquet::errors::{ParquetError, Result as ParquetResult};
use datafusion::parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};
use datafusion::parquet::file::reader::{ChunkReader, Length};
use datafusion::parquet::schema::types::ColumnDescPtr;
use datafusion::physical_expr::conjunction_opt;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::entry::FileEntry;
use super::lenient::{LenientSource, PlainBytes};
use super::parquet_columns::declared;
use super::partition::physical;
use super::read::{FileReader, store_fault};
use crate::error::{Error, Result};
use crate::format::bytes::{Opened, OpenedReader};

/// The source of the Parquet files that `reader` opens. Row groups and pages in which no row can meet `filters` are not read.
pub fn parquet_source(reader: &Arc<FileReader>, schema: TableSchema, filters: &[Expr]) -> Result<Arc<dyn FileSource>> {
    let mut options = TableParquetOptions::default();
    // Microseconds hold every time that Spark's INT96 can have.
    options.global.coerce_int96 = Some("us".to_owned());
    // Old writers say there which calendar dates are in.
    options.global.skip_metadata = false;
    let mut source = ParquetSource::new(schema.clone())
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(OpenedFiles(reader.clone())));
    let columns = DFSchema::try_from(schema.table_schema().as_ref().clone())?;
    let pruning = filters
        .iter()
        .filter(|filter| is_ordered(filter, &columns))
        .map(|filter| physical(filter, &columns))
        .collect::<DfResult<Vec<_>>>()?;
    if let Some(predicate) = conjunction_opt(pruning) {
        source = source.with_predicate(predicate);
    }
    Ok(Arc::new(LenientSource::new(Arc::new(source), reader.clone())))
}

/// The columns of a file, in the types that sources use.
///
/// # Errors
/// A file that cannot be read as Parquet.
pub fn parquet_schema(file: &Opened) -> Result<Schema> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(file.clone()).map_err(DataFusionError::from)?;
    let leaves = reader.parquet_schema().columns();
    let is_int96: Vec<bool> = leaves.iter().map(|leaf| leaf.physical_type() == PhysicalType::INT96).collect();
    Ok(declared(&with_instants(reader.schema(), &is_int96)))
}

/// The columns with those that are times in 96 bits as instants, which is what Spark writes so; `is_int96` is of the leaves, in order.
fn with_instants(schema: &Schema, is_int96: &[bool]) -> Schema {
    let mut leaves = is_int96.iter();
    let fields = schema.fields().iter().map(|f| with_instant(f, &mut leaves)).collect::<Vec<_>>();
    Schema::new_with_metadata(fields, schema.metadata().clone())
}

fn with_instant<'l>(field: &FieldRef, leaves: &mut impl Iterator<Item = &'l bool>) -> FieldRef {
    use DataType::*;
    let data_type = match field.data_type() {
        Struct(fields) => Struct(fields.iter().map(|f| with_instant(f, leaves)).collect()),
        List(item) => List(with_instant(item, leaves)),
        LargeList(item) => LargeList(with_instant(item, leaves)),
        FixedSizeList(item, n) => FixedSizeList(with_instant(item, leaves), *n),
        Map(entries, sorted) => Map(with_instant(entries, leaves), *sorted),
        leaf => match (leaves.next(), leaf) {
            (Some(true), Timestamp(unit, None)) => Timestamp(*unit, Some(Arc::from("UTC"))),
            _ => leaf.clone(),
        },
    };
    Arc::new(field.as_ref().clone().with_data_type(data_type))
}

impl Length for Opened {
    fn len(&self) -> u64 {
        self.size()
    }
}

impl ChunkReader for Opened {
    type T = OpenedReader;

    fn get_read(&self, start: u64) -> ParquetResult<OpenedReader> {
        let mut reader = self.reader();
        reader.seek(SeekFrom::Start(start))?;
        Ok(reader)
    }

    fn get_bytes(&self, start: u64, length: usize) -> ParquetResult<Bytes> {
        Ok(self.read(start..start.saturating_add(length as u64))?)
    }
}

/// Whether least and greatest values say everything about the columns of a condition: they leave out NaN.
fn is_ordered(filter: &Expr, schema: &DFSchema) -> bool {
    filter
        .column_refs()
        .into_iter()
        .all(|column| Expr::Column(column.clone()).get_type(schema).is_ok_and(|t| !t.is_floating() && !t.is_nested()))
}

/// Opens files as a [`FileReader`] does.
#[derive(Debug)]
struct OpenedFiles(Arc<FileReader>);

impl ParquetFileReaderFactory for OpenedFiles {
    fn create_reader(
        &self,
        _partition: usize,
        partitioned: PartitionedFile,
        _metadata_size_hint: Option<usize>,
        _metrics: &ExecutionPlanMetricsSet,
    ) -> DfResult<Box<dyn AsyncFileReader + Send>> {
        let entry = partitioned.extension::<FileEntry>().ok_or_else(|| Error::internal("a file without its entry"))?;
        Ok(match self.0.open(entry)? {
            Some(file) => {
                let bytes = partitioned.extension::<PlainBytes>().cloned().unwrap_or_default();
                Box::new(OpenedFile { path: entry.path.clone(), file, bytes })
            }
            None => return Err(Error::internal("a file that is left out was opened").into()),
        })
    }
}

/// What is read from the end of a file at first.
const FOOTER_BYTES: usize = 64 << 10;

struct OpenedFile {
    path: PathBuf,
    file: Opened,
    bytes: PlainBytes,
}

impl OpenedFile {
    async fn fetch(&self, ranges: Vec<Range<u64>>) -> ParquetResult<Vec<Bytes>> {
        let failed = |e| match store_fault(&self.path, &e) {
            Some(e) => ParquetError::External(Box::new(e)),
            None => ParquetError::External(Box::new(e)),
        };
        self.file.fetch(ranges).await.map_err(failed)
    }
}

impl AsyncFileReader for OpenedFile {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move {
            let bytes = self.fetch(vec![range]).await?;
            bytes.into_iter().next().ok_or_else(|| ParquetError::General("a range without bytes".into()))
        }
        .boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        async move { self.fetch(ranges).await }.boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.file.size();
            // The end of a remote file is read with one request, not with one for its length and one for the rest.
            let mut reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
            if let Some(options) = options {
                reader = reader
                    .with_column_index_policy(options.column_index_policy())
                    .with_offset_index_policy(options.offset_index_policy());
            }
            let bytes = self.bytes.clone();
            let metadata = reader.load_and_finish(self, size).await?;
            let is_plain = |column: &ColumnDescPtr| {
                column.physical_type() == PhysicalType::BYTE_ARRAY
                    && column.converted_type() == ConvertedType::NONE
                    && column.logical_type_ref().is_none()
            };
            if metadata.file_metadata().schema_descr().columns().iter().any(is_plain) {
                bytes.found();
            }
            Ok(Arc::new(metadata))
        }
        .boxed()
    }
}
