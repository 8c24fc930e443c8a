//! The schema of a sample: what `schema_of_json` says of a text.

use super::tokens::{Malformed, Token, Tokens};

/// What a value may be of; `None` as long as only NULLs and empty texts were seen.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Inferred {
    None,
    Boolean,
    Bigint,
    /// Whole numbers beyond BIGINT, by their digits.
    Digits(usize),
    Double,
    Text,
    Array(Box<Inferred>),
    /// Sorted by name. A name may stand there twice.
    Struct(Vec<(String, Inferred)>),
}

/// The schema of the first value of the text, as DDL.
///
/// # Errors
/// If the text is malformed before the value ends.
pub fn schema_of(text: &str) -> Result<String, Malformed> {
    let mut tokens = Tokens::new(text, super::tokens::Syntax::default());
    let Some(first) = tokens.advance()? else { return Ok("STRING".to_owned()) };
    let inferred = infer(&mut tokens, first)?;
    Ok(match inferred.ddl() {
        Some(ddl) => ddl,
        // What is empty has no place inside of others, only as a whole.
        None => match inferred {
            Inferred::Struct(_) => "STRUCT<>".to_owned(),
            Inferred::Array(item) if matches!(*item, Inferred::Struct(_)) => "ARRAY<STRUCT<>>".to_owned(),
            _ => "STRING".to_owned(),
        },
    })
}

fn infer(tokens: &mut Tokens<'_>, token: Token) -> Result<Inferred, Malformed> {
    Ok(match token {
        Token::Null => Inferred::None,
        Token::True | Token::False => Inferred::Boolean,
        Token::Text if tokens.string()?.is_empty() => Inferred::None,
        Token::Text => Inferred::Text,
        Token::Float => Inferred::Double,
        Token::Int if tokens.number().parse::<i64>().is_ok() => Inferred::Bigint,
        Token::Int => match tokens.number().trim_start_matches('-').len() {
            digits @ 0..=38 => Inferred::Digits(digits),
            _ => Inferred::Double,
        },
        Token::StartArray => {
            let mut item = Inferred::None;
            loop {
                match tokens.advance()?.ok_or(Malformed)? {
                    Token::EndArray => break,
                    token => item = item.beside(infer(tokens, token)?),
                }
            }
            Inferred::Array(Box::new(item))
        }
        Token::StartObject => {
            let mut fields = vec![];
            loop {
                match tokens.advance()?.ok_or(Malformed)? {
                    Token::EndObject => break,
                    Token::Name => {
                        let token = tokens.advance()?.ok_or(Malformed)?;
                        let name = tokens.name().unwrap_or_default().to_owned();
                        fields.push((name, infer(tokens, token)?));
                    }
                    _ => return Err(Malformed),
                }
            }
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
            Inferred::Struct(fields)
        }
        Token::EndObject | Token::EndArray | Token::Name => return Err(Malformed),
    })
}

impl Inferred {
    /// What both are of.
    fn beside(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::None, t) | (t, Self::None) => t,
            (Self::Double, Self::Bigint | Self::Digits(_)) | (Self::Bigint | Self::Digits(_), Self::Double) => {
                Self::Double
            }
            // A BIGINT has up to 20 digits.
            (Self::Digits(n), Self::Bigint) | (Self::Bigint, Self::Digits(n)) => Self::Digits(n.max(20)),
            (Self::Digits(a), Self::Digits(b)) => Self::Digits(a.max(b)),
            (Self::Array(a), Self::Array(b)) => Self::Array(Box::new(a.beside(*b))),
            (Self::Struct(mut fields), Self::Struct(others)) => {
                for (name, other) in others {
                    match fields.iter_mut().find(|(n, _)| *n == name) {
                        Some((_, field)) => *field = std::mem::replace(field, Self::None).beside(other),
                        None => fields.push((name, other)),
                    }
                }
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Self::Struct(fields)
            }
            _ => Self::Text,
        }
    }

    /// None of a struct without fields, and of an array of such.
    fn ddl(&self) -> Option<String> {
        Some(match self {
            Self::None | Self::Text => "STRING".to_owned(),
            Self::Boolean => "BOOLEAN".to_owned(),
            Self::Bigint => "BIGINT".to_owned(),
            Self::Digits(n) => format!("DECIMAL({n},0)"),
            Self::Double => "DOUBLE".to_owned(),
            Self::Array(item) => format!("ARRAY<{}>", item.ddl()?),
            Self::Struct(fields) => {
                let named = fields.iter().filter(|(name, _)| !name.is_empty());
                let field = |(name, t): &(String, Self)| Some(format!("{}: {}", quoted(name), t.ddl()?));
                let fields: Vec<_> = named.filter_map(field).collect();
                if fields.is_empty() {
                    return None;
                }
                format!("STRUCT<{}>", fields.join(", "))
            }
        })
    }
}

fn quoted(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain && !name.chars().all(|c| c.is_ascii_digit()) {
        name.to_owned()
    } else {
        format!("`{}`", name.replace('`', "``"))
    }
}

/// The number of elements of an array; none of what is no array.
pub fn array_length(text: &str) -> Option<i32> {
    let mut tokens = Tokens::new(text, super::tokens::Syntax::default());
    if tokens.advance().ok()?? != Token::StartArray {
        return None;
    }
    let mut length = 0;
    while tokens.advance().ok()?? != Token::EndArray {
        tokens.skip_children().ok()?;
        length += 1;
    }
    Some(length)
}

/// The names of an object's fields; none of what is no object.
pub fn object_keys(text: &str) -> Option<Vec<String>> {
    let mut tokens = Tokens::new(text, super::tokens::Syntax::default());
    if tokens.advance().ok()?? != Token::StartObject {
        return None;
    }
    let mut keys = vec![];
    while tokens.advance().ok()?? == Token::Name {
        tokens.advance().ok()??;
        keys.push(tokens.name().unwrap_or_default().to_owned());
        tokens.skip_children().ok()?;
    }
    (tokens.current() == Some(Token::EndObject)).then_some(keys)
}
