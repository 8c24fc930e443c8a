//! From a format and its options to a stream, a table or a sink, by the connectors of the session.

use std::sync::Arc;
use std::time::Duration;

use datafusion::arrow::datatypes::SchemaRef;

use super::Session;
use super::catalog::NamedTable;
use crate::connector::{Connector, ConnectorRequest, Connectors, Role};
use crate::error::Result;
use crate::options::{OptionReader, OptionSpec, OptionType, Options};
use crate::plan::StreamTable;
use crate::sink::Sink;
use crate::source::RefreshingTable;

/// The option of every stream.
pub(crate) const IDLE_TIMEOUT: OptionSpec = OptionSpec::new(
    "watermark.idleTimeout",
    OptionType::Duration,
    "How long a stream may have no rows before it stops holding watermarks back; without it, for ever.",
);
/// The option of every table.
const REFRESH: OptionSpec =
    OptionSpec::new("refresh", OptionType::Duration, "How old a table may be before a running flow reads it anew.");

impl Session {
    /// Adds a connector of your own: from now on its name stands behind `USING` and in `.format(…)`, and its options are checked,
    /// listed and completed as those of any other.
    ///
    /// # Errors
    /// The name is taken.
    pub fn register_connector(&self, connector: Arc<dyn Connector>) -> Result<()> {
        self.0.connectors.lock().register(connector)
    }

    /// What can stand behind `USING`.
    pub fn connectors(&self) -> Connectors {
        self.0.connectors.lock().clone()
    }

    fn request<'a>(&'a self, name: &'a str, declared: Option<SchemaRef>, options: &'a Options) -> ConnectorRequest<'a> {
        ConnectorRequest { context: self.context(), name, declared, options }
    }

    /// The stream `name` of a format with these options: those of the format, and that of every stream.
    pub(crate) async fn stream_of(
        &self,
        format: &str,
        name: &str,
        declared: Option<SchemaRef>,
        options: &Options,
    ) -> Result<StreamTable> {
        let (idle_timeout, options) = split(format!("the {format} source"), options, &IDLE_TIMEOUT)?;
        let provider = self.connectors().stream(format, self.request(name, declared, &options)).await?;
        Ok(StreamTable::new(name, provider).with_idle_timeout(idle_timeout))
    }

    /// The table `name` of a format; `columns_to_come` are those of a flow that writes where the table reads.
    pub(super) async fn table_of(
        &self,
        format: &str,
        name: &str,
        declared: Option<SchemaRef>,
        columns_to_come: Option<SchemaRef>,
        options: &Options,
    ) -> Result<NamedTable> {
        let (refresh, options) = split(format!("the {format} table"), options, &REFRESH)?;
        let connectors = self.connectors();
        let table = match columns_to_come {
            Some(columns) => {
                let columns = Some(declared.unwrap_or(columns));
                connectors.table_of_sink(format, self.request(name, columns, &options)).await?
            }
            None => connectors.table(format, self.request(name, declared, &options)).await?,
        };
        Ok(match refresh {
            Some(every) => Arc::new(RefreshingTable::new(table, every)),
            None => table,
        })
    }

    /// A sink of a format.
    pub(super) fn sink_of(&self, format: &str, options: &Options, name: &str) -> Result<Arc<dyn Sink>> {
        self.connectors().sink(format, self.request(name, None, options))
    }

    /// Of the options of a sink, those that a table of what it writes has too.
    pub(super) fn options_to_read(&self, format: &str, options: &Options) -> Result<Options> {
        let known = self.connectors().find(format, Role::Table)?.options(Role::Table);
        let shared = options.iter().filter(|(key, _)| known.iter().any(|spec| spec.is_named(key)));
        Ok(shared.map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

/// An option that is not the format's own, and the others.
fn split(owner: String, options: &Options, spec: &OptionSpec) -> Result<(Option<Duration>, Options)> {
    let value = OptionReader::new(owner, options, &[std::slice::from_ref(spec)]).duration(spec.name)?;
    let mut rest = options.clone();
    rest.remove(spec.name);
    Ok((value, rest))
}
