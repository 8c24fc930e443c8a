//! JSON texts: values of columns, and tokens written anew.

use super::tokens::{Malformed, Token, Tokens};
use crate::function::display::write_double;

/// Appends a text in quotes.
pub fn write_text(out: &mut String, text: &str) {
    out.push('"');
    let mut start = 0;
    for (i, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0c => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[start..i]);
        start = i + 1;
        out.push_str(escape);
        if escape.is_empty() {
            const HEX: &[u8; 16] = b"0123456789ABCDEF";
            out.push_str("\\u00");
            out.push(HEX[usize::from(byte >> 4)].into());
            out.push(HEX[usize::from(byte & 15)].into());
        }
    }
    out.push_str(&text[start..]);
    out.push('"');
}

/// Appends a DOUBLE; what is no number is a text.
pub fn write_real(out: &mut String, value: f64) {
    let is_text = !value.is_finite();
    out.push_str(if is_text { "\"" } else { "" });
    write_double(out, value);
    out.push_str(if is_text { "\"" } else { "" });
}

/// The current value written anew: without blanks, numbers with a point as DOUBLE.
pub fn write_structure(tokens: &mut Tokens<'_>) -> Result<String, Malformed> {
    let mut out = String::new();
    let mut open: Vec<char> = Vec::new();
    let mut token = tokens.current();
    let mut follows_value = false;
    loop {
        let current = token.ok_or(Malformed)?;
        if follows_value && !matches!(current, Token::EndObject | Token::EndArray) {
            out.push(',');
        }
        follows_value = !matches!(current, Token::StartObject | Token::StartArray | Token::Name);
        match current {
            Token::StartObject => {
                out.push('{');
                open.push('}');
            }
            Token::StartArray => {
                out.push('[');
                open.push(']');
            }
            Token::EndObject | Token::EndArray => out.push(open.pop().ok_or(Malformed)?),
            Token::Name => {
                write_text(&mut out, tokens.name().unwrap_or_default());
                out.push(':');
            }
            Token::Text => write_text(&mut out, tokens.string()?),
            Token::Int => {
                let digits = tokens.number();
                out.push_str(if digits == "-0" { "0" } else { digits });
            }
            Token::Float => write_real(&mut out, tokens.number().parse().map_err(|_| Malformed)?),
            Token::True => out.push_str("true"),
            Token::False => out.push_str("false"),
            Token::Null => out.push_str("null"),
        }
        if open.is_empty() {
            return Ok(out);
        }
        token = tokens.advance()?;
    }
}
