//! Static tables over files: `CREATE TABLE … USING text | csv | json | parquet`.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::not_impl_err;
use datafusion::common::runtime::SpawnedTask;
use datafusion::datasource::sink::DataSinkExec;
use datafusion::error::{DataFusionError, Result as DataFusionResult};
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionContext;
use futures::future::BoxFuture;

use super::file::format::FormatOptions;
use super::file::listing::Location;
use super::file::metadata_column::with_metadata_column;
use super::file::read::{Compression, Decoding, FileReader, Lenience};
use super::file::scan::{self, FilesScan};
use super::file::{file_schema, zone_of};
use super::provider::source_schema;
use super::scan::{RangeScan, ScanRequest, all_columns, pushdown};
use crate::error::{Error, Result};
use crate::format::BadRecordCounter;
use crate::function::scalar::session_time_zone;
use crate::options::{OptionReader, OptionSpec, Options};
use crate::sink::file::{FileAppend, FileFormat, FileFormatKind, Rolling};

/// The same table with its hidden columns behind the others; `None` for tables without such, and where the name is taken.
pub fn table_with_hidden(table: &dyn TableProvider) -> Option<Arc<dyn TableProvider>> {
    #[cfg(feature = "kafka")]
    if let Some(topics) = table.downcast_ref::<super::KafkaTable>() {
        return Some(Arc::new(topics.with_hidden()?));
    }
    let files = table.downcast_ref::<StaticFiles>()?;
    let with_metadata = Some(with_metadata_column(&files.schema)?);
    Some(Arc::new(StaticFiles { with_metadata, ..files.clone() }))
}

/// Files that are there, as a table.
#[derive(Debug, Clone)]
pub struct StaticFiles {
    schema: SchemaRef,
    /// The columns and `_metadata`, for the queries that name it.
    with_metadata: Option<SchemaRef>,
    location: Location,
    format: FormatOptions,
    lenience: Lenience,
    kind: FileFormatKind,
    options: Options,
}

impl StaticFiles {
    /// The options: how files are read, and how `INSERT INTO` writes them.
    pub fn specs(kind: FileFormatKind) -> Vec<OptionSpec> {
        let mut specs = reading(kind).concat();
        let is_new = |spec: &&OptionSpec| !specs.iter().any(|known| known.is_named(spec.name));
        let writing = FileFormat::specs(kind).concat();
        let writing: Vec<_> = writing.iter().filter(is_new).copied().collect();
        specs.extend(writing);
        specs
    }

    /// The table of the files at the option `path`. Without `declared` columns, they are told from the files. The path is listed
    /// again whenever a scan of the table is planned.
    ///
    /// # Errors
    /// `PATH_NOT_FOUND`, options that are missing, unknown or wrong.
    pub async fn find(
        ctx: &SessionContext,
        kind: FileFormatKind,
        declared: Option<SchemaRef>,
        options: &Options,
    ) -> Result<Self> {
        let mut table = Self::read(kind, options, &[])?;
        let location = &table.location;
        // A store has no directories: there a table that begins empty has its columns declared, and nothing else.
        let may_be_empty = location.store.as_ref().is_some_and(|store| !store.is_web()) && declared.is_some();
        if !may_be_empty && !location.exists()? {
            return Err(not_found(location).with_span(options.span("path")));
        }
        table.schema = file_schema(
            declared,
            &table.format,
            location,
            kind.name(),
            &location.path,
            zone_of(ctx),
            Compression::ByName,
        )?;
        Ok(table)
    }

    /// The table of what a query writes to the option `path`, which need not be there before the query's first batch.
    ///
    /// # Errors
    /// As [`StaticFiles::find`], but for the path.
    pub fn of_output(kind: FileFormatKind, schema: &SchemaRef, options: &Options) -> Result<Self> {
        // The sink has read when it makes files, and how long it keeps them.
        let table = Self::read(kind, options, &Rolling::OPTIONS)?;
        Ok(Self { location: table.location.of_output(), schema: source_schema(schema), ..table })
    }

    /// The table without its columns.
    fn read(kind: FileFormatKind, options: &Options, of_sink: &'static [OptionSpec]) -> Result<Self> {
        let specs = reading(kind);
        let writing = [&[of_sink][..], &FileFormat::specs(kind)].concat();
        let mut reader = OptionReader::new(format!("the {kind} table"), options, &specs).beside(&writing);
        let location = Location::read(&mut reader)?;
        let lenience = Lenience::read(&mut reader)?;
        let format = FormatOptions::read(kind, &mut reader)?;
        reader.finish()?;
        FileAppend::check_options(kind, options)?;
        Ok(Self {
            schema: Arc::new(Schema::empty()),
            with_metadata: None,
            location,
            format,
            lenience,
            kind,
            options: options.clone(),
        })
    }
}

/// What is read of the options when files are read.
fn reading(kind: FileFormatKind) -> Vec<&'static [OptionSpec]> {
    [&[&Location::OPTIONS[..], &Lenience::OPTIONS][..], &FormatOptions::specs(kind)].concat()
}

fn not_found(location: &Location) -> Error {
    Error::invalid("PATH_NOT_FOUND", format!("the path '{}' does not exist", location.path)).with_help(
        match std::env::current_dir() {
            _ if location.hint().is_some() => location.hint().unwrap_or_default(),
            _ if location.store.is_some() => {
                "check its spelling, or declare the columns of a table that begins empty".to_owned()
            }
            Ok(dir) if !std::path::Path::new(&location.path).is_absolute() => {
                format!(
                    "relative paths start at the working directory, '{}'; make the directory for a table that begins empty",
                    dir.display()
                )
            }
            _ => "check its spelling, or make the directory for a table that begins empty".to_owned(),
        },
    )
}

impl StaticFiles {
    fn scan_files<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        _limit: Option<usize>,
    ) -> BoxFuture<'a, DataFusionResult<Arc<dyn ExecutionPlan>>> {
        Box::pin(async move {
            let location = self.location.clone();
            let listing = SpawnedTask::spawn_blocking(move || location.list());
            let files = listing.join().await.map_err(|e| DataFusionError::External(Box::new(e)))??.files;
            let tz = session_time_zone(state.config_options());
            let decoding = Decoding { options: self.format.clone(), tz, bad_records: BadRecordCounter::default() };
            let mut reader = FileReader::new(self.schema.clone(), decoding)?;
            (reader.lenience, reader.store) = (self.lenience, self.location.store.clone());
            let request = ScanRequest {
                projection: projection.cloned().or_else(|| all_columns(self.with_metadata.as_ref())),
                filters: filters.to_vec(),
                partitions: state.config().target_partitions(),
            };
            let scan = FilesScan::new(self.kind.name(), self.location.clone(), Arc::new(reader), files);
            Ok(scan.plan(0..scan.pieces(), &request)?)
        })
    }
}

#[async_trait]
impl TableProvider for StaticFiles {
    fn schema(&self) -> SchemaRef {
        self.with_metadata.as_ref().unwrap_or(&self.schema).clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> DataFusionResult<Vec<TableProviderFilterPushDown>> {
        Ok(filters.iter().map(|filter| pushdown(scan::prunes(filter))).collect())
    }

    crate::send_sync::scan_by!(Self::scan_files);

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        insert: InsertOp,
    ) -> DataFusionResult<Arc<dyn ExecutionPlan>> {
        if insert != InsertOp::Append {
            return not_impl_err!("{insert} of a table of files");
        }
        let files =
            FileAppend::new(self.kind, &self.options, self.schema.clone(), session_time_zone(state.config_options()))?;
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(files), None)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::util::pretty::pretty_format_batches;

    async fn table(ctx: &SessionContext, kind: FileFormatKind, options: &Options) -> Arc<dyn TableProvider> {
        Arc::new(StaticFiles::find(ctx, kind, None, options).await.unwrap())
    }

    async fn query(ctx: &SessionContext, sql: &str) -> String {
        let batches = ctx.sql(sql).await.unwrap().collect().await.unwrap();
        pretty_format_batches(&batches).unwrap().to_string().lines().skip(3).filter(|l| l.starts_with('|')).collect()
    }

    #[tokio::test]
    async fn tables_infer_their_schema_and_see_new_files() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("1.csv"), "id,name\n1,a\n2,b\n").unwrap();
        let ctx = SessionContext::new();
        let options = Options::from_iter([
            ("path", dir.path().to_str().unwrap()),
            ("header", "true"),
            ("inferSchema", "true"),
            ("pathGlobFilter", "*.csv"),
        ]);
        ctx.register_table("t", table(&ctx, FileFormatKind::Csv, &options).await).unwrap();
        assert_eq!(query(&ctx, "SELECT sum(id) AS s, max(name) AS m FROM t").await, "| 3 | b |");
        std::fs::write(dir.path().join("2.csv"), "id,name\n3,c\n").unwrap();
        assert_eq!(query(&ctx, "SELECT count(*) AS n FROM t").await, "| 3 |");

        let out = dir.path().join("p.parquet");
        let copy = format!("COPY (SELECT * FROM t) TO '{}' STORED AS PARQUET", out.display());
        ctx.sql(&copy).await.unwrap().collect().await.unwrap();
        let options = Options::from_iter([("path", out.to_str().unwrap())]);
        ctx.register_table("p", table(&ctx, FileFormatKind::Parquet, &options).await).unwrap();
        assert_eq!(query(&ctx, "SELECT count(*) AS n FROM p").await, "| 3 |");
        assert_eq!(query(&ctx, "SELECT name FROM p WHERE id = 2").await, "| b    |");
    }

    #[tokio::test]
    async fn the_output_of_a_query_may_be_missing_yet() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let options = Options::from_iter([("path", out.to_str().unwrap())]);
        let schema = Arc::new(arrow::datatypes::Schema::new(vec![arrow::datatypes::Field::new(
            "n",
            arrow::datatypes::DataType::Int64,
            true,
        )]));
        let ctx = SessionContext::new();
        ctx.register_table("t", Arc::new(StaticFiles::of_output(FileFormatKind::Json, &schema, &options).unwrap()))
            .unwrap();
        assert_eq!(query(&ctx, "SELECT count(*) AS n FROM t").await, "| 0 |");
        std::fs::create_dir(&out).unwrap();
        std::fs::write(out.join("1.json"), "{\"n\":7}\n").unwrap();
        assert_eq!(query(&ctx, "SELECT n FROM t").await, "| 7 |");
    }

    #[tokio::test]
    async fn what_is_not_there_is_told() {
        let ctx = SessionContext::new();
        let options = Options::from_iter([("path", "/no/such/dir")]);
        let e = StaticFiles::find(&ctx, FileFormatKind::Json, None, &options).await.unwrap_err();
        assert_eq!(e.condition(), "PATH_NOT_FOUND");
    }
}
