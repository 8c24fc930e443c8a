//! Rows as text in a box, as Spark's `Dataset.show` and its console sink print them.
//!
//! ```text
//! +-----+
//! |value|
//! +-----+
//! |    1|
//! +-----+
//! only showing top 1 row
//! ```

use crate::time_zone::Tz;
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use unicode_width::UnicodeWidthStr;

use crate::function::display::format_value;

/// No column is narrower.
const MIN_WIDTH: usize = 3;

/// What happens to long cells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncate {
    /// They are printed in full, and all cells are left-aligned.
    Never,
    /// They are cut to this many characters, the last three of them dots if there is room; all cells are right-aligned.
    /// Spark's `truncate=true` is 20.
    At(usize),
}

impl Default for Truncate {
    /// Spark's `truncate=true`.
    fn default() -> Self {
        Self::At(20)
    }
}

/// The first `num_rows` rows as text, for batch queries: the table and an empty line, or the footer if there are more.
pub fn show_table(schema: &SchemaRef, rows: &[RecordBatch], num_rows: usize, truncate: Truncate, tz: Tz) -> String {
    let mut table = TextTable::new(schema, num_rows, truncate, tz);
    rows.iter().for_each(|batch| table.push(batch));
    table.finish()
}

/// A table that is being filled: keeps the text of the rows it will show, and nothing of the others.
#[derive(Debug)]
pub struct TextTable {
    /// The header first.
    lines: Vec<Vec<String>>,
    max_rows: usize,
    has_more: bool,
    truncate: Truncate,
    tz: Tz,
}

impl TextTable {
    /// An empty table with the columns of `schema`.
    pub fn new(schema: &SchemaRef, max_rows: usize, truncate: Truncate, tz: Tz) -> Self {
        let header = schema.fields().iter().map(|f| escape(f.name())).collect();
        Self { lines: vec![header], max_rows, has_more: false, truncate, tz }
    }

    /// Adds rows.
    pub fn push(&mut self, batch: &RecordBatch) {
        let shown = self.lines.len() - 1;
        let take = batch.num_rows().min(self.max_rows.saturating_sub(shown));
        self.has_more |= take < batch.num_rows();
        self.lines.extend((0..take).map(|row| self.cells(batch, row)).collect::<Vec<_>>());
    }

    fn cells(&self, batch: &RecordBatch, row: usize) -> Vec<String> {
        let text = |c: &arrow::array::ArrayRef| cut(escape(&format_value(c, row, self.tz)), self.truncate);
        batch.columns().iter().map(text).collect()
    }

    /// The text: borders, header, rows, and the footer or an empty line.
    pub fn finish(self) -> String {
        let widths = self.widths();
        let border = border(&widths);
        let mut out = border.clone();
        for (i, line) in self.lines.iter().enumerate() {
            self.put_line(&mut out, line, &widths);
            if i == 0 {
                out.push_str(&border);
            }
        }
        out.push_str(&border);
        match (self.has_more, self.max_rows) {
            (false, _) => out.push('\n'),
            (true, 1) => out.push_str("only showing top 1 row\n"),
            (true, n) => out.push_str(&format!("only showing top {n} rows\n")),
        }
        out
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![MIN_WIDTH; self.lines[0].len()];
        for line in &self.lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.width());
            }
        }
        widths
    }

    fn put_line(&self, out: &mut String, cells: &[String], widths: &[usize]) {
        out.push('|');
        for (cell, width) in cells.iter().zip(widths) {
            let blanks = " ".repeat(width.saturating_sub(cell.width()));
            match self.truncate {
                Truncate::Never => out.extend([cell, blanks.as_str()]),
                Truncate::At(_) => out.extend([blanks.as_str(), cell]),
            }
            out.push('|');
        }
        out.push('\n');
    }
}

fn border(widths: &[usize]) -> String {
    let mut out = String::from("+");
    for width in widths {
        out.extend(std::iter::repeat_n('-', *width));
        out.push('+');
    }
    out.push('\n');
    out
}

fn cut(cell: String, truncate: Truncate) -> String {
    let Truncate::At(max) = truncate else { return cell };
    if cell.chars().count() <= max {
        return cell;
    }
    // No room for dots in fewer than four characters.
    let (kept, dots) = if max < 4 { (max, "") } else { (max - 3, "...") };
    cell.chars().take(kept).chain(dots.chars()).collect()
}

/// Control characters that would break the box, as Spark escapes them.
fn escape(text: &str) -> String {
    if !text.contains(|c: char| c.is_control()) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 4);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{c}' => out.push_str("\\f"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{7}' => out.push_str("\\a"),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, StringViewArray};

    use super::*;

    fn show(columns: Vec<(&str, ArrayRef)>, num_rows: usize, truncate: Truncate) -> String {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        show_table(&batch.schema(), std::slice::from_ref(&batch), num_rows, truncate, Tz::UTC)
    }

    #[test]
    fn footer_only_when_there_are_more_rows() {
        let ints = || vec![("value", Arc::new(Int32Array::from(vec![1, 2])) as ArrayRef)];
        let head = "+-----+\n|value|\n+-----+\n";
        assert_eq!(show(ints(), 2, Truncate::At(20)), format!("{head}|    1|\n|    2|\n+-----+\n\n"));
        assert_eq!(show(ints(), 1, Truncate::At(20)), format!("{head}|    1|\n+-----+\nonly showing top 1 row\n"));
        assert_eq!(show(ints(), 0, Truncate::At(20)), format!("{head}+-----+\nonly showing top 0 rows\n"));
    }

    #[test]
    fn long_cells_are_cut_and_wide_ones_count_double() {
        let cells =
            StringViewArray::from(vec![Some("123456789012345678901234567890"), Some("日本"), None, Some("a\nb")]);
        let cells: ArrayRef = Arc::new(cells);
        let cut = show(vec![("a", cells.clone())], 20, Truncate::At(20));
        assert!(cut.contains("|12345678901234567...|\n"), "{cut}");
        assert!(cut.contains(&format!("|{}日本|\n", " ".repeat(16))), "{cut}");
        assert!(cut.contains("a\\nb|\n") && cut.contains(" NULL|\n"), "{cut}");
        assert!(show(vec![("a", cells.clone())], 1, Truncate::At(2)).contains("| 12|\n"));
        let full = show(vec![("a", cells)], 20, Truncate::Never);
        assert!(full.contains("|123456789012345678901234567890|\n|日本                          |\n"), "{full}");
    }
}
