//! A service: flows that run until Ctrl-C, and then end in order.
//!
//! `cargo run --example service` counts ticks. At Ctrl-C the running batches end, everything is closed, and the next start
//! goes on from the checkpoints. A flow that fails ends the service with its error, after the others were stopped.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use tidemill::prelude::*;
use tidemill::{QueryTerminated, StreamingQueryProgress};

/// What a service writes to its log.
#[derive(Debug)]
pub struct Log;

impl StreamingQueryListener for Log {
    fn on_query_progress(&self, progress: &Arc<StreamingQueryProgress>) {
        let name = progress.name.as_deref().unwrap_or_default();
        eprintln!("{name}: batch {}, {} rows", progress.batch_id, progress.num_input_rows);
    }

    fn on_query_terminated(&self, event: &QueryTerminated) {
        match &event.exception {
            Some(e) => eprintln!("{} has failed: {e}", event.id),
            None => eprintln!("{} has ended", event.id),
        }
    }
}

/// Runs until `shutdown`, or until a flow has ended or failed.
pub async fn serve(checkpoints: &Path, shutdown: impl Future<Output = ()>) -> Result<()> {
    let session = Session::builder().checkpoint_root(checkpoints).build()?;
    session.streams().add_listener(Arc::new(Log));
    session
        .sql(
            "CREATE STREAM ticks USING rate OPTIONS (rowsPerSecond 10);
             CREATE FLOW latest USING noop OUTPUT MODE UPDATE AS SELECT max(value) AS latest FROM ticks;
             CREATE FLOW every USING noop TRIGGER EVERY 1 SECOND AS SELECT value FROM ticks;",
        )
        .await?;
    let ended = tokio::select! {
        ended = session.streams().await_any_termination() => ended,
        () = shutdown => Ok(()),
    };
    // The others end as well, whatever has happened; the first error is the service's.
    let stopped = session.stop_all().await;
    ended.and(stopped)
}

#[tokio::main]
async fn main() -> Result<()> {
    let interrupted = async {
        // Without signals there is no Ctrl-C to wait for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    serve(Path::new("service-checkpoints"), interrupted).await
}
