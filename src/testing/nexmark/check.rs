//! Whether the rows of a query over streams are those of the same query over tables.

use std::collections::HashMap;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::row::{OwnedRow, RowConverter, SortField};
use arrow::util::display::array_value_to_string;

use super::input::Input;
use super::queries::NexmarkQuery;
use crate::error::{Error, Result};
use crate::output_mode::OutputMode;
use crate::session::{Session, StatementResult};

/// What the check of a query found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexmarkChecked {
    /// How many rows the query over tables gave.
    pub rows: usize,
    /// What is wrong with those of the query over streams; nothing if they are right.
    pub difference: Option<String>,
}

/// Compares these rows, which a query gave until the watermark was at `watermark_ms`.
///
/// # Errors
/// The query over tables fails.
pub async fn compare(
    query: &NexmarkQuery,
    given: &[RecordBatch],
    watermark_ms: i64,
    input: &Input,
) -> Result<NexmarkChecked> {
    let session = Session::builder().build()?;
    input.register_tables(&session).await?;
    let sql = match query.is_final {
        Some(time) => format!("SELECT * FROM (\n{}\n) WHERE {time} <= timestamp_millis({watermark_ms})", query.sql),
        None => query.sql.to_owned(),
    };
    let Some(StatementResult::Rows(expected)) = session.sql(&sql).await?.pop() else {
        return Err(Error::internal("a query over tables gave no rows"));
    };
    let given = projected(given, &query.compared)?;
    let expected = projected(expected.batches(), &query.compared)?;
    let Some(schema) = given.iter().chain(&expected).next().map(RecordBatch::schema) else {
        return Ok(NexmarkChecked { rows: 0, difference: None });
    };
    let mut comparison = Comparison::new(schema)?;
    let given = match query.mode {
        OutputMode::Update => comparison.last_by_key(&given, &query.key)?,
        OutputMode::Append | OutputMode::Complete => comparison.rows(&given)?,
    };
    let expected = comparison.rows(&expected)?;
    Ok(NexmarkChecked { rows: expected.len(), difference: comparison.difference(given, expected)? })
}

/// These columns; all, without any.
fn projected(batches: &[RecordBatch], columns: &[&str]) -> Result<Vec<RecordBatch>> {
    if columns.is_empty() {
        return Ok(batches.to_vec());
    }
    let project = |batch: &RecordBatch| {
        let places =
            columns.iter().map(|name| batch.schema().index_of(name)).collect::<std::result::Result<Vec<_>, _>>();
        places.and_then(|places| batch.project(&places))
    };
    Ok(batches.iter().map(project).collect::<std::result::Result<_, _>>()?)
}

/// Rows as bytes that are equal where the rows are.
struct Comparison {
    schema: SchemaRef,
    converter: RowConverter,
}

impl Comparison {
    fn new(schema: SchemaRef) -> Result<Self> {
        let converter = Self::converter(&schema)?;
        Ok(Self { schema, converter })
    }

    fn converter(schema: &Schema) -> Result<RowConverter> {
        Ok(RowConverter::new(schema.fields().iter().map(|f| SortField::new(f.data_type().clone())).collect())?)
    }

    fn rows(&mut self, batches: &[RecordBatch]) -> Result<Vec<OwnedRow>> {
        let mut rows = vec![];
        for batch in batches {
            if batch.num_columns() != self.schema.fields().len() {
                return Err(Error::internal("the two queries have other columns"));
            }
            let columns = batch.columns().iter().zip(self.schema.fields());
            let columns = columns.map(|(c, f)| cast(c, f.data_type())).collect::<std::result::Result<Vec<_>, _>>()?;
            rows.extend(self.converter.convert_columns(&columns)?.iter().map(|row| row.owned()));
        }
        Ok(rows)
    }

    /// Of each key the row that came last.
    fn last_by_key(&mut self, batches: &[RecordBatch], key: &[&str]) -> Result<Vec<OwnedRow>> {
        let places = key.iter().map(|name| self.schema.index_of(name)).collect::<std::result::Result<Vec<_>, _>>()?;
        let keys = Self::converter(&self.schema.project(&places)?)?;
        let mut last = HashMap::new();
        for batch in batches {
            let keys = keys.convert_columns(batch.project(&places)?.columns())?;
            let rows = self.rows(std::slice::from_ref(batch))?;
            last.extend(keys.iter().map(|key| key.owned()).zip(rows));
        }
        Ok(last.into_values().collect())
    }

    fn difference(&self, mut given: Vec<OwnedRow>, mut expected: Vec<OwnedRow>) -> Result<Option<String>> {
        given.sort_unstable();
        expected.sort_unstable();
        if given == expected {
            return Ok(None);
        }
        let (missing, more) = (less(&expected, &given), less(&given, &expected));
        let mut text = format!(
            "{} rows instead of {}: {} are missing, {} should not be there",
            given.len(),
            expected.len(),
            missing.len(),
            more.len()
        );
        for (what, row) in [("missing", missing.first()), ("not expected", more.first())] {
            if let Some(row) = row {
                text += &format!("; {what}: {}", self.text(row)?);
            }
        }
        Ok(Some(text))
    }

    fn text(&self, row: &OwnedRow) -> Result<String> {
        let columns = self.converter.convert_rows([row.row()])?;
        let texts =
            columns.iter().map(|column| array_value_to_string(column, 0)).collect::<std::result::Result<Vec<_>, _>>();
        Ok(texts?.join(" | "))
    }
}

/// The rows of `all` that `taken` does not have, or has less often; both are sorted.
fn less<'r>(all: &'r [OwnedRow], taken: &[OwnedRow]) -> Vec<&'r OwnedRow> {
    let mut taken = taken.iter().peekable();
    let is_left = |row: &&OwnedRow| {
        while taken.next_if(|other| *other < *row).is_some() {}
        taken.next_if(|other| other == row).is_none()
    };
    all.iter().filter(is_left).collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::Int64Array;

    use super::*;

    fn batch(keys: &[i64], values: &[i64]) -> RecordBatch {
        let column = |v: &[i64]| Arc::new(Int64Array::from(v.to_vec())) as Arc<dyn arrow::array::Array>;
        RecordBatch::try_from_iter([("k", column(keys)), ("v", column(values))]).unwrap()
    }

    #[test]
    fn rows_count_as_often_as_they_are_there() {
        let mut comparison = Comparison::new(batch(&[], &[]).schema()).unwrap();
        let one = comparison.rows(&[batch(&[1, 1, 2], &[5, 5, 6])]).unwrap();
        let same = comparison.rows(&[batch(&[2], &[6]), batch(&[1, 1], &[5, 5])]).unwrap();
        assert_eq!(comparison.difference(one.clone(), same).unwrap(), None);
        let other = comparison.rows(&[batch(&[1, 2, 3], &[5, 6, 7])]).unwrap();
        let text = comparison.difference(one, other).unwrap().unwrap();
        assert_eq!(
            text,
            "3 rows instead of 3: 1 are missing, 1 should not be there; missing: 3 | 7; not expected: 1 | 5"
        );
    }

    #[test]
    fn of_a_key_the_last_row_counts() {
        let mut comparison = Comparison::new(batch(&[], &[]).schema()).unwrap();
        let last = comparison.last_by_key(&[batch(&[1, 2, 1], &[1, 2, 3]), batch(&[2], &[4])], &["k"]).unwrap();
        let expected = comparison.rows(&[batch(&[1, 2], &[3, 4])]).unwrap();
        assert_eq!(comparison.difference(last, expected).unwrap(), None);
    }
}
