//! What the rows of records are: Spark's columns, or those that keys and values are decoded into.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch, RecordBatchOptions};
use arrow::compute::filter_record_batch;
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use parking_lot::Mutex;

use super::columns::RecordColumn;
use crate::error::{Error, Result};
use crate::format::message::{self, Decoded, FORMATS, KEY_FORMATS, MessageFormat, Part, has_key_columns};
use crate::format::{BadRecordCounter, BadRecords, bad_records};
use crate::kafka::{Partition, Record};
use crate::options::OptionType::{Choice, Text};
use crate::options::{OptionReader, OptionSpec, Options};
use crate::source::provider::{PARTITION_KEY, fixed_schema, schema_needed, source_schema};
use crate::time_zone::Tz;

/// What says how records become rows, beside the options of formats.
pub const OPTIONS: [OptionSpec; 4] = [
    OptionSpec::new(
        "value.format",
        Choice(FORMATS),
        "What values are decoded as, into the declared columns; without it the columns are Spark's.",
    ),
    OptionSpec::new("key.format", Choice(KEY_FORMATS), "What keys are decoded as, into the columns of key.columns."),
    OptionSpec::new("key.columns", Text, "The declared columns that are in the key, separated by commas."),
    message::FIELDS_INCLUDE,
];

/// How records become rows.
#[derive(Debug, Clone)]
pub struct RowFormat {
    schema: SchemaRef,
    /// The same with the hidden columns behind.
    with_hidden: Option<SchemaRef>,
    /// In the order of the schema with hidden columns.
    columns: Vec<Column>,
    value: Option<MessageFormat>,
    key: Option<MessageFormat>,
    bad_records: BadRecords,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Record(RecordColumn),
    /// One that values are decoded into.
    Value(usize),
    /// One that keys are decoded into.
    Key(usize),
}

/// The specs of the formats that are in use, with those of bad records.
fn specs_in_use(options: &Options) -> Vec<&'static [OptionSpec]> {
    let format = |key: &str| options.get(key).map(str::to_ascii_lowercase);
    let (value, key) = (format("value.format"), format("key.format"));
    let formats = value.iter().chain(&key).flat_map(|format| message::reading_options(format));
    let bad: Option<&'static [OptionSpec]> = value.is_some().then_some(&bad_records::WITH_MODE);
    formats.chain(bad).collect()
}

/// All options of all formats.
pub fn format_options() -> Vec<OptionSpec> {
    let bad: &'static [OptionSpec] = &bad_records::WITH_MODE;
    bad.iter().copied().chain(message::all_options(FORMATS, message::reading_options)).collect()
}

/// A reader of all options of an object, whose formats read theirs with another.
pub fn option_reader<'o>(owner: &str, options: &'o Options, specs: &[&'o [OptionSpec]]) -> OptionReader<'o> {
    OptionReader::new(owner, options, &[specs, &[&OPTIONS]].concat()).beside(&specs_in_use(options))
}

impl RowFormat {
    /// Reads the options; local times are those of `tz`.
    ///
    /// # Errors
    /// Options and columns that do not fit.
    pub fn read(
        reader: &OptionReader<'_>,
        options: &Options,
        name: &str,
        declared: Option<SchemaRef>,
        has_headers: bool,
        tz: Tz,
    ) -> Result<Self> {
        let (value, key) = (reader.choice("value.format")?, reader.choice("key.format")?);
        let key_columns = reader.string("key.columns");
        let include = reader.choice("value.fields-include")?;
        let Some(value) = value else {
            let given =
                ["key.format", "key.columns", "value.fields-include"].into_iter().find(|k| options.get(k).is_some());
            if let Some(key) = given {
                return Err(reader
                    .refused(key, "needs value.format beside it")
                    .with_help("say how values are decoded"));
            }
            return Self::of_spark(name, declared, has_headers);
        };
        let bad_records = BadRecords::read_with_mode(&mut OptionReader::new(
            "the kafka source",
            options,
            &[&bad_records::WITH_MODE],
        ))?;
        let declared = match declared {
            Some(declared) => source_schema(&declared),
            None => {
                let own = MessageFormat::own_columns(value, Part::Value, options)?;
                let own = own.filter(|_| key.is_none()).ok_or_else(|| {
                    schema_needed("kafka", name).with_help(format!(
                        "write CREATE STREAM {name} (column TYPE, …) USING kafka: they are decoded from the value"
                    ))
                })?;
                source_schema(&Schema::new(own))
            }
        };
        let in_key = match (key, key_columns) {
            (None, None) => vec![],
            (Some(_), Some(names)) => key_places(reader, names, &declared)?,
            (Some(_), None) => {
                let names = "needs key.columns beside it";
                return Err(reader.refused("key.format", names).with_help("name the columns that are in the key"));
            }
            (None, Some(_)) => {
                let problem = "needs key.format beside it";
                return Err(reader.refused("key.columns", problem).with_help("say how keys are decoded"));
            }
        };
        let fields = |places: &[usize]| places.iter().map(|i| declared.fields()[*i].clone()).collect::<Fields>();
        let in_value: Vec<usize> = (0..declared.fields().len()).filter(|i| !in_key.contains(i)).collect();
        let column = |i: usize| match in_key.iter().position(|k| *k == i) {
            Some(place) => Column::Key(place),
            None => Column::Value(in_value.partition_point(|v| *v < i)),
        };
        if let Some(field) = declared.fields().iter().find(|f| RecordColumn::is_hidden_name(f.name())) {
            let message = format!("column '{}' has the name of a hidden column of every record", field.name());
            return Err(Error::invalid("INVALID_SCHEMA", message)
                .with_help("leave it out: a query that names it finds it; or give the field another name"));
        }
        let hidden = RecordColumn::ALL;
        let columns = (0..declared.fields().len()).map(column).chain(hidden.iter().copied().map(Column::Record));
        let hidden_field = |c: &RecordColumn| Arc::new(Field::new(c.hidden_name(), c.data_type(), true)) as FieldRef;
        let with_hidden: Vec<FieldRef> =
            declared.fields().iter().cloned().chain(hidden.iter().map(hidden_field)).collect();
        Ok(Self {
            columns: columns.collect(),
            with_hidden: Some(Arc::new(Schema::new_with_metadata(with_hidden, declared.metadata().clone()))),
            value: Some(match has_key_columns(value, include) {
                false => MessageFormat::new(value, Part::Value, fields(&in_value), options, tz)?,
                // They are passed over: the key has them.
                true => MessageFormat::new(value, Part::Value, declared.fields().clone(), options, tz)?
                    .project(&in_value)?,
            }),
            key: key.map(|key| MessageFormat::new(key, Part::Key, fields(&in_key), options, tz)).transpose()?,
            schema: declared,
            bad_records,
        })
    }

    /// Spark's columns.
    fn of_spark(name: &str, declared: Option<SchemaRef>, has_headers: bool) -> Result<Self> {
        let columns = RecordColumn::ALL.into_iter().filter(|column| has_headers || *column != RecordColumn::Headers);
        let columns: Vec<_> = columns.collect();
        let named: Vec<(&str, DataType)> = columns.iter().map(|column| (column.name(), column.data_type())).collect();
        let schema = fixed_schema("kafka", name, declared, &named);
        Ok(Self {
            schema: schema.map_err(|e| {
                e.with_help("leave the columns out, or say with value.format how values are decoded into them")
            })?,
            with_hidden: None,
            columns: columns.into_iter().map(Column::Record).collect(),
            value: None,
            key: None,
            bad_records: BadRecords::Null,
        })
    }

    /// The same whose columns of topic and partition are marked as those that watermarks are held by.
    #[must_use]
    pub fn with_marked_partitions(&self) -> Self {
        let mark = |schema: &SchemaRef| -> SchemaRef {
            let fields = schema.fields().iter().zip(&self.columns).map(|(field, column)| {
                let place = match column {
                    Column::Record(RecordColumn::Topic) => "0",
                    Column::Record(RecordColumn::Partition) => "1",
                    _ => return field.clone(),
                };
                let mut field = field.as_ref().clone();
                field.metadata_mut().insert(PARTITION_KEY.to_owned(), place.to_owned());
                Arc::new(field)
            });
            Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone()))
        };
        Self { schema: mark(&self.schema), with_hidden: self.with_hidden.as_ref().map(mark), ..self.clone() }
    }

    /// The columns of `SELECT *`.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The same, and behind them those that must be named.
    pub fn with_hidden(&self) -> Option<&SchemaRef> {
        self.with_hidden.as_ref()
    }

    /// What makes rows of these columns, or of those of `SELECT *`.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn projected(&self, columns: Option<&[usize]>) -> Result<RowBuilder> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = columns.unwrap_or(&all);
        let schema = Arc::new(self.with_hidden.as_ref().unwrap_or(&self.schema).project(wanted)?);
        let mut columns: Vec<Column> = wanted.iter().map(|i| self.columns[*i]).collect();
        let (mut value, mut key) = (self.value.clone(), self.key.clone());
        // A bad record is left out, or an error, or in the column of bad records, whatever else is asked for.
        let is_corrupt = |column: &Column| match (column, &value, &key) {
            (Column::Value(i), Some(format), _) | (Column::Key(i), _, Some(format)) => format.corrupt() == Some(*i),
            _ => false,
        };
        if self.bad_records == BadRecords::Null && !columns.iter().any(is_corrupt) {
            value = narrowed(value, &mut columns, |c| match c {
                Column::Value(i) => Some(i),
                _ => None,
            })?;
            key = narrowed(key, &mut columns, |c| match c {
                Column::Key(i) => Some(i),
                _ => None,
            })?;
        }
        Ok(RowBuilder { schema, columns, value, key, bad_records: self.bad_records })
    }
}

/// The format for the columns of it that are asked for, which get new numbers; nothing if none is.
fn narrowed(
    format: Option<MessageFormat>,
    columns: &mut [Column],
    place: impl Fn(&mut Column) -> Option<&mut usize>,
) -> Result<Option<MessageFormat>> {
    let mut wanted = vec![];
    for at in columns.iter_mut().filter_map(place) {
        let new = wanted.iter().position(|known| known == at);
        if new.is_none() {
            wanted.push(*at);
        }
        *at = new.unwrap_or(wanted.len() - 1);
    }
    format.filter(|_| !wanted.is_empty()).map(|format| format.project(&wanted)).transpose()
}

/// Where the columns of the key are among the declared ones.
fn key_places(reader: &OptionReader<'_>, names: &str, declared: &Schema) -> Result<Vec<usize>> {
    let mut places = vec![];
    for name in names.split(',').map(str::trim) {
        let place = declared.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name));
        match place {
            Some(place) if !places.contains(&place) => places.push(place),
            Some(_) => return Err(reader.invalid("key.columns", names, "each column once")),
            None => return Err(reader.invalid("key.columns", names, "names of declared columns, separated by commas")),
        }
    }
    Ok(places)
}

/// Counts bad records, and remembers the first that was not told of.
#[derive(Debug, Default)]
pub struct BadMessages {
    counter: BadRecordCounter,
    first: Mutex<Option<String>>,
    /// The table whose scan tells of them at its end.
    table: Option<String>,
}

impl Drop for BadMessages {
    fn drop(&mut self) {
        if let (Some(table), Some(first)) = (&self.table, self.take_first()) {
            tracing::warn!("{} bad records of table '{table}', the first in {first}", self.count());
        }
    }
}

impl BadMessages {
    /// Those of a scan of a table.
    pub fn of_table(name: &str) -> Self {
        Self { counter: BadRecordCounter::default(), first: Mutex::default(), table: Some(name.to_owned()) }
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counter.get()
    }

    /// Where the first since the last call was, and what was wrong with it.
    pub fn take_first(&self) -> Option<String> {
        self.first.lock().take()
    }
}

/// Makes rows of records.
#[derive(Debug, Clone)]
pub struct RowBuilder {
    schema: SchemaRef,
    columns: Vec<Column>,
    value: Option<MessageFormat>,
    key: Option<MessageFormat>,
    bad_records: BadRecords,
}

impl RowBuilder {
    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows of some records of a partition.
    ///
    /// # Errors
    /// A bad record, if bad records are refused; a schema registry that does not answer.
    pub fn build(&self, partition: &Partition, records: &[Record], bad: &BadMessages) -> Result<RecordBatch> {
        let (mut is_left_out, mut is_bad) = (vec![], BTreeSet::new());
        let value = self.decoded(Part::Value, partition, records, bad, (&mut is_left_out, &mut is_bad))?;
        let key = self.decoded(Part::Key, partition, records, bad, (&mut is_left_out, &mut is_bad))?;
        bad.counter.add(is_bad.len() as u64);
        let column = |column: &Column| -> ArrayRef {
            match column {
                Column::Record(column) => column.build(partition, records),
                Column::Value(i) => value[*i].clone(),
                Column::Key(i) => key[*i].clone(),
            }
        };
        let options = RecordBatchOptions::new().with_row_count(Some(records.len()));
        let columns = self.columns.iter().map(column).collect();
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        if is_left_out.is_empty() {
            return Ok(rows);
        }
        let mut kept = BooleanBufferBuilder::new(records.len());
        kept.append_n(records.len(), true);
        is_left_out.iter().for_each(|i| kept.set_bit(*i, false));
        Ok(filter_record_batch(&rows, &BooleanArray::new(kept.finish(), None))?)
    }

    /// The columns of keys or values; adds the records that are no row, and those that are bad.
    fn decoded(
        &self,
        part: Part,
        partition: &Partition,
        records: &[Record],
        bad: &BadMessages,
        (is_left_out, is_bad): (&mut Vec<usize>, &mut BTreeSet<usize>),
    ) -> Result<Vec<ArrayRef>> {
        let format = match part {
            Part::Key => &self.key,
            Part::Value => &self.value,
        };
        let Some(format) = format else { return Ok(vec![]) };
        let bytes = |record| match part {
            Part::Key => Record::key(record),
            Part::Value => Record::value(record),
        };
        let messages: Vec<Option<&[u8]>> = records.iter().map(bytes).collect();
        let Decoded { columns, bad: found, void } = format.decode(&messages)?;
        is_left_out.extend(void);
        if let Some((i, reason)) = found.first() {
            let place = format!("the {} at offset {} of partition {partition}", part.word(), records[*i].offset());
            if self.bad_records == BadRecords::Fail {
                return Err(refused(&place, messages[*i].unwrap_or_default(), reason));
            }
            is_bad.extend(found.iter().map(|(i, _)| *i));
            bad.first.lock().get_or_insert_with(|| format!("{place}: {reason}"));
        }
        if self.bad_records == BadRecords::Drop {
            is_left_out.extend(found.iter().map(|(i, _)| i));
        }
        Ok(columns)
    }
}

/// The error of `badRecords 'fail'`.
fn refused(place: &str, bytes: &[u8], reason: &str) -> Error {
    const SHOWN: usize = 100;
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(SHOWN)]).into_owned();
    let dots = if bytes.len() > SHOWN { "…" } else { "" };
    let message = format!("{place} cannot be read: {reason}: '{}{dots}'", text.escape_debug());
    Error::execution("MALFORMED_RECORD_IN_PARSING", message)
        .with_help("badRecords 'null' or 'drop' lets the query go on")
}
