//! Drawing the values of the rows of an execution, one batch after the other.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::OffsetBuffer;
use arrow::compute::take;
use arrow::datatypes::DataType;

use super::super::guard::{LIMIT, too_large};
use super::twister::Twister;
use super::xor_shift::XorShift;
use super::{Draw, Kind};
use crate::{Error, Result};

/// What one [`Draw`] remembers from batch to batch.
#[derive(Debug)]
pub struct Generator {
    kind: Kind,
    numbers: Numbers,
    row: i64,
}

#[derive(Debug)]
enum Numbers {
    None,
    XorShift(XorShift),
    Twister(Box<Twister>),
}

impl Generator {
    /// At its beginning; the seed is another each time where none is given.
    pub fn new(draw: &Draw) -> Self {
        let seed = draw.seed.unwrap_or_else(rand::random);
        let numbers = match draw.kind {
            Kind::Uniform | Kind::Normal | Kind::Text(_) => Numbers::XorShift(XorShift::new(seed)),
            Kind::Uuid | Kind::Shuffle => Numbers::Twister(Box::new(Twister::new(seed))),
            Kind::Row | Kind::Partition => Numbers::None,
        };
        Self { kind: draw.kind, numbers, row: 0 }
    }

    /// The values of the next rows; `of` is the array that is shuffled.
    pub fn next(&mut self, rows: usize, of: Option<&ArrayRef>) -> Result<ArrayRef> {
        let first = self.row;
        self.row += rows as i64;
        Ok(match (self.kind, &mut self.numbers) {
            (Kind::Uniform, Numbers::XorShift(n)) => {
                Arc::new(Float64Array::from_iter_values((0..rows).map(|_| n.uniform())))
            }
            (Kind::Normal, Numbers::XorShift(n)) => {
                Arc::new(Float64Array::from_iter_values((0..rows).map(|_| n.normal())))
            }
            (Kind::Text(length), Numbers::XorShift(n)) => {
                if i64::from(length) > LIMIT || (length > 1 << 16 && i64::from(length) * rows as i64 > LIMIT) {
                    return Err(too_large("randstr", length));
                }
                Arc::new(StringViewArray::from_iter_values((0..rows).map(|_| text(n, length))))
            }
            (Kind::Uuid, Numbers::Twister(n)) => {
                Arc::new(StringViewArray::from_iter_values((0..rows).map(|_| n.uuid())))
            }
            (Kind::Row, _) => Arc::new(Int64Array::from_iter_values(first..self.row)),
            (Kind::Partition, _) => Arc::new(Int32Array::from(vec![0; rows])),
            (Kind::Shuffle, Numbers::Twister(n)) => match of {
                Some(array) => shuffled(n, array)?,
                None => return Err(Error::internal("nothing is there to be shuffled")),
            },
            (kind, _) => return Err(Error::internal(format!("{kind:?} has another generator"))),
        })
    }
}

fn text(numbers: &mut XorShift, length: i32) -> String {
    const LETTERS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    (0..length).map(|_| char::from(LETTERS[(numbers.int() % 62).unsigned_abs() as usize])).collect()
}

/// NULL draws nothing.
fn shuffled(numbers: &mut Twister, array: &ArrayRef) -> Result<ArrayRef> {
    if array.data_type() == &DataType::Null {
        return Ok(array.clone());
    }
    let list = array.as_list::<i32>();
    let mut places: Vec<u32> = vec![];
    let mut lengths = vec![];
    for row in 0..list.len() {
        if list.is_null(row) {
            lengths.push(0);
            continue;
        }
        let start = list.value_offsets()[row] as u32;
        let order = numbers.order(list.value_length(row) as usize);
        lengths.push(order.len());
        places.extend(order.into_iter().map(|i| start + i));
    }
    let values = take(list.values(), &UInt32Array::from(places), None)?;
    let DataType::List(field) = list.data_type() else { return Err(Error::internal("an array has elements")) };
    let nulls = list.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(field.clone(), OffsetBuffer::from_lengths(lengths), values, nulls)?))
}
