//! `split`: text to an array of pieces that point into the text.
//!
//! The pieces share the input's buffers: a piece of at most 12 bytes lives in its view, a longer one is a view of the same
//! bytes. A pattern without regex metacharacters is searched as plain bytes.

use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field};
use datafusion::logical_expr::ScalarUDF;
use memchr::memmem::Finder;

use super::regex::{compile, is_plain, of_pattern};
use super::scalar::{Call, function, list_of};
use crate::{Error, Result};

/// `split(text, regex[, limit])`.
pub fn split() -> ScalarUDF {
    function("split", 2..=3, |types| of_pattern(types, list_of(DataType::Utf8View)), run)
}

fn run(call: &Call) -> Result<ArrayRef> {
    let text = call.strings(0)?;
    let limit = match call.literal(2) {
        None if call.len() == 2 => None,
        _ => Some(call.ints(2)?),
    };
    if let (Some(pattern), None) = (call.literal_str(1), &limit) {
        return match pattern.as_bytes() {
            [byte] if is_plain(pattern) => {
                let byte = *byte;
                split_all(&text, |s, pieces| {
                    for at in memchr::memchr_iter(byte, s.as_bytes()) {
                        pieces.cut(at, at + 1);
                    }
                })
            }
            [_, ..] if is_plain(pattern) => {
                let finder = Finder::new(pattern);
                split_all(&text, |s, pieces| {
                    for at in finder.find_iter(s.as_bytes()) {
                        pieces.cut(at, at + pattern.len());
                    }
                })
            }
            _ => split_by_regex(&text, &call.strings(1)?, None),
        };
    }
    split_by_regex(&text, &call.strings(1)?, limit.as_ref())
}

/// The pieces of one text while they are cut off its front.
struct Pieces<'a> {
    views: &'a mut Vec<u128>,
    text: &'a [u8],
    /// The view of the whole text.
    view: ByteView,
    start: usize,
    count: usize,
}

impl Pieces<'_> {
    /// Ends a piece at `at`; the next begins at `next`.
    fn cut(&mut self, at: usize, next: usize) {
        let piece = &self.text[self.start..at];
        let offset = if self.text.len() > 12 { self.view.offset + self.start as u32 } else { 0 };
        // A piece of at most 12 bytes is stored inline whatever block and offset say.
        self.views.push(make_view(piece, self.view.buffer_index, offset));
        self.start = next;
        self.count += 1;
    }
}

/// Splits every row: `cutter` cuts off all pieces but the last.
fn split_all(text: &StringViewArray, mut cutter: impl FnMut(&str, &mut Pieces<'_>)) -> Result<ArrayRef> {
    let mut views = Vec::with_capacity(text.len() * 4);
    let mut offsets = Vec::with_capacity(text.len() + 1);
    offsets.push(0_i32);
    for row in 0..text.len() {
        if text.is_valid(row) {
            let value = text.value(row);
            let view = ByteView::from(text.views()[row]);
            let bytes = value.as_bytes();
            let mut pieces = Pieces { views: &mut views, text: bytes, view, start: 0, count: 0 };
            cutter(value, &mut pieces);
            pieces.cut(bytes.len(), bytes.len());
        }
        let end = i32::try_from(views.len()).map_err(|_| {
            Error::execution("COLLECTION_SIZE_LIMIT_EXCEEDED", "a batch is split into too many pieces")
                .with_help("SET batch.size to fewer rows")
        })?;
        offsets.push(end);
    }
    // SAFETY: every view was made from a slice of a valid string of `text`, cut before and after a whole match, so it is
    // UTF-8 and in the bounds of the buffers that are shared with `text`.
    let pieces =
        unsafe { StringViewArray::new_unchecked(ScalarBuffer::from(views), text.data_buffers().to_vec(), None) };
    let item = Arc::new(Field::new_list_field(DataType::Utf8View, true));
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Arc::new(ListArray::try_new(item, offsets, Arc::new(pieces), text.nulls().cloned())?))
}

fn split_by_regex(text: &StringViewArray, patterns: &StringViewArray, limit: Option<&Int32Array>) -> Result<ArrayRef> {
    // A NULL pattern or limit makes the row NULL.
    let mut nulls = arrow::buffer::NullBuffer::union(text.nulls(), patterns.nulls());
    nulls = arrow::buffer::NullBuffer::union(nulls.as_ref(), limit.and_then(|l| l.nulls()));
    let (views, buffers, _) = text.clone().into_parts();
    // SAFETY: the same parts with fewer valid rows.
    let text = unsafe { StringViewArray::new_unchecked(views, buffers, nulls) };
    let mut regexes = Vec::with_capacity(1);
    let mut last: Option<&str> = None;
    for row in (0..text.len()).filter(|row| text.is_valid(*row)) {
        let pattern = patterns.value(row);
        if last != Some(pattern) {
            regexes.push((row, compile(pattern)?));
            last = Some(pattern);
        }
    }
    let (mut row, mut current) = (0, 0);
    let valid: Vec<usize> = (0..text.len()).filter(|row| text.is_valid(*row)).collect();
    split_all(&text, |s, pieces| {
        let at = valid[row];
        row += 1;
        while regexes.get(current + 1).is_some_and(|(first, _)| *first <= at) {
            current += 1;
        }
        let most = limit.map_or(0, |l| l.value(at)).max(0) as usize;
        for found in regexes[current].1.find_iter(s) {
            if most > 0 && pieces.count + 1 >= most {
                break;
            }
            // Java gives no empty piece for a match of no width at the beginning, and an empty pattern none at the end.
            if found.end() > 0 && !(regexes[current].1.as_str().is_empty() && found.start() == s.len()) {
                pieces.cut(found.start(), found.end());
            }
        }
    })
}
