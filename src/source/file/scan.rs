//! A range of files: cut into contiguous partitions, and the plan that reads them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{FieldRef, Fields, Schema};
use chrono::DateTime;
use datafusion::common::tree_node::TreeNode;
use datafusion::datasource::listing::{FileRange, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, Operator};
use datafusion::object_store::ObjectMeta;
use datafusion::object_store::path::Path as ObjectPath;
use datafusion::physical_plan::ExecutionPlan;

use super::entry::FileEntry;
use super::format::FileFormat;
use super::listing::Location;
use super::metadata_column::{metadata_field, metadata_of};
use super::parquet::parquet_source;
use super::parquet_columns::ParquetColumns;
use super::partition::{Partitions, kept, scalars};
use super::read::FileReader;
use super::records::RecordSource;
use crate::error::Result;
use crate::source::scan::{RangeScan, ScanRequest};

/// Less than this is not worth another partition.
const MIN_PARTITION_BYTES: u64 = 1 << 20;
/// Files of a batch that may be read before it is due.
const MAX_FILES_AHEAD: usize = 64;
/// A guess at the length of a row, for choosing a plan.
const ROW_BYTES: u64 = 64;

/// Whether a condition may tell files, or parts of them, that need not be read: one of comparisons with literals.
pub fn prunes(filter: &Expr) -> bool {
    use Operator::*;
    let is_plain = |e: &Expr| match e {
        Expr::Column(_)
        | Expr::Literal(..)
        | Expr::IsNull(_)
        | Expr::IsNotNull(_)
        | Expr::Not(_)
        | Expr::Between(_) => true,
        Expr::InList(list) => list.list.iter().all(|e| matches!(e, Expr::Literal(..))),
        Expr::BinaryExpr(binary) => {
            matches!(binary.op, Eq | NotEq | Lt | LtEq | Gt | GtEq | IsDistinctFrom | IsNotDistinctFrom | And | Or)
        }
        _ => false,
    };
    !filter.exists(|e| Ok(!is_plain(e))).unwrap_or(true)
}

/// Files, in the order in which their rows come.
#[derive(Debug)]
pub struct FilesScan {
    format: &'static str,
    location: Location,
    /// Of all declared columns.
    reader: Arc<FileReader>,
    files: Vec<FileEntry>,
}

/// The columns of some files: those in the files, and those that their folders say.
struct Columns {
    reader: Arc<FileReader>,
    folders: Fields,
    /// A value for each file.
    values: Vec<ArrayRef>,
}

impl FilesScan {
    pub fn new(format: &'static str, location: Location, reader: Arc<FileReader>, files: Vec<FileEntry>) -> Self {
        Self { format, location, reader, files }
    }

    fn columns(&self, files: &[FileEntry]) -> Result<Columns> {
        let partitions = Partitions::of(files, |path| self.location.root(path))?;
        let is_folder = |f: &&FieldRef| partitions.has(f.name());
        let (folders, in_files): (Vec<_>, Vec<_>) =
            self.reader.schema.fields().iter().cloned().partition(|f| is_folder(&f));
        let folders = Fields::from(folders);
        let values = partitions.values(&folders, self.reader.tz())?;
        let reader = match folders.is_empty() {
            true => self.reader.clone(),
            false => Arc::new(self.reader.with_schema(Arc::new(Schema::new(in_files)))?),
        };
        Ok(Columns { reader, folders, values })
    }

    /// Whether the column that says where rows come from is asked for.
    fn wants_metadata(&self, request: &ScanRequest) -> bool {
        let behind = self.reader.schema.fields().len();
        request.projection.as_ref().is_some_and(|columns| columns.contains(&behind))
    }

    fn source(&self, columns: &Columns, request: &ScanRequest) -> Result<Arc<dyn FileSource>> {
        let metadata = self.wants_metadata(request).then(metadata_field);
        let schema = TableSchema::builder(columns.reader.schema.clone())
            .with_table_partition_cols(columns.folders.iter().cloned().chain(metadata).collect::<Vec<_>>())
            .build();
        Ok(match columns.reader.format {
            FileFormat::Parquet => parquet_source(&columns.reader, schema, &request.filters)?,
            _ => Arc::new(RecordSource::new(self.format, columns.reader.clone(), schema)),
        })
    }

    /// The columns that were asked for, by their numbers where those of folders come last.
    fn projection(&self, columns: &Columns, request: &ScanRequest) -> Option<Vec<usize>> {
        // Behind those of the files is the column that says where rows come from.
        if columns.folders.is_empty() {
            return request.projection.clone();
        }
        let all = || (0..self.reader.schema.fields().len()).collect();
        let wanted: Vec<usize> = request.projection.clone().unwrap_or_else(all);
        let in_files = columns.reader.schema.fields();
        let place = |i: usize| {
            if i == self.reader.schema.fields().len() {
                return i;
            }
            let field = self.reader.schema.field(i);
            let found = in_files.iter().chain(&columns.folders).position(|f| f.name() == field.name());
            found.unwrap_or_default()
        };
        Some(wanted.into_iter().map(place).collect())
    }
}

impl RangeScan for FilesScan {
    /// Only Parquet gains by it: other files are cut into parts, which are read at once. With lenient options reading counts what is left out.
    fn identity(&self) -> Option<String> {
        let lenience = self.reader.lenience;
        let is_plain = matches!(self.reader.format, FileFormat::Parquet)
            && !(lenience.missing || lenience.corrupt || lenience.changed)
            && self.files.len() <= MAX_FILES_AHEAD;
        is_plain.then(|| format!("{:?}", self.files))
    }

    fn pieces(&self) -> usize {
        self.files.len()
    }

    fn num_rows(&self) -> Option<usize> {
        self.num_bytes().map(|bytes| (bytes / ROW_BYTES) as usize)
    }

    fn num_bytes(&self) -> Option<u64> {
        Some(self.files.iter().map(|f| f.size).sum())
    }

    fn plan(&self, pieces: Range<usize>, request: &ScanRequest) -> Result<Arc<dyn ExecutionPlan>> {
        let mut files: Vec<(usize, &FileEntry)> = self.files[pieces.clone()].iter().enumerate().collect();
        let columns = self.columns(&self.files[pieces])?;
        // A file of no bytes has no record, whatever the format: not even one that a whole file is.
        files.retain(|(_, file)| file.size > 0);
        if let Some(kept) = kept(&request.filters, &columns.folders, &columns.values)? {
            files.retain(|(i, _)| kept.value(*i));
        }
        let groups = partitions(&columns.reader, &files, request.partitions);
        let with_metadata = self.wants_metadata(request);
        let file = |part: Part<'_>| {
            let mut file = part.file();
            file.partition_values = scalars(&columns.values, part.number)?;
            if with_metadata {
                file.partition_values.push(metadata_of(part.file, &part.range)?);
            }
            Ok(file)
        };
        let group = |parts: Vec<Part<'_>>| Ok(FileGroup::new(parts.into_iter().map(file).collect::<Result<_>>()?));
        let groups = groups.into_iter().map(group).collect::<Result<_>>()?;
        let source = self.source(&columns, request)?;
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(groups)
            .with_projection_indices(self.projection(&columns, request))?
            .with_preserve_order(true)
            .with_expr_adapter(Some(Arc::new(ParquetColumns)))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}

/// A byte range of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Part<'f> {
    /// Among the files of the plan.
    number: usize,
    file: &'f FileEntry,
    range: Range<u64>,
}

impl Part<'_> {
    fn file(&self) -> PartitionedFile {
        let Self { file, range, .. } = self;
        let meta = ObjectMeta {
            location: ObjectPath::from(file.path.to_string_lossy().as_ref()),
            last_modified: DateTime::from_timestamp_nanos(file.mtime_ns),
            size: file.size,
            e_tag: None,
            version: None,
        };
        let mut partitioned = PartitionedFile::new_from_meta(meta);
        if *range != (0..file.size) {
            partitioned.range = Some(FileRange { start: range.start as i64, end: range.end as i64 });
        }
        partitioned.with_extension(FileEntry::clone(file))
    }
}

/// Cuts `files`, which have their numbers, into at most `count` contiguous partitions of about the same size.
fn partitions<'f>(reader: &FileReader, files: &[(usize, &'f FileEntry)], count: usize) -> Vec<Vec<Part<'f>>> {
    let total: u64 = files.iter().map(|(_, f)| f.size).sum();
    let is_splittable = files.iter().any(|(_, f)| reader.is_splittable(&f.path));
    let most = if is_splittable { total / MIN_PARTITION_BYTES } else { files.len() as u64 };
    let count = (count as u64).clamp(1, most.max(1));
    let cut = |p: u64| (u128::from(total) * u128::from(p) / u128::from(count)) as u64;
    (0..count).map(|p| parts_between(reader, files, cut(p), cut(p + 1), p + 1 == count)).collect()
}

/// What of `files`, laid end to end, is between two bytes; a file that cannot be split is where it starts.
fn parts_between<'f>(
    reader: &FileReader,
    files: &[(usize, &'f FileEntry)],
    from: u64,
    to: u64,
    is_last: bool,
) -> Vec<Part<'f>> {
    let mut parts = vec![];
    let mut start = 0;
    for &(number, file) in files {
        let end = start + file.size;
        let starts_here = start >= from && (start < to || is_last);
        if !reader.is_splittable(&file.path) || file.size == 0 {
            if starts_here {
                parts.push(Part { number, file, range: 0..file.size });
            }
        } else if start < to && end > from {
            let range = from.saturating_sub(start)..to.min(end) - start;
            parts.push(Part { number, file, range });
        }
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::lines::LineEnd;
    use crate::format::{BadRecordCounter, BadRecords};
    use crate::source::file::format::{FormatOptions, text_schema};
    use crate::source::file::read::Decoding;
    use crate::time_zone::Tz;

    fn reader(line_end: LineEnd) -> FileReader {
        let options = FormatOptions::Text { whole: false, line_end, bad_records: BadRecords::Null };
        let decoding = Decoding { options, tz: Tz::UTC, bad_records: BadRecordCounter::default() };
        FileReader::new(text_schema(), decoding).unwrap()
    }

    fn file(name: &str, size: u64) -> FileEntry {
        FileEntry { path: name.into(), size, mtime_ns: 0, inode: 0, tag: None }
    }

    #[test]
    fn parts_tile_the_files() {
        const MIB: u64 = 1 << 20;
        let files = [file("a", 3 * MIB), file("empty", 0), file("b.gz", 3 * MIB), file("b", 10), file("c", 5 * MIB)];
        let files: Vec<_> = files.iter().enumerate().collect();
        for count in 1..9 {
            let all = partitions(&reader(LineEnd::Any), &files, count);
            assert_eq!(all.len(), count);
            for (_, f) in &files {
                let of: Vec<_> = all.iter().flatten().filter(|p| p.file == *f).collect();
                assert_eq!((of[0].range.start, of[of.len() - 1].range.end), (0, f.size));
                assert!(of.windows(2).all(|w| w[0].range.end == w[1].range.start));
                assert!(f.path != std::path::Path::new("b.gz") || of.len() == 1);
            }
            let whole = partitions(&reader(LineEnd::Bytes(b"x".to_vec())), &files, count).concat();
            assert_eq!(
                whole.iter().map(|p| p.file).collect::<Vec<_>>(),
                files.iter().map(|(_, f)| *f).collect::<Vec<_>>()
            );
        }
    }
}
