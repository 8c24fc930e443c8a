//! What stands in quotes: escapes in strings, raw strings, quotes in quoted names.

use datafusion::sql::sqlparser::tokenizer::{Token, TokenWithSpan};

/// Tokens whose strings and names still have their escapes, without them. `r'…'` has none.
pub fn unquoted(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut out: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    for mut t in tokens {
        let is_string = matches!(t.token, Token::SingleQuotedString(_) | Token::DoubleQuotedString(_));
        if is_string && out.last().is_some_and(|r| is_raw_mark(r) && r.span.end == t.span.start) {
            if let Some(mark) = out.pop() {
                t.span.start = mark.span.start;
            }
            out.push(t);
            continue;
        }
        match &mut t.token {
            Token::SingleQuotedString(s) => *s = unescaped(s, '\''),
            Token::DoubleQuotedString(s) => *s = unescaped(s, '"'),
            Token::Word(w) if w.quote_style == Some('`') => w.value = w.value.replace("``", "`"),
            _ => {}
        }
        out.push(t);
    }
    out
}

fn is_raw_mark(t: &TokenWithSpan) -> bool {
    matches!(&t.token, Token::Word(w) if w.quote_style.is_none() && w.value.eq_ignore_ascii_case("r"))
}

/// The text that a literal stands for: Spark's escapes, and the quote itself where it is doubled. `\%` and `\_` keep their
/// backslash, since they mean something to LIKE.
fn unescaped(raw: &str, quote: char) -> String {
    if !raw.contains(['\\', quote]) {
        return raw.to_owned();
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c == '\\' {
            rest = escape(rest, &mut out);
            continue;
        }
        out.push(c);
        if c == quote {
            rest = rest.strip_prefix(quote).unwrap_or(rest);
        }
    }
    out
}

/// Reads what follows a backslash; gives what follows that.
fn escape<'r>(rest: &'r str, out: &mut String) -> &'r str {
    let coded = |skip: usize, digits: usize, radix: u32| {
        let digits = rest.get(skip..skip + digits)?;
        let is_number = digits.bytes().all(|b| char::from(b).is_digit(radix));
        let c = u32::from_str_radix(digits, radix).ok().filter(|_| is_number).and_then(char::from_u32)?;
        Some((c, skip + digits.len()))
    };
    let special = match rest.as_bytes().first() {
        Some(b'u') => coded(1, 4, 16),
        Some(b'U') => coded(1, 8, 16),
        Some(b'0' | b'1') => coded(0, 3, 8),
        _ => None,
    };
    if let Some((c, length)) = special {
        out.push(c);
        return &rest[length..];
    }
    let Some(c) = rest.chars().next() else {
        out.push('\\');
        return rest;
    };
    match c {
        '0' => out.push('\0'),
        'b' => out.push('\u{8}'),
        'n' => out.push('\n'),
        'r' => out.push('\r'),
        't' => out.push('\t'),
        'Z' => out.push('\u{1a}'),
        '%' | '_' => out.extend(['\\', c]),
        other => out.push(other),
    }
    &rest[c.len_utf8()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_sparks() {
        for (raw, text) in [
            (r"a\tb\n", "a\tb\n"),
            (r"\u0041\101\\", "AA\\"),
            (r"\U0001F600", "😀"),
            (r"it\'s it''s", "it's it's"),
            (r"50\% a\_b", r"50\% a\_b"),
            (r"\u00 \x", "u00 x"),
            ("ž\\ž", "žž"),
        ] {
            assert_eq!(unescaped(raw, '\''), text, "{raw}");
        }
    }
}
