//! Avro files, with Spark's options.

use std::collections::HashMap;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use arrow::datatypes::{Schema as ArrowSchema, SchemaRef};

use super::batches::Batches;
use super::julian::{Calendar, all_to_gregorian};
use crate::error::Result;
use crate::format::avro::{Container, Matching, Plan, Rows, Schema};
use crate::format::bytes::{Opened, OpenedReader};
use crate::options::{OptionReader, OptionSpec, OptionType};

/// What is read at once.
const BUFFER_BYTES: usize = 256 << 10;

/// See the module.
#[derive(Debug, Clone)]
pub struct AvroOptions {
    /// What the records are seen by, instead of what they were written by.
    schema: Option<Arc<Schema>>,
    matching: Matching,
    /// Whether files are read whose names do not end in `.avro`.
    any_name: bool,
    /// Whether dates of files that do not say their calendar are in the old one.
    is_julian: bool,
}

impl AvroOptions {
    /// What [`AvroOptions::read`] reads.
    pub const OPTIONS: [OptionSpec; 4] = [
        OptionSpec::new(
            "avroSchema",
            OptionType::Text,
            "JSON of the schema that records are seen by, with defaults, aliases and wider numbers; else that of the file.",
        ),
        OptionSpec::new("positionalFieldMatching", OptionType::Boolean, "Whether fields are columns by their order.")
            .or("false"),
        OptionSpec::new(
            "ignoreExtension",
            OptionType::Boolean,
            "Whether files are read whose names do not end in .avro.",
        )
        .or("true"),
        OptionSpec::new(
            "datetimeRebaseMode",
            OptionType::Choice(&["CORRECTED", "LEGACY"]),
            "LEGACY takes dates of files that do not say their calendar to be in that of old Spark.",
        )
        .or("CORRECTED"),
    ];

    /// Reads `avroSchema`, `positionalFieldMatching`, `ignoreExtension` and `datetimeRebaseMode`.
    ///
    /// # Errors
    /// A value that is none.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let schema = options.string("avroSchema").map(Schema::parse).transpose()?.map(Arc::new);
        let by_position = options.bool("positionalFieldMatching")?;
        let any_name = options.bool("ignoreExtension")?;
        let is_julian = options.choice("datetimeRebaseMode")? == Some("LEGACY");
        let matching = if by_position { Matching::ByPosition } else { Matching::ByName };
        Ok(Self { schema, matching, any_name, is_julian })
    }
}

fn open(file: &Opened) -> Result<Container<BufReader<OpenedReader>>> {
    Container::open(BufReader::with_capacity(BUFFER_BYTES, file.reader()))
}

/// The columns of a file, or those of `avroSchema`.
pub fn schema(options: &AvroOptions, file: &Opened) -> Result<ArrowSchema> {
    Ok(ArrowSchema::new(match &options.schema {
        Some(schema) => schema.columns()?,
        None => open(file)?.schema().columns()?,
    }))
}

/// The rows of a file.
pub fn rows(options: &AvroOptions, schema: &SchemaRef, file: &Opened, path: &Path) -> Result<Batches> {
    if !options.any_name && path.extension().is_none_or(|e| e != "avro") {
        return Ok(Box::new(std::iter::empty()));
    }
    let container = open(file)?;
    let written = Arc::new(container.schema().clone());
    let plan = Plan::new(written, options.schema.as_deref(), schema.fields(), options.matching)?;
    let text = |key: &str| container.metadata(key).map(|v| String::from_utf8_lossy(v).into_owned());
    let known = ["org.apache.spark.version", "org.apache.spark.legacyDateTime"];
    let metadata: HashMap<_, _> = known.iter().filter_map(|key| Some(((*key).to_owned(), text(key)?))).collect();
    let is_julian = match metadata.is_empty() {
        true => options.is_julian,
        false => Calendar::of(&metadata).has_julian_dates(),
    };
    let rows = Rows::new(container, plan, schema.clone());
    Ok(Box::new(if is_julian { rows.rebased(|column| all_to_gregorian(column, false)) } else { rows }))
}
