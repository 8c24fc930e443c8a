//! Errors as users see them: condition, place in the script, how to mend it.

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use crate::error::{Error, Span};

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
    let (Some(source), Some(span)) = (source, error.span()) else {
        return without_source(error, &renderer.render(&[Group::with_title(title)]));
    };
    let mut group = title.element(snippet(source, span));
    if let Some(help) = error.help() {
        group = group.element(Level::HELP.message(help));
    }
    renderer.decor_style(DecorStyle::Ascii).render(&[group])
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
