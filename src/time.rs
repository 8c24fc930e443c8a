//! The only reader of the wall clock, so that tests own time.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::Notify;

/// Processing time: the system's, or one that only moves when told.
#[derive(Debug, Clone, Default)]
pub enum Clock {
    /// The wall clock.
    #[default]
    System,
    /// Starts at 1970-01-01 00:00:00 UTC and moves with [`ManualClock::advance`].
    Manual(Arc<ManualClock>),
}

/// A clock for tests.
#[derive(Debug, Default)]
pub struct ManualClock {
    now_us: AtomicI64,
    moved: Notify,
}

impl ManualClock {
    /// Moves the clock forward and wakes what sleeps on it.
    pub fn advance(&self, by: Duration) {
        self.now_us.fetch_add(i64::try_from(by.as_micros()).unwrap_or(i64::MAX), Ordering::SeqCst);
        self.moved.notify_waiters();
    }
}

impl Clock {
    /// A manual clock at the epoch.
    pub fn manual() -> Self {
        Self::Manual(Arc::default())
    }

    /// Microseconds since the epoch, UTC.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    pub fn now_us(&self) -> i64 {
        match self {
            Self::System => match SystemTime::now().duration_since(UNIX_EPOCH) {
                Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
                Err(e) => -i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX),
            },
            Self::Manual(m) => m.now_us.load(Ordering::SeqCst),
        }
    }

    /// Milliseconds since the epoch, UTC, rounded down.
    pub fn now_ms(&self) -> i64 {
        self.now_us().div_euclid(1000)
    }

    /// Returns once `now_ms() >= deadline_ms`.
    pub async fn sleep_until(&self, deadline_ms: i64) {
        match self {
            Self::System => {
                // A wall clock that is set back must not stretch the wait: the wait itself is monotonic.
                let wait = deadline_ms.saturating_sub(self.now_ms()).max(0);
                tokio::time::sleep(Duration::from_millis(wait as u64)).await;
            }
            Self::Manual(m) => loop {
                let moved = m.moved.notified();
                if self.now_ms() >= deadline_ms {
                    return;
                }
                moved.await;
            },
        }
    }
}
