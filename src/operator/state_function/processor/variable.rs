//! What values, lists and maps have in common: a name, a kind, a time to live, and the entries of a key.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::TimeMode;
use super::super::value::{decode, encode};
use super::context::{Context, Phase};
use crate::error::{Error, Result};
use crate::state::{Entry, EntryKey};

/// What a variable is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Value,
    List,
    Map,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Value, Self::List, Self::Map];

    /// The name of such a variable among the entries.
    pub fn variable(self, name: &str) -> Arc<str> {
        let kind = match self {
            Self::Value => "value",
            Self::List => "list",
            Self::Map => "map",
        };
        format!("{kind}:{name}").into()
    }

    fn operation(self) -> &'static str {
        match self {
            Self::Value => "get_value_state",
            Self::List => "get_list_state",
            Self::Map => "get_map_state",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)?;
        f.write_str("State")
    }
}

/// A state variable. One that was not made by a handle answers with an error.
pub struct Variable<T> {
    made: Option<Made>,
    value: PhantomData<fn() -> T>,
}

#[derive(Clone)]
struct Made {
    context: Arc<Mutex<Context>>,
    name: Arc<str>,
    variable: Arc<str>,
    ttl_ms: Option<i64>,
}

impl<T> Default for Variable<T> {
    fn default() -> Self {
        Self { made: None, value: PhantomData }
    }
}

impl<T> Clone for Variable<T> {
    fn clone(&self) -> Self {
        Self { made: self.made.clone(), value: PhantomData }
    }
}

impl<T> fmt::Debug for Variable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Variable").field(&self.made.as_ref().map(|m| &m.variable)).finish()
    }
}

impl<T> Variable<T> {
    /// Makes the variable, in `init`.
    pub fn make(context: &Arc<Mutex<Context>>, kind: Kind, name: &str, ttl: Option<Duration>) -> Result<Self> {
        let mut shared = context.lock();
        if !matches!(shared.phase, Phase::Init) {
            return Err(shared.wrong_phase(kind.operation()));
        }
        let ttl_ms = ttl.map(|ttl| checked_ttl(ttl, name, shared.time)).transpose()?;
        let name: Arc<str> = name.into();
        if shared.variables.insert(name.clone(), (kind, ttl.is_some())).is_some() {
            let message = format!("State variable with name {name} has already been defined in the StatefulProcessor.");
            return Err(Error::invalid("STATEFUL_PROCESSOR_DUPLICATE_STATE_VARIABLE_DEFINED", message)
                .with_help("give every state variable a name of its own"));
        }
        let made = Made { context: context.clone(), variable: kind.variable(&name), name, ttl_ms };
        Ok(Self { made: Some(made), value: PhantomData })
    }

    fn made(&self) -> Result<&Made> {
        self.made.as_ref().ok_or_else(|| {
            Error::invalid("STATE_STORE_HANDLE_NOT_INITIALIZED", "a state variable was used that no handle has made")
                .with_help("set it in init: self.count = handle.get_value_state(\"count\", None)?")
        })
    }

    /// The variable's name.
    pub fn name(&self) -> Result<&Arc<str>> {
        Ok(&self.made()?.name)
    }

    /// Whether the item is there and lives.
    pub fn has(&self, operation: &str, item: &[u8]) -> Result<bool> {
        self.with(operation, |cx, group, made| {
            let at = made.at(group, item);
            Ok(cx.entries().get(&at).is_some_and(|e| lives(e, cx)))
        })
    }

    /// The items of the key that live, in order.
    pub fn items<U>(&self, operation: &str, read: impl Fn(&EntryKey, &[u8]) -> Result<U>) -> Result<Vec<U>> {
        self.with(operation, |cx, group, made| {
            let entries = cx.entries();
            let living = entries.items(group, &made.variable).filter(|(_, e)| lives(e, cx));
            living.map(|(key, e)| read(key, e.value.as_deref().unwrap_or_default())).collect()
        })
    }

    /// The last item of the key, living or not.
    pub fn last_item(&self, operation: &str) -> Result<Option<Arc<[u8]>>> {
        self.with(operation, |cx, group, made| {
            Ok(cx.entries().items(group, &made.variable).next_back().map(|(key, _)| key.item.clone()))
        })
    }

    /// Takes an item away; whether it was there.
    pub fn remove(&self, operation: &str, item: &[u8]) -> Result<bool> {
        self.with(operation, |cx, group, made| {
            let at = made.at(group, item);
            Ok(cx.entries().remove(&at))
        })
    }

    /// Takes all items of the key away; how many there were.
    pub fn remove_all(&self, operation: &str) -> Result<u64> {
        self.with(operation, |cx, group, made| {
            let mut entries = cx.entries.lock();
            let all: Vec<_> = entries.items(group, &made.variable).map(|(key, _)| key.clone()).collect();
            all.iter().for_each(|key| {
                entries.remove(key);
            });
            Ok(all.len() as u64)
        })
    }

    /// Counts rows as removed.
    pub fn count_removed(&self, rows: u64) -> Result<()> {
        self.made()?.context.lock().figures.removed += rows;
        Ok(())
    }

    fn with<U>(&self, operation: &str, f: impl FnOnce(&Context, &Arc<[u8]>, &Made) -> Result<U>) -> Result<U> {
        let made = self.made()?;
        let context = made.context.lock();
        f(&context, context.group(operation)?, made)
    }
}

impl<T: Serialize> Variable<T> {
    /// Puts an item, which lives from now on.
    pub fn put(&self, operation: &str, item: &[u8], value: &T) -> Result<()> {
        let made = self.made()?;
        let bytes = encode(value)?;
        let mut context = made.context.lock();
        let at = made.at(context.group(operation)?, item);
        let expires_ms = made.ttl_ms.map(|ttl| context.times.processing_ms.saturating_add(ttl));
        context.entries().insert(at, Entry { value: Some(bytes), expires_ms });
        context.figures.updated += 1;
        Ok(())
    }
}

impl<T: DeserializeOwned> Variable<T> {
    /// An item, if it is there and lives.
    pub fn get(&self, operation: &str, item: &[u8]) -> Result<Option<T>> {
        let bytes = self.with(operation, |cx, group, made| {
            let at = made.at(group, item);
            Ok(cx.entries().get(&at).filter(|e| lives(e, cx)).and_then(|e| e.value.clone()))
        })?;
        bytes.map(|bytes| decode(&bytes, self.name()?)).transpose()
    }
}

impl Made {
    fn at(&self, group: &Arc<[u8]>, item: &[u8]) -> EntryKey {
        EntryKey { group: group.clone(), variable: self.variable.clone(), item: item.into() }
    }
}

/// Spark's rule: what expires at the time of the batch is gone.
fn lives(entry: &Entry, context: &Context) -> bool {
    entry.expires_ms.is_none_or(|at| at > context.times.processing_ms)
}

fn checked_ttl(ttl: Duration, name: &str, time: TimeMode) -> Result<i64> {
    if time != TimeMode::ProcessingTime {
        let message =
            format!("Cannot use TTL for state={name} in timeMode={time}, use TimeMode.ProcessingTime() instead.");
        return Err(Error::invalid("STATEFUL_PROCESSOR_INCORRECT_TIME_MODE_TO_ASSIGN_TTL", message)
            .with_help("pass TimeMode::ProcessingTime, or no TTL"));
    }
    match i64::try_from(ttl.as_millis()) {
        Ok(0) => {
            let message =
                format!("TTL duration must be greater than zero for State store operation=update on state={name}.");
            Err(Error::invalid("STATEFUL_PROCESSOR_TTL_DURATION_MUST_BE_POSITIVE", message)
                .with_help("give a millisecond or more, or no TTL"))
        }
        Ok(ms) => Ok(ms),
        Err(_) => Ok(i64::MAX),
    }
}
