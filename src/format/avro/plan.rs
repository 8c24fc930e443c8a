//! How the bytes of one record become the values of the columns that are asked for.

use std::sync::Arc;

use arrow::datatypes::{DataType, Fields, IntervalUnit, TimeUnit};
use serde_json::Value;

use super::columns::{is_both, type_of_long, values_of};
use super::encode::put_default;
use super::schema::{Id, Kind, Logical, RecordField, Schema};
use crate::error::{Error, Result};
use crate::type_name::sql_type_name;

/// How fields of files and columns are brought together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Matching {
    /// By name, in any case.
    #[default]
    ByName,
    /// By their order.
    ByPosition,
}

/// What to do with the bytes of one value.
#[derive(Debug, Clone)]
pub enum Op {
    Null,
    Boolean,
    /// An int or a long.
    Long(Scaling),
    Float,
    Double,
    /// Bytes or a text behind their length.
    Bytes,
    Fixed(usize),
    Enum(Vec<String>),
    Decimal {
        len: Option<usize>,
        from: i8,
        precision: u8,
        scale: i8,
    },
    List(Box<Op>),
    Map(Box<Op>),
    Record(Vec<Step>),
    Union(Vec<Op>),
    /// A value of one type of a union, which has a field of a struct for each.
    Member(usize, Box<Op>),
    /// No column can have the value.
    Fail(String),
}

/// What a number is multiplied or divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scaling {
    One,
    Times(i64),
    Over(i64),
}

/// What to do with a field of a record.
#[derive(Debug, Clone)]
pub enum Step {
    Skip(Id),
    /// The value of a column.
    Read(usize, Op),
    /// The column has this value in every record.
    Default(usize, Op, Arc<[u8]>),
    /// The column is NULL.
    Missing(usize),
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Of the bytes.
    pub written: Arc<Schema>,
    pub steps: Vec<Step>,
}

/// Where the values of a branch of a union go: nowhere, or into the column or one of its fields, as this type.
type Target = Option<(Option<usize>, DataType)>;

impl Plan {
    /// The plan for `columns` of records that were `written` by one schema and are `seen` by another, if there is another.
    ///
    /// # Errors
    /// A column of a type that the file's cannot be read as.
    pub fn new(written: Arc<Schema>, seen: Option<&Schema>, columns: &Fields, matching: Matching) -> Result<Self> {
        let planner = Planner { written: &written, seen: seen.unwrap_or(&written), is_same: seen.is_none(), matching };
        let op = planner.value(written.root(), planner.seen.root(), &DataType::Struct(columns.clone()), "")?;
        let Op::Record(steps) = op else {
            let e = Error::execution("FAILED_READ_FILE", "the schema of the Avro file is no record");
            return Err(e.with_help("files of other values cannot be read"));
        };
        Ok(Self { steps, written })
    }
}

struct Planner<'s> {
    written: &'s Schema,
    seen: &'s Schema,
    /// Whether both are the same schema.
    is_same: bool,
    matching: Matching,
}

impl Planner<'_> {
    /// A value that is written as `w` and seen as `r`, as one of type `to`.
    fn value(&self, w: Id, r: Id, to: &DataType, path: &str) -> Result<Op> {
        let Kind::Union(branches) = &self.seen.get(r).kind else {
            return match &self.written.get(w).kind {
                Kind::Union(written) => {
                    let branch = |w: &Id| match self.promotes(*w, r) {
                        true => self.plain(*w, r, to, path),
                        false => Ok(Op::Fail(path.to_owned())),
                    };
                    Ok(Op::Union(written.iter().map(branch).collect::<Result<_>>()?))
                }
                _ => self.plain(w, r, to, path),
            };
        };
        let targets = self.targets(branches, to, path)?;
        let branch = |w: Id, same: Option<usize>| {
            let found = same.or_else(|| self.branch(w, branches));
            match found.map(|i| (branches[i], targets[i].as_ref())) {
                None => Ok(Op::Fail(path.to_owned())),
                Some((_, None)) => Ok(Op::Null),
                Some((r, Some((None, to)))) => self.plain(w, r, to, path),
                Some((r, Some((Some(member), to)))) => {
                    Ok(Op::Member(*member, Box::new(self.plain(w, r, to, &format!("{path}.member{member}"))?)))
                }
            }
        };
        match &self.written.get(w).kind {
            Kind::Union(written) => {
                let same = |i: usize| self.is_same.then_some(i);
                let ops = written.iter().enumerate().map(|(i, w)| branch(*w, same(i)));
                Ok(Op::Union(ops.collect::<Result<_>>()?))
            }
            _ => branch(w, None),
        }
    }

    /// Where values of the branches of a union go: nowhere, into the column, or into a field of it.
    fn targets(&self, branches: &[Id], to: &DataType, path: &str) -> Result<Vec<Target>> {
        let is_null = |id: &Id| matches!(self.seen.get(*id).kind, Kind::Null);
        let values: Vec<Id> = branches.iter().copied().filter(|id| !is_null(id)).collect();
        let numbers = is_both(self.seen, &values, |k| matches!(k, Kind::Int), |k| matches!(k, Kind::Long))
            && *to == DataType::Int64
            || is_both(self.seen, &values, |k| matches!(k, Kind::Float), |k| matches!(k, Kind::Double))
                && *to == DataType::Float64;
        let mut next = 0;
        let mut target = |id: &Id| {
            Ok(match to {
                _ if is_null(id) => None,
                _ if values.len() == 1 || numbers => Some((None, to.clone())),
                DataType::Struct(fields) if fields.len() == values.len() => {
                    next += 1;
                    Some((Some(next - 1), fields[next - 1].data_type().clone()))
                }
                _ => return Err(mismatch(path, "a union of several types", to)),
            })
        };
        branches.iter().map(&mut target).collect()
    }

    /// The branch of a union that sees a written type: one of the same kind, or else one that it can become.
    fn branch(&self, w: Id, branches: &[Id]) -> Option<usize> {
        let kind = |schema: &Schema, id: Id| std::mem::discriminant(&schema.get(id).kind);
        let same = branches.iter().position(|r| kind(self.seen, *r) == kind(self.written, w));
        same.or_else(|| branches.iter().position(|r| self.promotes(w, *r)))
    }

    /// Whether Avro lets values of one type be seen as the other.
    fn promotes(&self, w: Id, r: Id) -> bool {
        use Kind::*;
        let (w, r) = (&self.written.get(w).kind, &self.seen.get(r).kind);
        std::mem::discriminant(w) == std::mem::discriminant(r)
            || matches!(
                (w, r),
                (Int, Long | Float | Double)
                    | (Long, Float | Double)
                    | (Float, Double)
                    | (String, Bytes)
                    | (Bytes, String)
            )
    }

    /// A value of no union.
    fn plain(&self, w: Id, r: Id, to: &DataType, path: &str) -> Result<Op> {
        if !self.promotes(w, r) {
            let e = Error::execution("FAILED_READ_FILE", format!("'{path}' is of another type than avroSchema says"));
            return Err(e.with_help("change the option avroSchema, or leave it out"));
        }
        let written = &self.written.get(w).kind;
        let seen = self.seen.get(r);
        let wrong = || mismatch(path, &values_of(self.seen, r), to);
        let is_interval = seen.catalyst.as_deref().is_some_and(|c| c.starts_with("interval"));
        Ok(match (&seen.kind, to) {
            (Kind::Null, _) => Op::Null,
            (Kind::Boolean, DataType::Boolean) => Op::Boolean,
            (Kind::Int, DataType::Date32) if is_interval => return Err(wrong()),
            (Kind::Long, DataType::Date32 | DataType::Timestamp(..)) if is_interval => return Err(wrong()),
            (Kind::Int, DataType::Int32 | DataType::Int64 | DataType::Float64 | DataType::Date32)
            | (Kind::Int, DataType::Interval(IntervalUnit::YearMonth)) => Op::Long(Scaling::One),
            (Kind::Int, DataType::Timestamp(TimeUnit::Microsecond, None)) if seen.logical == Some(Logical::Date) => {
                Op::Long(Scaling::Times(24 * 60 * 60 * 1_000_000))
            }
            (Kind::Long, _) => Op::Long(type_of_long(seen.logical, to).ok_or_else(wrong)?),
            (Kind::Float, DataType::Float32 | DataType::Float64) | (Kind::Double, DataType::Float64) => match written {
                Kind::Int | Kind::Long => Op::Long(Scaling::One),
                Kind::Float => Op::Float,
                _ => Op::Double,
            },
            (Kind::Bytes | Kind::Fixed(_), DataType::Decimal128(precision, scale)) => {
                let Some(Logical::Decimal { precision: p, scale: s }) = seen.logical else { return Err(wrong()) };
                // Digits behind the point may be rounded off, those before it must have room.
                if p > 38 || p - s > u64::from(precision.saturating_sub(*scale as u8)) {
                    return Err(wrong());
                }
                let len = if let Kind::Fixed(len) = written { Some(*len) } else { None };
                Op::Decimal { len, from: s as i8, precision: *precision, scale: *scale }
            }
            (Kind::String, DataType::Utf8View) | (Kind::Bytes, DataType::Binary) => Op::Bytes,
            (Kind::Fixed(_), DataType::Binary) => match written {
                Kind::Fixed(len) => Op::Fixed(*len),
                _ => return Err(wrong()),
            },
            (Kind::Enum { .. }, DataType::Utf8View) => self.symbols(w, r),
            (Kind::Array(r), DataType::List(item)) => {
                let Kind::Array(w) = written else { return Err(wrong()) };
                Op::List(Box::new(self.value(*w, *r, item.data_type(), &format!("{path}.element"))?))
            }
            (Kind::Map(r), DataType::Map(entries, _)) => match (written, entries.data_type()) {
                (Kind::Map(w), DataType::Struct(kv)) if *kv[0].data_type() == DataType::Utf8View => {
                    Op::Map(Box::new(self.value(*w, *r, kv[1].data_type(), &format!("{path}.value"))?))
                }
                _ => return Err(wrong()),
            },
            (Kind::Record(r), DataType::Struct(fields)) => match written {
                Kind::Record(w) => self.record(w, r, fields, path)?,
                _ => return Err(wrong()),
            },
            _ => return Err(wrong()),
        })
    }

    /// The symbols of an enum by number; one that the seen enum does not have becomes its default.
    fn symbols(&self, w: Id, r: Id) -> Op {
        let (Kind::Enum { symbols: written, .. }, Kind::Enum { symbols: seen, default }) =
            (&self.written.get(w).kind, &self.seen.get(r).kind)
        else {
            return Op::Bytes;
        };
        let symbol = |s: &String| match default {
            Some(default) if !seen.contains(s) => default.clone(),
            _ => s.clone(),
        };
        Op::Enum(written.iter().map(symbol).collect())
    }

    fn record(&self, written: &[RecordField], seen: &[RecordField], columns: &Fields, path: &str) -> Result<Op> {
        let mut steps = vec![];
        let seen_of = |w: &RecordField| seen.iter().position(|r| r.name == w.name || r.aliases.contains(&w.name));
        let mut is_read = vec![false; columns.len()];
        for field in written {
            let target = seen_of(field).and_then(|r| Some((r, self.matched(r, &seen[r].name, columns, seen)?)));
            steps.push(match target {
                None => Step::Skip(field.type_id),
                Some((r, column)) => {
                    is_read[column] = true;
                    let to = &columns[column];
                    let op = self.value(field.type_id, seen[r].type_id, to.data_type(), &inside(path, to.name()))?;
                    Step::Read(column, op)
                }
            });
        }
        for column in (0..columns.len()).filter(|c| !is_read[*c]) {
            let field = (0..seen.len()).find(|r| self.matched(*r, &seen[*r].name, columns, seen) == Some(column));
            steps.push(match field {
                None => Step::Missing(column),
                Some(r) => self.default(&seen[r], columns[column].data_type(), column, path)?,
            });
        }
        Ok(Op::Record(steps))
    }

    /// The column that a field is.
    fn matched(&self, number: usize, name: &str, columns: &Fields, seen: &[RecordField]) -> Option<usize> {
        match self.matching {
            Matching::ByPosition => (number < columns.len()).then_some(number),
            Matching::ByName => {
                let column = columns.iter().position(|c| c.name().eq_ignore_ascii_case(name))?;
                // Of fields whose names differ in case alone it is the one that is written as the column is.
                let exact = seen.iter().any(|f| f.name == *columns[column].name());
                (!exact || name == columns[column].name()).then_some(column)
            }
        }
    }

    /// The value of a field that the bytes do not have.
    fn default(&self, field: &RecordField, to: &DataType, column: usize, path: &str) -> Result<Step> {
        let value = field.default.as_ref().ok_or_else(|| {
            Error::execution("FAILED_READ_FILE", format!("the file has no field '{}'", inside(path, &field.name)))
                .with_help("give the field a default in the option avroSchema, or leave it out there")
        })?;
        if *value == Value::Null {
            return Ok(Step::Missing(column));
        }
        let mut bytes = vec![];
        put_default(self.seen, field.type_id, value, &mut bytes)?;
        let planner = Planner { written: self.seen, is_same: true, ..*self };
        let op = planner.value(field.type_id, field.type_id, to, &inside(path, &field.name))?;
        Ok(Step::Default(column, op, bytes.into()))
    }
}

fn inside(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

fn mismatch(path: &str, stored: &str, declared: &DataType) -> Error {
    let declared = sql_type_name(declared);
    Error::execution(
        "FAILED_READ_FILE.AVRO_COLUMN_DATA_TYPE_MISMATCH",
        format!("column '{path}' is {stored} in the file, {declared} as declared"),
    )
    .with_help(format!(
        "declare it as the type that the file has, and cast it in the query; {declared} cannot hold it as it is"
    ))
}
