//! A list of values for each key.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::value::decode;
use super::context::{ordered_bytes, ordered_number};
use super::variable::Variable;
use crate::error::{Error, Result};

/// A state variable that holds a list for each key (Spark's `ListState`). Its elements live and die each by itself, and an
/// append writes nothing but what is appended.
#[derive(Debug)]
pub struct ListState<T>(pub(super) Variable<T>);

impl<T> Default for ListState<T> {
    fn default() -> Self {
        Self(Variable::default())
    }
}

impl<T> Clone for ListState<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> ListState<T> {
    /// Whether the key's list has an element.
    ///
    /// # Errors
    /// The variable is used outside of a call for a key, as for all methods.
    pub fn exists(&self) -> Result<bool> {
        Ok(!self.0.items("exists", |_, _| Ok(()))?.is_empty())
    }

    /// Forgets the key's list.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn clear(&self) -> Result<()> {
        let gone = self.0.remove_all("clear")?;
        self.0.count_removed(gone)
    }
}

impl<T: Serialize + DeserializeOwned> ListState<T> {
    /// The key's list, empty if it has none.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or the checkpoint has values of another type.
    pub fn get(&self) -> Result<Vec<T>> {
        let name = self.0.name()?;
        self.0.items("get", |_, bytes| decode(bytes, name))
    }

    /// Sets the key's list.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or the list is empty.
    pub fn put(&self, values: &[T]) -> Result<()> {
        self.not_empty(values)?;
        self.0.remove_all("put")?;
        self.append_from(0, "put", values)
    }

    /// Appends one value to the key's list.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn append_value(&self, value: &T) -> Result<()> {
        self.append_from(self.next("append_value")?, "append_value", std::slice::from_ref(value))
    }

    /// Appends values to the key's list.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or there are none.
    pub fn append_list(&self, values: &[T]) -> Result<()> {
        self.not_empty(values)?;
        self.append_from(self.next("append_list")?, "append_list", values)
    }

    fn not_empty(&self, values: &[T]) -> Result<()> {
        if !values.is_empty() {
            return Ok(());
        }
        let name = self.0.name()?;
        let message = format!("Cannot write empty list values to State store for StateName {name}.");
        Err(Error::invalid("ILLEGAL_STATE_STORE_VALUE.EMPTY_LIST_VALUE", message)
            .with_help("forget the list by clear()"))
    }

    /// The place after the last element.
    fn next(&self, operation: &str) -> Result<i64> {
        let last = self.0.last_item(operation)?;
        Ok(last.and_then(|item| ordered_number(&item)).map_or(0, |n| n.saturating_add(1)))
    }

    fn append_from(&self, first: i64, operation: &str, values: &[T]) -> Result<()> {
        (first..).zip(values).try_for_each(|(i, value)| self.0.put(operation, &ordered_bytes(i), value))
    }
}
