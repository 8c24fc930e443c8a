//! `session.read_stream()`: a DataFrame over a source, as Spark's `DataStreamReader`.

use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::prelude::DataFrame;

use super::Session;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::plan::StreamTable;

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
        let (context, format) = (self.session.context(), format.to_lowercase());
        let stream = StreamTable::create(context, &format, &format, self.schema, &self.options).await?;
        Ok(context.read_table(std::sync::Arc::new(stream))?)
    }

    /// A DataFrame over a stream that the session knows by name.
    ///
    /// # Errors
    /// There is no such stream.
    pub async fn table(self, name: &str) -> Result<DataFrame> {
        let quoted = name.replace('`', "``");
        let planned =
            crate::sql::query::plan_query(self.session.context(), &format!("SELECT * FROM STREAM `{quoted}`")).await?;
        Ok(DataFrame::new(self.session.context().state(), planned.plan))
    }
}
