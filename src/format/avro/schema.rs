//! Avro schemas: their JSON, and the columns that Spark sees in them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Where a type is among those of its schema.
pub type Id = usize;

/// A schema. Types refer to each other by number, so that a type may be inside itself.
#[derive(Debug, Clone)]
pub struct Schema {
    types: Vec<Type>,
    root: Id,
}

/// One type of a schema.
#[derive(Debug, Clone)]
pub struct Type {
    pub kind: Kind,
    pub logical: Option<Logical>,
    /// What Spark has noted of its own type.
    pub catalyst: Option<String>,
}

/// How values are written.
#[derive(Debug, Clone)]
pub enum Kind {
    Null,
    Boolean,
    Int,
    Long,
    Float,
    Double,
    Bytes,
    String,
    Fixed(usize),
    Enum { symbols: Vec<String>, default: Option<String> },
    Array(Id),
    Map(Id),
    Record(Vec<RecordField>),
    Union(Vec<Id>),
}

/// A field of a record.
#[derive(Debug, Clone)]
pub struct RecordField {
    pub name: String,
    pub aliases: Vec<String>,
    pub type_id: Id,
    pub default: Option<Value>,
}

/// What values mean beyond how they are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Logical {
    Date,
    TimestampMillis,
    TimestampMicros,
    LocalMillis,
    LocalMicros,
    /// A time of day, or nanoseconds: the number alone can be read.
    TimeOrNanos,
    Decimal {
        precision: u64,
        scale: u64,
    },
}

impl Schema {
    /// Reads the JSON of a schema.
    ///
    /// # Errors
    /// Text that is no schema.
    pub fn parse(json: &str) -> Result<Self> {
        let value = serde_json::from_str(json).map_err(|e| malformed(&e))?;
        let mut parser = Parser { types: vec![], names: HashMap::new() };
        let root = parser.schema(&value, "")?;
        Ok(Self { types: parser.types, root })
    }

    /// The type of the whole.
    pub fn root(&self) -> Id {
        self.root
    }

    /// A type by its number.
    pub fn get(&self, id: Id) -> &Type {
        &self.types[id]
    }
}

fn malformed(what: &dyn std::fmt::Display) -> Error {
    Error::invalid("INVALID_SCHEMA", format!("the Avro schema is malformed: {what}"))
        .with_help("write a schema as the Avro specification has it, such as {\"type\": \"record\", \"name\": \"r\", \"fields\": []}")
}

struct Parser {
    types: Vec<Type>,
    /// Of records, enums and fixed, with their namespaces.
    names: HashMap<String, Id>,
}

impl Parser {
    fn add(&mut self, kind: Kind) -> Id {
        self.types.push(Type { kind, logical: None, catalyst: None });
        self.types.len() - 1
    }

    /// A schema in a namespace.
    fn schema(&mut self, value: &Value, namespace: &str) -> Result<Id> {
        match value {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches = branches.iter().map(|b| self.schema(b, namespace)).collect::<Result<_>>()?;
                Ok(self.add(Kind::Union(branches)))
            }
            Value::Object(object) => self.object(object, namespace),
            other => Err(malformed(&format!("{other} is no type"))),
        }
    }

    fn named(&mut self, name: &str, namespace: &str) -> Result<Id> {
        if let Some(kind) = primitive(name) {
            return Ok(self.add(kind));
        }
        let found = self.names.get(&full_name(name, namespace)).or_else(|| self.names.get(name));
        found.copied().ok_or_else(|| malformed(&format!("there is no type '{name}'")))
    }

    fn object(&mut self, object: &Map<String, Value>, namespace: &str) -> Result<Id> {
        let id = match object.get("type") {
            Some(Value::String(name)) => self.of_name(name, object, namespace)?,
            Some(nested) => self.schema(nested, namespace)?,
            None => return Err(malformed(&"an object without 'type'")),
        };
        if let Some(logical) = object.get("logicalType").and_then(Value::as_str) {
            self.types[id].logical = logical_type(logical, &self.types[id].kind, object);
        }
        if let Some(catalyst) = object.get("spark.sql.catalyst.type").and_then(Value::as_str) {
            self.types[id].catalyst = Some(catalyst.to_owned());
        }
        Ok(id)
    }

    fn of_name(&mut self, type_name: &str, object: &Map<String, Value>, namespace: &str) -> Result<Id> {
        let part = |key: &str| object.get(key).ok_or_else(|| malformed(&format!("the {type_name} has no '{key}'")));
        match type_name {
            "array" => {
                let items = self.schema(part("items")?, namespace)?;
                Ok(self.add(Kind::Array(items)))
            }
            "map" => {
                let values = self.schema(part("values")?, namespace)?;
                Ok(self.add(Kind::Map(values)))
            }
            "fixed" => {
                let size = part("size")?.as_u64().and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or_else(|| malformed(&"the size of a fixed is no number"))?;
                self.declare(object, namespace, Kind::Fixed(size)).map(|(id, _)| id)
            }
            "enum" => {
                let symbols = strings(Some(part("symbols")?));
                let default = object.get("default").and_then(Value::as_str).map(str::to_owned);
                self.declare(object, namespace, Kind::Enum { symbols, default }).map(|(id, _)| id)
            }
            "record" | "error" => self.record(object, part("fields")?, namespace),
            name => self.named(name, namespace),
        }
    }

    fn record(&mut self, object: &Map<String, Value>, fields: &Value, namespace: &str) -> Result<Id> {
        // Known before its fields are: they may be of this type.
        let (id, namespace) = self.declare(object, namespace, Kind::Record(vec![]))?;
        let fields = fields.as_array().ok_or_else(|| malformed(&"the fields of a record are no array"))?;
        let mut read = vec![];
        for field in fields {
            let name = field.get("name").and_then(Value::as_str).ok_or_else(|| malformed(&"a field without 'name'"))?;
            let type_of = field.get("type").ok_or_else(|| malformed(&format!("the field '{name}' has no 'type'")))?;
            read.push(RecordField {
                name: name.to_owned(),
                aliases: strings(field.get("aliases")),
                type_id: self.schema(type_of, &namespace)?,
                default: field.get("default").cloned(),
            });
        }
        self.types[id].kind = Kind::Record(read);
        Ok(id)
    }

    /// Adds a type that has a name; also gives its namespace.
    fn declare(&mut self, object: &Map<String, Value>, namespace: &str, kind: Kind) -> Result<(Id, String)> {
        let name = object.get("name").and_then(Value::as_str).ok_or_else(|| malformed(&"a type without 'name'"))?;
        let namespace = object.get("namespace").and_then(Value::as_str).unwrap_or(namespace);
        let full = full_name(name, namespace);
        let id = self.add(kind);
        let namespace = full.rsplit_once('.').map(|(space, _)| space.to_owned()).unwrap_or_default();
        self.names.insert(full, id);
        Ok((id, namespace))
    }
}

fn full_name(name: &str, namespace: &str) -> String {
    if name.contains('.') || namespace.is_empty() { name.to_owned() } else { format!("{namespace}.{name}") }
}

fn strings(value: Option<&Value>) -> Vec<String> {
    let items = value.and_then(Value::as_array).into_iter().flatten();
    items.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Boolean,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::String,
        _ => return None,
    })
}

/// A logical type that its kind can have, and that means something to Spark. Others are left out of account, as Avro wants it.
fn logical_type(name: &str, kind: &Kind, object: &Map<String, Value>) -> Option<Logical> {
    Some(match (name, kind) {
        ("date", Kind::Int) => Logical::Date,
        ("timestamp-millis", Kind::Long) => Logical::TimestampMillis,
        ("timestamp-micros", Kind::Long) => Logical::TimestampMicros,
        ("local-timestamp-millis", Kind::Long) => Logical::LocalMillis,
        ("local-timestamp-micros", Kind::Long) => Logical::LocalMicros,
        ("time-micros" | "timestamp-nanos" | "local-timestamp-nanos", Kind::Long) => Logical::TimeOrNanos,
        ("decimal", Kind::Bytes | Kind::Fixed(_)) => {
            let precision = object.get("precision").and_then(Value::as_u64)?;
            let scale = object.get("scale").map_or(Some(0), Value::as_u64)?;
            (precision > 0 && scale <= precision).then_some(Logical::Decimal { precision, scale })?
        }
        _ => return None,
    })
}
