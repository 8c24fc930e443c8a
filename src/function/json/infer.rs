//! The type that JSON texts have, as Spark tells it: of every value the narrowest, of several the narrowest that has them all.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, TimeUnit};

use super::tokens::{Malformed, Syntax, Token, Tokens};
use crate::function::record_times::RecordTimes;
use crate::time_zone::Tz;

/// Digits of the widest DECIMAL.
const MAX_PRECISION: u8 = 38;

/// What the options say about types.
#[derive(Debug, Clone, Default)]
pub struct InferOptions {
    /// Numbers and booleans are texts.
    pub primitives_as_string: bool,
    /// Numbers with a point, and texts that are numbers, are DECIMAL where they fit.
    pub prefers_decimal: bool,
    /// Texts may be times.
    pub timestamps: bool,
    /// A field that is NULL, or an empty array, in every record is no column.
    pub drop_all_null: bool,
}

/// A type so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    /// NULL, or an empty text.
    Null,
    Boolean,
    Long,
    Double,
    Decimal(u8, i8),
    Timestamp,
    Text,
    Array(Box<Type>),
    /// Fields in the order of their names; a name may stand there twice.
    Object(Vec<(String, Type)>),
}

/// Tells the types of texts.
#[derive(Debug)]
pub struct Inference<'o> {
    syntax: Syntax,
    options: &'o InferOptions,
    times: &'o RecordTimes,
    tz: Tz,
}

impl<'o> Inference<'o> {
    /// Of texts of this syntax; local times are those of `tz`.
    pub fn new(syntax: Syntax, options: &'o InferOptions, times: &'o RecordTimes, tz: Tz) -> Self {
        Self { syntax, options, times, tz }
    }

    /// The type of one text; NULL for an empty one.
    ///
    /// # Errors
    /// A text that is no JSON. What follows its first value is not looked at.
    pub fn of(&self, text: &str) -> Result<Type, Malformed> {
        let mut tokens = Tokens::new(text, self.syntax);
        match tokens.advance()? {
            Some(token) => self.value(token, &mut tokens),
            None => Ok(Type::Null),
        }
    }

    fn value(&self, token: Token, tokens: &mut Tokens<'_>) -> Result<Type, Malformed> {
        Ok(match token {
            Token::Null => Type::Null,
            Token::True | Token::False if self.options.primitives_as_string => Type::Text,
            Token::True | Token::False => Type::Boolean,
            Token::Text => self.text(tokens.string()?),
            Token::Int | Token::Float if self.options.primitives_as_string => Type::Text,
            Token::Int => integer(tokens.number()),
            Token::Float if self.options.prefers_decimal => decimal(tokens.number()).unwrap_or(Type::Double),
            Token::Float => Type::Double,
            Token::StartArray => {
                let mut item = Type::Null;
                while let Some(token) = tokens.advance()?.filter(|t| *t != Token::EndArray) {
                    item = common(item, self.value(token, tokens)?);
                }
                ended(tokens, Token::EndArray)?;
                Type::Array(Box::new(item))
            }
            Token::StartObject => {
                let mut fields = vec![];
                while let Some(Token::Name) = tokens.advance()? {
                    let name = tokens.name().unwrap_or_default().to_owned();
                    let token = tokens.advance()?.ok_or(Malformed)?;
                    fields.push((name, self.value(token, tokens)?));
                }
                ended(tokens, Token::EndObject)?;
                fields.sort_by(|(a, _), (b, _)| a.cmp(b));
                Type::Object(fields)
            }
            Token::EndArray | Token::EndObject | Token::Name => return Err(Malformed),
        })
    }

    fn text(&self, text: &str) -> Type {
        if text.is_empty() {
            return Type::Null;
        }
        if self.options.prefers_decimal
            && let Some(decimal) = decimal(text)
        {
            return decimal;
        }
        if !self.options.timestamps {
            return Type::Text;
        }
        // A text without a zone may be either; the session's kind of TIMESTAMP takes it.
        let is_time = self.times.read_timestamp(text, self.tz).is_some() || self.times.read_local(text).is_some();
        if is_time { Type::Timestamp } else { Type::Text }
    }

    /// The columns of records of this type; none if it is no object. `corrupt` is the column for the texts that could not be read,
    /// if there were such.
    pub fn columns(&self, root: Type, corrupt: Option<&str>) -> Vec<Field> {
        let mut fields = match root {
            Type::Object(fields) => fields,
            _ => vec![],
        };
        if let Some(name) = corrupt.filter(|name| !fields.iter().any(|(known, _)| known == name)) {
            fields.push((name.to_owned(), Type::Text));
            fields.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.fields(fields)
    }

    fn fields(&self, fields: Vec<(String, Type)>) -> Vec<Field> {
        let field = |(name, t)| Some(Field::new(name, self.data_type(t)?, true));
        fields.into_iter().filter_map(field).collect()
    }

    /// The type that is declared; `None` for an object without fields.
    fn data_type(&self, t: Type) -> Option<DataType> {
        Some(match t {
            Type::Null if self.options.drop_all_null => return None,
            Type::Null | Type::Text => DataType::Utf8View,
            Type::Boolean => DataType::Boolean,
            Type::Long => DataType::Int64,
            Type::Double => DataType::Float64,
            Type::Decimal(p, s) => DataType::Decimal128(p, s),
            Type::Timestamp => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Type::Array(item) => DataType::List(Arc::new(Field::new_list_field(self.data_type(*item)?, true))),
            Type::Object(fields) => {
                let fields = self.fields(fields);
                if fields.is_empty() {
                    return None;
                }
                DataType::Struct(fields.into())
            }
        })
    }
}

/// Refuses a text that ended too early.
fn ended(tokens: &Tokens<'_>, end: Token) -> Result<(), Malformed> {
    if tokens.current() == Some(end) { Ok(()) } else { Err(Malformed) }
}

fn integer(digits: &str) -> Type {
    if digits.parse::<i64>().is_ok() {
        return Type::Long;
    }
    decimal(digits).unwrap_or(Type::Double)
}

/// The DECIMAL that holds this number and no more, if one does.
fn decimal(text: &str) -> Option<Type> {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let exponent: i32 = exponent.parse().ok()?;
    let unsigned = mantissa.strip_prefix(['-', '+']).unwrap_or(mantissa);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    if whole.len() + fraction.len() == 0 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return None;
    }
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0').len().max(1);
    let scale = i32::try_from(fraction.len()).ok()?.checked_sub(exponent)?;
    let precision = i32::try_from(digits).ok()?.max(scale);
    let fits = (0..=i32::from(MAX_PRECISION)).contains(&scale) && precision <= i32::from(MAX_PRECISION);
    fits.then_some(Type::Decimal(precision as u8, scale as i8))
}

/// The narrowest type that has the values of both.
pub fn common(a: Type, b: Type) -> Type {
    match (a, b) {
        (a, b) if a == b => a,
        (Type::Null, t) | (t, Type::Null) => t,
        (Type::Long | Type::Decimal(..), Type::Double) | (Type::Double, Type::Long | Type::Decimal(..)) => Type::Double,
        (Type::Long, Type::Decimal(p, s)) | (Type::Decimal(p, s), Type::Long) => wider((20, 0), (p, s)),
        (Type::Decimal(p1, s1), Type::Decimal(p2, s2)) => wider((p1, s1), (p2, s2)),
        (Type::Array(a), Type::Array(b)) => Type::Array(Box::new(common(*a, *b))),
        (Type::Object(mut a), Type::Object(b)) => {
            if let Some(merged) = in_any_case(&a, &b) {
                return Type::Object(merged);
            }
            for (name, t) in b {
                match a.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, known)) => *known = common(std::mem::replace(known, Type::Null), t),
                    None => a.push((name, t)),
                }
            }
            a.sort_by(|(a, _), (b, _)| a.cmp(b));
            Type::Object(a)
        }
        _ => Type::Text,
    }
}

/// The fields of two objects that have the same names, in any case, and types that go together: under the names of the first.
fn in_any_case(a: &[(String, Type)], b: &[(String, Type)]) -> Option<Vec<(String, Type)>> {
    if a.len() != b.len() {
        return None;
    }
    let both = a.iter().zip(b).map(|((name, a), (other, b))| {
        let is_same = name == other || name.to_lowercase() == other.to_lowercase();
        is_same.then(|| Some((name.clone(), tightest(a, b)?)))?
    });
    both.collect()
}

/// The type of the values of both, if neither becomes a text by that.
fn tightest(a: &Type, b: &Type) -> Option<Type> {
    match (a, b) {
        (Type::Object(a), Type::Object(b)) => in_any_case(a, b).map(Type::Object),
        (Type::Array(a), Type::Array(b)) => tightest(a, b).map(|item| Type::Array(Box::new(item))),
        (Type::Text, Type::Text) => Some(Type::Text),
        (a, b) => Some(common(a.clone(), b.clone())).filter(|t| *t != Type::Text || [a, b].contains(&&Type::Null)),
    }
}

/// A name that an object has twice, in any case, there or inside it.
pub fn duplicate(t: &Type) -> Option<&str> {
    match t {
        Type::Object(fields) => {
            let mut seen = std::collections::HashSet::new();
            let twice = fields.iter().find(|(name, _)| !seen.insert(name.to_lowercase()));
            twice.map(|(name, _)| name.as_str()).or_else(|| fields.iter().find_map(|(_, t)| duplicate(t)))
        }
        Type::Array(item) => duplicate(item),
        _ => None,
    }
}

fn wider((p1, s1): (u8, i8), (p2, s2): (u8, i8)) -> Type {
    let scale = s1.max(s2);
    let whole = (i16::from(p1) - i16::from(s1)).max(i16::from(p2) - i16::from(s2));
    match u8::try_from(whole + i16::from(scale)) {
        Ok(precision) if precision <= MAX_PRECISION => Type::Decimal(precision, scale),
        _ => Type::Double,
    }
}

/// The type of records, and whether one was none: `record` is the type of one text, or that it is no JSON.
pub fn add_record(root: &mut Type, record: Result<Type, Malformed>) -> bool {
    let object = match record {
        Ok(Type::Null) => return true,
        // An array of objects is a record for each.
        Ok(Type::Array(item)) if matches!(*item, Type::Object(_)) => *item,
        Ok(Type::Array(item)) if *item == Type::Null => return true,
        Ok(object @ Type::Object(_)) => object,
        _ => return false,
    };
    *root = common(std::mem::replace(root, Type::Null), object);
    true
}

/// The schema of the first value of a sample, as DDL: what `schema_of_json` says of it.
///
/// # Errors
/// If the text is malformed before the value ends.
pub fn schema_of(text: &str) -> Result<String, Malformed> {
    let (options, times) = (InferOptions::default(), RecordTimes::default());
    let inferred = Inference::new(Syntax::default(), &options, &times, Tz::UTC).of(text)?;
    Ok(match ddl(&inferred) {
        Some(ddl) => ddl,
        // What is empty has no place inside of others, only as a whole.
        None => match inferred {
            Type::Object(_) => "STRUCT<>".to_owned(),
            Type::Array(item) if matches!(*item, Type::Object(_)) => "ARRAY<STRUCT<>>".to_owned(),
            _ => "STRING".to_owned(),
        },
    })
}

/// None of a struct without fields, and of an array of such.
fn ddl(t: &Type) -> Option<String> {
    Some(match t {
        Type::Null | Type::Text => "STRING".to_owned(),
        Type::Boolean => "BOOLEAN".to_owned(),
        Type::Long => "BIGINT".to_owned(),
        Type::Double => "DOUBLE".to_owned(),
        Type::Decimal(precision, scale) => format!("DECIMAL({precision},{scale})"),
        Type::Timestamp => "TIMESTAMP".to_owned(),
        Type::Array(item) => format!("ARRAY<{}>", ddl(item)?),
        Type::Object(fields) => {
            let named = fields.iter().filter(|(name, _)| !name.is_empty());
            let fields: Vec<_> = named.filter_map(|(name, t)| Some(format!("{}: {}", quoted(name), ddl(t)?))).collect();
            if fields.is_empty() {
                return None;
            }
            format!("STRUCT<{}>", fields.join(", "))
        }
    })
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
    let mut tokens = Tokens::new(text, Syntax::default());
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
    let mut tokens = Tokens::new(text, Syntax::default());
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
