//! `tidemill sql`: statements as they are typed.

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};
use tidemill::{Session, SourceText, StatementResult, StreamingQuery, is_complete};
use tokio::runtime::Runtime;

use crate::cli::SessionArgs;
use crate::output::{fail, say, show};
use crate::run::{failed, make_session, variables};
use crate::{FAILED, WRONG};

const HELP: &str = "\
A statement ends with ';' and may have several lines; help, quit and exit need none.
  CREATE STREAM lines USING socket OPTIONS (host '127.0.0.1', port 9999);
  SELECT value FROM lines;        a query over a stream runs until it is stopped
  SHOW FLOWS;   STOP FLOW f;      what runs, and ending it
Ctrl-C drops what is typed, or ends the query that runs; on an empty line it stops every flow.
Ctrl-D, exit, quit or \\q leaves; the arrow keys bring back what was typed before.";

/// Whether a flow has ended with an error.
static FLOW_FAILED: AtomicBool = AtomicBool::new(false);

const PROMPT: &str = "tidemill> ";
const CONTINUATION: &str = "       -> ";

/// Reads and runs statements until the end of input; the exit code.
pub fn shell(runtime: &Runtime, args: &SessionArgs) -> u8 {
    let session = match make_session(args) {
        Ok(session) => session,
        Err(e) => return fail(&e, None),
    };
    let interactive = std::io::stdin().is_terminal();
    let mut input = match Input::open(interactive) {
        Ok(input) => input,
        Err(e) => {
            say(&format!("error: no line editor: {e}"));
            return FAILED;
        }
    };
    if interactive {
        say(&format!(
            "Tidemill {}. Statements end with ';'. Type help for help, exit to leave.",
            env!("CARGO_PKG_VERSION")
        ));
        crate::output::above_prompt();
    }
    let code = read_statements(runtime, &session, &mut input, args);
    input.keep_history();
    stop_all(runtime, &session);
    // A script that was piped in is not right if a flow of it was not.
    if FLOW_FAILED.load(Ordering::Relaxed) && !interactive { code.max(FAILED) } else { code }
}

/// Where lines come from.
enum Input {
    /// A terminal, with a prompt, a history and keys to edit.
    Editor(Box<DefaultEditor>, Option<PathBuf>),
    /// A pipe or a file: lines, and nothing else.
    Lines,
}

impl Input {
    fn open(interactive: bool) -> Result<Self, ReadlineError> {
        if !interactive {
            return Ok(Self::Lines);
        }
        let mut editor = DefaultEditor::with_config(Config::builder().auto_add_history(false).build())?;
        let history = history_file();
        if let Some(file) = &history {
            // The first time there is none.
            let _ = editor.load_history(file);
        }
        Ok(Self::Editor(Box::new(editor), history))
    }

    fn line(&mut self, prompt: &str) -> Result<String, ReadlineError> {
        match self {
            Self::Editor(editor, _) => editor.readline(prompt),
            Self::Lines => {
                let mut line = String::new();
                match std::io::stdin().lock().read_line(&mut line)? {
                    0 => Err(ReadlineError::Eof),
                    _ => Ok(line.trim_end_matches(['\n', '\r']).to_owned()),
                }
            }
        }
    }

    fn remember(&mut self, statement: &str) {
        if let Self::Editor(editor, _) = self
            && let Err(e) = editor.add_history_entry(statement)
        {
            tracing::debug!("history: {e}");
        }
    }

    fn keep_history(&mut self) {
        if let Self::Editor(editor, Some(file)) = self
            && let Err(e) = editor.save_history(file)
        {
            say(&format!("warning: the history was not kept: {e}"));
        }
    }
}

/// A line that is no SQL.
#[derive(Debug, PartialEq, Eq)]
enum ShellCommand {
    Help,
    Quit,
    Unknown,
}

impl ShellCommand {
    /// The words of other shells, with or without a semicolon.
    fn of(line: &str) -> Option<Self> {
        let line = line.trim().trim_end_matches(';').trim_end().to_ascii_lowercase();
        match line.as_str() {
            "help" | "?" | ".help" | "\\h" | "\\?" => Some(Self::Help),
            "exit" | "quit" | ".exit" | ".quit" | "\\q" => Some(Self::Quit),
            other if other.starts_with('.') || other.starts_with('\\') => Some(Self::Unknown),
            _ => None,
        }
    }
}

fn read_statements(runtime: &Runtime, session: &Session, input: &mut Input, args: &SessionArgs) -> u8 {
    let mut text = String::new();
    loop {
        match input.line(if text.is_empty() { PROMPT } else { CONTINUATION }) {
            Ok(line) if text.is_empty() && line.trim().is_empty() => {}
            Ok(line) if text.is_empty() && ShellCommand::of(&line).is_some() => match ShellCommand::of(&line) {
                Some(ShellCommand::Quit) => return 0,
                Some(ShellCommand::Unknown) => {
                    say(&format!("there is no command '{}'; help shows what there is", line.trim()));
                }
                _ => say(HELP),
            },
            Ok(line) => {
                text.push_str(&line);
                text.push('\n');
                if is_complete(&text) {
                    let statement = std::mem::take(&mut text);
                    input.remember(statement.trim());
                    run_statement(runtime, session, &statement, args);
                }
            }
            Err(ReadlineError::Interrupted) if text.is_empty() => {
                if stop_all(runtime, session) == 0 {
                    say("Ctrl-D or exit leaves");
                }
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) if text.trim().is_empty() => return 0,
            Err(ReadlineError::Eof) => {
                // Input from a pipe may lack the last semicolon.
                return if run_statement(runtime, session, &text, args) { 0 } else { WRONG };
            }
            Err(e) => {
                say(&format!("error: {e}"));
                return FAILED;
            }
        }
    }
}

/// Runs one statement; whether it was right.
fn run_statement(runtime: &Runtime, session: &Session, text: &str, args: &SessionArgs) -> bool {
    let source = Some(SourceText { name: "<input>", text });
    runtime.block_on(async {
        let script = match session.prepare(text, &variables(&args.define)).await {
            Ok(script) => script,
            Err(errors) => {
                for e in &errors {
                    fail(e, source);
                }
                return false;
            }
        };
        script.warnings.iter().for_each(|w| say(&format!("warning: {w}")));
        let executed = session.execute(script, |result| {
            if let StatementResult::Query(query) = &result {
                tokio::spawn(tell_failure(query.clone()));
            }
            show(session, &result);
        });
        tokio::select! {
            done = executed => match done {
                Ok(()) => true,
                Err(e) => {
                    fail(&e, source);
                    false
                }
            },
            _ = tokio::signal::ctrl_c() => {
                say("interrupted");
                false
            }
        }
    })
}

/// Says so when a flow ends with an error: nobody waits for it here.
async fn tell_failure(query: StreamingQuery) {
    if let Err(e) = query.await_termination().await {
        FLOW_FAILED.store(true, Ordering::Relaxed);
        failed(&query, &e, None);
    }
}

/// Stops every flow; how many there were.
fn stop_all(runtime: &Runtime, session: &Session) -> usize {
    let active = session.streams().active();
    for query in &active {
        if let Err(e) = runtime.block_on(query.stop()) {
            fail(&e, None);
        }
        say(&format!("flow '{}' was stopped", query.name().unwrap_or_default()));
    }
    active.len()
}

fn history_file() -> Option<PathBuf> {
    std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".tidemill_history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_need_no_semicolon() {
        for line in ["exit", "QUIT;", " \\q ", ".exit"] {
            assert_eq!(ShellCommand::of(line), Some(ShellCommand::Quit), "{line}");
        }
        assert_eq!(ShellCommand::of("help"), Some(ShellCommand::Help));
        assert_eq!(ShellCommand::of("\\d"), Some(ShellCommand::Unknown));
        assert_eq!(ShellCommand::of("SELECT 1"), None);
    }
}
