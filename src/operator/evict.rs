//! The change that removes everything up to a time, as it is in the checkpoint.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{AsArray, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::state::{ChangeKind, StateChange, record_batch};

static SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("up_to_us", DataType::Int64, false)])));

/// Removes what is final once the watermark is at `bound` microseconds.
pub fn change(bound: i64) -> Result<StateChange> {
    let rows = record_batch(SCHEMA.clone(), vec![Arc::new(Int64Array::from(vec![bound]))], 1)?;
    Ok(StateChange { store: 0, kind: ChangeKind::Evict, rows })
}

/// The bound of such a change.
pub fn bound(change: &StateChange) -> Result<i64> {
    let column = change.rows.columns().first().and_then(|c| c.as_primitive_opt::<Int64Type>());
    column
        .filter(|c| c.len() == 1)
        .map(|c| c.value(0))
        .ok_or_else(|| Error::corrupt_checkpoint("the checkpoint removes state up to an unknown time"))
}
