//! A time window among the keys. The partial aggregate groups by the pane of a time, which is cheap to compute and to
//! compare, and a pane's rows then come into every window it is in: partial rows are expanded rather than input rows.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StructArray, TimestampMicrosecondArray, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef, TimestampMicrosecondType};

use crate::error::{Error, Result};
use crate::operator::event_time::TIMELESS;
use crate::operator::windows::Windows;

/// The key column that is a window, and which windows there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WindowKey {
    /// Among the keys.
    pub column: usize,
    /// The windows.
    pub windows: Windows,
    /// `start` and `end`.
    pub fields: Fields,
}

impl WindowKey {
    /// The schema of partial rows, with the window in the place of the pane.
    pub fn schema(&self, partial: &Schema) -> Schema {
        let mut fields: Vec<_> = partial.fields().iter().cloned().collect();
        if let Some(field) = fields.get_mut(self.column) {
            *field = Arc::new(Field::new(field.name(), DataType::Struct(self.fields.clone()), true));
        }
        Schema::new(fields)
    }

    /// The rows without the window or its pane.
    pub fn remove(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let others: Vec<usize> = (0..batch.num_columns()).filter(|i| *i != self.column).collect();
        Ok(batch.project(&others)?)
    }

    /// The rows once for each window, with the window in the place of the pane.
    pub fn expand(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let (mut rows, mut starts, mut ends) = (vec![], vec![], vec![]);
        for (row, pane) in self.pane_column(batch)?.values().iter().enumerate() {
            for window in self.windows.of(*pane) {
                let (start, end) = window.ok_or_else(out_of_range)?;
                rows.push(row as u32);
                starts.push(start);
                ends.push(end);
            }
        }
        let expanded = take_record_batch(batch, &UInt32Array::from(rows))?;
        let mut columns = expanded.columns().to_vec();
        columns[self.column] = self.windows_of(starts, ends)?;
        Ok(RecordBatch::try_new(Arc::new(self.schema(batch.schema_ref())), columns)?)
    }

    /// The ends of the windows that a pane is in, the last one first.
    pub fn ends(&self, pane: i64) -> impl Iterator<Item = Result<i64>> {
        self.windows.of(pane).map(|w| w.map(|(_, end)| end).ok_or_else(out_of_range))
    }

    /// `columns`, which lack the window, with the one that ends at `end`.
    pub fn insert(&self, end: i64, columns: &mut Vec<ArrayRef>, len: usize) -> Result<()> {
        let window: ArrayRef = if end == TIMELESS {
            Arc::new(StructArray::new_null(self.fields.clone(), len))
        } else {
            self.windows_of(vec![end.saturating_sub(self.windows.size); len], vec![end; len])?
        };
        columns.insert(self.column, window);
        Ok(())
    }

    fn windows_of(&self, starts: Vec<i64>, ends: Vec<i64>) -> Result<ArrayRef> {
        let zone = match self.fields.first().map(|f| f.data_type()) {
            Some(DataType::Timestamp(_, zone)) => zone.clone(),
            _ => None,
        };
        let times = |t: Vec<i64>| Arc::new(TimestampMicrosecondArray::from(t).with_timezone_opt(zone.clone()));
        Ok(Arc::new(StructArray::try_new(self.fields.clone(), vec![times(starts), times(ends)], None)?))
    }

    /// The panes of partial rows.
    pub fn pane_column<'a>(&self, batch: &'a RecordBatch) -> Result<&'a TimestampMicrosecondArray> {
        let panes = batch.columns().get(self.column).and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>());
        panes.ok_or_else(|| Error::internal("a partial row without its pane"))
    }
}

/// `schema` without this column.
pub fn without_column(schema: &SchemaRef, column: usize) -> SchemaRef {
    let others = schema.fields().iter().enumerate().filter(|(i, _)| *i != column).map(|(_, f)| f.clone());
    Arc::new(Schema::new(others.collect::<Vec<_>>()))
}

fn out_of_range() -> Error {
    Error::execution("DATETIME_OVERFLOW", "a time is too close to the end of time for its window to have bounds")
        .with_help("filter such times out before the window, as in WHERE ts < TIMESTAMP '9999-01-01'")
}
