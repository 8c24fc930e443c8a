//! Writing to the two standard streams. A closed pipe is the reader's way to say that it has enough.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use tidemill::{Error, RowSet, Session, SourceText, StatementResult, render_error};

use crate::{FAILED, WRONG};

/// Whether messages may have colours.
pub fn colour() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
}

/// Whether a shell shows its prompt, which a message must not be appended to.
static PROMPT: AtomicBool = AtomicBool::new(false);

/// From now on, lines on the standard error take the place of a prompt.
pub fn above_prompt() {
    PROMPT.store(io::stderr().is_terminal(), Ordering::Relaxed);
}

/// A line on the standard error.
pub fn say(text: &str) {
    // There is nowhere left to report that the standard error is closed.
    let _ = writeln!(StandardError, "{text}");
}

/// The standard error, for messages and logs.
pub struct StandardError;

impl Write for StandardError {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().lock().write(bytes)
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let start: &[u8] = if PROMPT.load(Ordering::Relaxed) { b"\r\x1b[K" } else { b"" };
        // One write, so that the lines of two threads stay apart.
        io::stderr().lock().write_all(&[start, bytes].concat())
    }

    fn write_fmt(&mut self, text: std::fmt::Arguments<'_>) -> io::Result<()> {
        self.write_all(text.to_string().as_bytes())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

static RESULTS_ON_STDERR: AtomicBool = AtomicBool::new(false);

/// From now on, results go to the standard error: the standard output is for the progress.
pub fn results_on_stderr() {
    RESULTS_ON_STDERR.store(true, Ordering::Relaxed);
    tidemill::console_on_stderr();
}

/// Text on the standard output; the exit code.
pub fn print(text: &str) -> u8 {
    if RESULTS_ON_STDERR.load(Ordering::Relaxed) {
        say(text.trim_end_matches('\n'));
        return 0;
    }
    match write_out(text) {
        Ok(()) => 0,
        Err(e) if e.kind() == ErrorKind::BrokenPipe => 0,
        Err(e) => {
            say(&format!("error: standard output: {e}"));
            FAILED
        }
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        out.write_all(b"\n")?;
    }
    out.flush()
}

/// Shows an error; the exit code that it means.
pub fn fail(error: &Error, source: Option<SourceText<'_>>) -> u8 {
    say(&render_error(error, source, colour()));
    match error.kind() {
        tidemill::ErrorKind::Invalid | tidemill::ErrorKind::Unsupported => WRONG,
        _ => FAILED,
    }
}

/// Prints what a statement gave.
pub fn show(session: &Session, result: &StatementResult) -> u8 {
    match result {
        StatementResult::Rows(rows) => print(&table(session, rows)),
        StatementResult::Text(text) => print(text),
        StatementResult::Nothing | StatementResult::Query(_) => 0,
    }
}

fn table(session: &Session, rows: &RowSet) -> String {
    let zone = session.conf().get("session.timeZone").unwrap_or_else(|_| "UTC".into());
    let count = rows.batches().iter().map(|b| b.num_rows()).sum();
    rows.show(count, &zone)
}
