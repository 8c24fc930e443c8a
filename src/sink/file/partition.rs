//! Rows by partition folder: `PARTITIONED BY (a, b)` puts them into `a=1/b=x/`, and leaves the columns out of the files.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Schema, SchemaRef};

use crate::error::{Error, Result};
use crate::function::cast::{Mode, cast_array};
use crate::options::{OptionReader, OptionSpec, OptionType, did_you_mean};
use crate::time_zone::Tz;

/// The folder of rows whose value is NULL or an empty text.
const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The columns that are folders, outermost first; none if rows are not put apart.
#[derive(Debug, Clone, Default)]
pub struct PartitionBy {
    names: Vec<String>,
}

impl PartitionBy {
    /// What [`PartitionBy::read`] reads.
    pub const OPTIONS: [OptionSpec; 1] =
        [OptionSpec::new("partitionBy", OptionType::Text, "Columns that are folders, with commas between them.")];

    /// Reads `partitionBy`: names with commas between them.
    pub fn read(options: &mut OptionReader<'_>) -> Result<Self> {
        let Some(text) = options.string("partitionBy") else { return Ok(Self::default()) };
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err(options.invalid("partitionBy", text, "names of columns, as in 'year,month'"));
        }
        Ok(Self { names })
    }

    /// Whether rows are not put apart.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The columns that are folders, and those that are in the files, by their numbers.
    ///
    /// # Errors
    /// A column that is not there, or is of a type that has no text; no column left for the files.
    pub fn of(&self, schema: &SchemaRef) -> Result<(Vec<usize>, Vec<usize>)> {
        let find = |name: &String| {
            schema.fields().iter().position(|f| f.name().eq_ignore_ascii_case(name)).ok_or_else(|| {
                let names = schema.fields().iter().map(|f| f.name().as_str());
                let error = Error::invalid(
                    "UNRESOLVED_COLUMN.WITH_SUGGESTION",
                    format!("the rows have no column '{name}' to partition them by"),
                );
                match did_you_mean(name, names.clone()) {
                    Some(near) => error.with_help(format!("did you mean '{near}'?")),
                    None => error.with_help(format!("the columns are {}", names.collect::<Vec<_>>().join(", "))),
                }
            })
        };
        let folders = self.names.iter().map(find).collect::<Result<Vec<_>>>()?;
        if let Some(i) = folders.iter().find(|i| schema.field(**i).data_type().is_nested()) {
            let message =
                format!("column '{}' is of a nested type, which no folder can be named by", schema.field(*i).name());
            return Err(Error::invalid("INVALID_PARTITION_COLUMN_DATA_TYPE", message)
                .with_help("partition by a column of a plain type"));
        }
        let in_files: Vec<usize> = (0..schema.fields().len()).filter(|i| !folders.contains(i)).collect();
        if in_files.is_empty() {
            return Err(Error::invalid("ALL_PARTITION_COLUMNS_NOT_ALLOWED", "every column is one to partition by")
                .with_help("leave a column for the files"));
        }
        Ok((folders, in_files))
    }

    /// The schema of the files.
    ///
    /// # Errors
    /// See [`PartitionBy::of`].
    pub fn file_schema(&self, schema: &SchemaRef) -> Result<SchemaRef> {
        if self.is_empty() {
            return Ok(schema.clone());
        }
        let (_, in_files) = self.of(schema)?;
        Ok(Arc::new(Schema::clone(schema).project(&in_files)?))
    }

    /// The rows of each folder, in the order in which the folders appear; the folder is empty if rows are not put apart, and ends
    /// in `/` otherwise.
    ///
    /// # Errors
    /// See [`PartitionBy::of`].
    pub fn split(&self, rows: &RecordBatch, tz: Tz) -> Result<Vec<(String, RecordBatch)>> {
        if self.is_empty() {
            return Ok(vec![(String::new(), rows.clone())]);
        }
        let (folders, in_files) = self.of(&rows.schema())?;
        let texts = folders.iter().map(|i| Ok((rows.schema().field(*i).name().clone(), texts(rows.column(*i), tz)?)));
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let mut numbers: HashMap<String, usize> = HashMap::new();
        let mut found: Vec<(String, Vec<u32>)> = vec![];
        let mut folder = String::new();
        for row in 0..rows.num_rows() {
            folder.clear();
            for (name, texts) in &texts {
                let texts = texts.as_string_view();
                let value = texts.is_valid(row).then(|| texts.value(row)).filter(|text| !text.is_empty());
                escape(&mut folder, name);
                folder.push('=');
                match value {
                    Some(text) => escape(&mut folder, text),
                    None => folder.push_str(NULL),
                }
                folder.push('/');
            }
            let number = match numbers.get(&folder) {
                Some(number) => *number,
                None => {
                    numbers.insert(folder.clone(), found.len());
                    found.push((folder.clone(), vec![]));
                    found.len() - 1
                }
            };
            found[number].1.push(row as u32);
        }
        let kept = rows.project(&in_files)?;
        let rows_of =
            |(folder, rows): (String, Vec<u32>)| Ok((folder, take_record_batch(&kept, &UInt32Array::from(rows))?));
        found.into_iter().map(rows_of).collect()
    }
}

fn texts(values: &ArrayRef, tz: Tz) -> Result<ArrayRef> {
    cast_array(values, &DataType::Utf8View, Mode::Ansi, tz)
}

/// The text without what a path must not hold.
fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        let is_special = c.is_ascii_control() && c != '\0' || "\"#%'*/:=?\\{[]^".contains(c);
        match is_special || c == '\0' {
            true => {
                let _ = write!(out, "%{:02X}", u32::from(c));
            }
            false => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, StringViewArray};
    use arrow::datatypes::Field;

    #[test]
    fn rows_go_to_the_folder_of_their_values() {
        let schema = Schema::new(vec![
            Field::new("k", DataType::Int32, true),
            Field::new("v", DataType::Int32, true),
            Field::new("s", DataType::Utf8View, true),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int32Array::from(vec![Some(1), None, Some(1), Some(1)])),
            Arc::new(Int32Array::from(vec![10, 20, 30, 40])),
            Arc::new(StringViewArray::from(vec!["a/b", "", "x", "a/b"])),
        ];
        let rows = RecordBatch::try_new(Arc::new(schema), columns).unwrap();
        let options = crate::options::Options::from_iter([("partitionBy", "K, s")]);
        let by = PartitionBy::read(&mut OptionReader::new("t", &options, &[&PartitionBy::OPTIONS])).unwrap();
        let parts = by.split(&rows, Tz::UTC).unwrap();
        let shown: Vec<_> =
            parts.iter().map(|(folder, rows)| (folder.as_str(), rows.num_rows(), rows.num_columns())).collect();
        assert_eq!(
            shown,
            [
                ("k=1/s=a%2Fb/", 2, 1),
                ("k=__HIVE_DEFAULT_PARTITION__/s=__HIVE_DEFAULT_PARTITION__/", 1, 1),
                ("k=1/s=x/", 1, 1)
            ]
        );
        let wrong = PartitionBy { names: vec!["kk".into()] }.of(&rows.schema()).unwrap_err();
        assert_eq!(wrong.help(), Some("did you mean 'k'?"));
        let all = PartitionBy { names: vec!["k".into(), "v".into(), "s".into()] }.of(&rows.schema()).unwrap_err();
        assert_eq!(all.condition(), "ALL_PARTITION_COLUMNS_NOT_ALLOWED");
    }
}
