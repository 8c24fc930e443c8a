//! Files of one format as a connector.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use futures::future::BoxFuture;

use super::{Connector, ConnectorRequest, Role};
use crate::error::{Error, Result};
use crate::options::OptionSpec;
use crate::sink::file::FileFormatKind;
use crate::sink::{FileSink, Sink};
use crate::source::{FileStream, StaticFiles, StreamProvider, source_schema};

/// See the module.
#[derive(Debug)]
pub struct FileConnector {
    kind: FileFormatKind,
}

impl FileConnector {
    /// One for each format.
    pub fn all() -> Vec<Arc<dyn Connector>> {
        FileFormatKind::ALL.iter().map(|kind| Arc::new(Self { kind: *kind }) as Arc<dyn Connector>).collect()
    }
}

/// As a box: a future inside of another is asked for all that it holds, once more.
fn found(kind: FileFormatKind, request: ConnectorRequest<'_>) -> BoxFuture<'_, Result<Arc<dyn TableProvider>>> {
    Box::pin(async move {
        let declared = request.declared.map(|columns| source_schema(&columns));
        let files = StaticFiles::find(request.context, kind, declared, request.options).await?;
        Ok(Arc::new(files) as Arc<dyn TableProvider>)
    })
}

#[async_trait]
impl Connector for FileConnector {
    fn name(&self) -> &'static str {
        self.kind.name()
    }

    fn help(&self) -> &'static str {
        self.kind.help()
    }

    fn roles(&self) -> &'static [Role] {
        &Role::ALL
    }

    fn options(&self, role: Role) -> Vec<OptionSpec> {
        match role {
            Role::Stream => FileStream::specs(self.kind).concat(),
            Role::Table => StaticFiles::specs(self.kind),
            Role::Sink => FileSink::specs(self.kind).concat(),
        }
    }

    fn is_format(&self) -> bool {
        true
    }

    fn has_one_writer(&self) -> bool {
        true
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        let ConnectorRequest { context, name, declared, options } = request;
        let declared = declared.map(|columns| source_schema(&columns));
        Ok(Arc::new(FileStream::new(context, self.kind, name, declared, options)?))
    }

    async fn table(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        found(self.kind, request).await
    }

    async fn table_of_sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        let columns = request.declared.ok_or_else(|| Error::internal("a table of a sink without its columns"))?;
        Ok(Arc::new(StaticFiles::of_output(self.kind, &columns, request.options)?))
    }

    fn sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(FileSink::new(self.kind, request.options)?))
    }
}
