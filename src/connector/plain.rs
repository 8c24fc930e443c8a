//! Connectors of one line each: sockets, generators, memory, the console, nothing.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;

use super::{Connector, ConnectorRequest, Role};
use crate::error::Result;
use crate::options::OptionSpec;
use crate::sink::{ConsoleSink, ConsoleWriter, MemorySink, NoopSink, Sink};
use crate::source::{
    MemoryStream, NexmarkStream, RateMicroBatchStream, RateStream, SocketStream, StreamProvider, schema_needed,
    source_schema,
};

/// All of them.
pub fn all() -> Vec<Arc<dyn Connector>> {
    vec![
        Arc::new(Socket),
        Arc::new(Rate),
        Arc::new(RateMicroBatch),
        Arc::new(Nexmark),
        Arc::new(Memory),
        Arc::new(Console),
        Arc::new(Noop),
    ]
}

fn joined(sets: &[&[OptionSpec]]) -> Vec<OptionSpec> {
    sets.concat()
}

#[derive(Debug)]
struct Socket;

#[async_trait]
impl Connector for Socket {
    fn name(&self) -> &'static str {
        "socket"
    }

    fn help(&self) -> &'static str {
        "Lines of text from a TCP server, such as nc -lk 9999."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Stream]
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        joined(SocketStream::OPTIONS)
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(SocketStream::new(request.name, request.declared, request.options)?))
    }
}

#[derive(Debug)]
struct Rate;

#[async_trait]
impl Connector for Rate {
    fn name(&self) -> &'static str {
        "rate"
    }

    fn help(&self) -> &'static str {
        "Numbered rows at a steady rate, each with the time when it is due."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Stream]
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        joined(RateStream::OPTIONS)
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(RateStream::new(request.name, request.declared, request.options)?))
    }
}

#[derive(Debug)]
struct RateMicroBatch;

#[async_trait]
impl Connector for RateMicroBatch {
    fn name(&self) -> &'static str {
        "rate-micro-batch"
    }

    fn help(&self) -> &'static str {
        "The same number of rows in every batch, whatever the time."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Stream]
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        joined(RateMicroBatchStream::OPTIONS)
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(RateMicroBatchStream::new(request.name, request.declared, request.options)?))
    }
}

#[derive(Debug)]
struct Nexmark;

#[async_trait]
impl Connector for Nexmark {
    fn name(&self) -> &'static str {
        "nexmark"
    }

    fn help(&self) -> &'static str {
        "Persons, auctions and bids of the Nexmark benchmark, the same ones every time."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Stream]
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        joined(NexmarkStream::OPTIONS)
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        Ok(Arc::new(NexmarkStream::new(request.name, request.declared, request.options)?))
    }
}

#[derive(Debug)]
struct Memory;

#[async_trait]
impl Connector for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn help(&self) -> &'static str {
        "Rows in the memory of the process, for tests and small results."
    }

    fn roles(&self) -> &'static [Role] {
        &Role::ALL
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        vec![]
    }

    fn has_one_writer(&self) -> bool {
        true
    }

    async fn stream(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        let schema = request.declared.ok_or_else(|| schema_needed(self.name(), request.name))?;
        Ok(Arc::new(MemoryStream::new(source_schema(&schema))))
    }

    async fn table(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        let schema = request.declared.ok_or_else(|| schema_needed(self.name(), request.name))?;
        Ok(Arc::new(MemTable::try_new(source_schema(&schema), vec![vec![]])?))
    }

    fn sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(MemorySink::new(request.name)))
    }
}

#[derive(Debug)]
struct Console;

impl Connector for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn help(&self) -> &'static str {
        "Rows as a table on the standard output."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Sink]
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        joined(ConsoleSink::OPTIONS)
    }

    fn sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(ConsoleSink::new(request.options, ConsoleWriter::stdout())?))
    }
}

#[derive(Debug)]
struct Noop;

impl Connector for Noop {
    fn name(&self) -> &'static str {
        "noop"
    }

    fn help(&self) -> &'static str {
        "Rows are counted and dropped, to measure everything else."
    }

    fn roles(&self) -> &'static [Role] {
        &[Role::Sink]
    }

    fn options(&self, _: Role) -> Vec<OptionSpec> {
        vec![]
    }

    fn sink(&self, _: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        Ok(Arc::new(NoopSink))
    }
}
