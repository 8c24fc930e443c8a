//! `session.read_stream()`: a DataFrame over a source, as Spark's `DataStreamReader`.

use std::sync::Arc;

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::prelude::DataFrame;

use super::Session;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::plan::StreamTable;
use crate::source::{MemoryStream, StreamProvider};

/// Describes a source; [`DataStreamReader::load`] makes the DataFrame.
#[derive(Debug, Clone)]
pub struct DataStreamReader {
    session: Session,
    format: Option<String>,
    options: Options,
    schema: Option<SchemaRef>,
}

impl DataStreamReader {
    pub(super) fn new(session: Session) -> Self {
        Self { session, format: None, options: Options::new(), schema: None }
    }

    /// The format: `socket`, `rate`, `csv`, …
    #[must_use]
    pub fn format(mut self, format: impl Into<String>) -> Self {
        self.format = Some(format.into());
        self
    }

    /// An option of the format.
    #[must_use]
    pub fn option(mut self, key: impl Into<String>, value: impl ToString) -> Self {
        self.options.set(key, value);
        self
    }

    /// Options of the format.
    #[must_use]
    pub fn options<K: Into<String>, V: ToString>(mut self, options: impl IntoIterator<Item = (K, V)>) -> Self {
        options.into_iter().for_each(|(k, v)| self.options.set(k, v));
        self
    }

    /// The columns, for formats that do not know them.
    #[must_use]
    pub fn schema(mut self, schema: Schema) -> Self {
        self.schema = Some(schema.into());
        self
    }

    /// A DataFrame over the source. Nothing is read before a query over it starts.
    ///
    /// # Errors
    /// A format that there is not, or options or columns that do not fit it.
    pub async fn load(self) -> Result<DataFrame> {
        let format = self.format.ok_or_else(|| {
            Error::invalid("DATA_SOURCE_NOT_FOUND", "read_stream() has no format").with_help("call .format(\"socket\")")
        })?;
        let format = format.to_lowercase();
        let stream = self.session.stream_of(&format, &format, self.schema, &self.options).await?;
        Ok(self.session.context().read_table(Arc::new(stream))?)
    }

    /// A DataFrame over rows that the program adds itself, as Spark's `MemoryStream`.
    ///
    /// ```
    /// # fn main() -> tidemill::Result<()> { run() }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn run() -> tidemill::Result<()> {
    /// use std::sync::Arc;
    /// use tidemill::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    /// use tidemill::{MemoryStream, prelude::*};
    ///
    /// let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    /// let rows = RecordBatch::try_from_iter([("n", numbers)])?;
    /// let stream = MemoryStream::new(rows.schema());
    /// stream.add_data(rows)?;
    ///
    /// let session = Session::new();
    /// let frame = session.read_stream().memory(&stream)?.filter(col("n").gt(lit(1)))?;
    /// let query = frame.write_stream().format("memory").query_name("large").start().await?;
    /// query.process_all_available().await?;
    /// assert_eq!(session.context().table("large").await?.count().await?, 2);
    /// query.stop().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`DataStreamReader::source`]; what is wrong with the rows is said when they are added.
    pub fn memory(self, stream: &MemoryStream) -> Result<DataFrame> {
        self.source(Arc::new(stream.clone()))
    }

    /// A DataFrame over a stream of your own: every query that reads it opens a source. The twin of
    /// [`DataStreamWriter::sink`](super::DataStreamWriter::sink).
    ///
    /// # Errors
    /// The reader was given a format, options or columns, which a stream of your own has by itself.
    pub fn source(self, stream: Arc<dyn StreamProvider>) -> Result<DataFrame> {
        if self.format.is_some() || self.schema.is_some() || !self.options.is_empty() {
            return Err(Error::invalid(
                "INVALID_OPTION",
                "a stream of your own has a format, options and columns by itself",
            )
            .with_help("call .source(…) on read_stream() alone"));
        }
        let table = StreamTable::new(stream.format(), stream);
        Ok(self.session.context().read_table(Arc::new(table))?)
    }

    /// A DataFrame over a stream that the session knows by name.
    ///
    /// # Errors
    /// There is no such stream.
    pub async fn table(self, name: &str) -> Result<DataFrame> {
        let quoted = name.replace('`', "``");
        let planned =
            crate::sql::query::plan_query(self.session.context(), &format!("SELECT * FROM STREAM `{quoted}`"), None)
                .await?;
        Ok(DataFrame::new(self.session.context().state(), planned.plan))
    }
}
