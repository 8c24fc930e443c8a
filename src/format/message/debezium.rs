//! Debezium's log of changes in JSON: the row behind a change, or of a deletion the one before it, and which change it was.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StructArray};
use arrow::compute::kernels::zip::zip;
use arrow::datatypes::{DataType, Field, Fields};

use super::{Decoded, decode_json};
use crate::error::{Error, Result};
use crate::function::json::decode::Decoder;
use crate::function::json::options::ReadOptions;
use crate::time_zone::Tz;

/// The column that says which change it was.
const OP: &str = "op";

/// A new row, a changed one, a deleted one, one that was there when Debezium came.
const OPS: [&str; 4] = ["c", "u", "d", "r"];

/// Envelopes with `before`, `after` and `op`, alone or inside a `payload`.
#[derive(Debug, Clone)]
pub struct Debezium {
    /// The columns of a row; `op` is among them if it is asked for.
    columns: Fields,
    options: Arc<ReadOptions>,
    tz: Tz,
}

impl Debezium {
    /// Rows of these columns. A column `op` is `c` for a new row, `u` for a changed one, `d` for a deleted one, `r` for one that was there.
    ///
    /// # Errors
    /// A column `op` that is no STRING, and columns of types that JSON is not read as.
    pub fn new(columns: Fields, options: ReadOptions, tz: Tz) -> Result<Self> {
        if columns.iter().any(|c| c.name() == OP && *c.data_type() != DataType::Utf8View) {
            return Err(Error::invalid("INVALID_SCHEMA", "the column 'op' of changes is a STRING")
                .with_help("declare it as op STRING, or leave it out"));
        }
        let this = Self { columns, options: Arc::new(options), tz };
        this.decoder().map(|_| this)
    }

    /// The same for some of the columns.
    pub fn project(&self, columns: &[usize]) -> Self {
        Self { columns: columns.iter().map(|i| self.columns[*i].clone()).collect(), ..self.clone() }
    }

    /// The columns of the table that is told of.
    fn of_table(&self) -> Fields {
        self.columns.iter().filter(|c| c.name() != OP).cloned().collect()
    }

    fn decoder(&self) -> Result<Decoder> {
        let row = DataType::Struct(self.of_table());
        let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
        let mut envelope = vec![field("before", row.clone()), field("after", row), field(OP, DataType::Utf8View)];
        envelope.push(field("payload", DataType::Struct(envelope.clone().into())));
        Decoder::new(&envelope.into(), &self.options, self.tz, false)
    }

    /// A row for each message.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn decode(&self, messages: &[Option<&[u8]>]) -> Result<Decoded> {
        let mut decoder = self.decoder()?;
        let mut bad = decode_json(&mut decoder, messages);
        let mut envelope = decoder.finish()?;
        let payload = envelope.pop().ok_or_else(|| Error::internal("an envelope without its payload"))?;
        let payload = payload.as_struct();
        // With schemas switched on the envelope is inside.
        let inside = BooleanArray::from_iter((0..payload.len()).map(|i| Some(payload.is_valid(i))));
        let either = |i: usize| -> Result<ArrayRef> {
            Ok(match inside.has_true() {
                true => zip(&inside, payload.column(i), &envelope[i])?,
                false => envelope[i].clone(),
            })
        };
        let (before, after, op) = (either(0)?, either(1)?, either(2)?);
        let ops = op.as_string_view();
        let deleted = BooleanArray::from_iter(ops.iter().map(|op| Some(op == Some("d"))));
        let rows: StructArray = zip(&deleted, &before, &after)?.as_struct().clone();
        let mut void = vec![];
        for (i, message) in messages.iter().enumerate() {
            let is_change = ops.is_valid(i) && OPS.contains(&ops.value(i)) && rows.is_valid(i);
            if message.is_none_or(<[u8]>::is_empty) {
                // The tombstone behind a deletion tells compaction that the key may go.
                void.push(i);
            } else if !is_change && bad.binary_search_by_key(&i, |(i, _)| *i).is_err() {
                let at = bad.partition_point(|(other, _)| *other < i);
                bad.insert(
                    at,
                    (i, "it is no change of a row: op is none of c, u, d and r, or before or after is missing".into()),
                );
            }
        }
        let mut of_table = rows.columns().iter();
        let columns =
            self.columns.iter().map(|c| if c.name() == OP { Some(op.clone()) } else { of_table.next().cloned() });
        let columns =
            columns.collect::<Option<Vec<_>>>().ok_or_else(|| Error::internal("a row without its columns"))?;
        Ok(Decoded { columns, bad, void })
    }
}
