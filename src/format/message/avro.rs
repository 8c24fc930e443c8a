//! Messages in Avro: by one schema, or each by the one whose number it begins with.

use std::borrow::Cow;
use std::sync::Arc;

#[cfg(feature = "schema-registry")]
use std::collections::HashMap;

use arrow::compute::cast;
use arrow::datatypes::{DataType, FieldRef, Fields};
#[cfg(feature = "schema-registry")]
use parking_lot::Mutex;

#[cfg(feature = "schema-registry")]
use super::registry::{self, SchemaRegistry};
use super::{Decoded, Part};
use crate::error::{Error, Result};
use crate::format::avro::{Matching, MessageRows, Plan, Schema, schema_of};
use crate::options::{OptionReader, OptionSpec, OptionType, Options};

/// What [`AvroMessages::new`] reads.
pub const OPTIONS: [OptionSpec; 2] = [
    OptionSpec::new(
        "avroSchema",
        OptionType::Text,
        "JSON of the Avro schema of values; else the one that Spark gives the columns, or that of the registry.",
    ),
    OptionSpec::new("key.avroSchema", OptionType::Text, "The same of keys."),
];

/// See the module.
#[derive(Debug, Clone)]
pub struct AvroMessages {
    columns: Fields,
    /// What messages are seen by, instead of what they were written by.
    seen: Option<Arc<Schema>>,
    written: Written,
}

/// What messages were written by.
#[derive(Debug, Clone)]
enum Written {
    /// All by one schema.
    Plain(Arc<Plan>),
    /// Each by one of a registry.
    #[cfg(feature = "schema-registry")]
    Registered(Arc<SchemaRegistry>, Arc<Mutex<HashMap<u32, Known>>>),
}

/// How a message is read and its bytes, or why it cannot be.
type Planned<'m> = std::result::Result<(Arc<Plan>, &'m [u8]), Cow<'static, str>>;

/// The plan for a schema, or why there is none.
#[cfg(feature = "schema-registry")]
type Known = std::result::Result<Arc<Plan>, Cow<'static, str>>;

/// The columns as Avro has them: an int is what its smallest numbers are.
fn wide(columns: &Fields) -> Fields {
    let wide = |field: &FieldRef| match field.data_type() {
        DataType::Int8 | DataType::Int16 => Arc::new(field.as_ref().clone().with_data_type(DataType::Int32)),
        _ => field.clone(),
    };
    columns.iter().map(wide).collect()
}

/// The schema that the options give.
pub fn given(part: Part, reader: &OptionReader<'_>) -> Result<Option<Schema>> {
    let (value, key) = (reader.string("avroSchema"), reader.string("key.avroSchema"));
    let text = if part == Part::Value { value } else { key };
    text.map(Schema::parse).transpose()
}

/// The columns of the schema that the options give.
///
/// # Errors
/// Text that is no schema of columns.
pub fn own_columns(part: Part, options: &Options) -> Result<Option<Fields>> {
    let reader = OptionReader::new("the format avro", options, &[&OPTIONS]);
    given(part, &reader)?.map(|schema| schema.columns()).transpose()
}

impl AvroMessages {
    /// Messages as these columns.
    ///
    /// # Errors
    /// Options that do not fit; columns that the schema does not have.
    pub fn new(part: Part, columns: Fields, reader: &OptionReader<'_>) -> Result<Self> {
        let given = given(part, reader)?.map(Arc::new);
        #[cfg(feature = "schema-registry")]
        if let Some(registry) = SchemaRegistry::read(reader)? {
            let written = Written::Registered(Arc::new(registry), Arc::default());
            return Ok(Self { columns, seen: given, written });
        }
        let written = match given {
            Some(schema) => schema,
            None => Arc::new(Schema::parse(&schema_of(&columns, "topLevelRecord", "")?.to_string())?),
        };
        let plan = Plan::new(written, None, &wide(&columns), Matching::ByName)?;
        Ok(Self { columns, seen: None, written: Written::Plain(Arc::new(plan)) })
    }

    /// The same for some of the columns.
    ///
    /// # Errors
    /// Internal ones only.
    pub fn project(&self, columns: &[usize]) -> Result<Self> {
        let columns: Fields = columns.iter().map(|i| self.columns[*i].clone()).collect();
        let written = match &self.written {
            Written::Plain(plan) => {
                Written::Plain(Arc::new(Plan::new(plan.written.clone(), None, &wide(&columns), Matching::ByName)?))
            }
            #[cfg(feature = "schema-registry")]
            Written::Registered(registry, _) => Written::Registered(registry.clone(), Arc::default()),
        };
        Ok(Self { columns, seen: self.seen.clone(), written })
    }

    /// A row for each message.
    ///
    /// # Errors
    /// A registry that does not answer.
    pub fn decode(&self, messages: &[Option<&[u8]>]) -> Result<Decoded> {
        let mut rows = MessageRows::new(wide(&self.columns));
        let mut bad = vec![];
        for (i, message) in messages.iter().enumerate() {
            let Some(bytes) = message.filter(|bytes| !bytes.is_empty()) else {
                rows.push_null()?;
                continue;
            };
            let pushed = match self.plan(bytes)? {
                Ok((plan, body)) => rows.push(&plan, body).map_err(|e: Error| Cow::from(e.message().to_owned())),
                Err(reason) => Err(reason),
            };
            if let Err(reason) = pushed {
                rows.push_null()?;
                bad.push((i, reason));
            }
        }
        // A number that is too large for its column is NULL.
        let columns = rows.finish()?.into_iter().zip(self.columns.iter());
        let columns = columns.map(|(column, field)| Ok(cast(&column, field.data_type())?));
        Ok(Decoded { columns: columns.collect::<Result<_>>()?, bad, void: vec![] })
    }

    /// How a message is read, and its bytes behind the number of its schema.
    fn plan<'m>(&self, message: &'m [u8]) -> Result<Planned<'m>> {
        match &self.written {
            Written::Plain(plan) => Ok(Ok((plan.clone(), message))),
            #[cfg(feature = "schema-registry")]
            Written::Registered(registry, known) => {
                let Some((id, body)) = registry::framed(message) else {
                    return Ok(Err("it does not begin with the number of a schema".into()));
                };
                if let Some(known) = known.lock().get(&id) {
                    return Ok(known.clone().map(|plan| (plan, body)));
                }
                let plan = match registry.schema(id)? {
                    None => Err(format!("the registry has no schema {id}").into()),
                    Some(json) => self.plan_for(&json).map_err(|e| Cow::from(format!("schema {id}: {}", e.message()))),
                };
                known.lock().insert(id, plan.clone());
                Ok(plan.map(|plan| (plan, body)))
            }
        }
    }

    #[cfg(feature = "schema-registry")]
    fn plan_for(&self, json: &str) -> Result<Arc<Plan>> {
        let written = Arc::new(Schema::parse(json)?);
        Plan::new(written, self.seen.as_deref(), &wide(&self.columns), Matching::ByName).map(Arc::new)
    }
}
