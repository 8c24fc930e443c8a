//! Where the expressions of a running query were written.

use std::sync::Arc;

use super::variable::Expansion;
use crate::error::{Origin, Span};

/// A script as the user wrote it, for the places of what was read from it.
#[derive(Debug, Clone)]
pub struct ScriptText {
    text: Arc<str>,
    expansion: Arc<Expansion>,
    /// Where the part that is being read begins in the text whose variables are replaced.
    start: usize,
}

impl ScriptText {
    /// All of a script.
    pub fn new(text: &str, expansion: Arc<Expansion>) -> Self {
        Self { text: text.into(), expansion, start: 0 }
    }

    /// The part that begins at a byte of this one.
    #[must_use]
    pub fn part(&self, start: usize) -> Self {
        Self { start: self.start + start, ..self.clone() }
    }

    /// A piece of this part.
    pub fn origin(&self, span: Span) -> Origin {
        Origin { text: Arc::clone(&self.text), span: self.expansion.original(span.shift(self.start)) }
    }
}
