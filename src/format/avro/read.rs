//! Records to rows.

use std::io::Read;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StringViewBuilder};
use arrow::compute::concat;
use arrow::datatypes::{Fields, SchemaRef};

use super::container::Container;
use super::damaged;
use super::input::Input;
use super::plan::{Op, Plan, Scaling, Step};
use super::schema::{Id, Kind, Schema};
use super::values::Values;
use crate::error::{Error, Result};
use crate::format::BATCH_ROWS;
use crate::function::cast::{fits, rescale_value};

/// Records inside each other that are passed over; a file with more is damaged.
const MAX_DEPTH: usize = 500;

/// The rows of a file, a batch at a time. After an error there are no more.
pub struct Rows<R> {
    container: Container<R>,
    plan: Plan,
    schema: SchemaRef,
    /// What columns become: dates and times of old calendars are those of today.
    rebase: Option<fn(&ArrayRef) -> ArrayRef>,
    error: Option<Error>,
    is_ended: bool,
}

impl<R: Read> Rows<R> {
    /// The rows of `schema` that `plan` makes.
    pub fn new(container: Container<R>, plan: Plan, schema: SchemaRef) -> Self {
        Self { container, plan, schema, rebase: None, error: None, is_ended: false }
    }

    /// The same with columns whose dates and times are brought to another calendar.
    #[must_use]
    pub fn rebased(self, rebase: fn(&ArrayRef) -> ArrayRef) -> Self {
        Self { rebase: Some(rebase), ..self }
    }

    /// As many rows as a batch has; those before an error come without it.
    fn batch(&mut self) -> Result<Option<RecordBatch>> {
        if let Some(e) = self.error.take() {
            return Err(e);
        }
        let mut columns: Vec<Values> = self.schema.fields().iter().map(|f| Values::new(f.data_type())).collect();
        let mut rows = 0;
        while rows < BATCH_ROWS {
            match self.container.records() {
                Ok(0) => break,
                Ok(records) => {
                    let wanted = records.min((BATCH_ROWS - rows) as u64) as usize;
                    if let Err(e) = self.records(wanted, &mut columns, &mut rows) {
                        self.error = Some(e);
                        break;
                    }
                }
                Err(e) => {
                    self.error = Some(e);
                    break;
                }
            }
        }
        match (rows, self.error.take()) {
            (0, Some(e)) => Err(e),
            (0, None) => Ok(None),
            (_, error) => {
                self.error = error;
                self.finish(columns, rows).map(Some)
            }
        }
    }

    fn records(&mut self, wanted: usize, columns: &mut [Values], rows: &mut usize) -> Result<()> {
        let Plan { written, steps } = &self.plan;
        let reader = Reader { written };
        self.container.decode(wanted, |input| {
            reader.steps(steps, input, columns)?;
            *rows += 1;
            Ok(())
        })
    }

    fn finish(&self, mut columns: Vec<Values>, rows: usize) -> Result<RecordBatch> {
        let column = |(values, field): (&mut Values, &Arc<arrow::datatypes::Field>)| -> Result<ArrayRef> {
            let array = values.finish(field.data_type())?.slice(0, rows);
            Ok(match self.rebase {
                Some(rebase) => rebase(&array),
                None => array,
            })
        };
        let columns = columns.iter_mut().zip(self.schema.fields()).map(column).collect::<Result<_>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

impl<R: Read> Iterator for Rows<R> {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_ended {
            return None;
        }
        let next = self.batch().transpose();
        self.is_ended = !matches!(next, Some(Ok(_)));
        next
    }
}

/// The rows of single records, each by a plan of its own.
pub struct MessageRows {
    fields: Fields,
    columns: Vec<Values>,
    rows: usize,
    /// Rows that were finished when a record behind them could not be read.
    finished: Vec<Vec<ArrayRef>>,
}

impl MessageRows {
    /// No rows of these columns.
    pub fn new(fields: Fields) -> Self {
        let columns = fields.iter().map(|f| Values::new(f.data_type())).collect();
        Self { fields, columns, rows: 0, finished: vec![] }
    }

    /// Appends the row of a record.
    ///
    /// # Errors
    /// Bytes that are no record of the plan's schema; nothing was appended then.
    pub fn push(&mut self, plan: &Plan, bytes: &[u8]) -> Result<()> {
        // What follows the record is left alone, as by Avro's own readers.
        let read = Reader { written: &plan.written }.steps(&plan.steps, &mut Input(bytes), &mut self.columns);
        match read {
            Ok(()) => self.rows += 1,
            // Some columns may have a value more than others.
            Err(_) => self.cut()?,
        }
        read
    }

    /// Appends a row of NULLs.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn push_null(&mut self) -> Result<()> {
        self.rows += 1;
        self.columns.iter_mut().try_for_each(Values::push_null)
    }

    fn cut(&mut self) -> Result<()> {
        let rows = std::mem::take(&mut self.rows);
        let columns = self.columns.iter_mut().zip(self.fields.iter());
        let columns = columns.map(|(values, field)| Ok(values.finish(field.data_type())?.slice(0, rows)));
        self.finished.push(columns.collect::<Result<_>>()?);
        self.columns = self.fields.iter().map(|f| Values::new(f.data_type())).collect();
        Ok(())
    }

    /// The columns.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn finish(mut self) -> Result<Vec<ArrayRef>> {
        self.cut()?;
        if let [only] = self.finished.as_mut_slice() {
            return Ok(std::mem::take(only));
        }
        let column = |i: usize| {
            let parts: Vec<_> = self.finished.iter().map(|part| part[i].as_ref()).collect();
            Ok(concat(&parts)?)
        };
        (0..self.fields.len()).map(column).collect()
    }
}

struct Reader<'p> {
    written: &'p Schema,
}

impl Reader<'_> {
    /// One record.
    fn steps(&self, steps: &[Step], input: &mut Input<'_>, columns: &mut [Values]) -> Result<()> {
        for step in steps {
            match step {
                Step::Skip(id) => self.skip(*id, input, 0)?,
                Step::Read(column, op) => self.value(op, input, &mut columns[*column])?,
                Step::Default(column, op, bytes) => self.value(op, &mut Input(bytes), &mut columns[*column])?,
                Step::Missing(column) => columns[*column].push_null()?,
            }
        }
        Ok(())
    }

    fn value(&self, op: &Op, input: &mut Input<'_>, to: &mut Values) -> Result<()> {
        match op {
            Op::Null => to.push_null(),
            Op::Boolean => {
                let [byte] = input.array()?;
                to.push_bool(byte == 1)
            }
            Op::Long(scaling) => to.push_long(scaled(input.long()?, *scaling)?),
            Op::Float => to.push_float(f32::from_le_bytes(input.array()?)),
            Op::Double => to.push_double(f64::from_le_bytes(input.array()?)),
            Op::Bytes => to.push_bytes(input.bytes()?),
            Op::Fixed(len) => to.push_bytes(input.take(*len)?),
            Op::Enum(symbols) => {
                let number = input.long()?;
                let symbol = usize::try_from(number).ok().and_then(|n| symbols.get(n));
                to.push_bytes(symbol.ok_or_else(|| damaged(format!("symbol {number} of an enum")))?.as_bytes())
            }
            Op::Decimal { len, from, precision, scale } => {
                let bytes = match len {
                    Some(len) => input.take(*len)?,
                    None => input.bytes()?,
                };
                to.push_decimal(decimal(bytes, *from, *precision, *scale)?)
            }
            Op::List(item) => self.list(item, input, to),
            Op::Map(value) => self.map(value, input, to),
            Op::Record(steps) => {
                let Values::Struct(fields, _) = to else { return Err(unplanned()) };
                self.steps(steps, input, fields)?;
                to.end_struct()
            }
            Op::Union(branches) => {
                let number = input.long()?;
                let branch = usize::try_from(number).ok().and_then(|n| branches.get(n));
                self.value(branch.ok_or_else(|| damaged(format!("branch {number} of a union")))?, input, to)
            }
            Op::Member(member, op) => {
                let Values::Struct(fields, _) = to else { return Err(unplanned()) };
                for (i, field) in fields.iter_mut().enumerate() {
                    if i == *member { self.value(op, input, field)? } else { field.push_null()? }
                }
                to.end_struct()
            }
            Op::Fail(path) => Err(damaged(format!("a value of '{path}' is of a type that avroSchema does not have"))),
        }
    }

    fn list(&self, item: &Op, input: &mut Input<'_>, to: &mut Values) -> Result<()> {
        let Values::List(items) = to else { return Err(unplanned()) };
        loop {
            let count = input.block()?;
            if count == 0 {
                return to.end_items();
            }
            check_count(items.values.len(), count)?;
            for _ in 0..count {
                self.value(item, input, &mut items.values)?;
            }
        }
    }

    /// Of keys that are there twice the last counts.
    fn map(&self, value: &Op, input: &mut Input<'_>, to: &mut Values) -> Result<()> {
        let Values::Map(items, keys) = to else { return Err(unplanned()) };
        loop {
            let count = input.block()?;
            if count == 0 {
                return to.end_items();
            }
            check_count(items.values.len(), count)?;
            for _ in 0..count {
                push_key(keys, input.bytes()?);
                self.value(value, input, &mut items.values)?;
            }
        }
    }

    /// Passes over a value.
    fn skip(&self, id: Id, input: &mut Input<'_>, depth: usize) -> Result<()> {
        if depth > MAX_DEPTH {
            return Err(damaged(format!("values are inside each other more than {MAX_DEPTH} times")));
        }
        match &self.written.get(id).kind {
            Kind::Null => {}
            Kind::Boolean => drop(input.take(1)?),
            Kind::Int | Kind::Long | Kind::Enum { .. } => drop(input.long()?),
            Kind::Float => drop(input.take(4)?),
            Kind::Double => drop(input.take(8)?),
            Kind::Bytes | Kind::String => drop(input.bytes()?),
            Kind::Fixed(len) => drop(input.take(*len)?),
            Kind::Array(item) => self.skip_items(input, |input| self.skip(*item, input, depth + 1))?,
            Kind::Map(value) => self.skip_items(input, |input| {
                input.bytes()?;
                self.skip(*value, input, depth + 1)
            })?,
            Kind::Record(fields) => fields.iter().try_for_each(|f| self.skip(f.type_id, input, depth + 1))?,
            Kind::Union(branches) => {
                let number = input.long()?;
                let branch = usize::try_from(number).ok().and_then(|n| branches.get(n));
                let branch = *branch.ok_or_else(|| damaged(format!("branch {number} of a union")))?;
                self.skip(branch, input, depth + 1)?;
            }
        }
        Ok(())
    }

    fn skip_items(&self, input: &mut Input<'_>, mut skip: impl FnMut(&mut Input<'_>) -> Result<()>) -> Result<()> {
        loop {
            let count = input.long()?;
            match count {
                0 => return Ok(()),
                1.. => {
                    check_count(0, count as u64)?;
                    (0..count).try_for_each(|_| skip(input))?;
                }
                // The length of the block is there.
                _ => {
                    input.bytes()?;
                }
            }
        }
    }
}

fn push_key(keys: &mut StringViewBuilder, key: &[u8]) {
    keys.append_value(String::from_utf8_lossy(key));
}

/// Items may have no bytes, so that their number is not bounded by the file.
fn check_count(len: usize, count: u64) -> Result<()> {
    match (len as u64).checked_add(count) {
        Some(all) if all <= i32::MAX as u64 => Ok(()),
        _ => Err(damaged(format!("a list of {count} items"))),
    }
}

fn scaled(value: i64, scaling: Scaling) -> Result<i64> {
    match scaling {
        Scaling::One => Ok(value),
        Scaling::Over(by) => Ok(value / by),
        Scaling::Times(by) => value.checked_mul(by).ok_or_else(|| {
            Error::execution(
                "FAILED_READ_FILE.OUT_OF_RANGE",
                format!("the time {value} is out of the range of TIMESTAMP"),
            )
            .with_help("declare the column as BIGINT, and compute the time in the query")
        }),
    }
}

/// A number in two's complement, the highest byte first, at another scale.
fn decimal(bytes: &[u8], from: i8, precision: u8, scale: i8) -> Result<i128> {
    if bytes.is_empty() {
        return Err(damaged("a decimal has no bytes"));
    }
    let out_of_range = || {
        Error::execution(
            "FAILED_READ_FILE.OUT_OF_RANGE",
            format!("a decimal has more digits than DECIMAL({precision},{scale})"),
        )
        .with_help("declare the column with more digits")
    };
    let negative = bytes.first().is_some_and(|b| b & 0x80 != 0);
    let fill = if negative { 0xFF } else { 0 };
    let extra = bytes.len().saturating_sub(16);
    let (high, low) = bytes.split_at(extra);
    let is_sign = high.iter().all(|b| *b == fill) && (extra == 0 || (low[0] & 0x80 != 0) == negative);
    if !is_sign {
        return Err(out_of_range());
    }
    let mut whole = [fill; 16];
    whole[16 - low.len()..].copy_from_slice(low);
    let value = rescale_value(i128::from_be_bytes(whole), from, scale).filter(|value| fits(*value, precision));
    value.ok_or_else(out_of_range)
}

fn unplanned() -> Error {
    Error::internal("a value of a type that the plan does not have")
}
