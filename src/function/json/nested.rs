//! Objects and arrays into the columns of structs, arrays and maps. One bad field is NULL, its neighbours are kept.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::*;
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::*;

use super::column::{Conversion, Fault, Slots};
use super::tokens::{Introduction, Token, Tokens};
use crate::{Error, Result};

/// As many fields of an object are remembered.
const MAX_SHAPE: usize = 256;

type Read = std::result::Result<(), Fault>;

/// Whether the values of an object or array were all whole.
fn whole(is_bad: bool) -> Read {
    if is_bad { Err(Fault::Partial) } else { Ok(()) }
}

/// Objects as structs.
#[derive(Debug)]
pub struct StructColumn {
    fields: Fields,
    slots: Vec<Slots>,
    by_name: HashMap<String, usize>,
    /// How the fields of the object before were introduced, in its order, and which they are: most objects are alike.
    shape: Vec<(Introduction, Option<usize>)>,
    /// Which fields the object had so far, in `slots`' order.
    seen: Vec<bool>,
    nulls: Validity,
}

impl StructColumn {
    /// No rows; the field `without` takes nothing from the objects.
    ///
    /// # Errors
    /// As of `Column::new`.
    pub fn new(fields: &Fields, without: Option<usize>) -> Result<Self> {
        let slots = fields.iter().map(|f| Slots::new(f.data_type())).collect::<Result<Vec<_>>>()?;
        let named = fields.iter().enumerate().filter(|(i, _)| Some(*i) != without);
        // Of two fields of one name the first has the values.
        let by_name = named.rev().map(|(i, f)| (f.name().clone(), i)).collect();
        let seen = vec![false; fields.len()];
        Ok(Self { fields: fields.clone(), slots, by_name, seen, shape: vec![], nulls: Validity::new(0) })
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.slots.iter_mut().for_each(Slots::append_null);
        self.nulls.append_null();
    }

    /// Appends a row whose fields are NULL.
    pub fn append_empty(&mut self) {
        self.slots.iter_mut().for_each(Slots::append_null);
        self.nulls.append_non_null();
    }

    /// Takes back all rows from number `rows` on.
    pub fn truncate(&mut self, rows: usize) {
        self.slots.iter_mut().for_each(|s| s.truncate(rows));
        self.nulls.truncate(rows);
    }

    /// The column of field `i`, which takes nothing from the objects.
    pub fn slots(&mut self, i: usize) -> &mut Slots {
        &mut self.slots[i]
    }

    /// Appends the object that begins here.
    pub fn read(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> Read {
        let row = self.nulls.len();
        self.seen.fill(false);
        match self.read_fields(tokens, with) {
            Ok(is_bad) => {
                for (slots, seen) in self.slots.iter_mut().zip(&self.seen) {
                    if !seen {
                        slots.append_null();
                    }
                }
                self.nulls.append_non_null();
                whole(is_bad)
            }
            Err(fault) => {
                self.slots.iter_mut().for_each(|s| s.truncate(row));
                Err(fault)
            }
        }
    }

    fn read_fields(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> std::result::Result<bool, Fault> {
        let (mut is_bad, mut place) = (false, 0);
        loop {
            if let Some((introduction, field)) = self.shape.get(place)
                && let field = *field
                && tokens.advance_behind(introduction, place == 0)?.is_some()
            {
                place += 1;
                is_bad |= self.read_field(field, tokens, with)?;
                continue;
            }
            let token = tokens.advance()?;
            if token.is_none_or(|t| t == Token::EndObject) {
                return Ok(is_bad);
            }
            let field = tokens.name().and_then(|name| self.by_name.get(name).copied());
            place += usize::from(self.remember(place, field, tokens));
            is_bad |= self.read_field(field, tokens, with)?;
        }
    }

    /// Remembers how the field was introduced, if it can be.
    fn remember(&mut self, place: usize, field: Option<usize>, tokens: &Tokens<'_>) -> bool {
        if let Some((introduction, known)) = self.shape.get_mut(place) {
            let is_plain = tokens.introduction(introduction);
            if is_plain {
                *known = field;
            }
            return is_plain;
        }
        let mut introduction = Introduction::default();
        let is_new = place < MAX_SHAPE && tokens.introduction(&mut introduction);
        if is_new {
            self.shape.push((introduction, field));
        }
        is_new
    }

    /// Reads the value of a field, or goes behind it; says whether it was bad.
    fn read_field(
        &mut self,
        field: Option<usize>,
        tokens: &mut Tokens<'_>,
        with: &Conversion,
    ) -> std::result::Result<bool, Fault> {
        let Some(i) = field else {
            tokens.skip_children()?;
            return Ok(false);
        };
        let result = self.slots[i].read(tokens, with, self.seen[i]);
        self.seen[i] |= result != Err(Fault::Nothing);
        if result == Err(Fault::Nothing) {
            tokens.skip_children()?;
        }
        Ok(result.is_err())
    }

    /// The array; no rows are left.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let (rows, nulls) = (self.nulls.len(), self.nulls.finish());
        let columns = self.finish_columns()?;
        Ok(Arc::new(StructArray::try_new_with_length(self.fields.clone(), columns, nulls, rows)?))
    }

    /// The columns of all fields; no rows are left.
    pub fn finish_columns(&mut self) -> Result<Vec<ArrayRef>> {
        self.nulls.truncate(0);
        self.slots.iter_mut().map(Slots::finish).collect()
    }
}

/// Arrays.
#[derive(Debug)]
pub struct ListColumn {
    item: FieldRef,
    items: Slots,
    offsets: Vec<i32>,
    nulls: Validity,
}

impl ListColumn {
    /// No rows of arrays of `item`.
    ///
    /// # Errors
    /// As of `Column::new`.
    pub fn new(item: &FieldRef) -> Result<Self> {
        let items = Slots::new(item.data_type())?;
        Ok(Self { item: Arc::clone(item), items, offsets: vec![0], nulls: Validity::new(0) })
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.offsets.push(self.items.rows() as i32);
        self.nulls.append_null();
    }

    /// Appends the array that begins here.
    pub fn read(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> Read {
        let start = self.items.rows();
        match self.read_items(tokens, with) {
            Ok(is_bad) => {
                self.end_row();
                whole(is_bad)
            }
            Err(fault) => {
                self.items.truncate(start);
                Err(fault)
            }
        }
    }

    fn read_items(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> std::result::Result<bool, Fault> {
        let mut is_bad = false;
        while tokens.advance()?.is_some_and(|t| t != Token::EndArray) {
            match self.items.read(tokens, with, false) {
                Err(Fault::Nothing) => return Err(Fault::Nothing),
                result => is_bad |= result.is_err(),
            }
        }
        Ok(is_bad)
    }

    /// Whether the items are structs.
    pub fn holds_structs(&self) -> bool {
        matches!(self.item.data_type(), DataType::Struct(_))
    }

    /// Appends an array of the one object that begins here.
    pub fn read_one(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> Read {
        let result = self.items.read(tokens, with, false);
        if result != Err(Fault::Nothing) {
            self.end_row();
        }
        result
    }

    fn end_row(&mut self) {
        self.offsets.push(self.items.rows() as i32);
        self.nulls.append_non_null();
    }

    /// The array; no rows are left.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let items = self.items.finish()?;
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        Ok(Arc::new(ListArray::try_new(Arc::clone(&self.item), offsets, items, self.nulls.finish())?))
    }
}

/// Objects as maps of their names.
#[derive(Debug)]
pub struct MapColumn {
    entries: FieldRef,
    fields: Fields,
    keys: Slots,
    values: Slots,
    offsets: Vec<i32>,
    nulls: Validity,
}

impl MapColumn {
    /// No rows of maps with `entries`.
    ///
    /// # Errors
    /// `INVALID_JSON_MAP_KEY_TYPE` if the keys are no texts, and as of `Column::new`.
    pub fn new(entries: &FieldRef) -> Result<Self> {
        let DataType::Struct(fields) = entries.data_type() else { return Err(Error::internal("entries are structs")) };
        let key = fields[0].data_type();
        if *key != DataType::Utf8View {
            let message = format!("the keys of a map in JSON are texts, not {}", crate::type_name::sql_type_name(key));
            return Err(Error::invalid("INVALID_JSON_MAP_KEY_TYPE", message)
                .with_help("write MAP<STRING, …>, and convert the keys by transform_keys(…)"));
        }
        Ok(Self {
            entries: Arc::clone(entries),
            fields: fields.clone(),
            keys: Slots::new(key)?,
            values: Slots::new(fields[1].data_type())?,
            offsets: vec![0],
            nulls: Validity::new(0),
        })
    }

    /// Rows so far.
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Appends NULL.
    pub fn append_null(&mut self) {
        self.offsets.push(self.keys.rows() as i32);
        self.nulls.append_null();
    }

    /// Appends the object that begins here.
    pub fn read(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> Read {
        let start = self.keys.rows();
        match self.read_entries(tokens, with) {
            Ok(is_bad) => {
                self.offsets.push(self.keys.rows() as i32);
                self.nulls.append_non_null();
                whole(is_bad)
            }
            Err(fault) => {
                self.keys.truncate(start);
                self.values.truncate(start);
                Err(fault)
            }
        }
    }

    fn read_entries(&mut self, tokens: &mut Tokens<'_>, with: &Conversion) -> std::result::Result<bool, Fault> {
        let (mut is_bad, mut lacks_value) = (false, false);
        while tokens.advance()?.is_some_and(|t| t != Token::EndObject) {
            self.keys.append_text(tokens.name().ok_or(Fault::Nothing)?);
            let result = self.values.read(tokens, with, false);
            is_bad |= result.is_err();
            if result == Err(Fault::Nothing) {
                lacks_value = true;
                tokens.skip_children()?;
            }
        }
        // A map is read to its end, so that what follows it is found; a name without a value then makes it NULL.
        if lacks_value { Err(Fault::Nothing) } else { Ok(is_bad) }
    }

    /// The array; no rows are left.
    pub fn finish(&mut self) -> Result<ArrayRef> {
        let columns = vec![self.keys.finish()?, self.values.finish()?];
        let pairs = StructArray::try_new(self.fields.clone(), columns, None)?;
        let offsets = OffsetBuffer::new(std::mem::replace(&mut self.offsets, vec![0]).into());
        let entries = Arc::clone(&self.entries);
        Ok(Arc::new(MapArray::try_new(entries, offsets, pairs, self.nulls.finish(), false)?))
    }
}

/// Whether rows are NULL, as bits.
#[derive(Debug)]
struct Validity(BooleanBufferBuilder);

impl Validity {
    fn new(capacity: usize) -> Self {
        Self(BooleanBufferBuilder::new(capacity))
    }

    fn len(&self) -> usize {
        self.0.len()
    }

    fn append_null(&mut self) {
        self.0.append(false);
    }

    fn append_non_null(&mut self) {
        self.0.append(true);
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
    }

    fn finish(&mut self) -> Option<NullBuffer> {
        Some(NullBuffer::new(self.0.finish())).filter(|n| n.null_count() > 0)
    }
}
