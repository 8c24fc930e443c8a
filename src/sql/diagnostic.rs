//! Errors as users see them: condition, place in the script, how to mend it.

use std::sync::LazyLock;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use regex::Regex;

use crate::error::{Error, Span};
use crate::options::is_secret;

/// A script and what it is called in messages.
#[derive(Debug, Clone, Copy)]
pub struct SourceText<'s> {
    /// The file, or `<command line>`.
    pub name: &'s str,
    /// All of it.
    pub text: &'s str,
}

/// The error as text of several lines, without a line break at its end:
///
/// ```text
/// error[UNKNOWN_OPTION]: the socket source has no option 'prot'
///  --> pipeline.sql:1:45
///   |
/// 1 | CREATE STREAM lines USING socket OPTIONS (prot 9999);
///   |                                           ^^^^
///   |
///   = help: did you mean 'port'?
/// ```
pub fn render(error: &Error, source: Option<SourceText<'_>>, colour: bool) -> String {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let title = Level::ERROR.primary_title(error.message()).id(error.condition());
    let source = source_of(error, source);
    let hidden = source.map(|source| without_secrets(source.text));
    let source = source.zip(hidden.as_deref()).map(|(source, text)| SourceText { name: source.name, text });
    let (Some(source), Some(span)) = (source, error.span()) else {
        return without_source(error, &renderer.render(&[Group::with_title(title)]));
    };
    let line = Line::at(source.text, span);
    if line.text.len() > LONG {
        return long_line(error, source.name, &line, &renderer.render(&[Group::with_title(title)]));
    }
    let mut group = title.element(snippet(source, span));
    if let Some(place) = error.place() {
        group = group.element(Level::NOTE.message(format!("in {place}")));
    }
    if let Some(help) = error.help() {
        group = group.element(Level::HELP.message(help));
    }
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
}

/// The text with stars in the place of values of options that must never be printed, so that every other sign stays where it is.
fn without_secrets(text: &str) -> String {
    static OPTION: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"([\w.]+)[`\x22']?\s*=?\s*'((?:[^'\\]|''|\\.)*)'").ok());
    let mut hidden = text.to_owned();
    for found in OPTION.iter().flat_map(|option| option.captures_iter(text)) {
        if let (Some(key), Some(value)) = (found.get(1), found.get(2))
            && is_secret(key.as_str())
        {
            let stars: String = value.as_str().bytes().map(|b| if b == b'\n' { '\n' } else { '*' }).collect();
            hidden.replace_range(value.range(), &stars);
        }
    }
    hidden
}

/// The text that the place of the error is in: an expression of a view may come from an earlier one.
fn source_of<'s>(error: &'s Error, source: Option<SourceText<'s>>) -> Option<SourceText<'s>> {
    match error.text() {
        Some(text) if source.is_none_or(|s| s.text != text) => Some(SourceText { name: "<earlier text>", text }),
        _ => source,
    }
}

/// Bytes of a line above which only a part of it is shown.
const LONG: usize = 1000;
/// Characters that are shown before and after the place of an error in a long line.
const AROUND: usize = 60;

/// The line of an error.
struct Line<'s> {
    text: &'s str,
    /// From 1.
    number: usize,
    /// Bytes of `text`.
    span: std::ops::Range<usize>,
}

impl<'s> Line<'s> {
    fn at(text: &'s str, span: Span) -> Self {
        let range = visible(text, span);
        let start = text[..range.start].rfind('\n').map_or(0, |i| i + 1);
        let end = text[range.start..].find(['\n', '\r']).map_or(text.len(), |i| range.start + i);
        let number = 1 + memchr::memchr_iter(b'\n', &text.as_bytes()[..start]).count();
        Self { text: &text[start..end], number, span: range.start - start..range.end.min(end) - start }
    }
}

/// The same look as other errors have, around a part of the line.
fn long_line(error: &Error, name: &str, line: &Line, title: &str) -> String {
    let (before, rest) = line.text.split_at(line.span.start);
    let (marked, after) = rest.split_at(line.span.len());
    let start = before.char_indices().rev().nth(AROUND - 1).map_or(0, |(i, _)| i);
    let cut = |text: &str| -> (String, bool) {
        let end = text.char_indices().nth(AROUND).map_or(text.len(), |(i, _)| i);
        (text[..end].to_owned(), end < text.len())
    };
    let ((marked, is_cut), (after, more)) = (cut(marked), cut(after));
    let front = format!("{}{}", if start > 0 { "..." } else { "" }, &before[start..]);
    let back = if is_cut { "...".to_owned() } else { format!("{after}{}", if more { "..." } else { "" }) };
    let (number, column) = (line.number, before.chars().count() + 1);
    let gutter = " ".repeat(number.to_string().len());
    let width = unicode_width::UnicodeWidthStr::width;
    let (spaces, carets) = (" ".repeat(width(front.as_str())), "^".repeat(width(marked.as_str()).max(1)));
    let mut text = format!(
        "{title}\n{gutter}--> {name}:{number}:{column}\n{gutter} |\n{number} | {front}{marked}{back}\n{gutter} | {spaces}{carets}"
    );
    let notes =
        [error.place().map(|place| format!("note: in {place}")), error.help().map(|help| format!("help: {help}"))];
    for (i, note) in notes.into_iter().flatten().enumerate() {
        if i == 0 {
            text.push_str(&format!("\n{gutter} |"));
        }
        text.push_str(&format!("\n{gutter} = {note}"));
    }
    text
}

/// At run time the place is source, partition, offset and batch.
fn without_source(error: &Error, title: &str) -> String {
    let mut text = title.to_owned();
    if let Some(place) = error.place() {
        text.push_str("\n --> ");
        text.push_str(place);
    }
    if let Some(help) = error.help() {
        text.push_str("\n  = help: ");
        text.push_str(help);
    }
    text
}

fn snippet<'s>(source: SourceText<'s>, span: Span) -> Snippet<'s, annotate_snippets::Annotation<'s>> {
    let range = visible(source.text, span);
    Snippet::source(source.text).path(source.name).annotation(AnnotationKind::Primary.span(range))
}

/// The part of the span on its first line, at least one character and at character borders: a caret under a whole
/// statement of many lines would only hide the error.
fn visible(text: &str, span: Span) -> std::ops::Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.clamp(start, text.len()));
    let line_end = text[start..end].find(['\n', '\r']).map_or(end, |i| start + i);
    start..line_end
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(text: &str, error: &Error) -> String {
        render(error, Some(SourceText { name: "p.sql", text }), false)
    }

    #[test]
    fn secrets_are_stars() {
        let text =
            "CREATE TABLE t USING json OPTIONS (s3.secretAccessKey 'abc', `fs.s3a.secret.key` = 'x''y', path 'p', z 1)";
        let hidden = without_secrets(text);
        assert_eq!(hidden.len(), text.len());
        assert!(!hidden.contains("abc") && !hidden.contains("x''y") && hidden.contains("path 'p', z 1"), "{hidden}");
        let at = text.find("z 1").unwrap();
        let e = Error::invalid("UNKNOWN_OPTION", "no 'z'").with_span(Span { start: at, end: at + 1 });
        assert!(!show(text, &e).contains("abc"));
    }

    #[test]
    fn place_caret_and_help() {
        let text = "-- first\nCREATE STREAM lines USING socket OPTIONS (prot 9999);\n";
        let start = text.find("prot").unwrap();
        let e = Error::invalid("UNKNOWN_OPTION", "the socket source has no option 'prot'")
            .with_span(Span { start, end: start + 4 })
            .with_help("did you mean 'port'?");
        assert_eq!(
            show(text, &e),
            "\
error[UNKNOWN_OPTION]: the socket source has no option 'prot'
 --> p.sql:2:43
  |
2 | CREATE STREAM lines USING socket OPTIONS (prot 9999);
  |                                           ^^^^
  |
  = help: did you mean 'port'?"
        );
    }

    #[test]
    fn only_the_first_line_of_a_long_span() {
        let text = "SELECT a\nFROM b";
        let e = Error::invalid("X", "wrong").with_span(Span { start: 0, end: text.len() });
        assert_eq!(
            show(text, &e),
            "\
error[X]: wrong
 --> p.sql:1:1
  |
1 | SELECT a
  | ^^^^^^^^"
        );
    }

    #[test]
    fn a_part_of_a_long_line() {
        let text = format!("SELECT 1;\nSELECT {} nope {}", "1 + ".repeat(50_000), "+ 2".repeat(50_000));
        let start = text.find("nope").unwrap();
        let e = Error::invalid("X", "wrong").with_span(Span { start, end: start + 4 }).with_help("so");
        let shown = show(&text, &e);
        let lines: Vec<_> = shown.lines().collect();
        assert_eq!(lines[1], " --> p.sql:2:200009");
        assert!(lines[3].starts_with("2 | ...") && lines[3].ends_with("..."), "{}", lines[3]);
        assert!(lines.iter().all(|l| l.len() < 200));
        let caret = lines[4].find("^^^^").unwrap();
        assert_eq!(&lines[3][caret..caret + 4], "nope");
        assert_eq!(lines[6], "  = help: so");
    }

    #[test]
    fn without_a_place_in_the_text() {
        let e = Error::execution("BAD_RECORD", "broken row").with_place("stream 'a', offset 7").with_help("look");
        assert_eq!(
            show("", &e),
            "\
error[BAD_RECORD]: broken row
 --> stream 'a', offset 7
  = help: look"
        );
        let e = Error::invalid("X", "wrong").with_help("so");
        assert_eq!(show("", &e), "error[X]: wrong\n  = help: so");
    }
}
