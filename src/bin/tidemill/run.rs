//! `tidemill run` and `tidemill explain`.

use std::sync::Arc;

use tidemill::testing::Failpoints;
use tidemill::{
    Result, Script, Session, SourceText, StatementResult, StreamingQuery, StreamingQueryListener,
    StreamingQueryProgress, Variables,
};
use tokio::task::JoinSet;

use crate::cli::{ExplainArgs, RunArgs, ScriptArgs, SessionArgs};
use crate::output::{fail, print, say, show};
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
    let (session, texts, scripts) = match open(&args.session, &args.scripts).await {
        Ok(opened) => opened,
        Err(code) => return code,
    };
    if args.progress_json {
        session.streams().add_listener(Arc::new(PrintProgress));
    }
    let work = texts.iter().zip(scripts).collect();
    run_scripts(&session, work, args.fail_fast, shutdown).await
}

async fn run_scripts(session: &Session, work: Vec<(&Text, Script)>, fail_fast: bool, mut shutdown: Shutdown) -> u8 {
    let mut queries = vec![];
    let started = async {
        for (text, script) in work {
            let code = start(session, text, script, &mut queries).await;
            if code != 0 {
                return code;
            }
        }
        0
    };
    tokio::select! {
        code = started => if code != 0 {
            stop_all(session).await;
            return code;
        },
        () = shutdown.requested() => return stop_all(session).await,
    }
    wait(session, queries, fail_fast, shutdown).await
}

/// Runs one script; its warnings come first.
async fn start(session: &Session, text: &Text, script: Script, queries: &mut Vec<StreamingQuery>) -> u8 {
    for warning in &script.warnings {
        say(&format!("warning: {warning}"));
    }
    let mut code = 0;
    let done = session.execute(script, |result| {
        code = code.max(show(session, &result));
        if let StatementResult::Query(query) = result {
            queries.push(query);
        }
    });
    match done.await {
        Ok(()) => code,
        Err(e) => fail(&e, Some(text.source())),
    }
}

/// Waits until every query has ended, or a signal came; the exit code.
async fn wait(session: &Session, queries: Vec<StreamingQuery>, fail_fast: bool, mut shutdown: Shutdown) -> u8 {
    let mut running = JoinSet::new();
    for query in queries {
        running.spawn(async move {
            let result = query.await_termination().await;
            (query, result)
        });
    }
    let mut code = 0;
    loop {
        tokio::select! {
            ended = running.join_next() => match ended {
                None => return code,
                Some(Ok((query, Err(e)))) => {
                    if e.is_closed_output() {
                        return stop_all(session).await.max(code);
                    }
                    code = FAILED;
                    failed(&query, &e);
                    if fail_fast {
                        stop_all(session).await;
                        return code;
                    }
                }
                Some(Ok((_, Ok(())))) => {}
                Some(Err(e)) => {
                    say(&format!("error: {e}"));
                    code = FAILED;
                }
            },
            () = shutdown.requested() => return stop_all(session).await.max(code),
        }
    }
}

pub fn failed(query: &StreamingQuery, error: &tidemill::Error) {
    fail(error, None);
    say(&format!("flow '{}' has failed", query.name().unwrap_or_default()));
}

/// Ends every query; the exit code.
async fn stop_all(session: &Session) -> u8 {
    let mut code = 0;
    for query in session.streams().active() {
        if let Err(e) = query.stop().await
            && !e.is_closed_output()
        {
            failed(&query, &e);
            code = FAILED;
        }
    }
    code
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
pub fn variables(args: &SessionArgs) -> Variables {
    let mut variables = Variables::default();
    args.define.iter().for_each(|(name, value)| variables.set(name, value));
    variables
}

/// A session in which every script is checked. If one is wrong, all errors of all scripts are shown.
async fn open(session: &SessionArgs, scripts: &ScriptArgs) -> Result<(Session, Vec<Text>, Vec<Script>), u8> {
    let texts = read(scripts)?;
    let variables = variables(session);
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
    for file in &scripts.files {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).map_err(|e| {
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

/// Prints the progress of every batch as a line of JSON.
struct PrintProgress;

impl StreamingQueryListener for PrintProgress {
    fn on_query_progress(&self, progress: &Arc<StreamingQueryProgress>) {
        say(&progress.to_json());
    }
}
