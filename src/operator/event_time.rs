//! The event time among the keys of an operator: what is late, and when a key is final.

use datafusion::arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, FieldRef, Fields, TimeUnit, TimestampMicrosecondType};

use crate::error::{Error, Result};

/// Times that share a slice of state, in microseconds, if they are no windows: ten seconds.
const BUCKET_US: i64 = 10_000_000;
/// The slice of keys without a time, which are never late and never final.
pub const TIMELESS: i64 = i64::MIN;

/// Which key column is the event time: a timestamp, or a window, whose time is its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventTimeKey {
    /// Among the key columns.
    pub column: usize,
    /// Whether it is a window.
    pub window: bool,
}

impl EventTimeKey {
    /// The key at `column`, of this type.
    pub fn new(column: usize, data_type: &DataType) -> Self {
        Self { column, window: matches!(data_type, DataType::Struct(_)) }
    }

    /// The times of rows with these key columns, in microseconds.
    pub fn times(&self, keys: &[ArrayRef]) -> Result<Vec<Option<i64>>> {
        let key = keys.get(self.column).ok_or_else(|| Error::internal("a row without its event time"))?;
        times(key)
    }

    /// The slice of state that holds keys of this time.
    pub fn slice(&self, time: Option<i64>) -> i64 {
        match time {
            None => TIMELESS,
            Some(time) if self.window => time,
            Some(time) => time.div_euclid(BUCKET_US),
        }
    }

    /// The earliest time of keys that a slice may hold, if they have one.
    pub fn first_of(&self, slice: i64) -> Option<i64> {
        match slice {
            TIMELESS => None,
            end if self.window => Some(end),
            bucket => Some(bucket.saturating_mul(BUCKET_US)),
        }
    }

    /// Whether all keys of the slice, some or none are final once the watermark is at `bound` microseconds.
    pub fn finality(&self, slice: i64, bound: i64) -> Finality {
        if slice == TIMELESS {
            return Finality::None;
        }
        if self.window {
            return if slice <= bound { Finality::All } else { Finality::None };
        }
        let first = slice.saturating_mul(BUCKET_US);
        match (first.saturating_add(BUCKET_US - 1) <= bound, first <= bound) {
            (true, _) => Finality::All,
            (false, true) => Finality::Some,
            (false, false) => Finality::None,
        }
    }
}

/// How many keys of a slice are final.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finality {
    /// Every one.
    All,
    /// Those whose time is not after the bound.
    Some,
    /// Not one.
    None,
}

/// A watermark in microseconds, as event times are.
pub fn bound_us(watermark_ms: i64) -> i64 {
    watermark_ms.saturating_mul(1000)
}

/// Timestamps, or the ends of windows, in microseconds.
pub fn times(column: &ArrayRef) -> Result<Vec<Option<i64>>> {
    if let Some((ends, nulls)) = window_ends(column) {
        let valid = |i: usize| nulls.as_ref().is_none_or(|n| n.is_valid(i));
        return Ok(ends.values().iter().enumerate().map(|(i, end)| valid(i).then_some(*end)).collect());
    }
    let DataType::Timestamp(_, zone) = column.data_type() else {
        return Err(Error::internal(format!("an event time of type {}", column.data_type())));
    };
    let times = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
    Ok(times.as_primitive::<TimestampMicrosecondType>().iter().collect())
}

/// Place and field of a window's end, if these are the fields of one.
pub fn end_of(fields: &Fields) -> Option<(usize, &FieldRef)> {
    let is_window = fields.len() == 2 && fields.find("start").is_some();
    fields.find("end").filter(|(_, f)| is_window && matches!(f.data_type(), DataType::Timestamp(..)))
}

/// The ends of windows and which of them are NULL, if these are windows.
pub fn window_ends(windows: &ArrayRef) -> Option<(TimestampMicrosecondArray, Option<NullBuffer>)> {
    let DataType::Struct(fields) = windows.data_type() else { return None };
    let structs = windows.as_struct_opt()?;
    let (at, field) = end_of(fields)?;
    let DataType::Timestamp(_, zone) = field.data_type() else { return None };
    let ends = cast(structs.column(at), &DataType::Timestamp(TimeUnit::Microsecond, zone.clone())).ok()?;
    let ends = ends.as_primitive::<TimestampMicrosecondType>().clone();
    let nulls = NullBuffer::union(structs.nulls(), ends.nulls());
    Some((ends, nulls))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_before_the_epoch_hold_earlier_times() {
        let key = EventTimeKey { column: 0, window: false };
        assert_eq!((key.slice(Some(-1)), key.slice(Some(0)), key.slice(None)), (-1, 0, TIMELESS));
        assert_eq!(key.finality(-1, -1), Finality::All);
        assert_eq!(key.finality(-1, -2), Finality::Some);
        assert_eq!(key.finality(0, -1), Finality::None);
        assert_eq!(key.finality(TIMELESS, i64::MAX), Finality::None);
        let window = EventTimeKey { column: 0, window: true };
        assert_eq!((window.finality(5, 5), window.finality(6, 5)), (Finality::All, Finality::None));
    }
}
