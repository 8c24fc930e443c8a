//! Cuts a byte stream into lines as Java's `readLine` does, with bounded memory.

use memchr::memchr2_iter;

use super::rows::Rows;

/// Why a line is a bad record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadLine {
    /// It is not UTF-8.
    NotUtf8,
    /// It is longer than the limit.
    TooLong,
}

/// Bytes received that are not yet a whole line. A line ends with `\n`, `\r` or `\r\n`.
#[derive(Debug)]
pub struct LineCutter {
    /// Where to read to: what is here already is the start of a line.
    pub buffer: Vec<u8>,
    searched: usize,
    max_line_bytes: usize,
    /// The line is over the limit: what comes up to the next line end is thrown away.
    skipping: bool,
    /// The last byte was `\r`: a `\n` that follows belongs to it.
    after_cr: bool,
}

impl LineCutter {
    /// A cutter for lines of at most `max_line_bytes`.
    pub fn new(max_line_bytes: usize) -> Self {
        Self { buffer: vec![], searched: 0, max_line_bytes, skipping: false, after_cr: false }
    }

    /// Moves whole lines out of the buffer into `rows`; bad ones are given to `bad`.
    pub fn cut(&mut self, rows: &mut Rows, mut bad: impl FnMut(BadLine, &mut Rows)) {
        let mut start = 0;
        for at in memchr2_iter(b'\n', b'\r', &self.buffer[self.searched..]) {
            let at = self.searched + at;
            let is_cr = self.buffer[at] == b'\r';
            let ends_cr_lf = !is_cr && at == start && self.after_cr;
            self.after_cr = is_cr;
            if !ends_cr_lf {
                let line = &self.buffer[start..at];
                match check(line, self.max_line_bytes) {
                    // Its first part was thrown away and counted before.
                    _ if self.skipping => self.skipping = false,
                    Ok(()) => rows.push(line),
                    Err(e) => bad(e, rows),
                }
            }
            start = at + 1;
        }
        // A byte that is no line end stands between the `\r` and whatever `\n` comes next.
        self.after_cr &= start == self.buffer.len();
        self.buffer.drain(..start);
        if self.buffer.len() > self.max_line_bytes && !self.skipping {
            self.skipping = true;
            bad(BadLine::TooLong, rows);
        }
        if self.skipping {
            self.buffer.clear();
        }
        self.searched = self.buffer.len();
    }

    /// The peer closed: what is left is a line, as Spark's reader has it.
    pub fn finish(&mut self, rows: &mut Rows, mut bad: impl FnMut(BadLine, &mut Rows)) {
        let rest = std::mem::take(&mut self.buffer);
        if !rest.is_empty() && !self.skipping {
            match check(&rest, self.max_line_bytes) {
                Ok(()) => rows.push(&rest),
                Err(e) => bad(e, rows),
            }
        }
        *self = Self::new(self.max_line_bytes);
    }
}

fn check(line: &[u8], max_line_bytes: usize) -> Result<(), BadLine> {
    if line.len() > max_line_bytes {
        return Err(BadLine::TooLong);
    }
    std::str::from_utf8(line).map(drop).map_err(|_| BadLine::NotUtf8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `step` bytes; gives lines and the number of bad ones.
    fn cut(text: &[u8], step: usize, max: usize) -> (Vec<String>, usize) {
        let (mut cutter, mut rows, mut bad) = (LineCutter::new(max), Rows::default(), 0);
        for piece in text.chunks(step) {
            cutter.buffer.extend_from_slice(piece);
            cutter.cut(&mut rows, |_, _| bad += 1);
            assert!(cutter.buffer.len() <= max, "memory is bounded");
        }
        cutter.finish(&mut rows, |_, _| bad += 1);
        let mut start = 0;
        let lines = rows.lengths.iter().map(|l| {
            start += *l as usize;
            String::from_utf8_lossy(&rows.bytes[start - *l as usize..start]).into_owned()
        });
        (lines.collect(), bad)
    }

    #[test]
    fn lines_are_the_same_however_the_bytes_arrive() {
        let text = b"a\r\nb\n\nc\rd\r\r\n\xff\nlonger than all\ne\n half";
        for step in 1..=text.len() {
            let (lines, bad) = cut(text, step, 10);
            assert_eq!(lines, ["a", "b", "", "c", "d", "", "e", " half"], "pieces of {step}");
            assert_eq!(bad, 2);
        }
    }

    #[test]
    fn ten_megabytes_without_a_line_end_are_one_bad_record() {
        let mut text = vec![b'x'; 10 << 20];
        text.extend_from_slice(b"\nnext\n");
        assert_eq!(cut(&text, 100_000, 1 << 20), (vec!["next".to_string()], 1));
    }
}
