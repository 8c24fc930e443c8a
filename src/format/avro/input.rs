//! Numbers and bytes as Avro writes them.

use super::damaged;
use crate::error::Result;

/// Bytes that are read from the front.
#[derive(Debug, Clone, Copy)]
pub struct Input<'b>(pub &'b [u8]);

impl<'b> Input<'b> {
    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or_else(|| damaged("a record ends early"))?;
        self.0 = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().ok_or_else(|| damaged("a record ends early"))?;
        self.0 = rest;
        Ok(*taken)
    }

    /// A number of any length: seven bits a byte, the lowest first, the sign in the lowest bit.
    pub fn long(&mut self) -> Result<i64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        Err(damaged("a number has more than ten bytes"))
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Result<&'b [u8]> {
        let len = self.long()?;
        self.take(usize::try_from(len).map_err(|_| damaged(format!("a length of {len}")))?)
    }

    /// How many items the next block of an array or map has; 0 at its end.
    pub fn block(&mut self) -> Result<u64> {
        let count = self.long()?;
        if count < 0 {
            // The length of the block in bytes, for those who skip it.
            self.long()?;
        }
        Ok(count.unsigned_abs())
    }
}

/// Appends a number as [`Input::long`] reads it.
pub fn put_long(out: &mut Vec<u8>, value: i64) {
    let mut rest = ((value << 1) ^ (value >> 63)) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_long(out, bytes.len() as i64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back() {
        for value in [0, 1, -1, 63, 64, -64, -65, 8191, i64::from(i32::MAX), i64::MAX, i64::MIN] {
            let mut out = vec![];
            put_long(&mut out, value);
            let mut input = Input(&out);
            assert_eq!((input.long().unwrap(), input.0.len()), (value, 0));
        }
        assert!(Input(&[0x80; 11]).long().is_err());
        assert!(Input(&[0x80]).long().is_err());
        assert!(Input(&[0x03, 1]).bytes().is_err());
        assert!(Input(&[0x04, 1]).bytes().is_err());
    }
}
