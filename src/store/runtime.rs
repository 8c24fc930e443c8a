//! The threads that talk to stores. A connection lives on the runtime that opened it, and must outlive the one of a query.

use std::future::Future;
use std::sync::OnceLock;
use std::sync::mpsc;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use crate::error::{Error, Result};

const THREADS: usize = 2;

fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime>> = OnceLock::new();
    let made = || {
        let built =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("tidemill-store").enable_all().build();
        built.map_err(|e| Error::io("STORE_IO", format!("no threads for object stores: {e}")).with_io_source(&e))
    };
    RUNTIME.get_or_init(made).as_ref().map_err(Clone::clone)
}

/// A task that ends when nobody waits for it any more.
struct Task<T>(JoinHandle<T>);

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs `work` there, and waits without holding a thread.
///
/// # Errors
/// Work that panics; a system that gives no threads.
pub async fn run<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let mut task = Task(runtime()?.spawn(work));
    (&mut task.0).await.map_err(|e| Error::internal(format!("a request to a store did not end: {e}")))
}

/// Runs `work` there while this thread waits.
///
/// # Errors
/// As [`run`].
pub fn wait<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = async move {
        let _ = sender.send(work.await);
    };
    drop(runtime()?.spawn(task));
    receiver.recv().map_err(|_| Error::internal("a request to a store did not end"))
}

/// Starts `work` there; the answer is taken from what this gives.
pub fn begin<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<mpsc::Receiver<T>> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let task = async move {
        let _ = sender.send(work.await);
    };
    drop(runtime()?.spawn(task));
    Ok(receiver)
}
