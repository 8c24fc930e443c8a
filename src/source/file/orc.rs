//! ORC files: columns found by name, and of another type where ORC's own readers would change it and no value is lost by that.

use std::collections::HashMap;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray, new_null_array,
};
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};
use bytes::Bytes;
use orc_rust::projection::ProjectionMask;
use orc_rust::reader::ChunkReader;
use orc_rust::reader::metadata::FileMetadata;
use orc_rust::schema::DataType as OrcType;
use orc_rust::statistics::TypeStatistics;
use orc_rust::{ArrowReaderBuilder, ArrowSchemaOptions, TimestampPrecision};

use super::batches::Batches;
use super::guarded::guarded;
use super::julian::all_to_gregorian;
use super::orc_notes::Notes;
use crate::error::{Error, Result};
use crate::format::BATCH_ROWS;
use crate::format::bytes::{Opened, OpenedReader};
use crate::function::cast::{Mode, can_cast, cast_array};
use crate::function::map_of;
use crate::function::scalar::{list_of, timestamp};
use crate::options::OptionReader;
use crate::time_zone::Tz;
use crate::type_name::sql_type_name;

/// See the module.
#[derive(Debug, Clone)]
pub struct OrcOptions {
    /// Whether the columns are those of all files.
    pub merge_schema: bool,
}

impl OrcOptions {
    /// Reads `mergeSchema`.
    ///
    /// # Errors
    /// A value that is none.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        Ok(Self { merge_schema: options.bool("mergeSchema")? })
    }
}

/// A file as the crate reads it.
pub struct Chunks(pub Opened);

impl ChunkReader for Chunks {
    type T = BufReader<OpenedReader>;

    fn len(&self) -> u64 {
        self.0.size()
    }

    fn get_read(&self, from: u64) -> io::Result<Self::T> {
        let mut reader = self.0.reader();
        reader.seek(SeekFrom::Start(from))?;
        Ok(BufReader::new(reader))
    }

    fn get_bytes(&self, from: u64, len: u64) -> io::Result<Bytes> {
        let end = from.checked_add(len).filter(|end| *end <= self.0.size());
        self.0.read(from..end.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the file ends early"))?)
    }
}

fn damaged(what: impl std::fmt::Display) -> Error {
    Error::execution("FAILED_READ_FILE", format!("the ORC file cannot be read: {what}"))
        .with_help("it may still be being written: write it elsewhere and rename it into the directory")
}

/// What is at both ends of every ORC file; the crate does not look.
fn check_magic(file: &Opened) -> Result<()> {
    let mut magic = [0; 3];
    match file.reader().read_exact(&mut magic) {
        Ok(()) if magic == *b"ORC" => Ok(()),
        Ok(()) => Err(damaged("it does not begin as ORC files do")),
        Err(e) => Err(damaged(&e).with_io_source(&e)),
    }
}

fn open(file: &Opened) -> Result<ArrowReaderBuilder<Chunks>> {
    check_magic(file)?;
    guarded(damaged, || ArrowReaderBuilder::try_new(Chunks(file.clone())).map_err(damaged))
}

/// The columns of a file, as Spark sees them.
pub fn schema(file: &Opened) -> Result<Schema> {
    let reader = open(file)?;
    let notes = guarded(damaged, || Notes::of(file, reader.file_metadata().compression()))?;
    let columns = reader.file_metadata().root_data_type().children().iter();
    let field = |name: &str, of: &OrcType| Ok(Field::new(name, spark_type(of, &notes.catalyst)?, true));
    Ok(Schema::new(columns.map(|c| field(c.name(), c.data_type())).collect::<Result<Vec<_>>>()?))
}

/// The type of a column; `catalyst` is what Spark has noted of its own types.
fn spark_type(of: &OrcType, catalyst: &HashMap<usize, String>) -> Result<DataType> {
    let noted = catalyst.get(&of.column_index()).map_or("", String::as_str);
    Ok(match of {
        OrcType::Boolean { .. } => DataType::Boolean,
        OrcType::Byte { .. } => DataType::Int8,
        OrcType::Short { .. } => DataType::Int16,
        OrcType::Int { .. } if noted.starts_with("interval") => DataType::Interval(IntervalUnit::YearMonth),
        OrcType::Int { .. } => DataType::Int32,
        OrcType::Long { .. } if noted.starts_with("interval") => DataType::Duration(TimeUnit::Microsecond),
        OrcType::Long { .. } if noted == "timestamp_ntz" => DataType::Timestamp(TimeUnit::Microsecond, None),
        OrcType::Long { .. } => DataType::Int64,
        OrcType::Float { .. } => DataType::Float32,
        OrcType::Double { .. } => DataType::Float64,
        OrcType::String { .. } | OrcType::Varchar { .. } | OrcType::Char { .. } => DataType::Utf8View,
        OrcType::Binary { .. } => DataType::Binary,
        OrcType::Decimal { precision, scale, .. } => DataType::Decimal128(*precision as u8, *scale as i8),
        OrcType::Timestamp { .. } | OrcType::TimestampWithLocalTimezone { .. } => timestamp(),
        OrcType::Date { .. } => DataType::Date32,
        OrcType::Struct { children, .. } => {
            let field = |name: &str, of: &OrcType| Ok(Field::new(name, spark_type(of, catalyst)?, true));
            let fields = children.iter().map(|c| field(c.name(), c.data_type()));
            DataType::Struct(fields.collect::<Result<_>>()?)
        }
        OrcType::List { child, .. } => list_of(spark_type(child, catalyst)?),
        OrcType::Map { key, value, .. } => map_of(spark_type(key, catalyst)?, spark_type(value, catalyst)?),
        OrcType::Union { .. } => {
            return Err(Error::invalid("INCOMPATIBLE_SCHEMA", "a UNIONTYPE of ORC has no type here"));
        }
    })
}

/// The rows of a file.
pub fn rows(schema: &SchemaRef, file: &Opened) -> Result<Batches> {
    let reader = open(file)?;
    let metadata = reader.file_metadata();
    let notes = guarded(damaged, || Notes::of(file, metadata.compression()))?;
    let places = places(metadata, schema)?;
    let roots = metadata.root_data_type().children();
    let wanted = places.iter().flatten().map(|i| roots[*i].data_type().column_index());
    let mask = ProjectionMask::roots(metadata.root_data_type(), wanted.collect::<Vec<_>>());
    // What is read has the columns in the order of the file, without those that nobody asked for.
    let mut read: Vec<usize> = places.iter().flatten().copied().collect();
    read.sort_unstable();
    read.dedup();
    let place = |i: &Option<usize>| i.and_then(|i| read.binary_search(&i).ok());
    let places: Vec<Option<usize>> = places.iter().map(place).collect();
    let num_rows = usize::try_from(metadata.number_of_rows()).map_err(damaged)?;
    if read.is_empty() {
        return Ok(without_columns(schema.clone(), num_rows));
    }
    let stored = stored_types(metadata, &read);
    if notes.is_of_cpp {
        read.iter().try_for_each(|i| check_times(roots[*i].data_type(), metadata))?;
    }
    let is_julian = notes.is_julian;
    for (field, place) in schema.fields().iter().zip(&places) {
        if let Some(i) = place
            && !fits(&stored[*i], field.data_type())
        {
            return Err(mismatch(field.name(), &stored[*i], field.data_type()));
        }
    }
    let mut reader = reader
        .with_batch_size(BATCH_ROWS)
        .with_projection(mask)
        .with_timestamp_precision(TimestampPrecision::Microsecond)
        .build();
    let schema = schema.clone();
    let mut next = move || guarded(damaged, || reader.next().transpose().map_err(damaged));
    Ok(Box::new(std::iter::from_fn(move || {
        let batch = next().transpose()?;
        Some(batch.and_then(|batch| declared(&batch, &places, &schema, is_julian)))
    })))
}

/// Refuses times before 1970 in a column, or inside one: ORC for C++ writes them in a form that no other reader takes.
fn check_times(of: &OrcType, metadata: &FileMetadata) -> Result<()> {
    let statistics = metadata.column_file_statistics();
    let is_early = |id: usize| match statistics.get(id).and_then(|s| s.type_statistics()) {
        Some(TypeStatistics::Timestamp { min, min_utc, .. }) => *min < 0 || *min_utc < 0,
        _ => false,
    };
    let times = match of {
        OrcType::Timestamp { column_index } | OrcType::TimestampWithLocalTimezone { column_index } => {
            is_early(*column_index)
        }
        _ => of.children_indices().into_iter().any(is_early),
    };
    match times {
        true => Err(damaged("it has times before 1970 in the form that ORC for C++ writes")),
        false => Ok(()),
    }
}

/// Where the file has each of the columns, if it does: by name in any case, or by number if the names are those of Hive.
fn places(metadata: &FileMetadata, schema: &SchemaRef) -> Result<Vec<Option<usize>>> {
    let names: Vec<&str> = metadata.root_data_type().children().iter().map(|c| c.name()).collect();
    let of_hive = !names.is_empty() && names.iter().all(|name| name.starts_with("_col"));
    let numbered = schema.fields().iter().enumerate();
    numbered
        .map(|(i, field)| match of_hive {
            true => Ok((i < names.len()).then_some(i)),
            false => position(&names, field.name()),
        })
        .collect()
}

fn position(names: &[&str], name: &str) -> Result<Option<usize>> {
    let mut found = (0..names.len()).filter(|i| names[*i].eq_ignore_ascii_case(name));
    match (found.next(), found.next()) {
        (Some(a), Some(b)) => Err(Error::execution(
            "FAILED_READ_FILE",
            format!("the file has the columns '{}' and '{}', which differ in case alone", names[a], names[b]),
        )
        .with_help("leave the column out, or write the file anew with another name for one of them")),
        (first, _) => Ok(first),
    }
}

fn without_columns(schema: SchemaRef, num_rows: usize) -> Batches {
    let starts = (0..num_rows).step_by(BATCH_ROWS);
    Box::new(starts.map(move |start| {
        let rows = BATCH_ROWS.min(num_rows - start);
        let columns = schema.fields().iter().map(|f| new_null_array(f.data_type(), rows)).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
    }))
}

/// The types of the columns that are read, as the crate gives them.
fn stored_types(metadata: &FileMetadata, read: &[usize]) -> Vec<DataType> {
    let roots = metadata.root_data_type().children();
    let options = || ArrowSchemaOptions::new().with_timestamp_precision(TimestampPrecision::Microsecond);
    read.iter().map(|i| roots[*i].data_type().to_arrow_data_type_with_options(options())).collect()
}

fn mismatch(name: &str, stored: &DataType, declared: &DataType) -> Error {
    let (stored, declared) = (sql_type_name(stored), sql_type_name(declared));
    Error::execution(
        "FAILED_READ_FILE.ORC_COLUMN_DATA_TYPE_MISMATCH",
        format!("column '{name}' is {stored} in the file, {declared} as declared"),
    )
    .with_help(format!("declare it as {stored}, and cast it in the query"))
}

/// Whether values of the one type can be read as the other.
fn fits(stored: &DataType, declared: &DataType) -> bool {
    use DataType::*;
    let is_number = |t: &DataType| t.is_integer() || t.is_floating() || matches!(t, Decimal128(..));
    match (stored, declared) {
        (Timestamp(..), Timestamp(_, None)) => false,
        (a, b) if a == b => true,
        (Utf8, Utf8View | Binary) => true,
        (Int64, Timestamp(_, None) | Duration(_)) | (Int32, Interval(IntervalUnit::YearMonth)) => true,
        (Timestamp(..), Timestamp(_, Some(_)) | Date32 | Utf8View) => true,
        (Date32, Timestamp(_, Some(_)) | Utf8View) => true,
        (Boolean, to) => is_number(to),
        // ORC writes other digits of these than a cast does.
        (Float32 | Float64 | Decimal128(..), Utf8View) => false,
        (from, Utf8View) => from.is_integer(),
        (from, to) if is_number(from) && is_number(to) => can_cast(from, to),
        (List(a), List(b)) => fits(a.data_type(), b.data_type()),
        (Map(a, _), Map(b, _)) => match (a.data_type(), b.data_type()) {
            (Struct(a), Struct(b)) => a.iter().zip(b).all(|(a, b)| fits(a.data_type(), b.data_type())),
            _ => false,
        },
        (Struct(a), Struct(b)) => b.iter().all(|b| {
            let same = a.iter().find(|a| a.name().eq_ignore_ascii_case(b.name()));
            same.is_none_or(|a| fits(a.data_type(), b.data_type()))
        }),
        _ => false,
    }
}

/// The rows with the columns that were declared.
fn declared(batch: &RecordBatch, places: &[Option<usize>], schema: &SchemaRef, is_julian: bool) -> Result<RecordBatch> {
    let column = |(field, place): (&Arc<Field>, &Option<usize>)| match place {
        None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        Some(i) => convert(&of_today(batch.column(*i), is_julian), field.data_type())
            .map_err(|e| mismatch(field.name(), batch.column(*i).data_type(), field.data_type()).with_source(e)),
    };
    let columns = schema.fields().iter().zip(places).map(column).collect::<Result<_>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &options)?)
}

fn of_today(column: &ArrayRef, is_julian: bool) -> ArrayRef {
    if is_julian { all_to_gregorian(column, true) } else { column.clone() }
}

fn convert(array: &ArrayRef, to: &DataType) -> Result<ArrayRef> {
    use DataType::*;
    let plain = |to: &DataType| Ok::<_, Error>(arrow::compute::cast(array, to)?);
    Ok(match (array.data_type(), to) {
        (from, to) if from == to => array.clone(),
        (Utf8, Binary | Utf8View) | (Int64, Timestamp(_, None) | Duration(_)) | (Int32, Interval(_)) => plain(to)?,
        // A time of ORC has no zone: it is the same in UTC.
        (Timestamp(unit, _), Timestamp(..)) => {
            let micros = plain(&Timestamp(TimeUnit::Microsecond, None));
            let number =
                arrow::compute::cast(&if *unit == TimeUnit::Microsecond { plain(&Int64)? } else { micros? }, &Int64)?;
            arrow::compute::cast(&number, to)?
        }
        (List(_), List(item)) => {
            let list: &ListArray = array.as_list();
            let values = convert(list.values(), item.data_type())?;
            Arc::new(ListArray::try_new(item.clone(), list.offsets().clone(), values, list.nulls().cloned())?)
        }
        (Map(..), Map(entries, sorted)) => {
            let map: &MapArray = array.as_map();
            let Struct(kv) = entries.data_type() else { return Err(Error::internal("a map without entries")) };
            let columns = map.entries().columns().iter().zip(kv).map(|(c, f)| convert(c, f.data_type()));
            let pairs = StructArray::try_new(kv.clone(), columns.collect::<Result<_>>()?, None)?;
            Arc::new(MapArray::try_new(entries.clone(), map.offsets().clone(), pairs, map.nulls().cloned(), *sorted)?)
        }
        (Struct(_), Struct(fields)) => fields_of(array.as_struct(), fields)?,
        _ => cast_array(array, to, Mode::Ansi, Tz::UTC)?,
    })
}

fn fields_of(from: &StructArray, fields: &Fields) -> Result<ArrayRef> {
    let names: Vec<&str> = from.fields().iter().map(|f| f.name().as_str()).collect();
    let column = |field: &Arc<Field>| match position(&names, field.name())? {
        Some(i) => convert(from.column(i), field.data_type()),
        None => Ok(new_null_array(field.data_type(), from.len())),
    };
    let columns = fields.iter().map(column).collect::<Result<Vec<_>>>()?;
    Ok(match fields.is_empty() {
        true => Arc::new(StructArray::new_empty_fields(from.len(), from.nulls().cloned())),
        false => Arc::new(StructArray::try_new(fields.clone(), columns, from.nulls().cloned())?),
    })
}
