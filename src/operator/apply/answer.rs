//! What a subquery gives for one row, and the column that the answers for all rows of a batch make.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, BooleanArray, RecordBatch, RecordBatchOptions, UInt32Array, new_null_array,
};
use datafusion::arrow::compute::{concat, concat_batches, take, take_arrays};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::arrow::row::{OwnedRow, RowConverter, Rows, SortField};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SendableRecordBatchStream;
use futures::TryStreamExt;

use crate::error::Error;

/// What is asked of a subquery.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// Its one value; NULL without a row.
    Scalar,
    /// Whether it has a row.
    Exists,
    /// Whether one of its rows equals the values, or, `negated`, whether all rows certainly differ from them. As in Spark, where that
    /// is unknown for a NULL, it is false.
    In {
        /// NOT IN.
        negated: bool,
    },
    /// Its rows, each beside the row that it was computed for.
    Rows {
        /// A row without any is kept, with NULLs.
        outer: bool,
    },
}

/// The answer for the rows that have the same parameters.
#[derive(Debug)]
pub enum Answer {
    Scalar(ScalarValue),
    Exists(bool),
    In(Members),
    Rows(RecordBatch),
}

impl Answer {
    /// Reads the subquery's rows as far as the question needs them.
    pub async fn read(question: &Question, mut rows: SendableRecordBatchStream) -> Result<Self> {
        let schema = rows.schema();
        match question {
            Question::Scalar => {
                let mut value = None;
                while let Some(batch) = rows.try_next().await? {
                    if batch.num_rows() > 1 || batch.num_rows() == 1 && value.is_some() {
                        return Err(too_many_rows().into());
                    }
                    if batch.num_rows() == 1 {
                        value = Some(ScalarValue::try_from_array(batch.column(0), 0)?);
                    }
                }
                value.map_or_else(|| ScalarValue::try_from(schema.field(0).data_type()), Ok).map(Self::Scalar)
            }
            Question::Exists => {
                while let Some(batch) = rows.try_next().await? {
                    if batch.num_rows() > 0 {
                        return Ok(Self::Exists(true));
                    }
                }
                Ok(Self::Exists(false))
            }
            Question::In { .. } => Members::read(rows).await.map(Self::In),
            Question::Rows { .. } => {
                let batches: Vec<RecordBatch> = rows.try_collect().await?;
                Ok(Self::Rows(concat_batches(&schema, &batches)?))
            }
        }
    }

    /// Bytes, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Scalar(value) => value.size(),
            Self::Exists(_) => size_of::<bool>(),
            Self::In(members) => members.size,
            Self::Rows(rows) => rows.get_array_memory_size(),
        }
    }
}

fn too_many_rows() -> Error {
    Error::execution(
        "SCALAR_SUBQUERY_TOO_MANY_ROWS",
        "more than one row is returned by a subquery used as an expression",
    )
    .with_help("aggregate it, as in SELECT max(v), or take one row: ORDER BY … LIMIT 1")
}

/// The rows of a subquery, to be asked for values.
#[derive(Debug)]
pub struct Members {
    /// Rows without a NULL.
    whole: HashSet<Box<[OwnedRow]>>,
    /// Rows with a NULL in place of some values.
    partial: Vec<Box<[Option<OwnedRow>]>>,
    converters: Vec<Converter>,
    size: usize,
}

/// The rows of one column, comparable.
#[derive(Debug)]
struct Converter(RowConverter);

impl Converter {
    fn new(data_type: &DataType) -> Result<Self> {
        Ok(Self(RowConverter::new(vec![SortField::new(data_type.clone())])?))
    }

    fn rows(&self, column: &ArrayRef) -> Result<Rows> {
        Ok(self.0.convert_columns(&[one_zero(column)])?)
    }
}

/// -0.0 is 0.0, and every NaN one.
fn one_zero(column: &ArrayRef) -> ArrayRef {
    use datafusion::arrow::array::AsArray;
    use datafusion::arrow::datatypes::{Float32Type, Float64Type};
    match column.data_type() {
        DataType::Float32 => Arc::new(
            column
                .as_primitive::<Float32Type>()
                .unary::<_, Float32Type>(|v| if v.is_nan() { f32::NAN } else { v + 0.0 }),
        ),
        DataType::Float64 => Arc::new(
            column
                .as_primitive::<Float64Type>()
                .unary::<_, Float64Type>(|v| if v.is_nan() { f64::NAN } else { v + 0.0 }),
        ),
        _ => column.clone(),
    }
}

impl Members {
    async fn read(mut rows: SendableRecordBatchStream) -> Result<Self> {
        let types = rows.schema().fields().iter().map(|f| Converter::new(f.data_type())).collect::<Result<_>>()?;
        let mut members = Self { whole: HashSet::new(), partial: vec![], converters: types, size: 0 };
        while let Some(batch) = rows.try_next().await? {
            members.size += batch.get_array_memory_size();
            let columns = members.converted(batch.columns())?;
            for row in 0..batch.num_rows() {
                let values = value_row(&columns, batch.columns(), row);
                match values.iter().cloned().collect::<Option<Box<[OwnedRow]>>>() {
                    Some(whole) => drop(members.whole.insert(whole)),
                    None => members.partial.push(values),
                }
            }
        }
        Ok(members)
    }

    fn converted(&self, columns: &[ArrayRef]) -> Result<Vec<Rows>> {
        self.converters.iter().zip(columns).map(|(converter, column)| converter.rows(column)).collect()
    }

    /// Whether these rows have one that equals the values; `None` where a NULL leaves it open.
    fn contains(&self, values: &[Option<OwnedRow>]) -> Option<bool> {
        let whole = values.iter().cloned().collect::<Option<Box<[OwnedRow]>>>();
        if values.len() == 1 {
            // A NULL may equal whatever there is.
            let open = whole.is_none() && !self.whole.is_empty() || !self.partial.is_empty();
            return match &whole {
                Some(whole) if self.whole.contains(whole) => Some(true),
                _ => (!open).then_some(false),
            };
        }
        let open = match &whole {
            Some(whole) if self.whole.contains(whole) => return Some(true),
            Some(_) => false,
            None => self.whole.iter().any(|m| may_equal(m.iter().map(Some), values)),
        };
        let open = open || self.partial.iter().any(|m| may_equal(m.iter().map(Option::as_ref), values));
        (!open).then_some(false)
    }
}

/// Whether no two values certainly differ.
fn may_equal<'a>(member: impl Iterator<Item = Option<&'a OwnedRow>>, values: &[Option<OwnedRow>]) -> bool {
    member.zip(values).all(|(m, v)| m.zip(v.as_ref()).is_none_or(|(m, v)| m == v))
}

/// The values of one row, by column.
fn value_row(columns: &[Rows], arrays: &[ArrayRef], row: usize) -> Box<[Option<OwnedRow>]> {
    columns.iter().zip(arrays).map(|(c, a)| a.is_valid(row).then(|| c.row(row).owned())).collect()
}

/// The answers for the rows of a batch: `of` says which answer is each row's.
pub struct Answers<'a> {
    pub all: &'a [Arc<Answer>],
    pub of: &'a [u32],
}

impl Answers<'_> {
    /// The rows with the column of the answers behind them; or, of [`Question::Rows`], each beside those of its answer.
    pub fn beside(
        &self,
        question: &Question,
        batch: &RecordBatch,
        values: &[ArrayRef],
        schema: &SchemaRef,
    ) -> Result<RecordBatch> {
        let column: ArrayRef = match question {
            Question::Scalar => {
                let all: Vec<ScalarValue> = self.all.iter().filter_map(|a| scalar(a)).collect();
                match all.is_empty() {
                    true => new_null_array(schema.field(schema.fields().len() - 1).data_type(), 0),
                    false => take(&ScalarValue::iter_to_array(all)?, &UInt32Array::from(self.of.to_vec()), None)?,
                }
            }
            Question::Exists => Arc::new(
                self.of
                    .iter()
                    .map(|i| Some(matches!(*self.all[*i as usize], Answer::Exists(true))))
                    .collect::<BooleanArray>(),
            ),
            Question::In { negated } => Arc::new(self.members(values, *negated)?),
            Question::Rows { outer } => return self.rows(batch, *outer, schema),
        };
        let columns = batch.columns().iter().cloned().chain([column]).collect();
        Ok(RecordBatch::try_new(schema.clone(), columns)?)
    }

    fn members(&self, values: &[ArrayRef], negated: bool) -> Result<BooleanArray> {
        let Some(first) = self.all.iter().find_map(|a| members(a)) else {
            return Ok(BooleanArray::from(Vec::<bool>::new()));
        };
        let columns = first.converted(values)?;
        let row = |(row, answer): (usize, &u32)| {
            let members = members(&self.all[*answer as usize])?;
            let found = members.contains(&value_row(&columns, values, row));
            Some(found == Some(!negated))
        };
        Ok(self.of.iter().enumerate().map(row).collect())
    }

    fn rows(&self, batch: &RecordBatch, outer: bool, schema: &SchemaRef) -> Result<RecordBatch> {
        let of_subquery = &schema.fields()[batch.num_columns()..];
        let no_row: Vec<ArrayRef> = of_subquery.iter().map(|f| new_null_array(f.data_type(), 1)).collect();
        let mut indices = vec![];
        let mut pieces: Vec<&[ArrayRef]> = vec![];
        for (row, answer) in self.of.iter().enumerate() {
            let Answer::Rows(rows) = self.all[*answer as usize].as_ref() else { continue };
            let (columns, count) = match rows.num_rows() {
                0 if outer => (no_row.as_slice(), 1),
                0 => continue,
                count => (rows.columns(), count),
            };
            indices.extend(std::iter::repeat_n(row as u32, count));
            pieces.push(columns);
        }
        let mut columns = take_arrays(batch.columns(), &UInt32Array::from(indices.clone()), None)?;
        for (i, field) in of_subquery.iter().enumerate() {
            let parts: Vec<&dyn Array> = pieces.iter().map(|columns| columns[i].as_ref()).collect();
            columns.push(match parts.is_empty() {
                true => new_null_array(field.data_type(), 0),
                false => concat(&parts)?,
            });
        }
        let rows = RecordBatchOptions::new().with_row_count(Some(indices.len()));
        Ok(RecordBatch::try_new_with_options(schema.clone(), columns, &rows)?)
    }
}

fn scalar(answer: &Answer) -> Option<ScalarValue> {
    match answer {
        Answer::Scalar(value) => Some(value.clone()),
        _ => None,
    }
}

fn members(answer: &Answer) -> Option<&Members> {
    match answer {
        Answer::In(members) => Some(members),
        _ => None,
    }
}

/// The parameters of each row as bytes, to be told apart.
pub fn keys(parameters: &[ArrayRef], rows: usize) -> Result<Vec<Box<[u8]>>> {
    if parameters.is_empty() {
        return Ok(vec![Box::default(); rows]);
    }
    let fields = parameters.iter().map(|p| SortField::new(p.data_type().clone())).collect();
    let converter = RowConverter::new(fields).map_err(DataFusionError::from)?;
    let keys = converter.convert_columns(parameters)?;
    Ok(keys.iter().map(|row| row.as_ref().into()).collect())
}
