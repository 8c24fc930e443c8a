//! A map for each key.

use std::fmt;
use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::value::{decode, encode};
use super::variable::Variable;
use crate::error::Result;

/// A state variable that holds a map for each key (Spark's `MapState`). Reading or writing an entry touches no other one.
pub struct MapState<K, V> {
    variable: Variable<V>,
    key: PhantomData<fn() -> K>,
}

impl<K, V> Default for MapState<K, V> {
    fn default() -> Self {
        Self::of(Variable::default())
    }
}

impl<K, V> Clone for MapState<K, V> {
    fn clone(&self) -> Self {
        Self::of(self.variable.clone())
    }
}

impl<K, V> fmt::Debug for MapState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MapState").field(&self.variable).finish()
    }
}

impl<K, V> MapState<K, V> {
    pub(super) fn of(variable: Variable<V>) -> Self {
        Self { variable, key: PhantomData }
    }

    /// Whether the key's map has an entry.
    ///
    /// # Errors
    /// The variable is used outside of a call for a key, as for all methods.
    pub fn exists(&self) -> Result<bool> {
        Ok(!self.variable.items("exists", |_, _| Ok(()))?.is_empty())
    }

    /// Forgets the key's map.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn clear(&self) -> Result<()> {
        let gone = self.variable.remove_all("clear")?;
        self.variable.count_removed(gone)
    }
}

impl<K, V> MapState<K, V>
where
    K: Serialize + DeserializeOwned,
    V: Serialize + DeserializeOwned,
{
    /// The value at `key`.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or the checkpoint has a value of another type, as for all that read.
    pub fn get_value(&self, key: &K) -> Result<Option<V>> {
        self.variable.get("get_value", &encode(key)?)
    }

    /// Whether there is a value at `key`.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn contains_key(&self, key: &K) -> Result<bool> {
        self.variable.has("contains_key", &encode(key)?)
    }

    /// Puts a value; its time to live begins anew.
    ///
    /// # Errors
    /// As [`exists`](Self::exists); or the value cannot be written.
    pub fn update_value(&self, key: &K, value: &V) -> Result<()> {
        self.variable.put("update_value", &encode(key)?, value)
    }

    /// Takes the value at `key` away.
    ///
    /// # Errors
    /// As [`exists`](Self::exists).
    pub fn remove_key(&self, key: &K) -> Result<()> {
        self.variable.remove("remove_key", &encode(key)?)?;
        self.variable.count_removed(1)
    }

    /// All entries, in an order that does not depend on when they were put.
    ///
    /// # Errors
    /// As [`get_value`](Self::get_value).
    pub fn iterator(&self) -> Result<Vec<(K, V)>> {
        let name = self.variable.name()?;
        self.variable.items("iterator", |at, bytes| Ok((decode(&at.item, name)?, decode(bytes, name)?)))
    }

    /// All keys, in the order of [`iterator`](Self::iterator).
    ///
    /// # Errors
    /// As [`get_value`](Self::get_value).
    pub fn keys(&self) -> Result<Vec<K>> {
        let name = self.variable.name()?;
        self.variable.items("keys", |at, _| decode(&at.item, name))
    }

    /// All values, in the order of [`iterator`](Self::iterator).
    ///
    /// # Errors
    /// As [`get_value`](Self::get_value).
    pub fn values(&self) -> Result<Vec<V>> {
        let name = self.variable.name()?;
        self.variable.items("values", |_, bytes| decode(bytes, name))
    }
}
