//! Ctrl-C and SIGTERM: the first ends everything in order, the second ends the process.

use std::time::Duration;

use tokio::sync::watch;

/// Exit code after a second signal.
const INTERRUPTED: i32 = 130;

/// Signals so close to the first are the same wish: `timeout`, for one, sends it to the process and to its group.
const SAME_WISH: Duration = Duration::from_millis(200);

/// Tells when the process was asked to end.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// Listens from now on.
    pub fn listen() -> Self {
        let (sender, receiver) = watch::channel(false);
        tokio::spawn(async move {
            one_signal().await;
            if sender.send(true).is_err() {
                std::process::exit(0);
            }
            let first = std::time::Instant::now();
            loop {
                one_signal().await;
                if first.elapsed() >= SAME_WISH {
                    std::process::exit(INTERRUPTED);
                }
            }
        });
        Self(receiver)
    }

    /// Returns at the first signal.
    pub async fn requested(&mut self) {
        if self.0.wait_for(|asked| *asked).await.is_err() {
            // The listener never ends before the process.
            std::future::pending::<()>().await;
        }
    }
}

#[cfg(unix)]
async fn one_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => {
            tokio::select! {
                _ = tokio::signal::ctrl_c() => {}
                _ = terminate.recv() => {}
            }
        }
        Err(_) => wait_for_ctrl_c().await,
    }
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
