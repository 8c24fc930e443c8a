//! Types written as text: `a INT, b ARRAY<STRING>`, `STRUCT<a: INT>`, as `from_json` and `from_csv` take them.

use arrow::datatypes::{DataType, Field, Fields};

use super::collection::map_of;
use super::scalar::{list_of, timestamp};
use crate::{Error, Result};

/// Types inside each other; a deeper schema is malformed.
const MAX_DEPTH: usize = 200;

/// The type that a schema text describes: one type, or the columns of a struct.
pub fn parse_schema(text: &str) -> Result<DataType> {
    let wrong = || {
        Error::invalid("PARSE_SYNTAX_ERROR", format!("schema '{text}' is malformed"))
            .with_help("write 'a INT, b STRING' or 'STRUCT<a: INT, b: STRING>'")
    };
    let one = Parser { rest: text.trim(), depth: 0 }.whole(Parser::data_type);
    one.or_else(|| Parser { rest: text.trim(), depth: 0 }.whole(|p| p.fields(None))).ok_or_else(wrong)
}

struct Parser<'a> {
    rest: &'a str,
    /// Types inside each other.
    depth: usize,
}

impl<'a> Parser<'a> {
    fn whole(mut self, parse: impl FnOnce(&mut Self) -> Option<DataType>) -> Option<DataType> {
        let data_type = parse(&mut self)?;
        self.rest.trim().is_empty().then_some(data_type)
    }

    fn take(&mut self, token: char) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn word(&mut self) -> Option<&'a str> {
        let text = self.rest.trim_start();
        if let Some(quoted) = text.strip_prefix('`') {
            let (name, rest) = quoted.split_once('`')?;
            self.rest = rest;
            return Some(name);
        }
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (word, rest) = text.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }

    /// `name[:] type [NOT NULL]`, …, up to `end`.
    fn fields(&mut self, end: Option<char>) -> Option<DataType> {
        let mut fields = Vec::new();
        loop {
            let name = self.word()?;
            self.take(':');
            fields.push(Field::new(name, self.data_type()?, true));
            if !self.take(',') {
                break;
            }
        }
        (end.is_none() || self.take(end?)).then(|| DataType::Struct(Fields::from(fields)))
    }

    fn data_type(&mut self) -> Option<DataType> {
        self.depth += 1;
        let data_type = if self.depth > MAX_DEPTH { None } else { self.type_of_word() };
        self.depth -= 1;
        data_type
    }

    fn type_of_word(&mut self) -> Option<DataType> {
        Some(match self.word()?.to_ascii_uppercase().as_str() {
            "BOOLEAN" => DataType::Boolean,
            "BYTE" | "TINYINT" => DataType::Int8,
            "SHORT" | "SMALLINT" => DataType::Int16,
            "INT" | "INTEGER" => DataType::Int32,
            "LONG" | "BIGINT" => DataType::Int64,
            "FLOAT" | "REAL" => DataType::Float32,
            "DOUBLE" => DataType::Float64,
            "STRING" => DataType::Utf8View,
            "BINARY" => DataType::Binary,
            "DATE" => DataType::Date32,
            "TIMESTAMP" | "TIMESTAMP_LTZ" => timestamp(),
            "TIMESTAMP_NTZ" => DataType::Timestamp(arrow::datatypes::TimeUnit::Microsecond, None),
            "DECIMAL" | "DEC" | "NUMERIC" => self.decimal()?,
            "ARRAY" if self.take('<') => {
                let item = self.data_type()?;
                self.take('>').then(|| list_of(item))?
            }
            "MAP" if self.take('<') => {
                let key = self.data_type()?;
                let value = self.take(',').then(|| self.data_type())??;
                self.take('>').then(|| map_of(key, value))?
            }
            "STRUCT" if self.take('<') => self.fields(Some('>'))?,
            _ => return None,
        })
    }

    fn decimal(&mut self) -> Option<DataType> {
        if !self.take('(') {
            return Some(DataType::Decimal128(10, 0));
        }
        let precision: u8 = self.word()?.parse().ok()?;
        let scale: i8 = if self.take(',') { self.word()?.parse().ok()? } else { 0 };
        let legal = (1..=38).contains(&precision) && (0..=precision as i8).contains(&scale);
        (self.take(')') && legal).then_some(DataType::Decimal128(precision, scale))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::type_name::type_name;

    #[test]
    fn columns_and_types() {
        let name = |text| parse_schema(text).map(|t| type_name(&t)).ok();
        let expected = "struct<a:int,b:array<string>,c:decimal(10,2)>";
        assert_eq!(name("a INT, b ARRAY<STRING>, c DECIMAL(10,2)").as_deref(), Some(expected));
        assert_eq!(
            name("STRUCT<a: INT, m: MAP<STRING, BIGINT>>").as_deref(),
            Some("struct<a:int,m:map<string,bigint>>")
        );
        assert_eq!(name("array<double>").as_deref(), Some("array<double>"));
        assert_eq!(name("a FOO"), None);
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}INT{}", "ARRAY<".repeat(n), ">".repeat(n));
        assert!(parse_schema(&nested(100)).is_ok());
        assert!(parse_schema(&nested(100_000)).is_err());
        assert!(parse_schema(&"STRUCT<a: ".repeat(100_000)).is_err());
    }
}
