//! From lines and columns, which sqlparser counts in characters, to bytes.

use datafusion::sql::sqlparser::tokenizer::Location;

/// Every how many characters the place in bytes is kept.
const STEP: usize = 64;

/// The places of a text, so that one is found in a time that does not depend on the length of its line.
#[derive(Debug)]
pub struct Places<'t> {
    text: &'t str,
    /// The number of characters before each line.
    lines: Vec<usize>,
    /// The byte of every `STEP`th character.
    marks: Vec<usize>,
}

impl<'t> Places<'t> {
    pub fn new(text: &'t str) -> Self {
        let (mut lines, mut marks) = (vec![0], vec![]);
        for (i, (byte, c)) in text.char_indices().enumerate() {
            if i % STEP == 0 {
                marks.push(byte);
            }
            if c == '\n' {
                lines.push(i + 1);
            }
        }
        Self { text, lines, marks }
    }

    /// All of it.
    pub fn text(&self) -> &'t str {
        self.text
    }

    /// The byte of a place; the end of the text for one behind it, and `None` for no place at all.
    pub fn offset(&self, at: Location) -> Option<usize> {
        let line = usize::try_from(at.line.checked_sub(1)?).ok()?;
        let column = usize::try_from(at.column.checked_sub(1)?).ok()?;
        let index = self.lines.get(line)?.checked_add(column)?;
        let Some(mark) = self.marks.get(index / STEP) else { return Some(self.text.len()) };
        let rest = self.text[*mark..].char_indices().nth(index % STEP);
        Some(rest.map_or(self.text.len(), |(i, _)| mark + i))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_characters() {
        let text = format!("a\n{}x\n", "ž".repeat(100));
        let places = Places::new(&text);
        assert_eq!(places.offset(Location::new(1, 1)), Some(0));
        assert_eq!(places.offset(Location::new(2, 101)), Some(202));
        assert_eq!(places.offset(Location::new(3, 1)), Some(text.len()));
        assert_eq!(places.offset(Location::new(4, 1)), None);
        assert_eq!(places.offset(Location::new(0, 0)), None);
    }
}
