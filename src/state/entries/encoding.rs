//! Entries as the rows of changes: the key's own columns, then variable, item, value and time.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};

use super::{Entry, EntryKey, EntryMap, FrozenEntries};
use crate::error::{Error, Result};
use crate::state::{ChangeKind, FrozenState, StateChange, record_batch};

/// Rows of one change.
const CHANGE_ROWS: usize = 65_536;
/// Bytes of one change, roughly; far below what a record of the log can hold.
const CHANGE_BYTES: usize = 32 << 20;

/// Brings the keys of groups to bytes and back, and entries to changes and back.
pub struct EntryCodec {
    converter: RowConverter,
    put: SchemaRef,
    delete: SchemaRef,
    num_keys: usize,
}

impl EntryCodec {
    /// For keys of these types.
    pub fn try_new(keys: &[DataType]) -> Result<Self> {
        let fields = keys.iter().enumerate().map(|(i, t)| Field::new(format!("key_{i}"), t.clone(), true));
        let mut fields: Vec<_> = fields
            .chain([Field::new("variable", DataType::Utf8, false), Field::new("item", DataType::Binary, false)])
            .collect();
        let delete = Arc::new(Schema::new(fields.clone()));
        fields.extend([Field::new("value", DataType::Binary, true), Field::new("expires_ms", DataType::Int64, true)]);
        let converter = RowConverter::new(keys.iter().cloned().map(SortField::new).collect())?;
        Ok(Self { converter, put: Arc::new(Schema::new(fields)), delete, num_keys: keys.len() })
    }

    /// Types of the key's columns.
    pub fn key_types(&self) -> impl Iterator<Item = &DataType> {
        self.put.fields()[..self.num_keys].iter().map(|f| f.data_type())
    }

    /// The keys of these rows.
    pub fn encode_keys(&self, columns: &[ArrayRef]) -> Result<Rows> {
        Ok(self.converter.convert_columns(columns)?)
    }

    /// The columns of these keys.
    pub fn decode_keys<'a>(&self, keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<ArrayRef>> {
        let parser = self.converter.parser();
        Ok(self.converter.convert_rows(keys.into_iter().map(|k| parser.parse(k)))?)
    }

    /// What the running batch has changed.
    pub fn changes(&self, map: &EntryMap) -> Result<Vec<StateChange>> {
        let (puts, removed) = map.changes();
        let mut changes = vec![];
        let mut puts = puts.into_iter().peekable();
        while let Some(change) = self.put(&mut puts)? {
            changes.push(change);
        }
        for removed in removed.chunks(CHANGE_ROWS) {
            let rows = record_batch(self.delete.clone(), self.key_columns(removed)?, removed.len())?;
            changes.push(StateChange { store: 0, kind: ChangeKind::Delete, rows });
        }
        Ok(changes)
    }

    /// The next entries as a change, as many as fit.
    fn put<'a>(
        &self,
        entries: &mut std::iter::Peekable<impl Iterator<Item = (&'a EntryKey, &'a Entry)>>,
    ) -> Result<Option<StateChange>> {
        let (mut keys, mut values, mut times, mut bytes) = (vec![], vec![], vec![], 0);
        while keys.len() < CHANGE_ROWS && bytes < CHANGE_BYTES {
            let Some((key, entry)) = entries.next() else { break };
            bytes += key.group.len() + key.item.len() + entry.value.as_ref().map_or(0, |v| v.len());
            keys.push(key);
            values.push(entry.value.as_deref());
            times.push(entry.expires_ms);
        }
        if keys.is_empty() {
            return Ok(None);
        }
        let mut columns = self.key_columns(&keys)?;
        columns.push(Arc::new(BinaryArray::from_iter(values)));
        columns.push(Arc::new(Int64Array::from(times)));
        let rows = record_batch(self.put.clone(), columns, keys.len())?;
        Ok(Some(StateChange { store: 0, kind: ChangeKind::Put, rows }))
    }

    fn key_columns(&self, keys: &[&EntryKey]) -> Result<Vec<ArrayRef>> {
        let mut columns = self.decode_keys(keys.iter().map(|k| k.group.as_ref()))?;
        columns.push(Arc::new(StringArray::from_iter_values(keys.iter().map(|k| k.variable.as_ref()))));
        columns.push(Arc::new(BinaryArray::from_iter_values(keys.iter().map(|k| k.item.as_ref()))));
        Ok(columns)
    }

    /// Applies a change, as part of the state.
    pub fn apply(&self, change: &StateChange, map: &mut EntryMap) -> Result<()> {
        let rows = &change.rows;
        let expected = if change.kind == ChangeKind::Delete { &self.delete } else { &self.put };
        if change.kind == ChangeKind::Evict || rows.num_columns() != expected.fields().len() {
            return Err(corrupt(format!("a change {:?} of {} columns", change.kind, rows.num_columns())));
        }
        let groups = self.encode_keys(&rows.columns()[..self.num_keys])?;
        let variables = text(rows, self.num_keys)?;
        let items = binary(rows, self.num_keys + 1)?;
        let mut shared = Sharing::default();
        let keys = (0..rows.num_rows()).map(|row| EntryKey {
            group: shared.group(groups.row(row).as_ref()),
            variable: shared.variable(variables.value(row)),
            item: items.value(row).into(),
        });
        if change.kind == ChangeKind::Delete {
            keys.for_each(|key| {
                map.remove(&key);
            });
        } else {
            let values = binary(rows, self.num_keys + 2)?;
            let times = rows.column(self.num_keys + 3).as_primitive_opt::<Int64Type>();
            let times = times.ok_or_else(|| corrupt("times of another type".into()))?;
            for ((key, value), expires_ms) in keys.zip(values.iter()).zip(times.iter()) {
                map.insert(key, Entry { value: value.map(Into::into), expires_ms });
            }
        }
        map.commit();
        Ok(())
    }
}

/// Groups and variables that follow each other share their bytes.
#[derive(Default)]
struct Sharing {
    group: Arc<[u8]>,
    variable: Option<Arc<str>>,
}

impl Sharing {
    fn group(&mut self, group: &[u8]) -> Arc<[u8]> {
        if self.group.as_ref() != group {
            self.group = group.into();
        }
        self.group.clone()
    }

    fn variable(&mut self, variable: &str) -> Arc<str> {
        match &self.variable {
            Some(last) if last.as_ref() == variable => last.clone(),
            _ => self.variable.insert(variable.into()).clone(),
        }
    }
}

fn text(rows: &RecordBatch, column: usize) -> Result<&StringArray> {
    rows.column(column).as_string_opt().ok_or_else(|| corrupt("variables of another type".into()))
}

fn binary(rows: &RecordBatch, column: usize) -> Result<&BinaryArray> {
    rows.column(column).as_binary_opt().ok_or_else(|| corrupt("values of another type".into()))
}

fn corrupt(what: String) -> Error {
    Error::corrupt_checkpoint(format!("the checkpoint has {what} for the state of a user's function"))
}

/// The image of the entries with what it takes to write them.
pub struct FrozenEntryState {
    codec: Arc<EntryCodec>,
    entries: FrozenEntries,
}

impl FrozenEntryState {
    /// Of a map whose groups `codec` encodes.
    pub fn new(codec: Arc<EntryCodec>, entries: FrozenEntries) -> Self {
        Self { codec, entries }
    }
}

impl FrozenState for FrozenEntryState {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        let mut entries = self.entries.iter().peekable();
        Box::new(std::iter::from_fn(move || self.codec.put(&mut entries).transpose()))
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::StringViewArray;

    use super::*;

    fn all(map: &EntryMap) -> Vec<(EntryKey, Entry)> {
        map.freeze().iter().map(|(k, e)| (k.clone(), e.clone())).collect()
    }

    #[test]
    fn changes_and_images_bring_the_same_entries_back() {
        let codec = Arc::new(EntryCodec::try_new(&[DataType::Utf8View, DataType::Int64]).unwrap());
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from(vec![Some("a"), None, Some("a key longer than twelve bytes")])),
            Arc::new(Int64Array::from(vec![Some(1), Some(-5), None])),
        ];
        let groups = codec.encode_keys(&columns).unwrap();
        let mut map = EntryMap::default();
        for (i, group) in groups.iter().enumerate() {
            let key =
                |item: &[u8]| EntryKey { group: group.as_ref().into(), variable: "map:m".into(), item: item.into() };
            map.insert(key(b"x"), Entry { value: Some(vec![i as u8; i].into()), expires_ms: None });
            map.insert(key(b""), Entry { value: None, expires_ms: Some(i as i64 - 1) });
        }
        let (mut logged, mut imaged) = (EntryMap::default(), EntryMap::default());
        for change in codec.changes(&map).unwrap() {
            codec.apply(&change, &mut logged).unwrap();
        }
        for change in FrozenEntryState::new(codec.clone(), map.freeze()).changes() {
            codec.apply(&change.unwrap(), &mut imaged).unwrap();
        }
        assert_eq!((all(&logged), all(&imaged)), (all(&map), all(&map)));

        map.commit();
        let gone = map.expired(0).map(|(_, k)| k.clone()).collect::<Vec<_>>();
        assert_eq!(gone.len(), 2);
        gone.iter().for_each(|k| assert!(map.remove(k)));
        for change in codec.changes(&map).unwrap() {
            codec.apply(&change, &mut logged).unwrap();
        }
        assert_eq!(all(&logged), all(&map));
        let decoded = codec
            .decode_keys(groups.iter().map(|g| g.as_ref().to_vec()).collect::<Vec<_>>().iter().map(Vec::as_slice))
            .unwrap();
        assert_eq!(decoded[1].as_ref(), columns[1].as_ref());
    }

    #[test]
    fn foreign_changes_are_refused() {
        let codec = EntryCodec::try_new(&[DataType::Int64]).unwrap();
        let rows = RecordBatch::new_empty(codec.delete.clone());
        for kind in [ChangeKind::Put, ChangeKind::Evict] {
            let change = StateChange { store: 0, kind, rows: rows.clone() };
            assert_eq!(codec.apply(&change, &mut EntryMap::default()).unwrap_err().condition(), "CHECKPOINT_CORRUPT");
        }
    }
}
