//! The one error type: what happened, under which condition name, where, and how to mend it.
//!
//! A message says what (kind of object and quoted name), in lower case and without a full stop. `kind` tells the caller
//! what to do next; `condition` is Spark's name where Spark has one.

mod foreign;

pub(crate) use foreign::with_type_names;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use datafusion::error::DataFusionError;

/// `Result` with [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller can do about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The text, option or call is wrong: mend it and try again. Nothing was started.
    Invalid,
    /// Understood, but not possible in streaming or not in this version: write it in another way.
    Unsupported,
    /// The data or a user function failed while a batch ran: mend the data or the query and restart from the checkpoint.
    Execution,
    /// A source, sink or file could not be reached: restart when it can.
    Io,
    /// The checkpoint cannot be used as it is; the message says why and what can be done.
    Checkpoint,
    /// A defect of this program.
    Internal,
}

/// A range of bytes in the text that was parsed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl Span {
    /// From the start of this one to the end of the other.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.start) }
    }

    /// The same range, `by` bytes further on.
    pub fn shift(self, by: usize) -> Span {
        Span { start: self.start + by, end: self.end + by }
    }
}

/// A piece of a script, with the script: what an expression of a running query was written as, whoever wrote it and when.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// All of the script.
    pub text: Arc<str>,
    /// The piece.
    pub span: Span,
}

/// Characters of an [`Origin`] that one line of a message shows.
const ORIGIN_CHARS: usize = 80;

/// As in `line 4, column 5: 100/(v - 2)`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let before = self.text.get(..self.span.start).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |i| i + 1);
        let (line, column) = (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1);
        let piece = self.text.get(self.span.start..self.span.end).unwrap_or_default();
        let shown: String = piece.lines().next().unwrap_or_default().chars().take(ORIGIN_CHARS).collect();
        let more = if shown.len() < piece.len() { "..." } else { "" };
        write!(f, "line {line}, column {column}: {shown}{more}")
    }
}

/// An error of this library.
///
/// `Display` gives `[CONDITION] message`, followed by the expression that failed, place and help if there are any, on lines of their own.
#[derive(Debug, Clone)]
pub struct Error(Box<Inner>);

#[derive(Debug, Clone)]
struct Inner {
    kind: ErrorKind,
    condition: Cow<'static, str>,
    message: String,
    help: Option<String>,
    span: Option<Span>,
    /// The text that `span` is in, where it need not be the one that is being run.
    text: Option<Arc<str>>,
    place: Option<String>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` under Spark's condition name (or ours, in the same style).
    pub fn new(kind: ErrorKind, condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            condition: condition.into(),
            message: message.into(),
            help: None,
            span: None,
            text: None,
            place: None,
            source: None,
        }))
    }

    /// A wrong text, option or call.
    pub fn invalid(condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid, condition, message)
    }

    /// Something that streaming, or this version, does not do.
    pub fn unsupported(condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, condition, message)
    }

    /// A failure while a batch ran.
    pub fn execution(condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Execution, condition, message)
    }

    /// A source, sink or file that could not be reached.
    pub fn io(condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Io, condition, message)
    }

    /// A checkpoint that cannot be used.
    pub fn checkpoint(condition: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Checkpoint, condition, message)
    }

    /// A checkpoint with something in it that this program has not written.
    pub(crate) fn corrupt_checkpoint(message: impl Into<String>) -> Self {
        Self::checkpoint("CHECKPOINT_CORRUPT", message).with_help(
            "restore the checkpoint's directory from a copy, or start with a new CHECKPOINT LOCATION and empty state",
        )
    }

    /// A defect of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, "INTERNAL_ERROR", message)
    }

    /// The same under another condition: the caller knows better what it means.
    pub(crate) fn with_condition(mut self, condition: &'static str) -> Self {
        self.0.condition = condition.into();
        self
    }

    /// Adds how to mend it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.0.help = Some(help.into());
        self
    }

    /// Adds the place in the text, unless one is known already (the innermost place is the most exact).
    pub fn with_span(mut self, span: impl Into<Option<Span>>) -> Self {
        self.0.span = self.0.span.or(span.into());
        self
    }

    /// Moves the place in the text, if one is known: from a fragment of a script to the whole of it.
    pub fn map_span(mut self, f: impl FnOnce(Span) -> Span) -> Self {
        if self.0.text.is_none() {
            self.0.span = self.0.span.map(f);
        }
        self
    }

    /// Adds what the expression that failed was written as, unless a place in the text is known already.
    pub(crate) fn with_origin(mut self, origin: &Origin) -> Self {
        if self.0.span.is_none() {
            self.0.span = Some(origin.span);
            self.0.text = Some(Arc::clone(&origin.text));
        }
        self
    }

    /// Adds the place at run time: source, partition, offset, batch id; unless one is known already.
    pub fn with_place(mut self, place: impl Into<String>) -> Self {
        self.0.place.get_or_insert_with(|| place.into());
        self
    }

    /// Adds the error below this one, which [`std::error::Error::source`] gives: that of the operating system, of a
    /// library or of a flow. The message says already what a person must know of it.
    #[must_use]
    pub fn with_source(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// Adds a call of the operating system that failed. A copy: what failed may still be asked why.
    #[must_use]
    pub(crate) fn with_io_source(self, e: &std::io::Error) -> Self {
        let copy = e.raw_os_error().map(std::io::Error::from_raw_os_error);
        self.with_source(copy.unwrap_or_else(|| std::io::Error::new(e.kind(), e.to_string())))
    }

    /// What an error of the user's code is to the query: `condition` is Spark's for such code, `function` says whose it is.
    pub(crate) fn in_user_function(mut self, condition: &'static str, function: &str) -> Self {
        let reason = format!("[{}] {}", self.0.condition, self.0.message);
        self.0.message = format!("an error occurred in the user provided function in {function}. Reason: {reason}");
        self.0.kind = ErrorKind::Execution;
        self.0.condition = condition.into();
        self.0.help.get_or_insert_with(|| "mend the function and restart from the checkpoint".into());
        self
    }

    /// What the caller can do.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The condition name, e.g. `STREAMING_OUTPUT_MODE.UNSUPPORTED_OPERATION`.
    pub fn condition(&self) -> &str {
        &self.0.condition
    }

    /// What happened.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// How to mend it.
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// The script that [`Error::span`] is in, if the expression that failed knows it: a view may come from another one than
    /// the query that uses it. Otherwise it is the text that was being run.
    pub fn text(&self) -> Option<&str> {
        self.0.text.as_deref()
    }

    /// Where in the text.
    pub fn span(&self) -> Option<Span> {
        self.0.span
    }

    /// Whether it is only that nobody reads the standard output any more, as after `| head`: the console sink's way to
    /// end. Found by the errors below this one, never by its text.
    pub fn is_closed_output(&self) -> bool {
        let mut error: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(e) = error {
            if let Some(output) = e.downcast_ref::<OutputError>() {
                return output.0.kind() == std::io::ErrorKind::BrokenPipe;
            }
            error = e.source();
        }
        false
    }

    /// Where at run time.
    pub fn place(&self) -> Option<&str> {
        self.0.place.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {}", self.0.condition, self.0.message)?;
        if let (Some(text), Some(span)) = (&self.0.text, self.0.span) {
            write!(f, "\n --> {}", Origin { text: Arc::clone(text), span })?;
        }
        if let Some(place) = &self.0.place {
            write!(f, "\n --> {place}")?;
        }
        if let Some(help) = &self.0.help {
            write!(f, "\nhelp: {help}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|e| e as &(dyn std::error::Error + 'static))
    }
}

/// The standard output cannot be written to.
#[derive(Debug)]
pub(crate) struct OutputError(pub std::io::Error);

impl fmt::Display for OutputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the standard output cannot be written to: {}", self.0)
    }
}

impl std::error::Error for OutputError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.0)
    }
}

/// An [`Error`] that travelled through DataFusion comes back as it was; others become `Execution` or, for planning, `Invalid`.
impl From<DataFusionError> for Error {
    fn from(e: DataFusionError) -> Self {
        fn find(e: &(dyn std::error::Error + 'static)) -> Option<Error> {
            if let Some(e) = e.downcast_ref::<Error>() {
                return Some(e.clone());
            }
            if let Some(DataFusionError::External(e)) = e.downcast_ref::<DataFusionError>()
                && let Some(e) = e.downcast_ref::<Error>()
            {
                return Some(e.clone());
            }
            if let Some(DataFusionError::Shared(e)) = e.downcast_ref::<DataFusionError>() {
                return find(e.as_ref());
            }
            if let Some(arrow::error::ArrowError::ExternalError(e)) = e.downcast_ref::<arrow::error::ArrowError>() {
                return find(e.as_ref());
            }
            e.source().and_then(find)
        }
        if let Some(e) = find(&e) {
            return e;
        }
        foreign::error(&e).with_source(e)
    }
}

impl From<Error> for DataFusionError {
    fn from(e: Error) -> Self {
        DataFusionError::External(Box::new(e))
    }
}

impl From<arrow::error::ArrowError> for Error {
    fn from(e: arrow::error::ArrowError) -> Self {
        DataFusionError::from(e).into()
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io;

    use super::*;

    /// The errors below `e`, as text.
    fn chain(e: &Error) -> Vec<String> {
        std::iter::successors(e.source(), |e| (**e).source()).map(ToString::to_string).collect()
    }

    #[test]
    fn a_closed_output_is_known_by_what_is_below_it() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        let of = |e: io::Error| Error::io("SINK_WRITE", "the console cannot be written to").with_source(OutputError(e));
        assert!(of(closed()).is_closed_output());
        assert!(
            of(closed()).in_user_function("FOREACH_BATCH_USER_FUNCTION_ERROR", "foreach batch sink").is_closed_output()
        );
        assert!(Error::from(DataFusionError::from(of(closed()))).is_closed_output());
        assert!(!of(io::Error::from(io::ErrorKind::StorageFull)).is_closed_output());
        // A connection of a source, and a value that a message quotes, are something else.
        assert!(!Error::io("FILE_IO", "broken pipe").with_source(closed()).is_closed_output());
        assert!(!Error::execution("CAST_INVALID_INPUT", "the value 'Broken pipe (os error 32)'").is_closed_output());
    }

    #[test]
    fn the_error_of_the_system_is_below_ours() {
        let io = io::Error::new(io::ErrorKind::PermissionDenied, "not you");
        let e = Error::from(DataFusionError::ArrowError(
            Box::new(arrow::error::ArrowError::IoError("cannot open".into(), io)),
            None,
        ));
        assert_eq!(chain(&e).last().map(String::as_str), Some("not you"), "{:?}", chain(&e));
        assert_eq!(chain(&Error::invalid("X", "ours")), Vec::<String>::new());
    }
}
