//! Messages of Protocol Buffers, by the descriptors that `protoc --descriptor_set_out=… --include_imports` writes, with Spark's types.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::ArrayRef;
use arrow::datatypes::{DataType, Field, Fields, TimeUnit};
use prost::Message;
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorSet};

use super::Decoded;
use crate::error::{Error, Result};
use crate::format::avro::Values;
use crate::function::map_of;
use crate::function::scalar::{list_of, timestamp};
use crate::options::{OptionReader, OptionSpec, OptionType, Options};
use crate::type_name::sql_type_name;

/// What [`ProtobufMessages::new`] reads.
pub const OPTIONS: [OptionSpec; 3] = [
    OptionSpec::new(
        "descriptorFile",
        OptionType::Path,
        "The file of descriptors that protoc --include_imports --descriptor_set_out writes.",
    ),
    OptionSpec::new("messageName", OptionType::Text, "The message in it, with its package or without."),
    OptionSpec::new(
        "emit.default.values",
        OptionType::Boolean,
        "Whether fields that cannot tell absence from zero or nothing are that, and not NULL.",
    )
    .or("false"),
];

const OF_ANOTHER_TYPE: &str = "a field is of another type than its descriptor says";
/// Messages inside each other; one with more is malformed.
const MAX_DEPTH: usize = 100;

/// See the module.
#[derive(Debug, Clone)]
pub struct ProtobufMessages {
    columns: Fields,
    plan: Arc<Plan>,
}

/// How the fields of a message become values.
#[derive(Debug)]
struct Plan {
    fields: Vec<FieldPlan>,
    /// Which of them a number is.
    by_number: HashMap<u32, usize>,
}

#[derive(Debug, Clone)]
struct FieldPlan {
    /// No field of the message has the column's name: it is NULL.
    number: Option<u32>,
    is_repeated: bool,
    /// Of the fields of the same one only one is there.
    one_of: Option<i32>,
    /// What a field that is not there, or has the value that it has without being there, is.
    absent: Absent,
    op: Op,
}

/// What a field is whose value is not there.
#[derive(Debug, Clone)]
enum Absent {
    /// NULL; a value that is there is itself.
    Null,
    /// NULL, as is zero and nothing: the field cannot tell them apart.
    NullAsDefault,
    /// A value: zero, nothing, or what the field declares.
    Value(Vec<u8>),
    /// The message is malformed.
    Required,
}

/// What one value is.
#[derive(Debug, Clone)]
enum Op {
    /// A varint, as the lowest 32 bits with their sign.
    Int,
    Long,
    ZigZag,
    Bool,
    Fixed32,
    Fixed64,
    Float,
    Double,
    Bytes,
    /// Whether it must be UTF-8.
    Text(bool),
    Enum(Arc<EnumNames>),
    Message(Arc<Plan>),
    /// Entries of a text, which must be UTF-8 or not, and a value.
    Map(bool, Box<Op>),
    /// Seconds and nanoseconds as microseconds.
    Time,
}

#[derive(Debug)]
struct EnumNames {
    name: String,
    /// Whether other numbers are none of it.
    is_closed: bool,
    names: HashMap<i32, String>,
}

/// The bytes of one value.
#[derive(Debug, Clone, Copy)]
enum Wire<'m> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64([u8; 8]),
    Bytes(&'m [u8]),
}

type Read<T> = std::result::Result<T, Cow<'static, str>>;

/// All messages and enums of a file, by their full names.
struct Descriptors {
    messages: HashMap<String, DescriptorProto>,
    enums: HashMap<String, EnumDescriptorProto>,
    /// Messages and enums of `proto3`.
    is_third: HashSet<String>,
    /// Whether such fields are zero or nothing, and not NULL.
    emits_defaults: bool,
}

/// The columns of the message that the options name.
///
/// # Errors
/// A file that is none, a message that is not in it, types that no column can have.
pub fn own_columns(options: &Options) -> Result<Fields> {
    let reader = OptionReader::new("the format protobuf", options, &[&OPTIONS]);
    let (descriptors, root) = Descriptors::read(&reader)?;
    descriptors.columns(&root, &mut vec![])
}

impl ProtobufMessages {
    /// Messages as these columns.
    ///
    /// # Errors
    /// As of [`own_columns`]; a column of another type than its field.
    pub fn new(columns: Fields, reader: &OptionReader<'_>) -> Result<Self> {
        let (descriptors, root) = Descriptors::read(reader)?;
        let plan = Arc::new(descriptors.plan(&root, &columns, 0)?);
        Ok(Self { columns, plan })
    }

    /// The same for some of the columns.
    ///
    /// # Errors
    /// None.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        Ok(Self {
            columns: columns.iter().map(|i| self.columns[*i].clone()).collect(),
            plan: self.plan.project(columns),
        })
    }

    /// A row for each message.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn decode(&self, messages: &[Option<&[u8]>]) -> Result<Decoded> {
        let mut columns: Vec<_> = self.columns.iter().map(|f| Values::new(f.data_type())).collect();
        let mut bad = vec![];
        for (i, message) in messages.iter().enumerate() {
            // No bytes are a message without fields, unless there are none at all.
            let found = message.map(|bytes| self.plan.find(bytes, 0));
            match found {
                Some(Ok(found)) => self.plan.append(&found, &mut columns)?,
                other => {
                    columns.iter_mut().try_for_each(Values::push_null)?;
                    if let Some(Err(reason)) = other {
                        bad.push((i, reason));
                    }
                }
            }
        }
        let columns =
            columns.iter_mut().zip(self.columns.iter()).map(|(values, field)| values.finish(field.data_type()));
        Ok(Decoded { columns: columns.collect::<Result<Vec<ArrayRef>>>()?, bad, void: vec![] })
    }
}

/// The values of a message by its plan's fields, checked to the end.
#[derive(Debug)]
struct Found<'m>(Vec<Vec<Item<'m>>>);

#[derive(Debug)]
enum Item<'m> {
    Plain(Wire<'m>),
    Message(Found<'m>),
    /// A key and a value.
    Entry(&'m [u8], Box<Item<'m>>),
    Time(i64),
}

impl Plan {
    fn project(self: &Arc<Self>, columns: &[usize]) -> Arc<Self> {
        Arc::new(Self::new(columns.iter().map(|i| self.fields[*i].clone()).collect()))
    }

    fn new(fields: Vec<FieldPlan>) -> Self {
        let by_number = fields.iter().enumerate().filter_map(|(i, f)| Some((f.number?, i))).collect();
        Self { fields, by_number }
    }

    /// The values of a message. Fields that nobody asked for are passed over.
    fn find<'m>(&self, mut bytes: &'m [u8], depth: usize) -> Read<Found<'m>> {
        if depth > MAX_DEPTH {
            return Err(format!("messages are inside each other more than {MAX_DEPTH} times").into());
        }
        let mut found: Vec<Vec<Item<'m>>> = self.fields.iter().map(|_| vec![]).collect();
        // Of a message that comes in parts the parts are one.
        while !bytes.is_empty() {
            let (number, wire) = field(&mut bytes, 0)?;
            let (wire, i) = match (wire, self.by_number.get(&number)) {
                (Some(wire), Some(i)) => (wire, *i),
                (None, Some(_)) if depth == 0 => return Err(OF_ANOTHER_TYPE.into()),
                _ => continue,
            };
            let FieldPlan { is_repeated, one_of, op, .. } = &self.fields[i];
            if one_of.is_some() {
                // Of several the last counts.
                let others = self.fields.iter().zip(&mut found).enumerate();
                others
                    .filter(|(k, (field, _))| *k != i && field.one_of == *one_of)
                    .for_each(|(_, (_, items))| items.clear());
            }
            let items = &mut found[i];
            match (wire, op.is_packable()) {
                (Wire::Bytes(mut packed), true) if *is_repeated => {
                    while !packed.is_empty() {
                        items.extend(op.item(op.unpack(&mut packed)?, depth)?);
                    }
                }
                _ => {
                    let Some(item) = op.item(wire, depth)? else { continue };
                    match (items.last_mut(), item) {
                        (Some(Item::Message(old)), Item::Message(new)) if !is_repeated => old.merge(new),
                        (Some(last), item) if !is_repeated && !matches!(op, Op::Map(..)) => *last = item,
                        (_, item) => items.push(item),
                    }
                }
            }
        }
        let lacks = |(field, items): &(&FieldPlan, &Vec<Item<'_>>)| {
            matches!(field.absent, Absent::Required) && items.is_empty()
        };
        match self.fields.iter().zip(&found).any(|pair| lacks(&pair)) {
            true => Err("a required field is missing".into()),
            false => Ok(Found(found)),
        }
    }

    fn append(&self, found: &Found<'_>, columns: &mut [Values]) -> Result<()> {
        for ((field, items), to) in self.fields.iter().zip(&found.0).zip(columns) {
            match (&field.op, to) {
                (Op::Map(_, value), Values::Map(into, keys)) => {
                    for item in items {
                        let Item::Entry(key, item) = item else { return Err(unplanned()) };
                        keys.append_value(String::from_utf8_lossy(key));
                        value.append(item, &mut into.values)?;
                    }
                    into.end_all()?;
                }
                (op, Values::List(into)) if field.is_repeated => {
                    items.iter().try_for_each(|item| op.append(item, &mut into.values))?;
                    into.end_all()?;
                }
                (op, to) => match items.last() {
                    Some(Item::Plain(wire)) if matches!(field.absent, Absent::NullAsDefault) && wire.is_default() => {
                        to.push_null()?;
                    }
                    Some(item) => op.append(item, to)?,
                    None => match &field.absent {
                        Absent::Value(bytes) => op.append(&Item::Plain(op.of_bytes(bytes)), to)?,
                        _ => to.push_null()?,
                    },
                },
            }
        }
        Ok(())
    }
}

impl Wire<'_> {
    /// Whether it is what a field has that is not there.
    fn is_default(&self) -> bool {
        match self {
            Self::Varint(v) => *v == 0,
            Self::Fixed32(b) => *b == [0; 4],
            Self::Fixed64(b) => *b == [0; 8],
            Self::Bytes(b) => b.is_empty(),
        }
    }
}

impl Found<'_> {
    /// A later part of the same message.
    fn merge(&mut self, later: Self) {
        for (old, new) in self.0.iter_mut().zip(later.0) {
            old.extend(new);
        }
    }
}

impl Op {
    /// Whether many of them may stand in one field of bytes.
    fn is_packable(&self) -> bool {
        !matches!(self, Self::Bytes | Self::Text(_) | Self::Message(_) | Self::Map(..) | Self::Time)
    }

    /// A value that a field declares, of its bytes; without any it is zero or nothing.
    fn of_bytes<'b>(&self, bytes: &'b [u8]) -> Wire<'b> {
        match self {
            Self::Fixed32 | Self::Float => Wire::Fixed32(bytes.try_into().unwrap_or_default()),
            Self::Fixed64 | Self::Double => Wire::Fixed64(bytes.try_into().unwrap_or_default()),
            Self::Bytes | Self::Text(_) => Wire::Bytes(bytes),
            _ => Wire::Varint(bytes.try_into().map_or(0, u64::from_le_bytes)),
        }
    }

    /// The item of a map's entry that has no value.
    fn nothing(&self) -> Item<'static> {
        match self {
            Self::Message(plan) => Item::Message(Found(plan.fields.iter().map(|_| vec![]).collect())),
            Self::Time => Item::Time(0),
            _ => Item::Plain(self.of_bytes(b"")),
        }
    }

    fn unpack<'m>(&self, bytes: &mut &'m [u8]) -> Read<Wire<'m>> {
        Ok(match self {
            Self::Fixed32 | Self::Float => Wire::Fixed32(array(bytes)?),
            Self::Fixed64 | Self::Double => Wire::Fixed64(array(bytes)?),
            _ => Wire::Varint(varint(bytes)?),
        })
    }

    /// The value; nothing if its bytes are of another kind.
    fn item<'m>(&self, wire: Wire<'m>, depth: usize) -> Read<Option<Item<'m>>> {
        Ok(Some(match (self, wire) {
            (Self::Message(plan), Wire::Bytes(bytes)) => Item::Message(plan.find(bytes, depth + 1)?),
            (Self::Map(is_checked, value), Wire::Bytes(mut bytes)) => {
                let (mut key, mut found): (&[u8], _) = (&[], value.nothing());
                while !bytes.is_empty() {
                    match field(&mut bytes, 0)? {
                        (1, Some(Wire::Bytes(text))) if *is_checked && std::str::from_utf8(text).is_err() => {
                            return Err(super::NOT_UTF8.into());
                        }
                        (1, Some(Wire::Bytes(text))) => key = text,
                        (2, Some(wire)) => match (&mut found, value.item(wire, depth + 1)?) {
                            (Item::Message(old), Some(Item::Message(new))) => old.merge(new),
                            (found, Some(item)) => *found = item,
                            (_, None) => {}
                        },
                        _ => {}
                    }
                }
                Item::Entry(key, Box::new(found))
            }
            (Self::Enum(of), Wire::Varint(number)) if of.is_closed && !of.names.contains_key(&(number as i32)) => {
                match depth {
                    0 => return Err(format!("{} is no number of the enum {}", number as i32, of.name).into()),
                    _ => return Ok(None),
                }
            }
            (Self::Time, Wire::Bytes(mut bytes)) => {
                let (mut seconds, mut nanos) = (0i64, 0i64);
                while !bytes.is_empty() {
                    match field(&mut bytes, 0)? {
                        (1, Some(Wire::Varint(v))) => seconds = v as i64,
                        (2, Some(Wire::Varint(v))) => nanos = i64::from(v as i32),
                        _ => {}
                    }
                }
                let micros = seconds.checked_mul(1_000_000).and_then(|us| us.checked_add(nanos / 1000));
                Item::Time(micros.ok_or_else(|| format!("the time of {seconds} seconds is out of range"))?)
            }
            (Self::Bytes, Wire::Bytes(_))
            | (Self::Fixed32 | Self::Float, Wire::Fixed32(_))
            | (Self::Fixed64 | Self::Double, Wire::Fixed64(_))
            | (Self::Int | Self::Long | Self::ZigZag | Self::Bool | Self::Enum(_), Wire::Varint(_)) => {
                Item::Plain(wire)
            }
            (Self::Text(is_checked), Wire::Bytes(bytes)) => match std::str::from_utf8(bytes) {
                Err(_) if *is_checked => return Err(super::NOT_UTF8.into()),
                _ => Item::Plain(wire),
            },
            _ if depth == 0 => return Err(OF_ANOTHER_TYPE.into()),
            // Inside another message it counts as unknown.
            _ => return Ok(None),
        }))
    }

    fn append(&self, item: &Item<'_>, to: &mut Values) -> Result<()> {
        match (self, item) {
            (Self::Int, Item::Plain(Wire::Varint(v))) => to.push_long(i64::from(*v as i32)),
            (Self::Long, Item::Plain(Wire::Varint(v))) => to.push_long(*v as i64),
            (Self::ZigZag, Item::Plain(Wire::Varint(v))) => {
                let value = (*v >> 1) as i64 ^ -((*v & 1) as i64);
                to.push_long(if matches!(to, Values::Int(_)) { i64::from(value as i32) } else { value })
            }
            (Self::Bool, Item::Plain(Wire::Varint(v))) => to.push_bool(*v != 0),
            (Self::Fixed32, Item::Plain(Wire::Fixed32(b))) => to.push_long(i32::from_le_bytes(*b).into()),
            (Self::Fixed64, Item::Plain(Wire::Fixed64(b))) => to.push_long(i64::from_le_bytes(*b)),
            (Self::Float, Item::Plain(Wire::Fixed32(b))) => to.push_float(f32::from_le_bytes(*b)),
            (Self::Double, Item::Plain(Wire::Fixed64(b))) => to.push_double(f64::from_le_bytes(*b)),
            (Self::Bytes | Self::Text(_), Item::Plain(Wire::Bytes(bytes))) => to.push_bytes(bytes),
            (Self::Enum(of), Item::Plain(Wire::Varint(v))) => {
                let number = *v as i32;
                match of.names.get(&number) {
                    Some(name) => to.push_bytes(name.as_bytes()),
                    None => to.push_bytes(format!("UNKNOWN_ENUM_VALUE_{}_{number}", of.name).as_bytes()),
                }
            }
            (Self::Time, Item::Time(micros)) => to.push_long(*micros),
            (Self::Message(plan), Item::Message(found)) => {
                let Values::Struct(fields, _) = to else { return Err(unplanned()) };
                plan.append(found, fields)?;
                to.end_struct()
            }
            _ => Err(unplanned()),
        }
    }
}

/// A field's number and value; no value for groups, which are passed over.
fn field<'m>(bytes: &mut &'m [u8], depth: usize) -> Read<(u32, Option<Wire<'m>>)> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).ok().filter(|n| *n > 0).ok_or("it is no message: a field has no number")?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => Wire::Fixed64(array(bytes)?),
        2 => {
            let len = usize::try_from(varint(bytes)?).unwrap_or(usize::MAX);
            let (value, rest) = bytes.split_at_checked(len).ok_or("it ends early")?;
            *bytes = rest;
            Wire::Bytes(value)
        }
        5 => Wire::Fixed32(array(bytes)?),
        3 if depth < MAX_DEPTH => {
            // The group ends with a tag of its own number.
            let end = (tag & !7) | 4;
            loop {
                let mut ahead = *bytes;
                if varint(&mut ahead)? == end {
                    *bytes = ahead;
                    return Ok((number, None));
                }
                field(bytes, depth + 1)?;
            }
        }
        _ => return Err("it is no message: a field is of no type".into()),
    };
    Ok((number, Some(wire)))
}

fn varint(bytes: &mut &[u8]) -> Read<u64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or("it ends early")?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err("a number has more than ten bytes".into())
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Read<[u8; N]> {
    let (array, rest) = bytes.split_first_chunk().ok_or("it ends early")?;
    *bytes = rest;
    Ok(*array)
}

impl Descriptors {
    /// The descriptors of the file that the options name, and the full name of the message.
    fn read(reader: &OptionReader<'_>) -> Result<(Self, String)> {
        let (path, name) = (reader.required("descriptorFile")?, reader.required("messageName")?);
        let bytes = std::fs::read(path).map_err(|e| reader.invalid("descriptorFile", path, &format!("a file: {e}")))?;
        let set = FileDescriptorSet::decode(bytes.as_slice())
            .map_err(|e| reader.invalid("descriptorFile", path, &format!("a file of descriptors: {e}")))?;
        let emits_defaults = reader.bool("emit.default.values")?;
        let (messages, enums, is_third) = (HashMap::new(), HashMap::new(), HashSet::new());
        let mut all = Self { messages, enums, is_third, emits_defaults };
        for file in set.file {
            let is_third = file.syntax() == "proto3";
            let package = file.package.filter(|p| !p.is_empty()).map_or_else(String::new, |p| format!(".{p}"));
            all.add(&package, is_third, file.message_type, file.enum_type);
        }
        let wanted = format!(".{}", name.trim_start_matches('.'));
        let mut fitting: Vec<&String> = all.messages.keys().filter(|full| **full == wanted).collect();
        if fitting.is_empty() {
            fitting = all.messages.keys().filter(|full| full.ends_with(&wanted)).collect();
        }
        match fitting.as_slice() {
            [only] => {
                let root = (*only).clone();
                Ok((all, root))
            }
            [] => {
                let mut names: Vec<_> = all.messages.keys().map(|n| n.trim_start_matches('.')).collect();
                names.sort_unstable();
                names.truncate(12);
                Err(reader.invalid(
                    "messageName",
                    name,
                    &format!("a message of that file, such as {}", names.join(" or ")),
                ))
            }
            many => Err(reader.invalid(
                "messageName",
                name,
                &format!("the name of one of {} messages, with its package", many.len()),
            )),
        }
    }

    fn add(&mut self, scope: &str, is_third: bool, messages: Vec<DescriptorProto>, enums: Vec<EnumDescriptorProto>) {
        for of in enums {
            let full = format!("{scope}.{}", of.name());
            if is_third {
                self.is_third.insert(full.clone());
            }
            self.enums.insert(full, of);
        }
        for mut message in messages {
            let full = format!("{scope}.{}", message.name());
            let (nested, enums) = (std::mem::take(&mut message.nested_type), std::mem::take(&mut message.enum_type));
            self.add(&full, is_third, nested, enums);
            if is_third {
                self.is_third.insert(full.clone());
            }
            self.messages.insert(full, message);
        }
    }

    fn message(&self, name: &str) -> Result<&DescriptorProto> {
        self.messages.get(name).ok_or_else(|| {
            refused(format!("the message '{}' is not in the file of descriptors", name.trim_start_matches('.')))
                .with_help("write the file with protoc --include_imports")
        })
    }

    /// The message that a field has an entry of for each key of a map.
    fn entry(&self, field: &FieldDescriptorProto) -> Option<&DescriptorProto> {
        let message = self.messages.get(field.type_name())?;
        message.options.as_ref().is_some_and(|o| o.map_entry()).then_some(message)
    }

    /// Spark's columns of a message; `inside` are the messages around it.
    fn columns(&self, name: &str, inside: &mut Vec<String>) -> Result<Fields> {
        if inside.iter().any(|outer| outer == name) {
            let name = name.trim_start_matches('.');
            return Err(refused(format!("the message '{name}' is inside itself, so that its columns have no end"))
                .with_help("declare the columns, as deep as they are wanted"));
        }
        inside.push(name.to_owned());
        let field = |f: &FieldDescriptorProto| Ok(Field::new(f.name(), self.type_of(f, inside)?, true));
        // A message without fields is no column.
        let is_column = |f: &&FieldDescriptorProto| {
            f.r#type() != Type::Message || self.messages.get(f.type_name()).is_none_or(|m| !m.field.is_empty())
        };
        let fields = self.message(name)?.field.iter().filter(is_column).map(field).collect::<Result<Fields>>()?;
        inside.pop();
        Ok(fields)
    }

    fn type_of(&self, field: &FieldDescriptorProto, inside: &mut Vec<String>) -> Result<DataType> {
        if let Some(entry) = self.entry(field) {
            let [key, value] = entry.field.as_slice() else { return Err(unplanned()) };
            check_key(field, key)?;
            return Ok(map_of(DataType::Utf8View, self.type_of(value, inside)?));
        }
        let one = match field.r#type() {
            Type::Bool => DataType::Boolean,
            Type::Int32 | Type::Sint32 | Type::Sfixed32 | Type::Uint32 | Type::Fixed32 => DataType::Int32,
            Type::Int64 | Type::Sint64 | Type::Sfixed64 | Type::Uint64 | Type::Fixed64 => DataType::Int64,
            Type::Float => DataType::Float32,
            Type::Double => DataType::Float64,
            Type::String | Type::Enum => DataType::Utf8View,
            Type::Bytes => DataType::Binary,
            Type::Message => match field.type_name() {
                TIMESTAMP => timestamp(),
                DURATION => DataType::Duration(TimeUnit::Microsecond),
                name => DataType::Struct(self.columns(name, inside)?),
            },
            Type::Group => return Err(refused(format!("the field '{}' is a group, which is not read", field.name()))),
        };
        Ok(if field.label() == Label::Repeated { list_of(one) } else { one })
    }

    /// How the fields of a message become these columns, which are found by their names.
    fn plan(&self, name: &str, columns: &Fields, depth: usize) -> Result<Plan> {
        let message = self.message(name)?;
        let is_third = self.is_third.contains(name);
        let field = |column: &Arc<Field>| {
            let found = message.field.iter().find(|f| f.name() == column.name());
            let found = found.or_else(|| message.field.iter().find(|f| f.name().eq_ignore_ascii_case(column.name())));
            let Some(field) = found else {
                return Ok(FieldPlan {
                    number: None,
                    is_repeated: false,
                    one_of: None,
                    absent: Absent::Null,
                    op: Op::Bytes,
                });
            };
            let is_map = self.entry(field).is_some();
            let is_repeated = field.label() == Label::Repeated && !is_map;
            let wrong = || mismatch(column, &self.type_of(field, &mut vec![]));
            let one = match (is_repeated, column.data_type()) {
                (true, DataType::List(item)) => item.data_type().clone(),
                (true, _) => return Err(wrong()),
                (false, data_type) => data_type.clone(),
            };
            let op = match (self.entry(field), &one) {
                (Some(entry), DataType::Map(entries, _)) => {
                    let ([key, value], DataType::Struct(kv)) = (entry.field.as_slice(), entries.data_type()) else {
                        return Err(wrong());
                    };
                    check_key(field, key)?;
                    if *kv[0].data_type() != DataType::Utf8View {
                        return Err(wrong());
                    }
                    Op::Map(is_third, Box::new(self.op(value, kv[1].data_type(), is_third, depth)?.ok_or_else(wrong)?))
                }
                (Some(_), _) => return Err(wrong()),
                (None, one) => self.op(field, one, is_third, depth)?.ok_or_else(wrong)?,
            };
            let has_presence =
                !is_third || field.oneof_index.is_some() || field.proto3_optional() || field.r#type() == Type::Message;
            let absent = match (&field.default_value, field.label()) {
                (Some(text), _) => Absent::Value(self.declared(field, text)),
                (None, Label::Required) => Absent::Required,
                _ if has_presence || is_repeated || is_map => Absent::Null,
                _ if self.emits_defaults => Absent::Value(vec![]),
                _ => Absent::NullAsDefault,
            };
            let one_of = field.oneof_index;
            Ok(FieldPlan { number: u32::try_from(field.number()).ok(), is_repeated, one_of, absent, op })
        };
        Ok(Plan::new(columns.iter().map(field).collect::<Result<_>>()?))
    }

    /// The bytes of the value that a field declares for where it is not there.
    fn declared(&self, field: &FieldDescriptorProto, text: &str) -> Vec<u8> {
        let number = |n: Option<i64>| n.unwrap_or_default().to_le_bytes().to_vec();
        match field.r#type() {
            Type::Bool => number(Some(i64::from(text == "true"))),
            Type::Enum => {
                let of = self.enums.get(field.type_name());
                number(of.and_then(|of| of.value.iter().find(|v| v.name() == text)).map(|v| v.number().into()))
            }
            Type::Float => text.parse::<f32>().unwrap_or_default().to_le_bytes().to_vec(),
            Type::Double => text.parse::<f64>().unwrap_or_default().to_le_bytes().to_vec(),
            Type::Sfixed32 => text.parse::<i32>().unwrap_or_default().to_le_bytes().to_vec(),
            Type::Fixed32 => text.parse::<u32>().unwrap_or_default().to_le_bytes().to_vec(),
            Type::Sint32 | Type::Sint64 => {
                let n: i64 = text.parse().unwrap_or_default();
                number(Some((n << 1) ^ (n >> 63)))
            }
            Type::Uint64 | Type::Fixed64 => text.parse::<u64>().unwrap_or_default().to_le_bytes().to_vec(),
            Type::Bytes => unescaped(text),
            Type::String => text.as_bytes().to_vec(),
            _ => number(text.parse().ok()),
        }
    }

    /// How one value of a field becomes one of this type; nothing if it cannot.
    fn op(&self, field: &FieldDescriptorProto, to: &DataType, is_third: bool, depth: usize) -> Result<Option<Op>> {
        let is_int = matches!(to, DataType::Int32 | DataType::Int64);
        Ok(Some(match (field.r#type(), to) {
            (Type::Bool, DataType::Boolean) => Op::Bool,
            (Type::Int32 | Type::Uint32, _) if is_int => Op::Int,
            (Type::Sint32, _) if is_int => Op::ZigZag,
            (Type::Sfixed32 | Type::Fixed32, _) if is_int => Op::Fixed32,
            (Type::Int64 | Type::Uint64, DataType::Int64) => Op::Long,
            (Type::Sint64, DataType::Int64) => Op::ZigZag,
            (Type::Sfixed64 | Type::Fixed64, DataType::Int64) => Op::Fixed64,
            (Type::Float, DataType::Float32 | DataType::Float64) => Op::Float,
            (Type::Double, DataType::Float64) => Op::Double,
            (Type::String, DataType::Utf8View) => Op::Text(is_third),
            (Type::Bytes, DataType::Binary) => Op::Bytes,
            (Type::Enum, DataType::Utf8View) => {
                let of = self.enums.get(field.type_name());
                let of = of.ok_or_else(|| refused(format!("the enum '{}' has no descriptor", field.type_name())))?;
                // Of several names of a number the first is the one.
                let names = of.value.iter().rev().map(|v| (v.number(), v.name().to_owned())).collect();
                let is_closed = !self.is_third.contains(field.type_name());
                Op::Enum(Arc::new(EnumNames { name: of.name().to_owned(), is_closed, names }))
            }
            (Type::Message, DataType::Timestamp(TimeUnit::Microsecond, Some(_))) if field.type_name() == TIMESTAMP => {
                Op::Time
            }
            (Type::Message, DataType::Duration(TimeUnit::Microsecond)) if field.type_name() == DURATION => Op::Time,
            (Type::Message, DataType::Struct(fields)) if depth < MAX_DEPTH => {
                Op::Message(Arc::new(self.plan(field.type_name(), fields, depth + 1)?))
            }
            _ => return Ok(None),
        }))
    }
}

const TIMESTAMP: &str = ".google.protobuf.Timestamp";
const DURATION: &str = ".google.protobuf.Duration";

/// The bytes of a text with C's escapes, as descriptors have them.
fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (vec![], text.as_bytes());
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'\\' {
            bytes.push(*first);
            continue;
        }
        let digits = rest.iter().take(3).take_while(|b| (b'0'..=b'7').contains(*b)).count();
        if digits > 0 {
            bytes.push(rest[..digits].iter().fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')));
            rest = &rest[digits..];
            continue;
        }
        let Some((escape, tail)) = rest.split_first() else { break };
        rest = tail;
        bytes.push(match escape {
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            other => *other,
        });
    }
    bytes
}

fn check_key(field: &FieldDescriptorProto, key: &FieldDescriptorProto) -> Result<()> {
    match key.r#type() {
        Type::String => Ok(()),
        _ => Err(refused(format!("the map '{}' has keys that are no texts, which are not read", field.name()))
            .with_help("declare the columns, and leave that one out")),
    }
}

fn mismatch(column: &Field, natural: &Result<DataType>) -> Error {
    let declared = sql_type_name(column.data_type());
    let message = match natural {
        Ok(natural) => {
            format!("column '{}' is declared as {declared}; its field is {}", column.name(), sql_type_name(natural))
        }
        Err(_) => format!("column '{}' is declared as {declared}, which its field is not", column.name()),
    };
    Error::invalid("INVALID_SCHEMA", message).with_help("declare the field's type, and convert it in the query")
}

fn refused(message: impl Into<String>) -> Error {
    Error::invalid("INVALID_SCHEMA", message)
}

fn unplanned() -> Error {
    Error::internal("a value of a type that the descriptor does not have")
}
