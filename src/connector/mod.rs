//! What `USING name` stands for: a connector makes streams, tables and sinks of options.
//!
//! Everything that can be read or written by name is a [`Connector`] in the [`Connectors`] of a session; those that come with Tidemill and those of
//! a program are the same. What a connector says of itself is the whole truth about its options: statements are checked by it, and
//! `tidemill list` and the documentation are made from it.

mod catalog;
mod files;
#[cfg(feature = "kafka")]
mod kafka;
mod plain;
mod registry;

pub use registry::Connectors;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::prelude::SessionContext;

use crate::error::{Error, Result};
use crate::options::{OptionSpec, Options};
use crate::sink::Sink;
use crate::source::StreamProvider;

/// What a connector can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// `CREATE STREAM`, `read_stream()`: rows that come for ever.
    Stream,
    /// `CREATE TABLE`: rows that are there.
    Table,
    /// `CREATE SINK`, `write_stream()`: where rows go.
    Sink,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Stream, Self::Table, Self::Sink];

    /// How errors call an object of this role: the socket *source*.
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Self::Stream => "source",
            Self::Table => "table",
            Self::Sink => "sink",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::Sink => "sink",
        })
    }
}

/// What a statement or a builder says of the object that it wants.
#[derive(Clone)]
pub struct ConnectorRequest<'a> {
    /// The DataFusion session.
    pub context: &'a SessionContext,
    /// The name of the stream, table or sink, for messages; of a sink without a name, that of its query.
    pub name: &'a str,
    /// The columns of the statement, if it has any. A sink has none.
    pub declared: Option<SchemaRef>,
    /// The options, which fit what [`Connector::options`] declares.
    pub options: &'a Options,
}

crate::send_sync::send_sync!(ConnectorRequest<'a> { context, name, declared, options });

impl fmt::Debug for ConnectorRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectorRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Makes streams, tables and sinks of options. Nothing is read or written by making one: connections are for `open`.
#[async_trait]
pub trait Connector: Send + Sync + fmt::Debug {
    /// What stands behind `USING` and in `.format(…)`, in lower case.
    fn name(&self) -> &'static str;

    /// One sentence for lists and documentation.
    fn help(&self) -> &'static str;

    /// What it can be.
    fn roles(&self) -> &'static [Role];

    /// The options in a role: all that it reads, and no others.
    fn options(&self, role: Role) -> Vec<OptionSpec>;

    /// Whether it is a format of files.
    fn is_format(&self) -> bool {
        false
    }

    /// Whether what a sink of it writes to has one writer: a second query is refused while one writes to the same `path`, or to the
    /// sink of the same description.
    fn has_one_writer(&self) -> bool {
        false
    }

    /// A stream.
    ///
    /// # Errors
    /// Options or columns that do not fit.
    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        let _ = request;
        Err(cannot_be(self.name(), Role::Stream, self.roles()))
    }

    /// A table.
    ///
    /// # Errors
    /// Options or columns that do not fit; nothing is there.
    async fn table(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        let _ = request;
        Err(cannot_be(self.name(), Role::Table, self.roles()))
    }

    /// The table of what a sink with the same options writes; nothing need be there yet, and the columns are always given.
    ///
    /// # Errors
    /// As [`Connector::table`].
    async fn table_of_sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        self.table(request).await
    }

    /// A sink. The columns of its rows come with [`Sink::check`] and [`Sink::open`].
    ///
    /// # Errors
    /// Options that do not fit.
    fn sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        let _ = request;
        Err(cannot_be(self.name(), Role::Sink, self.roles()))
    }
}

/// The error for a connector that is something else.
fn cannot_be(name: &str, role: Role, roles: &[Role]) -> Error {
    let roles: Vec<_> = roles.iter().map(Role::to_string).collect();
    Error::invalid("DATA_SOURCE_NOT_FOUND", format!("there is no {role} format '{name}'"))
        .with_help(format!("'{name}' can be: {}", roles.join(", ")))
}
