//! `tidemill demo`: a word count over lines that the program serves itself.

use std::sync::Arc;
use std::time::Duration;

use tidemill::{Session, SourceText, StatementResult, StreamingQueryListener, StreamingQueryProgress, Variables};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::FAILED;
use crate::cli::DemoArgs;
use crate::output::{fail, say};
use crate::signals::Shutdown;

const LINES: [&str; 8] = [
    "the tide comes in and the mill wheel turns",
    "the tide goes out and the mill wheel rests",
    "every wave is a batch and every batch is a wave",
    "the miller keeps the count in a book by the wheel",
    "late grain is weighed but it is not ground twice",
    "when the night is long the book remembers the count",
    "a stream is a table that has not ended",
    "and a table is a stream that has",
];

/// Time between two lines.
const PAUSE: Duration = Duration::from_millis(200);

fn script(port: u16) -> String {
    format!(
        "CREATE STREAM lines USING socket OPTIONS (host '127.0.0.1', port {port});

CREATE VIEW words AS SELECT explode(split(value, ' ')) AS word FROM lines;

CREATE FLOW word_count OUTPUT MODE COMPLETE TRIGGER EVERY 1 SECOND
AS SELECT word, count(*) AS count FROM words GROUP BY word ORDER BY count DESC, word;
"
    )
}

/// Runs the demo; the exit code.
pub async fn demo(args: DemoArgs) -> u8 {
    let mut shutdown = Shutdown::listen();
    let (listener, port) = match listen().await {
        Ok(listening) => listening,
        Err(e) => {
            say(&format!("error: no local port: {e}"));
            return FAILED;
        }
    };
    let server = tokio::spawn(serve(listener));
    let text = script(port);
    say(&format!("Serving lines on 127.0.0.1:{port} and counting their words. This is the whole program:\n\n{text}"));
    say("Ctrl-C ends it.\n");
    let code = tokio::select! {
        code = count_words(&text, args.batches) => code,
        () = shutdown.requested() => 0,
    };
    server.abort();
    code
}

async fn listen() -> std::io::Result<(TcpListener, u16)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let port = listener.local_addr()?.port();
    Ok((listener, port))
}

/// Gives every client the lines, over and over.
async fn serve(listener: TcpListener) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(write_lines(client));
    }
}

async fn write_lines(mut client: TcpStream) -> std::io::Result<()> {
    for line in LINES.iter().cycle() {
        client.write_all(line.as_bytes()).await?;
        client.write_all(b"\n").await?;
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

async fn count_words(text: &str, batches: Option<u64>) -> u8 {
    let session = Session::new();
    let (sender, mut ran) = watch::channel(0);
    session.streams().add_listener(Arc::new(CountBatches(sender)));
    let source = Some(SourceText { name: "demo", text });
    let script = match session.prepare(text, &Variables::default()).await {
        Ok(script) => script,
        Err(errors) => return errors.iter().map(|e| fail(e, source)).max().unwrap_or(FAILED),
    };
    let mut queries = vec![];
    let started = session.execute(script, |result| {
        if let StatementResult::Query(query) = result {
            queries.push(query);
        }
    });
    if let Err(e) = started.await {
        return fail(&e, source);
    }
    let Some(query) = queries.pop() else { return FAILED };
    let enough = async {
        match batches {
            // The sender lives in the session: waiting cannot fail before the session ends.
            Some(n) => drop(ran.wait_for(|ran| *ran >= n).await),
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = query.await_termination() => ended,
        () = enough => query.stop().await,
    };
    match ended {
        Ok(()) => 0,
        Err(e) if e.is_closed_output() => 0,
        Err(e) => fail(&e, None),
    }
}

/// Counts the batches that had rows.
struct CountBatches(watch::Sender<u64>);

impl StreamingQueryListener for CountBatches {
    fn on_query_progress(&self, progress: &Arc<StreamingQueryProgress>) {
        if progress.num_input_rows > 0 {
            self.0.send_modify(|n| *n += 1);
        }
    }
}
