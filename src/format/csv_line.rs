//! Cuts one CSV line into fields, however broken it is: what is left when arrow-csv refuses a line.

/// The special bytes of a CSV dialect.
#[derive(Debug, Clone, Copy)]
pub struct Dialect {
    /// Between fields.
    pub delimiter: u8,
    /// Around fields.
    pub quote: u8,
    /// Before a quote inside a quoted field.
    pub escape: u8,
    /// Starts a line that is no record.
    pub comment: Option<u8>,
}

/// The fields of `line`; an open quote ends with the line.
pub fn split(line: &[u8], dialect: Dialect) -> Vec<String> {
    let mut fields = vec![];
    let mut field = vec![];
    let mut quoted = false;
    let mut bytes = line.iter().copied().peekable();
    while let Some(b) = bytes.next() {
        match b {
            _ if quoted && b == dialect.escape && bytes.peek() == Some(&dialect.quote) => field.extend(bytes.next()),
            _ if quoted && b == dialect.quote && bytes.peek() == Some(&dialect.quote) => field.extend(bytes.next()),
            _ if quoted && b == dialect.quote => quoted = false,
            _ if quoted => field.push(b),
            _ if b == dialect.quote && field.is_empty() => quoted = true,
            _ if b == dialect.delimiter => fields.push(text(&mut field)),
            _ => field.push(b),
        }
    }
    fields.push(text(&mut field));
    fields
}

fn text(field: &mut Vec<u8>) -> String {
    String::from_utf8_lossy(&std::mem::take(field)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_broken_lines() {
        let d = Dialect { delimiter: b',', quote: b'"', escape: b'\\', comment: None };
        assert_eq!(split(br#"1,"a,b",c"d,"#, d), ["1", "a,b", "c\"d", ""]);
        assert_eq!(split(br#""a""b\"c",x"#, d), ["a\"b\"c", "x"]);
        assert_eq!(split(br#"1,"open, and no end"#, d), ["1", "open, and no end"]);
    }
}
