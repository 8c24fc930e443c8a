//! One value for each key.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::variable::Variable;
use crate::error::Result;

/// A state variable that holds one value for each key (Spark's `ValueState`).
#[derive(Debug)]
pub struct ValueState<T>(pub(super) Variable<T>);

impl<T> Default for ValueState<T> {
    fn default() -> Self {
        Self(Variable::default())
    }
}

impl<T> Clone for ValueState<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> ValueState<T> {
    /// Whether the key has a value.
    ///
    /// # Errors
    /// The variable is used outside of a call for a key, as for all methods.
    pub fn exists(&self) -> Result<bool> {
        self.0.has("exists", &[])
    }

    /// Forgets the key's value.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn clear(&self) -> Result<()> {
        self.0.remove("clear", &[])?;
        self.0.count_removed(1)
    }
}

impl<T: Serialize + DeserializeOwned> ValueState<T> {
    /// The key's value.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or the checkpoint has a value of another type.
    pub fn get(&self) -> Result<Option<T>> {
        self.0.get("get", &[])
    }

    /// Sets the key's value; its time to live begins anew.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or the value cannot be written.
    pub fn update(&self, value: &T) -> Result<()> {
        self.0.put("update", &[], value)
    }
}
