//! What flows fill and queries read. A query waits for a flow that ends by itself and fills what it reads: otherwise it
//! would see whatever happened to be there.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::logical_expr::LogicalPlan;

use super::Session;
use super::catalog::Object;
use super::relation::MEMORY;
use super::start::Flow;
use crate::disk::local_path;
use crate::error::{Error, Result, Span};
use crate::options::Options;
use crate::plan::scanned_stream;
use crate::sql::statement::{Name, Statement, StatementKind};
use crate::trigger::Trigger;

/// What a flow fills.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Filled {
    /// A table in memory, by its key.
    Memory(String),
    /// The files of a directory.
    Directory(PathBuf),
    /// Whatever a sink of this description writes to.
    Sink(String),
}

impl fmt::Display for Filled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(key) => write!(f, "table '{key}' in memory"),
            Self::Directory(path) => write!(f, "directory '{}'", path.display()),
            Self::Sink(description) => f.write_str(description),
        }
    }
}

impl Filled {
    /// The directory of a path option: absolute, and of a pattern the part before its first wildcard.
    pub(super) fn directory(path: &str) -> Self {
        let plain =
            |c: &std::path::Component<'_>| !c.as_os_str().to_string_lossy().contains(['*', '?', '[', '{', '\\']);
        let clean: PathBuf = Path::new(local_path(path)).components().take_while(plain).collect();
        Self::Directory(std::path::absolute(&clean).unwrap_or(clean))
    }

    /// The directory that a query of ours writes to, whose name is no pattern.
    pub(super) fn output(path: &str) -> Self {
        let clean: PathBuf = Path::new(local_path(path)).components().collect();
        Self::Directory(std::path::absolute(&clean).unwrap_or(clean))
    }

    /// What rows under this name and these options are kept in, if it is something that can be read back.
    pub(super) fn of(key: &str, format: &str, options: &Options) -> Option<Self> {
        match options.get("path") {
            Some(path) => Some(Self::directory(path)),
            None => (format == MEMORY).then(|| Self::Memory(key.to_owned())),
        }
    }

    /// Whether who reads one of the two sees what is in the other.
    fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memory(a), Self::Memory(b)) => a == b,
            (Self::Directory(a), Self::Directory(b)) => a.starts_with(b) || b.starts_with(a),
            _ => false,
        }
    }
}

/// What a query reads that a flow may fill.
#[derive(Debug, Clone, Default)]
pub(super) struct Reads {
    /// As a whole, when the query starts.
    tables: Vec<Filled>,
    /// Bit by bit, as it comes.
    streams: Vec<Filled>,
    /// Lines of servers: the stream, and the server.
    sockets: Vec<(String, String)>,
}

impl Reads {
    /// Whether a stream reads the very files that are filled.
    pub(super) fn has_stream_of(&self, filled: &Filled) -> bool {
        matches!(filled, Filled::Directory(_)) && self.streams.contains(filled)
    }

    /// A server that the two, or streams of this one alone, connect to more than once.
    fn twice<'r>(&'r self, other: &'r Self) -> Option<&'r str> {
        let all = || self.sockets.iter().enumerate();
        let again = |(i, (stream, server)): (usize, &'r (String, String))| {
            let by_other = other.sockets.iter().any(|(_, s)| s == server);
            let by_itself = all().any(|(j, (other, s))| i < j && other != stream && s == server);
            (by_other || by_itself).then_some(server.as_str())
        };
        all().find_map(again)
    }
}

impl Flow {
    /// Whether it ends when it has read what there is.
    pub(super) fn ends_by_itself(&self) -> bool {
        matches!(self.spec.trigger, Trigger::Once | Trigger::AvailableNow)
    }
}

impl Session {
    /// What the plan reads of the objects that the session has now.
    pub(super) fn reads(&self, plan: &LogicalPlan) -> Reads {
        let mut reads = Reads::default();
        let catalog = self.catalog();
        let visit = plan.apply_with_subqueries(|node| {
            if let LogicalPlan::TableScan(scan) = node {
                let key = scan.table_name.table().to_lowercase();
                // A stream with a watermark is a view over a stream of a hidden name.
                let key = key.strip_prefix(super::relation::HIDDEN_STREAM).unwrap_or(&key);
                if let Some(o) = catalog.relation(key).filter(|o| o.format == "socket") {
                    let option = |name| o.options.get(name).unwrap_or_default();
                    reads.sockets.push((key.to_owned(), format!("{}:{}", option("host"), option("port"))));
                }
                let of = |o: &Object| Filled::of(key, &o.format, &o.options);
                let filled = catalog.relation(key).map_or_else(|| Some(Filled::Memory(key.to_owned())), of);
                match scanned_stream(node) {
                    Some(_) => reads.streams.extend(filled),
                    None => reads.tables.extend(filled),
                }
            }
            Ok(TreeNodeRecursion::Continue)
        });
        if let Err(e) = visit {
            tracing::warn!("looking for what a query reads: {e}");
        }
        reads
    }

    /// A hint, if a server gets more than one connection: the usual one, `nc`, serves one client.
    pub(super) fn connects_twice(&self, flow: &str, reads: &Reads) -> Option<String> {
        let (catalog, none) = (self.catalog(), Reads::default());
        let live = catalog.flows().filter(|f| self.is_live(f) && !f.name().eq_ignore_ascii_case(flow));
        let others: Vec<_> = live.filter_map(|f| reads.twice(&f.reads).map(|s| (s, Some(f.name())))).collect();
        let (server, other) = others.first().copied().or_else(|| reads.twice(&none).map(|s| (s, None)))?;
        let who = match other {
            Some(other) => format!("flows '{other}' and '{flow}' each connect"),
            None => format!("flow '{flow}' connects more than once"),
        };
        Some(format!("{who} to {server}; a server such as nc serves one client, and the others wait for ever"))
    }

    /// What `INSERT INTO target` fills.
    pub(super) fn filled_by_insert(&self, target: &Name) -> Option<Filled> {
        self.catalog().relation(&target.key()).and_then(|o| Filled::of(&target.key(), &o.format, &o.options))
    }

    /// The columns of what a flow of this session writes to the directory of a table that is not there yet.
    pub(super) fn columns_to_come(&self, options: &Options) -> Option<arrow::datatypes::SchemaRef> {
        let dir = Filled::directory(options.get("path")?);
        let catalog = self.catalog();
        let flow = catalog.flows().find(|f| f.exclusive.as_ref().is_some_and(|filled| filled.overlaps(&dir)))?;
        Some(super::rows::renamed(flow.spec.plan.schema().as_arrow(), &flow.spec.column_names))
    }

    /// Waits for the flows that end by themselves and fill what the query at `place` reads: those of its tables, and for a
    /// flow that ends by itself those of its streams, too.
    ///
    /// # Errors
    /// `FLOW_FAILED`: such a flow has failed, and what it filled is not whole.
    pub(super) async fn wait_for_fillers(
        &self,
        reads: &Reads,
        starts: Option<&Flow>,
        place: Option<Span>,
    ) -> Result<()> {
        let of_streams = if starts.is_some_and(Flow::ends_by_itself) { reads.streams.as_slice() } else { &[] };
        let read = |filled: &Filled| reads.tables.iter().chain(of_streams).any(|r| r.overlaps(filled));
        let is_other = |f: &Flow| starts.is_none_or(|s| !s.name().eq_ignore_ascii_case(f.name()));
        let fillers: Vec<Arc<Flow>> = self
            .catalog()
            .flows()
            .filter(|f| f.ends_by_itself() && is_other(f) && f.fills.iter().any(read))
            .cloned()
            .collect();
        for flow in fillers {
            if let Some(run) = flow.last_run().or_else(|| self.streams().get_by_name(flow.name())) {
                run.await_termination().await.map_err(|e| {
                    let message = format!("the query reads what flow '{}' fills, and the flow has failed", flow.name());
                    failed(message, e).with_span(place).with_help(format!(
                        "mend it and run it again; DROP FLOW {}, and the rows it has written can be read",
                        flow.name()
                    ))
                })?;
            }
        }
        Ok(())
    }

    /// `AWAIT [FLOW] name [TIMEOUT d]`: waits for the end of its last run.
    pub(super) async fn await_flow(&self, name: &Name, timeout: Option<Duration>) -> Result<()> {
        let flow = self.existing_flow(name)?;
        let Some(run) = self.streams().get_by_name(flow.name()).or_else(|| flow.last_run()) else { return Ok(()) };
        let ended = match timeout {
            Some(timeout) => run.await_termination_timeout(timeout).await,
            None => run.await_termination().await.map(|()| true),
        };
        match ended {
            Ok(true) => Ok(()),
            Ok(false) => {
                let limit = crate::interval::duration_text(
                    timeout.map_or(0, |d| i64::try_from(d.as_micros()).unwrap_or(i64::MAX)),
                );
                let message = format!("flow '{}' has not ended within {limit}", flow.name());
                let help = if flow.ends_by_itself() {
                    "give it more time"
                } else {
                    "it runs until it is stopped; TRIGGER AVAILABLE NOW or ONCE makes it end when it has read what there is"
                };
                Err(Error::execution("AWAIT_TIMEOUT", message).with_help(help))
            }
            Err(e) => Err(failed(format!("flow '{}' has failed", flow.name()), e)),
        }
        .map_err(|e| e.with_span(name.span))
    }

    /// What to know of an `AWAIT` before it waits.
    pub(super) fn check_await(&self, name: &Name, timeout: Option<Duration>) -> Result<Option<String>> {
        let flow = self.existing_flow(name)?;
        Ok((timeout.is_none()
            && !flow.ends_by_itself()
            && !crate::plan::ends_with_limit(&flow.spec.plan, flow.spec.output_mode))
        .then(|| format!("flow '{}' runs until it is stopped, and AWAIT waits for that", flow.name())))
    }

    /// What the statements of a body fill.
    pub(super) fn filled_by_body(&self, body: &[Statement]) -> Vec<Filled> {
        let target = |s: &Statement| match &s.kind {
            StatementKind::Insert(insert) => self.filled_by_insert(&insert.target),
            _ => None,
        };
        body.iter().filter_map(target).collect()
    }
}

/// The error for whoever waits for a flow; that of the flow is below it.
fn failed(message: String, e: Error) -> Error {
    Error::execution("FLOW_FAILED", format!("{message}: [{}] {}", e.condition(), e.message())).with_source(e)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_readers_and_writers_meet() {
        let at = Filled::directory;
        for (reader, writer, meet) in [
            ("/out", "/out/", true),
            ("file:///out/*.csv", "/out", true),
            ("out", "./out", true),
            ("/out/part", "/out", true),
            ("/output", "/out", false),
            ("/{a,b}", "/a", true),
        ] {
            assert_eq!(at(reader).overlaps(&at(writer)), meet, "{reader} {writer}");
        }
        assert!(at("/out/x[1]").overlaps(&Filled::output("/out/x[1]")));
        assert!(Filled::output("/out/x[1]") != Filled::output("/out/x[2]"));
        assert!(!at("m").overlaps(&Filled::Memory("m".into())));
    }
}
