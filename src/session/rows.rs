//! Rows of a batch query, with the column names that users see.

use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::sink::Truncate;

/// The result of a batch query.
#[derive(Debug, Clone)]
pub struct RowSet {
    schema: SchemaRef,
    batches: Vec<RecordBatch>,
    truncate: Truncate,
}

impl RowSet {
    /// `names` replace the names of `schema`; they need not be unique.
    pub(super) fn new(schema: &Schema, names: &[String], batches: Vec<RecordBatch>) -> Result<Self> {
        let schema = renamed(schema, names);
        let batches = batches.into_iter().map(|b| under(&schema, b)).collect::<Result<_>>()?;
        Ok(Self { schema, batches, truncate: Truncate::At(usize::MAX) })
    }

    /// The same, of which nothing is cut when it is shown: names and paths are there to be copied.
    pub(super) fn in_full(self) -> Self {
        Self { truncate: Truncate::Never, ..self }
    }

    /// The columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// The rows.
    pub fn batches(&self) -> &[RecordBatch] {
        &self.batches
    }

    /// Spark's names of the columns' types, such as `array<int>`.
    pub fn type_names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|f| crate::type_name::type_name(f.data_type())).collect()
    }

    /// Every value as the console shows it, row by row; `session_time_zone` is for timestamps.
    pub fn texts(&self, session_time_zone: &str) -> Vec<Vec<String>> {
        let zone = session_time_zone.parse().unwrap_or(crate::time_zone::Tz::UTC);
        let text = |batch: &RecordBatch, row: usize| {
            batch.columns().iter().map(|c| crate::function::display::format_value(c, row, zone)).collect()
        };
        let rows = |batch| (0..RecordBatch::num_rows(batch)).map(move |row| text(batch, row));
        self.batches.iter().flat_map(rows).collect()
    }

    /// The first `num_rows` rows as Spark's `show` prints them, cells in full; `session_time_zone` is for timestamps.
    pub fn show(&self, num_rows: usize, session_time_zone: &str) -> String {
        let zone = session_time_zone.parse().unwrap_or(crate::time_zone::Tz::UTC);
        crate::sink::show_table(&self.schema, &self.batches, num_rows, self.truncate, zone)
    }
}

/// The same columns under another schema.
pub(super) fn under(schema: &SchemaRef, batch: RecordBatch) -> Result<RecordBatch> {
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(schema.clone(), batch.columns().to_vec(), &options).map_err(Error::from)
}

/// The schema under other column names. Values may be null: planners are not always right about it.
pub(super) fn renamed(schema: &Schema, names: &[String]) -> SchemaRef {
    let fields = schema.fields().iter().zip(names);
    let fields: Vec<Field> = fields.map(|(f, n)| f.as_ref().clone().with_name(n).with_nullable(true)).collect();
    std::sync::Arc::new(Schema::new(fields))
}
