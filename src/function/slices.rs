//! Texts that are parts of other texts: views of the same bytes, without a copy.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ByteView, StringViewArray, make_view};
use arrow::buffer::{NullBuffer, ScalarBuffer};

use crate::{Error, Result};

/// Of each text the bytes of its range; NULL where there is none.
///
/// # Errors
/// A range that is not one of characters of its text.
pub fn slices(text: &StringViewArray, ranges: impl IntoIterator<Item = Option<Range<usize>>>) -> Result<ArrayRef> {
    let mut views = Vec::with_capacity(text.len());
    let mut valid = Vec::with_capacity(text.len());
    for (row, range) in ranges.into_iter().enumerate().take(text.len()) {
        let range = range.filter(|_| text.is_valid(row));
        valid.push(range.is_some());
        let Some(range) = range else {
            views.push(0);
            continue;
        };
        let (whole, start) = (text.value(row), range.start);
        let piece = whole.get(range).ok_or_else(|| Error::internal("a part of a text cuts a character"))?;
        let view = ByteView::from(text.views()[row]);
        // A short text is in its view, and so are all of its parts, whatever block and offset say.
        let offset = if whole.len() > 12 { view.offset + start as u32 } else { 0 };
        views.push(make_view(piece.as_bytes(), view.buffer_index, offset));
    }
    let nulls = valid.contains(&false).then(|| NullBuffer::from(valid));
    // SAFETY: every view is of a part of a valid string of `text`, cut between characters, in the buffers that are shared with it.
    let parts =
        unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), text.data_buffers().to_vec(), nulls) };
    Ok(Arc::new(parts))
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn short_and_long_parts_of_short_and_long_texts() {
        let long = "žluťoučký kůň úpěl ďábelské ódy";
        let text = StringViewArray::from(vec![Some("abc"), None, Some(long), Some(long), Some("")]);
        let ranges = [Some(1..3), Some(0..1), Some(0..long.len() - 2), None, Some(0..0)];
        let parts = slices(&text, ranges).unwrap();
        let parts: Vec<_> = parts.as_string_view().iter().collect();
        assert_eq!(parts, [Some("bc"), None, Some(&long[..long.len() - 2]), None, Some("")]);
        assert_eq!(slices(&text, [Some(0..1), None, Some(0..1)]).unwrap_err().condition(), "INTERNAL_ERROR");
    }
}
