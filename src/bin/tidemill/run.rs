//! `tidemill run` and `tidemill explain`.

use std::ops::ControlFlow;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;

use tidemill::testing::Failpoints;
use tidemill::{Error, Result, Script, Session, SourceText, StatementResult, StreamingQuery, Uuid, Variables};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};

use crate::cli::{ExplainArgs, ProgressOutput, RunArgs, ScriptArgs, SessionArgs};
use crate::output::{fail, print, results_on_stderr, say, show};
use crate::progress::PrintProgress;
use crate::signals::Shutdown;
use crate::{FAILED, WRONG};

/// A script and its name.
struct Text {
    name: String,
    text: String,
}

impl Text {
    fn source(&self) -> SourceText<'_> {
        SourceText { name: &self.name, text: &self.text }
    }
}

/// `tidemill run`; the exit code.
pub async fn run(args: RunArgs) -> u8 {
    let shutdown = Shutdown::listen();
    if args.progress_json == Some(ProgressOutput::Stdout) {
        results_on_stderr();
    }
    let (session, texts, scripts) = match open(&args.session, &args.scripts).await {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    let unread = Arc::new(Notify::new());
    if let Some(output) = &args.progress_json {
        match PrintProgress::to(output, unread.clone()) {
            Ok(listener) => session.streams().add_listener(Arc::new(listener)),
            Err(code) => return code,
        }
    }
    let work = texts.iter().zip(scripts).collect();
    let (flows, fail_fast) = (JoinSet::new(), args.fail_fast);
    Run { session: &session, texts: &texts, flows, fail_fast, told: vec![], code: 0 }.all(work, shutdown, unread).await
}

/// Scripts and the flows they have started.
struct Run<'s> {
    session: &'s Session,
    texts: &'s [Text],
    flows: JoinSet<(StreamingQuery, Result<()>)>,
    fail_fast: bool,
    /// Runs whose failure was told.
    told: Vec<Uuid>,
    /// The exit code so far.
    code: u8,
}

impl Run<'_> {
    /// Runs the scripts, and then the flows until every one has ended or somebody wants an end; the exit code. A flow that
    /// fails is told at once, also while a script waits for another.
    async fn all(mut self, work: Vec<(&Text, Script)>, mut shutdown: Shutdown, unread: Arc<Notify>) -> u8 {
        let session = self.session;
        let (sender, mut started) = mpsc::unbounded_channel();
        let mut scripts = pin!(run_in_order(session, work, sender));
        let mut running = true;
        while running || !started.is_empty() || !self.flows.is_empty() {
            tokio::select! {
                () = shutdown.requested() => return self.stop_all().await,
                () = unread.notified() => return self.stop_all().await,
                Some(query) = started.recv() => self.watch(query),
                Some(ended) = self.flows.join_next() => {
                    if self.ended(ended).is_break() {
                        return self.stop_all().await;
                    }
                }
                result = &mut scripts, if running => {
                    running = false;
                    if let Err((text, e)) = result {
                        // Which flow is to blame comes first.
                        self.tell_failures();
                        fail(&e, Some(text.source()));
                        self.code = FAILED;
                        return self.stop_all().await;
                    }
                    if let Ok(code @ 1..) = result {
                        self.code = self.code.max(code);
                        return self.stop_all().await;
                    }
                }
            }
        }
        self.code
    }

    fn watch(&mut self, query: StreamingQuery) {
        self.flows.spawn(async move {
            let result = query.await_termination().await;
            (query, result)
        });
    }

    /// A flow has ended; breaks if that is the end of all.
    fn ended(&mut self, ended: Result<(StreamingQuery, Result<()>), JoinError>) -> ControlFlow<()> {
        match ended {
            Ok((_, Ok(()))) => ControlFlow::Continue(()),
            Ok((_, Err(e))) if e.is_closed_output() => ControlFlow::Break(()),
            Ok((query, Err(e))) => {
                self.tell(&query, &e);
                if self.fail_fast { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            }
            Err(e) => {
                say(&format!("error: {e}"));
                self.code = FAILED;
                ControlFlow::Continue(())
            }
        }
    }

    fn tell(&mut self, query: &StreamingQuery, e: &Error) {
        self.code = FAILED;
        if !self.told.contains(&query.run_id()) {
            self.told.push(query.run_id());
            let text = self.texts.iter().find(|t| e.text() == Some(t.text.as_str()));
            failed(query, e, text.map(Text::source));
        }
    }

    /// Tells which flows have failed so far.
    fn tell_failures(&mut self) {
        for query in self.session.streams().all() {
            if let Some(e) = query.exception().filter(|e| !e.is_closed_output()) {
                self.tell(&query, &e);
            }
        }
    }

    /// Ends every flow; the exit code.
    async fn stop_all(mut self) -> u8 {
        for query in self.session.streams().active() {
            query.request_stop();
        }
        while let Some(ended) = self.flows.join_next().await {
            let _ = self.ended(ended);
        }
        // Those that nobody watches yet; what closing failed with is told below.
        for query in self.session.streams().active() {
            let _ = query.stop().await;
        }
        self.tell_failures();
        self.code
    }
}

/// Runs the scripts one after the other, their warnings first, and hands over every flow that starts. Gives the exit code,
/// or the error of the statement that failed.
async fn run_in_order<'t>(
    session: &Session,
    work: Vec<(&'t Text, Script)>,
    started: mpsc::UnboundedSender<StreamingQuery>,
) -> Result<u8, (&'t Text, Error)> {
    for (text, script) in work {
        for warning in &script.warnings {
            say(&format!("warning: {warning}"));
        }
        let mut code = 0;
        let done = session.execute(script, |result| {
            code = code.max(show(session, &result));
            if let StatementResult::Query(query) = result {
                // Who watches lives as long as the scripts.
                let _ = started.send(query);
            }
        });
        done.await.map_err(|e| (text, e))?;
        if code != 0 {
            return Ok(code);
        }
    }
    Ok(0)
}

/// Says that a flow has failed; `source` is the script that its error is in, if that is known.
pub fn failed(query: &StreamingQuery, error: &Error, source: Option<SourceText<'_>>) {
    fail(error, source);
    say(&format!("flow '{}' has failed", query.name().unwrap_or_default()));
}

/// `tidemill explain`; the exit code.
pub async fn explain(args: ExplainArgs) -> u8 {
    let (session, texts, scripts) = match open(&args.session, &args.scripts).await {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    for (text, script) in texts.iter().zip(&scripts) {
        match session.explain_script(script, args.extended).await {
            Ok(parts) => {
                for (title, plan) in parts {
                    let code = print(&format!("-- {title}\n{plan}\n"));
                    if code != 0 {
                        return code;
                    }
                }
            }
            Err(e) => return fail(&e, Some(text.source())),
        }
    }
    0
}

/// A session of these arguments.
pub fn make_session(args: &SessionArgs) -> Result<Session> {
    let mut builder = Session::builder().failpoints(Failpoints::from_env()?);
    if let Some(root) = &args.checkpoint_root {
        builder = builder.checkpoint_root(root);
    }
    if let Some(cores) = args.cores() {
        builder = builder.target_partitions(cores);
    }
    builder.build()
}

/// The variables of these arguments.
pub fn variables(define: &[(String, String)]) -> Variables {
    let mut variables = Variables::default();
    define.iter().for_each(|(name, value)| variables.set(name, value));
    variables
}

/// A session in which every script is checked. If one is wrong, all errors of all scripts are shown.
async fn open(session: &SessionArgs, scripts: &ScriptArgs) -> Result<(Session, Vec<Text>, Vec<Script>), u8> {
    let texts = read(scripts)?;
    let variables = variables(&session.define);
    let session = make_session(session).map_err(|e| fail(&e, None))?;
    let mut prepared = vec![];
    let mut wrong = 0;
    for text in &texts {
        match session.prepare(&text.text, &variables).await {
            Ok(script) => prepared.push(script),
            Err(errors) => {
                wrong += errors.len();
                for e in &errors {
                    fail(e, Some(text.source()));
                    say("");
                }
            }
        }
    }
    if wrong > 0 {
        say(&format!("{wrong} error{}, nothing was started", if wrong == 1 { "" } else { "s" }));
        return Err(WRONG);
    }
    Ok((session, texts, prepared))
}

fn read(scripts: &ScriptArgs) -> Result<Vec<Text>, u8> {
    let mut texts = vec![];
    if scripts.files.iter().filter(|f| is_stdin(f)).count() > 1 {
        say("error: '-', the standard input, can be read once");
        return Err(WRONG);
    }
    for file in &scripts.files {
        let name = if is_stdin(file) { "<stdin>".to_owned() } else { file.display().to_string() };
        let text =
            if is_stdin(file) { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(file) };
        let text = text.map_err(|e| {
            say(&format!("error: file '{name}': {e}"));
            WRONG
        })?;
        // Some editors begin a file with a mark of its encoding.
        let text = text.strip_prefix('\u{feff}').map_or_else(|| text.clone(), str::to_owned);
        texts.push(Text { name, text });
    }
    texts.extend(scripts.execute.iter().map(|text| Text { name: "<command line>".into(), text: text.clone() }));
    Ok(texts)
}

fn is_stdin(file: &Path) -> bool {
    file.as_os_str() == "-"
}
