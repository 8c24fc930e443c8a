//! The tokens of a JSON text, as Spark's parser finds them, and where it goes on behind an error.
//!
//! A text with an error in it can still give values, in Spark as here: whoever catches the error asks for the next token,
//! which is looked for behind the character that was wrong. So the state between two calls is the same as there.

mod scan;

use std::ops::Range;

/// Objects and arrays inside each other; a deeper text is malformed.
const MAX_DEPTH: usize = 1000;

/// What is taken besides strict JSON.
#[derive(Debug, Clone, Copy)]
pub struct Syntax {
    /// `/* … */` and `// …`.
    pub comments: bool,
    /// Names without quotes.
    pub unquoted_names: bool,
    /// Names and texts in single quotes.
    pub single_quotes: bool,
    /// `007`.
    pub leading_zeros: bool,
    /// `NaN`, `Infinity`, `-INF` and their like as numbers.
    pub non_numeric: bool,
    /// A backslash before any character.
    pub any_escape: bool,
    /// Control characters inside texts.
    pub control_chars: bool,
}

impl Default for Syntax {
    fn default() -> Self {
        Self {
            comments: false,
            unquoted_names: false,
            single_quotes: true,
            leading_zeros: false,
            non_numeric: true,
            any_escape: false,
            control_chars: false,
        }
    }
}

/// The text is no JSON here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// One token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    StartObject,
    EndObject,
    StartArray,
    EndArray,
    Name,
    Text,
    /// A number without point and exponent.
    Int,
    /// Any other number.
    Float,
    True,
    False,
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Root,
    Object,
    Array,
}

#[derive(Debug)]
struct Scope {
    kind: Kind,
    is_first: bool,
    name: Name,
}

/// Where the last name of an object is.
#[derive(Debug)]
enum Name {
    None,
    Plain(Range<usize>),
    Escaped(String),
}

/// What stands between the value before and the value of a field: the comma, the name, the colon, blanks.
#[derive(Debug, Default)]
pub struct Introduction {
    source: String,
    /// Where the name is in it.
    name: Range<usize>,
}

/// Reads tokens one after the other.
#[derive(Debug)]
pub struct Tokens<'a> {
    text: &'a str,
    pos: usize,
    syntax: Syntax,
    current: Option<Token>,
    next: Option<Token>,
    /// A text of which only the opening quote was read.
    is_incomplete: bool,
    scopes: Vec<Scope>,
    /// The end of the value before.
    last_end: usize,
    /// The first byte of the value.
    start: usize,
    /// The number's or text's bytes, if `scratch` does not hold it.
    value: Range<usize>,
    is_escaped: bool,
    /// Whether U+FFFD stands for bytes that are no UTF-8.
    is_lossy: bool,
    scratch: String,
}

type Result<T> = std::result::Result<T, Malformed>;

impl<'a> Tokens<'a> {
    /// The tokens of `text`.
    pub fn new(text: &'a str, syntax: Syntax) -> Self {
        let root = Scope { kind: Kind::Root, is_first: true, name: Name::None };
        Self {
            text,
            pos: 0,
            syntax,
            current: None,
            next: None,
            is_incomplete: false,
            scopes: vec![root],
            last_end: 0,
            start: 0,
            value: 0..0,
            is_escaped: false,
            is_lossy: false,
            scratch: String::new(),
        }
    }

    /// Begins anew with another text; what was allocated stays.
    pub fn restart(&mut self, text: &'a str) {
        self.text = text;
        self.pos = 0;
        (self.current, self.next, self.is_incomplete) = (None, None, false);
        self.scopes.truncate(1);
        self.scopes[0].is_first = true;
    }

    /// Whether U+FFFD in the text stands for bytes that are no UTF-8, which are malformed.
    pub fn set_lossy(&mut self, is_lossy: bool) {
        self.is_lossy = is_lossy;
    }

    /// The token that was read last.
    pub fn current(&self) -> Option<Token> {
        self.current
    }

    /// The name in front of the current value.
    pub fn name(&self) -> Option<&str> {
        let is_start = matches!(self.current, Some(Token::StartObject | Token::StartArray));
        let scope = self.scopes.get(self.scopes.len().checked_sub(if is_start { 2 } else { 1 })?)?;
        match &scope.name {
            Name::None => None,
            Name::Plain(range) => self.text.get(range.clone()),
            Name::Escaped(name) => Some(name),
        }
    }

    /// The bytes of the current number.
    pub fn number(&self) -> &'a str {
        &self.text[self.value.clone()]
    }

    /// The current text, without quotes and escapes.
    pub fn string(&mut self) -> Result<&str> {
        self.end_text()?;
        Ok(if self.is_escaped { &self.scratch } else { &self.text[self.value.clone()] })
    }

    /// The source of the current value, which is skipped.
    pub fn raw(&mut self) -> Result<&'a str> {
        let start = self.start;
        self.skip_children()?;
        Ok(&self.text[start..self.pos])
    }

    /// Goes to the end of the object or array that begins here.
    pub fn skip_children(&mut self) -> Result<()> {
        if !matches!(self.current, Some(Token::StartObject | Token::StartArray)) {
            return Ok(());
        }
        let mut open = 1;
        while open > 0 {
            match self.advance()? {
                None => return Err(Malformed),
                Some(Token::StartObject | Token::StartArray) => open += 1,
                Some(Token::EndObject | Token::EndArray) => open -= 1,
                Some(_) => {}
            }
        }
        Ok(())
    }

    /// Remembers how the field that was just found is introduced; `false` if its name does not stand there as it is.
    pub fn introduction(&self, remembered: &mut Introduction) -> bool {
        let Name::Plain(name) = &self.scope().name else { return false };
        if self.current != Some(Token::Name) {
            return false;
        }
        remembered.source.clear();
        remembered.source.push_str(&self.text[self.last_end..self.start]);
        remembered.name = name.start - self.last_end..name.end - self.last_end;
        true
    }

    /// Goes to the value of the next field if that is introduced like this: the same as `advance` twice.
    pub fn advance_behind(&mut self, introduction: &Introduction, is_first: bool) -> Result<Option<Token>> {
        if self.current == Some(Token::Name) || self.is_lossy || self.scopes.len() > MAX_DEPTH {
            return Ok(None);
        }
        self.end_text()?;
        let scope = self.scope();
        if scope.kind != Kind::Object || scope.is_first != is_first {
            return Ok(None);
        }
        let Some(rest) = self.text.as_bytes()[self.pos..].strip_prefix(introduction.source.as_bytes()) else {
            return Ok(None);
        };
        // More blanks or a comment may follow.
        let Some(byte @ (b'"' | b'0'..=b'9' | b'-' | b'{' | b'[' | b't' | b'f' | b'n')) = rest.first().copied() else {
            return Ok(None);
        };
        let (from, Range { start, end }) = (self.pos, introduction.name.clone());
        let scope = self.scope_mut();
        (scope.is_first, scope.name) = (false, Name::Plain(from + start..from + end));
        (self.last_end, self.start) = (from, from + introduction.source.len());
        self.pos = self.start + 1;
        self.current = Some(Token::Name);
        self.current = Some(self.value_token(byte)?);
        self.open_scope(self.current)?;
        Ok(self.current)
    }

    /// Reads the text of which only the opening quote was read.
    fn end_text(&mut self) -> Result<()> {
        if self.is_incomplete {
            self.is_incomplete = false;
            self.read_text(b'"')?;
        }
        Ok(())
    }

    /// The next token; none at the end of the text.
    pub fn advance(&mut self) -> Result<Option<Token>> {
        if self.current == Some(Token::Name) {
            self.current = self.next.take();
            self.open_scope(self.current)?;
            return Ok(self.current);
        }
        self.end_text()?;
        self.last_end = self.pos;
        let Some(mut byte) = self.after_blanks()? else {
            if self.scope().kind != Kind::Root {
                return Err(Malformed);
            }
            self.current = None;
            return Ok(None);
        };
        if matches!(byte, b']' | b'}') {
            return self.close_scope(byte).map(Some);
        }
        let scope = self.scope_mut();
        let (kind, is_first) = (scope.kind, std::mem::replace(&mut scope.is_first, false));
        if !is_first && kind != Kind::Root {
            if byte != b',' {
                self.skip_to_boundary();
                return Err(Malformed);
            }
            byte = self.after_blanks()?.ok_or(Malformed)?;
        }
        if kind == Kind::Object {
            self.read_name(byte)?;
            self.current = Some(Token::Name);
            byte = self.after_colon()?;
        }
        self.start = self.pos - 1;
        let token = self.value_token(byte)?;
        if kind == Kind::Object {
            self.next = Some(token);
        } else {
            self.current = Some(token);
            self.open_scope(self.current)?;
        }
        Ok(self.current)
    }

    fn scope(&self) -> &Scope {
        // The root is never closed.
        &self.scopes[self.scopes.len() - 1]
    }

    fn scope_mut(&mut self) -> &mut Scope {
        let last = self.scopes.len() - 1;
        &mut self.scopes[last]
    }

    fn open_scope(&mut self, token: Option<Token>) -> Result<()> {
        let kind = match token {
            Some(Token::StartObject) => Kind::Object,
            Some(Token::StartArray) => Kind::Array,
            _ => return Ok(()),
        };
        if self.scopes.len() > MAX_DEPTH {
            return Err(Malformed);
        }
        self.scopes.push(Scope { kind, is_first: true, name: Name::None });
        Ok(())
    }

    fn close_scope(&mut self, byte: u8) -> Result<Token> {
        let (kind, token) =
            if byte == b']' { (Kind::Array, Token::EndArray) } else { (Kind::Object, Token::EndObject) };
        if self.scope().kind != kind {
            return Err(Malformed);
        }
        self.scopes.pop();
        self.start = self.pos - 1;
        self.current = Some(token);
        Ok(token)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    /// Moves behind the character whose first byte was read.
    fn skip_to_boundary(&mut self) {
        while !self.text.is_char_boundary(self.pos) {
            self.pos += 1;
        }
    }

    /// The first byte that is no blank and in no comment; it is read.
    fn after_blanks(&mut self) -> Result<Option<u8>> {
        while let Some(byte) = self.peek() {
            self.pos += 1;
            match byte {
                b' ' | b'\n' | b'\t' | b'\r' => {}
                b'/' => self.skip_comment()?,
                0..b' ' => return Err(Malformed),
                _ => return Ok(Some(byte)),
            }
        }
        Ok(None)
    }

    fn skip_comment(&mut self) -> Result<()> {
        if !self.syntax.comments {
            return Err(Malformed);
        }
        let kind = self.peek().ok_or(Malformed)?;
        self.pos += 1;
        let rest = self.text.as_bytes().get(self.pos..).unwrap_or_default();
        let len = match kind {
            b'*' => rest.windows(2).position(|w| w == b"*/").ok_or(Malformed)? + 2,
            b'/' => rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(rest.len()),
            _ => {
                self.skip_to_boundary();
                return Err(Malformed);
            }
        };
        self.pos += len;
        Ok(())
    }

    fn after_colon(&mut self) -> Result<u8> {
        match self.after_blanks()? {
            Some(b':') => self.after_blanks()?.ok_or(Malformed),
            _ => {
                self.skip_to_boundary();
                Err(Malformed)
            }
        }
    }

    fn read_name(&mut self, byte: u8) -> Result<()> {
        match byte {
            b'"' => self.read_text(b'"')?,
            b'\'' if self.syntax.single_quotes => self.read_text(b'\'')?,
            _ if self.syntax.unquoted_names => {
                let start = self.pos - 1;
                let is_part = |c: char| is_identifier_part(c) || matches!(c, '@' | '#' | '*' | '-' | '+');
                let len = self.text[start..].find(|c| !is_part(c)).unwrap_or(self.text.len() - start);
                if len == 0 {
                    self.skip_to_boundary();
                    return Err(Malformed);
                }
                self.pos = start + len;
                (self.value, self.is_escaped) = (start..self.pos, false);
            }
            _ => {
                self.skip_to_boundary();
                return Err(Malformed);
            }
        }
        let name = match self.is_escaped {
            true => Name::Escaped(self.scratch.clone()),
            false => Name::Plain(self.value.clone()),
        };
        self.scope_mut().name = name;
        Ok(())
    }

    fn value_token(&mut self, byte: u8) -> Result<Token> {
        Ok(match byte {
            b'"' => {
                self.is_incomplete = true;
                Token::Text
            }
            b'[' => Token::StartArray,
            b'{' => Token::StartObject,
            b't' => self.word("true", Token::True)?,
            b'f' => self.word("false", Token::False)?,
            b'n' => self.word("null", Token::Null)?,
            b'0'..=b'9' | b'-' => self.read_number(byte)?,
            b'\'' if self.syntax.single_quotes => {
                self.read_text(b'\'')?;
                Token::Text
            }
            b'N' => self.not_a_number("NaN")?,
            b'I' => self.not_a_number("Infinity")?,
            b'+' => match self.text[self.pos..].starts_with("INF") {
                true => self.not_a_number("+INF")?,
                false => self.not_a_number("+Infinity")?,
            },
            _ => return Err(self.unexpected()),
        })
    }

    /// A word that begins with the byte that was read.
    fn word(&mut self, word: &str, token: Token) -> Result<Token> {
        let rest = &self.text[self.start..];
        let ends = |c: char| !is_identifier_part(c);
        if rest.strip_prefix(word).is_some_and(|tail| tail.chars().next().is_none_or(ends)) {
            self.pos = self.start + word.len();
            self.value = self.start..self.pos;
            return Ok(token);
        }
        Err(self.unexpected())
    }

    fn not_a_number(&mut self, word: &str) -> Result<Token> {
        let token = self.word(word, Token::Float)?;
        if self.syntax.non_numeric { Ok(token) } else { Err(Malformed) }
    }

    /// Goes behind the word that is none, or behind one character.
    fn unexpected(&mut self) -> Malformed {
        let rest = &self.text[self.start..];
        let word = rest.find(|c| !is_identifier_part(c)).unwrap_or(rest.len());
        let len = if word > 0 { word } else { rest.chars().next().map_or(0, char::len_utf8) };
        self.pos = self.start + len;
        Malformed
    }
}

/// What Java takes for a part of a name.
fn is_identifier_part(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$' | '\0'..='\u{8}' | '\u{e}'..='\u{1b}' | '\u{7f}'..='\u{9f}')
}
