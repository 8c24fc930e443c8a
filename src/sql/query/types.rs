//! Spark's type names, as in `CAST` and in column lists, to Arrow types.
//!
//! `STRING` is `Utf8View`, `TIMESTAMP` is microseconds in UTC, the item of a list is a nullable field named `element`.

use std::iter::Peekable;
use std::str::CharIndices;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};

use crate::error::{Error, Result, Span};
use crate::options::did_you_mean;

/// How deeply types may nest.
const MAX_DEPTH: usize = 64;

const TYPE_NAMES: [&str; 23] = [
    "STRING",
    "INT",
    "INTEGER",
    "BIGINT",
    "LONG",
    "SMALLINT",
    "SHORT",
    "TINYINT",
    "BYTE",
    "FLOAT",
    "REAL",
    "DOUBLE",
    "DECIMAL",
    "NUMERIC",
    "BOOLEAN",
    "BINARY",
    "DATE",
    "TIMESTAMP",
    "TIMESTAMP_NTZ",
    "ARRAY",
    "MAP",
    "STRUCT",
    "VARCHAR",
];

/// The type that `text` names, e.g. `ARRAY<STRUCT<a: INT, b DECIMAL(10, 2)>>`; spans are byte offsets into `text`.
pub fn parse_data_type(text: &str) -> Result<DataType> {
    let mut p = TypeParser::new(text);
    let data_type = p.data_type(0)?;
    p.end()?;
    Ok(data_type)
}

/// The units of an interval type, as in `INTERVAL DAY TO SECOND`; none in `INTERVAL`.
pub fn interval_units(type_text: &str) -> Option<&str> {
    let (word, units) = type_text.split_once(' ').unwrap_or((type_text, ""));
    word.eq_ignore_ascii_case("INTERVAL").then_some(units)
}

/// The columns of a DDL list such as `a INT, b STRING NOT NULL COMMENT 'x'`, without the parentheses around it.
///
/// A comment becomes the field's metadata `comment`.
pub fn parse_columns(text: &str) -> Result<Schema> {
    let mut p = TypeParser::new(text);
    let mut fields: Vec<FieldRef> = vec![];
    while fields.is_empty() || p.eat(',') {
        let at = p.position();
        let field = p.field(0)?;
        if fields.iter().any(|f| f.name().eq_ignore_ascii_case(field.name())) {
            let message = format!("column '{}' is declared twice", field.name());
            return Err(Error::invalid("COLUMN_ALREADY_EXISTS", message)
                .with_span(p.span_from(at))
                .with_help("names are the same in any case: rename one"));
        }
        fields.push(Arc::new(field));
    }
    p.end()?;
    Ok(Schema::new(fields))
}

/// A list of `item`, with Spark's field name.
pub fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("element", item, true)))
}

/// A map, with Arrow's field names.
pub fn map_of(key: DataType, value: DataType) -> DataType {
    let entries = Fields::from(vec![Field::new("key", key, false), Field::new("value", value, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

/// `TIMESTAMP`.
pub fn timestamp() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// Spark's name of an Arrow type, as error messages show it.
pub fn spark_type_name(t: &DataType) -> String {
    match t {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "STRING".into(),
        DataType::Int8 => "TINYINT".into(),
        DataType::Int16 => "SMALLINT".into(),
        DataType::Int32 => "INT".into(),
        DataType::Int64 => "BIGINT".into(),
        DataType::Float32 => "FLOAT".into(),
        DataType::Float64 => "DOUBLE".into(),
        DataType::Boolean => "BOOLEAN".into(),
        DataType::Null => "VOID".into(),
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => "BINARY".into(),
        DataType::Date32 | DataType::Date64 => "DATE".into(),
        DataType::Timestamp(_, Some(_)) => "TIMESTAMP".into(),
        DataType::Timestamp(_, None) => "TIMESTAMP_NTZ".into(),
        DataType::Decimal128(p, s) | DataType::Decimal256(p, s) => format!("DECIMAL({p},{s})"),
        DataType::Interval(_) | DataType::Duration(_) => "INTERVAL".into(),
        DataType::List(f) | DataType::LargeList(f) => format!("ARRAY<{}>", spark_type_name(f.data_type())),
        DataType::Map(f, _) => match f.data_type() {
            DataType::Struct(kv) if kv.len() == 2 => {
                format!("MAP<{}, {}>", spark_type_name(kv[0].data_type()), spark_type_name(kv[1].data_type()))
            }
            other => other.to_string(),
        },
        DataType::Struct(fields) => {
            let fields: Vec<_> =
                fields.iter().map(|f| format!("{}: {}", f.name(), spark_type_name(f.data_type()))).collect();
            format!("STRUCT<{}>", fields.join(", "))
        }
        other => other.to_string(),
    }
}

/// A recursive-descent parser over the characters of one text.
struct TypeParser<'a> {
    text: &'a str,
    chars: Peekable<CharIndices<'a>>,
}

impl<'a> TypeParser<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, chars: text.char_indices().peekable() }
    }

    fn data_type(&mut self, depth: usize) -> Result<DataType> {
        let at = self.position();
        if depth > MAX_DEPTH {
            return Err(Error::invalid("PARSE_SYNTAX_ERROR", "the type is nested too deeply")
                .with_span(self.span_from(at))
                .with_help("declare the column as STRING, and read what is needed by from_json(…)"));
        }
        let name = self.word().ok_or_else(|| self.expected("a type name"))?.to_ascii_uppercase();
        Ok(match name.as_str() {
            "STRING" | "TEXT" => DataType::Utf8View,
            "VARCHAR" | "CHAR" | "CHARACTER" => {
                self.numbers()?;
                DataType::Utf8View
            }
            "INT" | "INTEGER" => DataType::Int32,
            "BIGINT" | "LONG" => DataType::Int64,
            "SMALLINT" | "SHORT" => DataType::Int16,
            "TINYINT" | "BYTE" => DataType::Int8,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => {
                self.eat_word("PRECISION");
                DataType::Float64
            }
            "BOOLEAN" | "BOOL" => DataType::Boolean,
            "BINARY" => DataType::Binary,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => timestamp(),
            "TIMESTAMP_NTZ" => DataType::Timestamp(TimeUnit::Microsecond, None),
            "DECIMAL" | "NUMERIC" | "DEC" => self.decimal(at)?,
            "ARRAY" => {
                self.require('<')?;
                let item = self.data_type(depth + 1)?;
                self.require('>')?;
                list_of(item)
            }
            "MAP" => {
                self.require('<')?;
                let key = self.data_type(depth + 1)?;
                self.require(',')?;
                let value = self.data_type(depth + 1)?;
                self.require('>')?;
                map_of(key, value)
            }
            "STRUCT" => self.struct_type(depth)?,
            _ => return Err(self.unknown_type(&name, at)),
        })
    }

    fn struct_type(&mut self, depth: usize) -> Result<DataType> {
        let close = if self.eat('(') { ')' } else { '>' };
        if close == '>' {
            self.require('<')?;
        }
        let mut fields = vec![];
        if !self.eat(close) {
            fields.push(self.field(depth)?);
            while self.eat(',') {
                fields.push(self.field(depth)?);
            }
            self.require(close)?;
        }
        Ok(DataType::Struct(Fields::from(fields)))
    }

    /// `name [:] type [NOT NULL] [COMMENT 'text']`
    fn field(&mut self, depth: usize) -> Result<Field> {
        let name = self.word().ok_or_else(|| self.expected("a column name"))?;
        self.eat(':');
        let data_type = self.data_type(depth + 1)?;
        let mut field = Field::new(name, data_type, true);
        loop {
            let at = self.position();
            if self.eat_word("NOT") {
                if !self.eat_word("NULL") {
                    return Err(self.expected("NULL after NOT"));
                }
                field = field.with_nullable(false);
            } else if self.eat_word("COMMENT") {
                let comment = self.string()?;
                field = field.with_metadata([("comment".to_owned(), comment)].into());
            } else {
                self.rewind(at);
                return Ok(field);
            }
        }
    }

    fn decimal(&mut self, at: usize) -> Result<DataType> {
        let numbers = self.numbers()?;
        let precision = numbers.first().copied().unwrap_or(10);
        let scale = numbers.get(1).copied().unwrap_or(0);
        match (u8::try_from(precision), i8::try_from(scale)) {
            (Ok(p @ 1..=38), Ok(s)) if s >= 0 && u32::from(p) >= scale && numbers.len() <= 2 => {
                Ok(DataType::Decimal128(p, s))
            }
            (Ok(p @ 1..=38), _) if u32::from(p) < scale => Err(Error::invalid(
                "DECIMAL_SCALE_EXCEEDS_PRECISION",
                format!("type 'DECIMAL({precision},{scale})' has a larger scale than precision"),
            )
            .with_span(self.span_from(at))
            .with_help("the precision counts all digits, the scale those behind the point: DECIMAL(10,2)")),
            _ => Err(Error::invalid(
                "DECIMAL_PRECISION_EXCEEDS_MAX_PRECISION",
                format!("type 'DECIMAL({precision},{scale})' is out of range"),
            )
            .with_span(self.span_from(at))
            .with_help("the precision is 1 to 38, the scale 0 to the precision")),
        }
    }

    /// `(n, …)`, or nothing.
    fn numbers(&mut self) -> Result<Vec<u32>> {
        let mut numbers = vec![];
        if !self.eat('(') {
            return Ok(numbers);
        }
        loop {
            let number = self.word().and_then(|w| w.parse().ok()).ok_or_else(|| self.expected("a number"))?;
            numbers.push(number);
            if !self.eat(',') {
                self.require(')')?;
                return Ok(numbers);
            }
        }
    }

    fn string(&mut self) -> Result<String> {
        let at = self.position();
        let Some((_, quote @ ('\'' | '"'))) = self.chars.next() else {
            self.rewind(at);
            return Err(self.expected("a string in quotes"));
        };
        let mut text = String::new();
        while let Some((_, c)) = self.chars.next() {
            match c {
                c if c == quote => return Ok(text),
                '\\' => text.extend(self.chars.next().map(|(_, c)| c)),
                c => text.push(c),
            }
        }
        self.rewind(at);
        Err(self.expected("the closing quote of the string"))
    }

    /// A name, a number, or a name in backquotes.
    fn word(&mut self) -> Option<String> {
        self.skip_space();
        let is_part = |c: char| c.is_alphanumeric() || c == '_';
        match self.chars.peek()? {
            (_, '`') => self.quoted_word(),
            (_, c) if is_part(*c) => {
                Some(std::iter::from_fn(|| self.chars.next_if(|(_, c)| is_part(*c))).map(|(_, c)| c).collect())
            }
            _ => None,
        }
    }

    fn quoted_word(&mut self) -> Option<String> {
        self.chars.next();
        let mut word = String::new();
        while let Some((_, c)) = self.chars.next() {
            if c == '`' && self.chars.next_if(|(_, c)| *c == '`').is_none() {
                return Some(word).filter(|w| !w.is_empty());
            }
            word.push(c);
        }
        None
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let at = self.position();
        let found = self.word().is_some_and(|w| w.eq_ignore_ascii_case(word));
        if !found {
            self.rewind(at);
        }
        found
    }

    fn eat(&mut self, c: char) -> bool {
        self.skip_space();
        self.chars.next_if(|(_, x)| *x == c).is_some()
    }

    fn require(&mut self, c: char) -> Result<()> {
        if self.eat(c) { Ok(()) } else { Err(self.expected(&format!("'{c}'"))) }
    }

    fn end(&mut self) -> Result<()> {
        if self.position() == self.text.len() { Ok(()) } else { Err(self.expected("the end of the type")) }
    }

    fn skip_space(&mut self) {
        while self.chars.next_if(|(_, c)| c.is_whitespace()).is_some() {}
    }

    /// The offset of the next character that is not a space.
    fn position(&mut self) -> usize {
        self.skip_space();
        self.chars.peek().map_or(self.text.len(), |(i, _)| *i)
    }

    fn rewind(&mut self, at: usize) {
        let mut chars = self.text.char_indices();
        while chars.offset() < at && chars.next().is_some() {}
        self.chars = chars.peekable();
    }

    fn span_from(&mut self, start: usize) -> Span {
        let end = self.chars.peek().map_or(self.text.len(), |(i, _)| *i);
        Span { start, end }
    }

    fn expected(&mut self, what: &str) -> Error {
        let start = self.position();
        let end = self.text[start..].chars().next().map_or(start, |c| start + c.len_utf8());
        let found = if start == end { "the end".to_owned() } else { format!("'{}'", &self.text[start..end]) };
        Error::invalid("PARSE_SYNTAX_ERROR", format!("expected {what}, found {found}"))
            .with_span(Span { start, end })
            .with_help("write columns as name TYPE: a INT, b ARRAY<STRING>, c STRUCT<x: INT>")
    }

    fn unknown_type(&mut self, name: &str, at: usize) -> Error {
        let e =
            Error::invalid("UNSUPPORTED_DATATYPE", format!("unknown data type '{name}'")).with_span(self.span_from(at));
        match did_you_mean(name, TYPE_NAMES) {
            Some(near) => e.with_help(format!("did you mean {near}?")),
            None => e.with_help(format!("the types are {}", TYPE_NAMES.join(", "))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_types() {
        let t = parse_data_type("array<struct<A: int, `b c` Decimal(10, 2) NOT NULL>>").unwrap();
        let fields =
            vec![Field::new("A", DataType::Int32, true), Field::new("b c", DataType::Decimal128(10, 2), false)];
        assert_eq!(t, list_of(DataType::Struct(fields.into())));
        assert_eq!(
            parse_data_type("MAP<STRING,ARRAY<LONG>>").unwrap(),
            map_of(DataType::Utf8View, list_of(DataType::Int64))
        );
        assert_eq!(parse_data_type("VARCHAR(10)").unwrap(), DataType::Utf8View);
        assert_eq!(parse_data_type(" timestamp ").unwrap(), timestamp());
    }

    #[test]
    fn columns() {
        let schema = parse_columns("a INT, b STRING NOT NULL COMMENT 'x, y', c TIMESTAMP").unwrap();
        assert_eq!(schema.fields().len(), 3);
        assert!(!schema.field(1).is_nullable());
        assert_eq!(schema.field(1).metadata()["comment"], "x, y");
    }

    #[test]
    fn errors_say_where() {
        let e = parse_data_type("STRNG").unwrap_err();
        assert_eq!((e.condition(), e.help()), ("UNSUPPORTED_DATATYPE", Some("did you mean STRING?")));
        assert_eq!(parse_columns("a INT, b").unwrap_err().span(), Some(Span { start: 8, end: 8 }));
        assert_eq!(parse_columns("a INT, A INT").unwrap_err().condition(), "COLUMN_ALREADY_EXISTS");
        assert!(parse_data_type("DECIMAL(39,2)").is_err());
        assert!(parse_data_type(&"ARRAY<".repeat(10_000)).is_err());
    }
}
