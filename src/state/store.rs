//! A keyed store: key columns to state columns.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, SchemaRef};

use super::column::{FixedColumn, fixed_width};
use super::key_encoder::{EncodedKeys, KeyEncoder};
use super::key_index::{KeyArena, KeyIndex};
use super::segment::SegmentColumns;
use super::{ChangeKind, FrozenState, StateBackend, StateChange};
use crate::error::{Error, Result};

/// Rows of a piece of a snapshot.
const SNAPSHOT_ROWS: usize = 65_536;

/// Where a state column lives.
#[derive(Clone, Copy)]
enum Column {
    Fixed(usize),
    Segment(usize),
}

/// Columns of any types, by slot.
#[derive(Clone)]
pub struct Columns {
    layout: Vec<Column>,
    fixed: Vec<FixedColumn>,
    segments: SegmentColumns,
}

impl Columns {
    /// Empty columns of these types, with their values where `backend` keeps them.
    pub fn new(types: impl Iterator<Item = DataType>, backend: &StateBackend) -> Self {
        let (mut layout, mut fixed, mut variable) = (vec![], vec![], vec![]);
        for t in types {
            if fixed_width(&t).is_some() {
                layout.push(Column::Fixed(fixed.len()));
                fixed.push(FixedColumn::new(t, backend.clone()));
            } else {
                layout.push(Column::Segment(variable.len()));
                variable.push(t);
            }
        }
        Self { layout, fixed, segments: SegmentColumns::new(variable, backend.clone()) }
    }

    /// All columns at these slots, all of which must have been put.
    pub fn gather(&self, slots: impl ExactSizeIterator<Item = u32> + Clone) -> Result<Vec<ArrayRef>> {
        self.gather_some(0..self.layout.len(), slots)
    }

    /// Some of the columns at these slots.
    pub fn gather_some(
        &self,
        columns: std::ops::Range<usize>,
        slots: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> Result<Vec<ArrayRef>> {
        columns.map(|column| self.gather_one(column, slots.clone())).collect()
    }

    /// One column at these slots.
    pub fn gather_one(&self, column: usize, slots: impl ExactSizeIterator<Item = u32> + Clone) -> Result<ArrayRef> {
        match self.layout[column] {
            Column::Fixed(i) => self.fixed[i].gather(slots),
            Column::Segment(i) => self.segments.gather(i, slots),
        }
    }

    /// Puts row i of the arrays at `slots[i]`; there are `len` slots then.
    pub fn put(&mut self, len: usize, slots: &[u32], arrays: &[ArrayRef]) -> Result<()> {
        let mut variable = vec![];
        for (column, array) in self.layout.iter().zip(arrays) {
            match column {
                Column::Fixed(i) => {
                    let column = &mut self.fixed[*i];
                    column.resize(len)?;
                    column.scatter(slots, array)?;
                }
                Column::Segment(_) => variable.push(array.clone()),
            }
        }
        if !variable.is_empty() {
            self.segments.resize(len);
            self.segments.put(slots, variable)?;
        }
        Ok(())
    }

    /// Bytes held in memory.
    pub fn size(&self) -> usize {
        self.fixed.iter().map(FixedColumn::size).sum::<usize>() + self.segments.size()
    }
}

/// Keys with their state. A batch interns its keys, reads what is there, and puts its result only when all of the batch
/// is done; `truncate` forgets the keys of a batch that failed.
pub struct KeyedStore {
    schema: SchemaRef,
    keys: KeyIndex,
    columns: Columns,
    backend: StateBackend,
}

impl KeyedStore {
    /// A store of rows of `schema`, whose first `num_keys` columns are the key.
    pub fn try_new(schema: SchemaRef, num_keys: usize) -> Result<Self> {
        Self::try_new_in(&StateBackend::default(), schema, num_keys)
    }

    /// The same, with its bytes where `backend` keeps them.
    pub fn try_new_in(backend: &StateBackend, schema: SchemaRef, num_keys: usize) -> Result<Self> {
        let types = schema.fields().iter().take(num_keys).map(|f| f.data_type().clone()).collect();
        Ok(Self::with_encoder(backend, schema, Arc::new(KeyEncoder::try_new(types)?)))
    }

    /// A store of rows of `schema`, whose keys `encoder` encodes.
    pub fn with_encoder(backend: &StateBackend, schema: SchemaRef, encoder: Arc<KeyEncoder>) -> Self {
        let keys = KeyIndex::new(encoder, backend.clone());
        let types = schema.fields()[keys.types().len()..].iter().map(|f| f.data_type().clone());
        Self { columns: Columns::new(types, backend), keys, schema, backend: backend.clone() }
    }

    /// A store without keys, of the same columns in the same place.
    pub fn empty(&self) -> Self {
        Self::with_encoder(&self.backend, self.schema.clone(), self.encoder().clone())
    }

    /// What makes keys of columns.
    pub fn encoder(&self) -> &Arc<KeyEncoder> {
        self.keys.encoder()
    }

    /// Where its bytes are.
    pub fn backend(&self) -> &StateBackend {
        &self.backend
    }

    /// Columns of the rows: keys, then state.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// The slot of every row's key; see [`KeyIndex::intern`].
    pub fn intern(&mut self, keys: &[ArrayRef], rows: usize, slots: &mut Vec<u32>) -> Result<()> {
        self.keys.intern(keys, rows, slots)
    }

    /// The slots of keys so far; see [`KeyIndex::locate`].
    pub fn locate(&self, keys: &EncodedKeys) -> Vec<u32> {
        self.keys.locate(keys)
    }

    /// Slots for the keys that were not found; see [`KeyIndex::insert_missing`].
    pub fn insert_missing(&mut self, keys: &EncodedKeys, slots: &mut [u32]) {
        self.keys.insert_missing(keys, slots);
    }

    /// Key columns of these slots.
    pub fn keys(&self, slots: &[u32]) -> Result<Vec<ArrayRef>> {
        self.keys.keys(slots)
    }

    /// State columns of these slots, all of which must have been put.
    pub fn state(&self, slots: impl ExactSizeIterator<Item = u32> + Clone) -> Result<Vec<ArrayRef>> {
        self.columns.gather(slots)
    }

    /// Some of the state columns of these slots, all of which must have been put.
    pub fn state_columns(
        &self,
        columns: std::ops::Range<usize>,
        slots: impl ExactSizeIterator<Item = u32> + Clone,
    ) -> Result<Vec<ArrayRef>> {
        self.columns.gather_some(columns, slots)
    }

    /// Puts row i of the state columns at `slots[i]`.
    pub fn put(&mut self, slots: &[u32], state: &[ArrayRef]) -> Result<()> {
        self.columns.put(self.keys.len(), slots, state)
    }

    /// Forgets the keys from slot `len` on, which must not have been put.
    pub fn truncate(&mut self, len: usize) {
        self.keys.truncate(len);
    }

    /// Puts the rows of a change.
    pub fn apply(&mut self, change: &StateChange) -> Result<()> {
        if change.kind != ChangeKind::Put || change.rows.num_columns() != self.schema.fields().len() {
            let (kind, columns) = (change.kind, change.rows.num_columns());
            return Err(Error::internal(format!("a keyed store was given a change {kind:?} of {columns} columns")));
        }
        let num_keys = self.keys.types().len();
        let mut slots = vec![];
        self.intern(&change.rows.columns()[..num_keys], change.rows.num_rows(), &mut slots)?;
        self.put(&slots, &change.rows.columns()[num_keys..])
    }

    /// Bytes held.
    pub fn size(&self) -> usize {
        self.keys.size() + self.columns.size()
    }

    /// The store now, sharing what it can.
    pub fn freeze(&self) -> FrozenStore {
        FrozenStore {
            schema: self.schema.clone(),
            encoder: self.encoder().clone(),
            keys: self.keys.freeze(),
            columns: self.columns.clone(),
        }
    }
}

/// The image of a [`KeyedStore`], as store 0 of its operator.
pub struct FrozenStore {
    schema: SchemaRef,
    encoder: Arc<KeyEncoder>,
    keys: KeyArena,
    columns: Columns,
}

impl FrozenState for FrozenStore {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        let mut keys = self.keys.iter().peekable();
        let mut from = 0_u32;
        Box::new(std::iter::from_fn(move || {
            keys.peek()?;
            let piece: Vec<&[u8]> = keys.by_ref().take(SNAPSHOT_ROWS).collect();
            let slots = from..from + piece.len() as u32;
            from = slots.end;
            Some(self.piece(&piece, slots))
        }))
    }
}

impl FrozenStore {
    fn piece(&self, keys: &[&[u8]], slots: std::ops::Range<u32>) -> Result<StateChange> {
        let mut columns = self.encoder.decode(keys.iter().copied())?;
        columns.extend(self.columns.gather(slots)?);
        let rows = record_batch(self.schema.clone(), columns, keys.len())?;
        Ok(StateChange { store: 0, kind: ChangeKind::Put, rows })
    }
}

/// A batch that may have no columns.
pub fn record_batch(schema: SchemaRef, columns: Vec<ArrayRef>, rows: usize) -> Result<RecordBatch> {
    let options = datafusion::arrow::array::RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(schema, columns, &options)?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int64Array, StringViewArray};
    use datafusion::arrow::datatypes::{Field, Schema};

    use super::*;

    fn schema() -> SchemaRef {
        Arc::new(Schema::new(vec![
            Field::new("k", DataType::Utf8View, true),
            Field::new("n", DataType::Int64, true),
            Field::new("text", DataType::Utf8View, true),
        ]))
    }

    fn change(keys: &[&str], n: i64) -> StateChange {
        let text = format!("state number {n} of some length");
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(keys)),
            Arc::new(Int64Array::from(vec![n; keys.len()])),
            Arc::new(StringViewArray::from_iter_values(keys.iter().map(|_| &text))),
        ];
        StateChange { store: 0, kind: ChangeKind::Put, rows: RecordBatch::try_new(schema(), columns).unwrap() }
    }

    #[test]
    fn a_frozen_store_loads_to_the_same_rows() {
        let mut store = KeyedStore::try_new(schema(), 1).unwrap();
        store.apply(&change(&["a", "b"], 1)).unwrap();
        store.apply(&change(&["b", "c"], 2)).unwrap();
        let frozen = store.freeze();
        store.apply(&change(&["a", "d"], 3)).unwrap();

        let mut copy = KeyedStore::try_new(schema(), 1).unwrap();
        for piece in frozen.changes() {
            copy.apply(&piece.unwrap()).unwrap();
        }
        assert_eq!(copy.len(), 3);
        let state = copy.state([0, 1, 2].into_iter()).unwrap();
        assert_eq!(state[0].as_ref(), &Int64Array::from(vec![1, 2, 2]));
    }
}
