//! `${NAME}` and `${NAME:-default}` in scripts.
//!
//! Variables are replaced before the script is read, everywhere but in comments. An [`Expansion`] remembers what came
//! from where, so that errors show the text that the user wrote.

use crate::error::{Error, Span};
use crate::options::did_you_mean;

/// A script after replacement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expansion {
    /// The text to parse.
    pub text: String,
    /// Replaced ranges: in `text`, and in the script; in order.
    replaced: Vec<(Span, Span)>,
}

impl Expansion {
    /// The range of the script that a range of `text` came from.
    pub fn original(&self, span: Span) -> Span {
        let start = self.position(span.start, false);
        Span { start, end: self.position(span.end, true).max(start) }
    }

    fn position(&self, at: usize, is_end: bool) -> usize {
        let mut shift = 0isize;
        for (new, old) in &self.replaced {
            let inside = if is_end { at > new.start && at <= new.end } else { at >= new.start && at < new.end };
            if inside {
                return if is_end { old.end } else { old.start };
            }
            if at <= new.start {
                break;
            }
            shift = old.end.cast_signed() - new.end.cast_signed();
        }
        at.saturating_add_signed(shift)
    }
}

/// Where the scanner is: variables mean nothing in comments, and quotes must be doubled in strings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Context {
    Code,
    Quoted(u8),
    LineComment,
    /// Comments nest, as in Spark.
    BlockComment(usize),
}

/// Replaces the variables of `script` by what `lookup` gives, or by their defaults. `names` are those that could have
/// been meant.
///
/// # Errors
/// Every variable that is not defined, or not closed.
pub fn expand<'n>(
    script: &str,
    lookup: impl Fn(&str) -> Option<String>,
    names: impl Iterator<Item = &'n str> + Clone,
) -> Result<Expansion, Vec<Error>> {
    let bytes = script.as_bytes();
    let mut out = Expansion { text: String::with_capacity(script.len()), replaced: vec![] };
    let (mut context, mut at, mut copied, mut errors) = (Context::Code, 0, 0, vec![]);
    while at < bytes.len() {
        if bytes[at..].starts_with(b"${") && matches!(context, Context::Code | Context::Quoted(_)) {
            out.text.push_str(&script[copied..at]);
            match Reference::parse(script, at) {
                Ok(reference) => {
                    match reference.value(&lookup, names.clone()) {
                        Ok(value) => out.replace(&escaped(&value, context), reference.span),
                        Err(e) => errors.push(e),
                    }
                    at = reference.span.end;
                }
                Err(e) => {
                    errors.push(e);
                    break;
                }
            }
            copied = at;
            continue;
        }
        let (next, step) = advance(context, &bytes[at..]);
        context = next;
        at += step;
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    out.text.push_str(&script[copied..]);
    Ok(out)
}

impl Expansion {
    fn replace(&mut self, value: &str, old: Span) {
        let start = self.text.len();
        self.text.push_str(value);
        self.replaced.push((Span { start, end: self.text.len() }, old));
    }
}

fn advance(context: Context, rest: &[u8]) -> (Context, usize) {
    match (context, rest) {
        (Context::Code, [b'-', b'-', ..]) => (Context::LineComment, 2),
        (Context::Code, [b'/', b'*', ..]) => (Context::BlockComment(1), 2),
        (Context::Code, [q @ (b'\'' | b'"' | b'`'), ..]) => (Context::Quoted(*q), 1),
        (Context::Quoted(q), [b'\\', _, ..]) if q != b'`' => (context, 2),
        (Context::Quoted(q), [c, ..]) if *c == q => (Context::Code, 1),
        (Context::LineComment, [b'\n', ..]) => (Context::Code, 1),
        (Context::BlockComment(n), [b'/', b'*', ..]) => (Context::BlockComment(n + 1), 2),
        (Context::BlockComment(1), [b'*', b'/', ..]) => (Context::Code, 2),
        (Context::BlockComment(n), [b'*', b'/', ..]) => (Context::BlockComment(n - 1), 2),
        _ => (context, 1),
    }
}

fn escaped(value: &str, context: Context) -> String {
    match context {
        Context::Quoted(b'`') => value.replace('`', "``"),
        Context::Quoted(q) => {
            let q = char::from(q);
            value.replace('\\', "\\\\").replace(q, &format!("{q}{q}"))
        }
        _ => value.to_owned(),
    }
}

/// `${NAME:-default}`.
struct Reference<'s> {
    name: &'s str,
    default: Option<&'s str>,
    span: Span,
}

impl<'s> Reference<'s> {
    fn parse(script: &'s str, start: usize) -> Result<Self, Error> {
        let inner = start + 2;
        let Some(length) = script[inner..].find('}') else {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", "this variable is never closed")
                .with_span(Span { start, end: inner })
                .with_help("write ${NAME} or ${NAME:-default}"));
        };
        let text = &script[inner..inner + length];
        let (name, default) = text.split_once(":-").map_or((text, None), |(n, d)| (n, Some(d)));
        let span = Span { start, end: inner + length + 1 };
        let name = name.trim();
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.')) {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", format!("'{name}' is not a name of a variable"))
                .with_span(span)
                .with_help("write ${NAME} or ${NAME:-default}; a name has letters, digits, '_' and '.'"));
        }
        Ok(Self { name, default, span })
    }

    fn value<'n>(
        &self,
        lookup: impl Fn(&str) -> Option<String>,
        names: impl Iterator<Item = &'n str>,
    ) -> Result<String, Error> {
        if let Some(value) = lookup(self.name).or_else(|| self.default.map(str::to_owned)) {
            return Ok(value);
        }
        let help = match did_you_mean(self.name, names) {
            Some(near) => format!("did you mean '{near}'?"),
            None => format!("give it: -D {0}=value, or in the environment, or a default: ${{{0}:-value}}", self.name),
        };
        Err(Error::invalid("UNRESOLVED_VARIABLE", format!("variable '{}' is not defined", self.name))
            .with_span(self.span)
            .with_help(help))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> Result<Expansion, Vec<Error>> {
        let known = [("HOST", "h1"), ("QUOTE", "it's \\")];
        expand(
            script,
            |n| known.iter().find(|(k, _)| *k == n).map(|(_, v)| (*v).to_owned()),
            known.iter().map(|(k, _)| *k),
        )
    }

    #[test]
    fn strings_code_and_defaults() {
        let e = run("OPTIONS (host '${HOST}', port ${PORT:-9999}, q '${QUOTE}') -- ${NOT} /* ${A} */").unwrap();
        assert_eq!(e.text, "OPTIONS (host 'h1', port 9999, q 'it''s \\\\') -- ${NOT} /* ${A} */");
    }

    #[test]
    fn places_are_those_of_the_script() {
        let script = "a '${HOST}' bcd ${PORT:-9} e";
        let e = run(script).unwrap();
        for word in ["bcd", "e"] {
            let at = e.text.find(word).unwrap();
            let original = e.original(Span { start: at, end: at + word.len() });
            assert_eq!(&script[original.start..original.end], word);
        }
        let nine = e.text.find('9').unwrap();
        let original = e.original(Span { start: nine, end: nine + 1 });
        assert_eq!(&script[original.start..original.end], "${PORT:-9}");
    }

    #[test]
    fn every_undefined_variable_is_an_error() {
        let errors = run("${HOTS} '${NOPE}'").unwrap_err();
        assert_eq!(errors.len(), 2);
        assert_eq!(errors[0].help(), Some("did you mean 'HOST'?"));
        assert_eq!(errors[1].condition(), "UNRESOLVED_VARIABLE");
        assert_eq!(run("x ${A").unwrap_err()[0].span(), Some(Span { start: 2, end: 4 }));
    }
}
