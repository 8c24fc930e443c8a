//! Statements, as they were written. What they do is the session's business.

use std::time::Duration;

use crate::error::Span;
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::trigger::Trigger;

/// One statement of a script.
#[derive(Debug, Clone, PartialEq)]
pub struct Statement {
    /// What it says.
    pub kind: StatementKind,
    /// All of it, without the semicolon.
    pub span: Span,
}

/// A name as it was written, without quotes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// As written.
    pub text: String,
    /// Where.
    pub span: Span,
}

impl Name {
    /// The name by which it is found: names are case-insensitive.
    pub fn key(&self) -> String {
        self.text.to_lowercase()
    }
}

/// A piece of the script that another parser reads. Its first byte is `span.start` of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragment {
    /// The piece.
    pub text: String,
    /// Where.
    pub span: Span,
}

/// See [`Statement`].
#[derive(Debug, Clone, PartialEq)]
pub enum StatementKind {
    /// `CREATE STREAM | TABLE | SINK`.
    CreateRelation(CreateRelation),
    /// `CREATE VIEW name AS query`.
    CreateView(CreateView),
    /// `CREATE FLOW name … AS [INSERT INTO target] query [FOREACH BATCH …]`.
    CreateFlow(CreateFlow),
    /// `CREATE STREAMING TABLE name … AS query`.
    CreateStreamingTable(CreateStreamingTable),
    /// `INSERT INTO target [(column, …)] query`.
    Insert(Insert),
    /// A query by itself.
    Query(Fragment),
    /// `SET key = value`.
    Set {
        /// The setting.
        key: Name,
        /// Its new value.
        value: String,
    },
    /// `SET key`, or `SET` for all.
    ShowSetting(Option<Name>),
    /// `EXPLAIN WAITING name`, `EXPLAIN [EXTENDED] FLOW name` or `EXPLAIN [EXTENDED] query`.
    Explain {
        /// Also the plans before optimisation.
        extended: bool,
        /// What to explain.
        target: ExplainTarget,
    },
    /// `SHOW FLOWS | STREAMS | …`.
    Show(ObjectKind),
    /// `SHOW [USER | SYSTEM | ALL] FUNCTIONS [[LIKE] pattern]`.
    ShowFunctions {
        /// `USER`, `SYSTEM` or `ALL`; all, if it is not given.
        scope: Option<&'static str>,
        /// Which of them.
        pattern: Option<String>,
    },
    /// `DESCRIBE FUNCTION [EXTENDED] name`.
    DescribeFunction {
        /// Also its group and an example.
        extended: bool,
        /// The function or operator.
        name: Name,
    },
    /// `DESCRIBE [kind] name`.
    Describe {
        /// The kind, if it was given.
        kind: Option<ObjectKind>,
        /// The object.
        name: Name,
    },
    /// `STOP [FLOW] name`.
    Stop(Name),
    /// `AWAIT [FLOW] name [TIMEOUT duration]`.
    Await {
        /// The flow.
        name: Name,
        /// How long at most; without, until it ends.
        timeout: Option<Duration>,
    },
    /// `DROP kind [IF EXISTS] name`.
    Drop {
        /// The kind of object.
        kind: ObjectKind,
        /// No error if there is none.
        if_exists: bool,
        /// The object.
        name: Name,
    },
}

/// See [`StatementKind::Explain`].
#[derive(Debug, Clone, PartialEq)]
pub enum ExplainTarget {
    /// A flow by its name.
    Flow(Name),
    /// What a running flow waits for.
    Waiting(Name),
    /// A query.
    Query(Fragment),
}

/// Kinds of named objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectKind {
    /// An unbounded table.
    Stream,
    /// A static table.
    Table,
    /// Where flows write.
    Sink,
    /// A named query.
    View,
    /// A running query.
    Flow,
    /// A sink with the flow that fills it, readable as a table.
    StreamingTable,
}

impl ObjectKind {
    /// The kind in words, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Table => "table",
            Self::Sink => "sink",
            Self::View => "view",
            Self::Flow => "flow",
            Self::StreamingTable => "streaming table",
        }
    }
}

/// What to do if there is an object of this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IfThere {
    /// `OR REPLACE`.
    pub replace: bool,
    /// `IF NOT EXISTS`.
    pub keep: bool,
}

/// `CREATE STREAM | TABLE | SINK name (columns) USING format OPTIONS (…)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateRelation {
    /// Stream, table or sink.
    pub kind: ObjectKind,
    /// Its name.
    pub name: Name,
    /// What to do with an older one.
    pub if_there: IfThere,
    /// Column definitions, without the watermark.
    pub columns: Option<Fragment>,
    /// `WATERMARK FOR …` among the columns.
    pub watermark: Option<Watermark>,
    /// `USING format`.
    pub format: Name,
    /// `OPTIONS (…)`.
    pub options: Options,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
}

/// `WATERMARK FOR column AS column - INTERVAL delay`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watermark {
    /// The event-time column.
    pub column: Name,
    /// The delay, as interval text: `INTERVAL 10 SECONDS`.
    pub delay: Fragment,
}

/// `CREATE VIEW name AS query`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateView {
    /// Its name.
    pub name: Name,
    /// What to do with an older one.
    pub if_there: IfThere,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// The query.
    pub query: Fragment,
}

/// The settings of a query that runs, from clauses or from options of the same meaning.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FlowSettings {
    /// `OUTPUT MODE`.
    pub output_mode: Option<OutputMode>,
    /// `TRIGGER`.
    pub trigger: Option<Trigger>,
    /// `CHECKPOINT LOCATION`.
    pub checkpoint: Option<String>,
}

/// `CREATE FLOW`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateFlow {
    /// The query's name.
    pub name: Name,
    /// What to do with an older one.
    pub if_there: IfThere,
    /// Mode, trigger, checkpoint.
    pub settings: FlowSettings,
    /// `USING format`: the sink by its format alone.
    pub format: Option<Name>,
    /// Options of that sink, and settings of the query.
    pub options: Options,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// `INSERT INTO target`.
    pub target: Option<Name>,
    /// `(a, b)` behind the target: the columns that the query's are for; none if it names none.
    pub columns: Vec<Name>,
    /// The query.
    pub query: Fragment,
    /// `FOREACH BATCH BEGIN … END`: inserts and queries.
    pub body: Option<Vec<Statement>>,
}

/// `CREATE STREAMING TABLE`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateStreamingTable {
    /// Name of table, sink and flow.
    pub name: Name,
    /// What to do with an older one.
    pub if_there: IfThere,
    /// Mode, trigger, checkpoint.
    pub settings: FlowSettings,
    /// `USING format`; a table in memory without.
    pub format: Option<Name>,
    /// Options of the format.
    pub options: Options,
    /// `COMMENT '…'`.
    pub comment: Option<String>,
    /// The query.
    pub query: Fragment,
}

/// `INSERT INTO target query`.
#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    /// A sink, a static table, or `console`.
    pub target: Name,
    /// The columns that the query's are for, in its order; none if it names none.
    pub columns: Vec<Name>,
    /// The query.
    pub query: Fragment,
}

/// The trigger `every`, of any spelling.
pub fn processing_time(every: Duration) -> Trigger {
    if every.is_zero() { Trigger::Default } else { Trigger::ProcessingTime(every) }
}
