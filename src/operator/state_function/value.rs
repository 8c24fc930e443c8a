//! Values of state as bytes: MessagePack with the names of fields.
//!
//! Named fields let a type change between runs: a field that is added with `#[serde(default)]` reads old state, one that is
//! gone is skipped, and fields may change places.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The bytes of a value.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Arc<[u8]>> {
    let bytes = rmp_serde::to_vec_named(value).map_err(|e| {
        Error::execution("STATE_STORE_UNSUPPORTED_VALUE", format!("a value of state cannot be written: {e}"))
            .with_help("keep a type that serde can write by its fields")
    })?;
    Ok(bytes.into())
}

/// The value of these bytes.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], variable: &str) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|e| {
        let message =
            format!("the value of state '{variable}' in the checkpoint is not of the type it is read as: {e}");
        Error::checkpoint("STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE", message)
            .with_help("fields that are new since the checkpoint need #[serde(default)]")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use serde::Deserialize;

    use super::*;

    #[test]
    fn a_type_may_grow_and_shrink() {
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        struct Old {
            a: f64,
            gone: Vec<(i32, String)>,
        }
        #[derive(Serialize, Deserialize, Debug, PartialEq)]
        struct New {
            #[serde(default)]
            new: Option<HashMap<(i32, i32), u8>>,
            a: f64,
        }
        let bytes = encode(&Old { a: f64::INFINITY, gone: vec![(1, "x".into())] }).unwrap();
        assert_eq!(decode::<New>(&bytes, "s").unwrap(), New { new: None, a: f64::INFINITY });
        let value = New { new: Some(HashMap::from([((1, 2), 3)])), a: -0.5 };
        assert_eq!(decode::<New>(&encode(&value).unwrap(), "s").unwrap(), value);
        let refused = decode::<Old>(&encode(&7).unwrap(), "s").unwrap_err();
        assert_eq!(refused.condition(), "STATE_STORE_VALUE_SCHEMA_NOT_COMPATIBLE");
    }
}
