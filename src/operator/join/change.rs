//! What a batch does to the state of a join, as it is in the checkpoint.
//!
//! ```text
//! store 0 left, 1 right     Put     seq, matched, columns of the row
//!                           Delete  seq                                a row of a semi join that has been given
//!                           Evict   up to which time
//! store 2 left, 3 right     Put     seq                                these rows have matched
//! ```

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt64Type};

use super::generation::FrozenGeneration;
use super::side::Side;
use super::spec::{JoinSpec, LEFT, RIGHT, SideSpec};
use crate::error::{Error, Result};
use crate::operator::evict;
use crate::state::{ChangeKind, FrozenState, StateChange, record_batch};

/// Rows of one change in the checkpoint's log.
const CHANGE_ROWS: usize = 65_536;
/// The store of what is known of a side's rows that have matched comes this far after the side's own.
const MATCHED: u16 = 2;

fn seq_field() -> Field {
    Field::new("seq", DataType::UInt64, false)
}

fn row_schema(side: &SideSpec) -> SchemaRef {
    let columns = side.schema.fields().iter().enumerate();
    let columns = columns.map(|(i, f)| Field::new(format!("column_{i}"), f.data_type().clone(), true));
    let own = [seq_field(), Field::new("matched", DataType::Boolean, false)];
    Arc::new(Schema::new(own.into_iter().chain(columns).collect::<Vec<_>>()))
}

fn put(
    store: usize,
    schema: &SchemaRef,
    seqs: &[u64],
    matched: Vec<bool>,
    columns: Vec<ArrayRef>,
) -> Result<StateChange> {
    let own: [ArrayRef; 2] = [Arc::new(UInt64Array::from(seqs.to_vec())), Arc::new(BooleanArray::from(matched))];
    let rows = record_batch(schema.clone(), own.into_iter().chain(columns).collect(), seqs.len())?;
    Ok(StateChange { store: store as u16, kind: ChangeKind::Put, rows })
}

/// The changes of a side that the batch has staged.
pub fn staged(
    spec: &JoinSpec,
    side: usize,
    state: &mut Side,
    bound: Option<i64>,
    changes: &mut Vec<StateChange>,
) -> Result<()> {
    let schema = row_schema(&spec.sides[side]);
    let (generation, rows) = state.added(bound);
    for rows in rows.chunks(CHANGE_ROWS) {
        let matched = rows.iter().map(|row| generation.is_matched(*row)).collect();
        changes.push(put(side, &schema, &generation.seqs(rows), matched, generation.gather(rows)?)?);
    }
    let matched = state.newly_matched();
    for seqs in matched.chunks(CHANGE_ROWS) {
        let seqs: ArrayRef = Arc::new(UInt64Array::from(seqs.to_vec()));
        let rows = RecordBatch::try_new(Arc::new(Schema::new(vec![seq_field()])), vec![seqs])?;
        let (store, kind) =
            if spec.is_semi() { (side as u16, ChangeKind::Delete) } else { (side as u16 + MATCHED, ChangeKind::Put) };
        changes.push(StateChange { store, kind, rows });
    }
    if let Some(bound) = bound
        && state.has_expired(bound)
    {
        changes.push(StateChange { store: side as u16, ..evict::change(bound)? });
    }
    Ok(())
}

/// Applies a logged change.
pub fn apply(spec: &JoinSpec, sides: &mut [Side; 2], change: &StateChange) -> Result<()> {
    let (store, of_matched) = (change.store % MATCHED, change.store >= MATCHED);
    let side = if usize::from(store) == LEFT { LEFT } else { RIGHT };
    let state = &mut sides[side];
    match change.kind {
        ChangeKind::Evict => {
            state.evict(evict::bound(change)?);
        }
        ChangeKind::Put if !of_matched => restore(&spec.sides[side], state, &change.rows)?,
        ChangeKind::Put | ChangeKind::Delete => {
            for seq in seqs(&change.rows)?.values() {
                let place = state.find_seq(*seq).ok_or_else(|| corrupt("names a row of a join that is not there"))?;
                if of_matched {
                    state.restore_matched(place);
                } else {
                    state.remove(place);
                }
            }
        }
    }
    state.maintain(&spec.sides[side], spec.is_semi() && side == LEFT)?;
    state.settle();
    Ok(())
}

fn restore(spec: &SideSpec, state: &mut Side, rows: &RecordBatch) -> Result<()> {
    let columns = rows.columns();
    let matched = columns.get(1).and_then(|c| c.as_boolean_opt());
    let matched = matched.ok_or_else(|| corrupt("has a row of a join without its mark"))?;
    let matched: Vec<bool> = matched.values().iter().collect();
    let values = record_batch(spec.schema.clone(), columns[2..].to_vec(), rows.num_rows())?;
    let prepared = state.prepare(spec, &values)?;
    state.restore(&prepared.new_rows(&values, &matched), seqs(rows)?.values())
}

fn seqs(rows: &RecordBatch) -> Result<&UInt64Array> {
    let seqs = rows.columns().first().and_then(|c| c.as_primitive_opt::<UInt64Type>());
    seqs.filter(|s| s.null_count() == 0).ok_or_else(|| corrupt("has a row of a join without its number"))
}

fn corrupt(what: &str) -> Error {
    Error::corrupt_checkpoint(format!("the checkpoint {what}"))
}

/// The image of both sides.
pub struct FrozenJoin([(SchemaRef, Vec<FrozenGeneration>); 2]);

impl FrozenJoin {
    /// Of the rows now.
    pub fn new(spec: &JoinSpec, sides: &[Side; 2]) -> Self {
        Self([LEFT, RIGHT].map(|side| (row_schema(&spec.sides[side]), sides[side].freeze())))
    }
}

impl FrozenState for FrozenJoin {
    fn changes(&self) -> Box<dyn Iterator<Item = Result<StateChange>> + Send + '_> {
        let sides = self.0.iter().enumerate();
        Box::new(sides.flat_map(|(side, (schema, generations))| {
            let pieces = generations.iter().flat_map(FrozenGeneration::pieces);
            pieces.map(move |piece| {
                let (seqs, matched, columns) = piece?;
                put(side, schema, seqs, matched.to_vec(), columns)
            })
        }))
    }
}
