//! Failpoints: named places at which a test makes the program die, fail, panic or wait.
//!
//! They belong to a session, not to the process, so that tests run side by side. Unarmed, a failpoint costs one relaxed
//! atomic load.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::options::did_you_mean;

/// Every failpoint there is. The first seven are those of pipeline tests, in the order in which a batch meets them.
pub const FAILPOINTS: &[&str] = &[
    "before_offset_log",
    "after_offset_log",
    "after_batch",
    "before_sink_commit",
    "after_sink_commit",
    "before_commit_log",
    "after_commit_log",
    "log.write.partial",
    "log.written_not_synced",
    "log.synced_not_published",
    "group.leader_synced_followers_waiting",
    "log.roll.created",
    "log.roll.dir_synced",
    "log.truncate.before",
    "log.truncate.after",
    "snap.begin",
    "snap.part_written",
    "snap.synced",
    "snap.manifest_renamed",
    "snap.dir_synced",
    "snap.gc.before",
    "snap.gc.after",
    "recover.opened",
    "recover.tail_cut",
    "recover.resynced",
    "recover.sink_queried",
    "recover.replayed",
    "filesink.staged",
    "filesink.renamed",
    "filesink.manifest_synced",
    "filesink.compacted",
    "filesink.roll_staged",
    "filesink.rolled",
    "storesink.intended",
    "storesink.put",
    "storesink.logged",
    "storesink.compacted",
    "kafkasink.sent",
    "kafkasink.identified",
    "socket.wal_written",
    "source.cleaned",
];

/// What an armed failpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// The process dies as by `kill -9`: nothing is flushed, nothing is dropped.
    Kill,
    /// An error with the condition `FAILPOINT`.
    Error,
    /// A panic.
    Panic,
    /// The thread waits.
    Sleep(Duration),
}

/// The failpoints of a session. Clones are the same failpoints.
#[derive(Clone, Default)]
pub struct Failpoints(Arc<Inner>);

#[derive(Default)]
struct Inner {
    armed: AtomicBool,
    points: Mutex<HashMap<&'static str, Armed>>,
}

#[derive(Debug, Clone, Copy)]
struct Armed {
    action: Action,
    /// Hits until it acts: 1 acts at the next one.
    countdown: u64,
    /// Whether it acts at every later hit too.
    repeats: bool,
}

impl Failpoints {
    /// Arms `name`: the next hit acts and disarms it, except that a sleep goes on at every hit.
    ///
    /// # Errors
    /// `UNKNOWN_FAILPOINT` if there is no failpoint of this name.
    pub fn arm(&self, name: &str, action: Action) -> Result<()> {
        self.set(name, Armed { action, countdown: 1, repeats: matches!(action, Action::Sleep(_)) })
    }

    /// Arms `name`: the `nth` hit from now on (1 is the next) acts and disarms it.
    ///
    /// # Errors
    /// `UNKNOWN_FAILPOINT` if there is no failpoint of this name.
    pub fn arm_nth(&self, name: &str, action: Action, nth: u64) -> Result<()> {
        self.set(name, Armed { action, countdown: nth.max(1), repeats: false })
    }

    /// Arms what a text such as `log.written_not_synced=kill@3,after_batch=sleep(20)` says.
    ///
    /// # Errors
    /// `INVALID_FAILPOINT` if the text is not of this form, `UNKNOWN_FAILPOINT` for a name that does not exist.
    pub fn arm_all(&self, text: &str) -> Result<()> {
        for entry in text.split([',', ';']).map(str::trim).filter(|e| !e.is_empty()) {
            let (name, rest) = entry.split_once('=').ok_or_else(|| invalid(entry))?;
            let (action, nth) = match rest.split_once('@') {
                None => (rest, None),
                Some((action, nth)) => (action, Some(nth.trim().parse::<u64>().map_err(|_| invalid(entry))?)),
            };
            let action = action.trim().parse().map_err(|()| invalid(entry))?;
            match nth {
                None => self.arm(name.trim(), action)?,
                Some(nth) => self.arm_nth(name.trim(), action, nth)?,
            }
        }
        Ok(())
    }

    /// Arms what the environment variable `TIDEMILL_FAILPOINTS` says; the same form and errors as [`Self::arm_all`].
    pub fn from_env() -> Result<Self> {
        let points = Self::default();
        if let Ok(text) = std::env::var("TIDEMILL_FAILPOINTS") {
            points.arm_all(&text)?;
        }
        Ok(points)
    }

    /// Disarms all.
    pub fn clear(&self) {
        let mut points = self.lock();
        points.clear();
        self.0.armed.store(false, Ordering::Release);
    }

    /// Whether `name` is armed, for code that has to prepare what a failpoint interrupts.
    pub fn is_armed(&self, name: &str) -> bool {
        self.0.armed.load(Ordering::Relaxed) && self.lock().contains_key(name)
    }

    /// Passes the failpoint `name`: acts if it is armed.
    ///
    /// # Errors
    /// `FAILPOINT` if it is armed with [`Action::Error`].
    #[inline]
    pub fn hit(&self, name: &'static str) -> Result<()> {
        debug_assert!(FAILPOINTS.contains(&name), "failpoint '{name}' is not listed");
        if !self.0.armed.load(Ordering::Relaxed) {
            return Ok(());
        }
        match self.take(name) {
            None => Ok(()),
            Some(action) => act(name, action),
        }
    }

    fn set(&self, name: &str, armed: Armed) -> Result<()> {
        let Some(name) = FAILPOINTS.iter().find(|n| **n == name) else {
            let e = Error::invalid("UNKNOWN_FAILPOINT", format!("there is no failpoint '{name}'"));
            return Err(match did_you_mean(name, FAILPOINTS.iter().copied()) {
                Some(near) => e.with_help(format!("did you mean '{near}'?")),
                None => e.with_help(format!("there are: {}", FAILPOINTS.join(", "))),
            });
        };
        self.lock().insert(name, armed);
        self.0.armed.store(true, Ordering::Release);
        Ok(())
    }

    fn take(&self, name: &str) -> Option<Action> {
        let mut points = self.lock();
        let armed = points.get_mut(name)?;
        armed.countdown -= 1;
        if armed.countdown > 0 {
            return None;
        }
        let action = armed.action;
        if armed.repeats {
            armed.countdown = 1;
        } else {
            points.remove(name);
            self.0.armed.store(!points.is_empty(), Ordering::Release);
        }
        Some(action)
    }

    fn lock(&self) -> parking_lot::MutexGuard<'_, HashMap<&'static str, Armed>> {
        self.0.points.lock()
    }
}

impl fmt::Debug for Failpoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Failpoints").field(&*self.lock()).finish()
    }
}

impl FromStr for Action {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "kill" => Ok(Self::Kill),
            "err" => Ok(Self::Error),
            "panic" => Ok(Self::Panic),
            other => {
                let ms = other.strip_prefix("sleep(").and_then(|r| r.strip_suffix(')')).ok_or(())?;
                ms.trim().parse().map(|ms| Self::Sleep(Duration::from_millis(ms))).map_err(|_| ())
            }
        }
    }
}

fn invalid(entry: &str) -> Error {
    Error::invalid("INVALID_FAILPOINT", format!("failpoint '{entry}' is not of the form name=action@nth"))
        .with_help("actions are kill, err, panic and sleep(milliseconds); @nth may be left out")
}

#[expect(clippy::panic, reason = "that is what was asked for")]
fn act(name: &'static str, action: Action) -> Result<()> {
    match action {
        Action::Kill => kill(),
        Action::Error => Err(Error::execution("FAILPOINT", format!("failpoint '{name}' was hit"))),
        Action::Panic => panic!("failpoint '{name}' was hit"),
        Action::Sleep(time) => {
            std::thread::sleep(time);
            Ok(())
        }
    }
}

#[cfg(unix)]
fn kill() -> ! {
    // `abort` would run the handler of SIGABRT and dump core; only SIGKILL is what a test of crashes means.
    unsafe extern "C" {
        safe fn raise(signal: std::ffi::c_int) -> std::ffi::c_int;
    }
    const SIGKILL: std::ffi::c_int = 9;
    raise(SIGKILL);
    std::process::abort()
}

#[cfg(not(unix))]
fn kill() -> ! {
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acts_at_the_nth_hit_and_only_there() {
        let points = Failpoints::default();
        points.arm_all("after_batch=err@3, log.roll.created=err").unwrap();
        let clone = points.clone();
        assert!(clone.hit("after_batch").is_ok());
        assert!(clone.hit("after_batch").is_ok());
        assert_eq!(clone.hit("after_batch").unwrap_err().condition(), "FAILPOINT");
        assert!(clone.hit("after_batch").is_ok());
        assert!(points.is_armed("log.roll.created"));
        assert!(points.hit("log.roll.created").is_err());
        assert!(!points.is_armed("log.roll.created"));
    }

    #[test]
    fn a_wrong_name_names_the_nearest() {
        let e = Failpoints::default().arm_all("after_bach=kill").unwrap_err();
        assert_eq!((e.condition(), e.help()), ("UNKNOWN_FAILPOINT", Some("did you mean 'after_batch'?")));
        for text in ["after_batch", "after_batch=boom", "after_batch=err@x", "after_batch=sleep(x)"] {
            assert_eq!(Failpoints::default().arm_all(text).unwrap_err().condition(), "INVALID_FAILPOINT", "{text}");
        }
    }

    #[test]
    fn a_sleep_repeats() {
        let points = Failpoints::default();
        points.arm("after_batch", Action::Sleep(Duration::from_millis(2))).unwrap();
        for _ in 0..2 {
            let start = std::time::Instant::now();
            points.hit("after_batch").unwrap();
            assert!(start.elapsed() >= Duration::from_millis(2));
        }
    }
}
