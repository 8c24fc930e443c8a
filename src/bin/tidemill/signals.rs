//! Ctrl-C, SIGTERM and SIGHUP: the first ends everything in order, the second ends the process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// Exit code after a second signal.
const INTERRUPTED: i32 = 130;

/// Signals so close to the first are the same wish: `timeout`, for one, sends it to the process and to its group.
const SAME_WISH: Duration = Duration::from_millis(200);

/// A query that ends computes without a pause, so that nobody hears the wish: it is not waited for. Flows are.
const DEAF: Duration = Duration::from_secs(2);

/// Tells when the process was asked to end.
#[derive(Debug, Clone)]
pub struct Shutdown {
    asked: watch::Receiver<bool>,
    heard: Arc<AtomicBool>,
}

impl Shutdown {
    /// Listens from now on.
    pub fn listen() -> Self {
        let (sender, asked) = watch::channel(false);
        let heard = Arc::new(AtomicBool::new(false));
        let was_heard = heard.clone();
        tokio::spawn(async move {
            one_signal().await;
            if sender.send(true).is_err() {
                std::process::exit(0);
            }
            std::thread::spawn(move || {
                std::thread::sleep(DEAF);
                if !was_heard.load(Ordering::Acquire) {
                    std::process::exit(INTERRUPTED);
                }
            });
            let first = std::time::Instant::now();
            loop {
                one_signal().await;
                if first.elapsed() >= SAME_WISH {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
        Self { asked, heard }
    }

    /// Returns at the first signal.
    pub async fn requested(&mut self) {
        if self.asked.wait_for(|asked| *asked).await.is_err() {
            // The listener never ends before the process.
            std::future::pending::<()>().await;
        }
        self.heard.store(true, Ordering::Release);
    }
}

#[cfg(unix)]
async fn one_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return wait_for_ctrl_c().await };
    // The end of a terminal or of a connection is a wish to stop, too; not under `nohup`.
    let mut hangup = if hangups_are_ignored() { None } else { signal(SignalKind::hangup()).ok() };
    let hung_up = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = wait_for_ctrl_c() => {}
        _ = terminate.recv() => {}
        _ = hung_up => {}
    }
}

/// Whether whoever started the process wants it to outlive the terminal, as `nohup` does.
#[cfg(unix)]
fn hangups_are_ignored() -> bool {
    static IGNORED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *IGNORED.get_or_init(|| {
        // Elsewhere than on Linux there is no such file.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find_map(|l| l.strip_prefix("SigIgn:"));
        // Signal 1 is the lowest bit.
        mask.and_then(|m| u64::from_str_radix(m.trim(), 16).ok()).is_some_and(|mask| mask & 1 == 1)
    })
}

#[cfg(not(unix))]
async fn one_signal() {
    wait_for_ctrl_c().await;
}

async fn wait_for_ctrl_c() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
