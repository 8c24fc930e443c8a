//! The rows of a batch by their keys, in the order in which keys and rows came.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::arrow::datatypes::{Field, Schema};

use crate::error::Result;
use crate::state::{EntryCodec, record_batch};

/// Groups of rows.
#[derive(Debug)]
pub struct Groups {
    /// All rows, those of a group together.
    pub rows: RecordBatch,
    /// The key of every group.
    pub keys: Vec<Arc<[u8]>>,
    /// The number of rows of every group.
    pub lens: Vec<usize>,
}

impl Groups {
    /// Groups `rows` by `keys`, which are columns of as many rows.
    pub fn by(codec: &EntryCodec, keys: &[ArrayRef], rows: &RecordBatch) -> Result<Self> {
        let encoded = codec.encode_keys(keys)?;
        let mut numbers: HashMap<&[u8], usize> = HashMap::new();
        let mut members: Vec<Vec<u32>> = vec![];
        let encoded: Vec<_> = encoded.iter().collect();
        for (row, key) in encoded.iter().enumerate() {
            let group = *numbers.entry(key.as_ref()).or_insert(members.len());
            if group == members.len() {
                members.push(vec![]);
            }
            members[group].push(row as u32);
        }
        let keys = members.iter().map(|m| encoded[m[0] as usize].as_ref().into()).collect();
        let lens = members.iter().map(Vec::len).collect();
        let order: UInt32Array = members.into_iter().flatten().collect();
        Ok(Self { rows: take_record_batch(rows, &order)?, keys, lens })
    }

    /// No rows of these columns.
    pub fn none(rows: &RecordBatch) -> Self {
        Self { rows: rows.slice(0, 0), keys: vec![], lens: vec![] }
    }
}

/// The columns of these keys under their names, a row for each.
pub fn key_rows<'a>(
    codec: &EntryCodec,
    names: &[String],
    keys: impl ExactSizeIterator<Item = &'a Arc<[u8]>>,
) -> Result<RecordBatch> {
    let len = keys.len();
    let fields = names.iter().zip(codec.key_types()).map(|(name, t)| Field::new(name, t.clone(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    record_batch(schema, codec.decode_keys(keys.map(|k| k.as_ref()))?, len)
}
