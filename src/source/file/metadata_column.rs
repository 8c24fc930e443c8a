//! The hidden column `_metadata`: where a row comes from. A scan gives it behind its other columns, if it is asked for.

use std::fmt::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, StringViewArray, StructArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, SchemaRef};
use datafusion::common::ScalarValue;

use super::entry::FileEntry;
use crate::error::Result;
use crate::function::scalar::timestamp;

/// What the column is called.
pub const METADATA: &str = "_metadata";

static FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    Fields::from(vec![
        field("file_path", DataType::Utf8View),
        field("file_name", DataType::Utf8View),
        field("file_size", DataType::Int64),
        field("file_block_start", DataType::Int64),
        field("file_block_length", DataType::Int64),
        field("file_modification_time", timestamp()),
    ])
});

/// The column, as Spark has it.
pub fn metadata_field() -> FieldRef {
    Arc::new(Field::new(METADATA, DataType::Struct(FIELDS.clone()), true))
}

/// The schema with the column behind the others; `None` where another column has the name.
pub fn with_metadata_column(schema: &Schema) -> Option<SchemaRef> {
    if schema.fields().iter().any(|f| f.name().eq_ignore_ascii_case(METADATA)) {
        return None;
    }
    let fields = schema.fields().iter().cloned().chain([metadata_field()]);
    Some(Arc::new(Schema::new_with_metadata(fields.collect::<Vec<_>>(), schema.metadata().clone())))
}

/// The value of the column in all rows of a part of a file.
pub fn metadata_of(file: &FileEntry, part: &Range<u64>) -> Result<ScalarValue> {
    let path = uri(&file.path);
    let name = path.rsplit_once('/').map_or(path.as_str(), |(_, name)| name).to_owned();
    let number = |n: u64| Arc::new(Int64Array::from(vec![n as i64])) as ArrayRef;
    let modified = file.mtime_ns.div_euclid(1_000_000) * 1000;
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringViewArray::from(vec![path])),
        Arc::new(StringViewArray::from(vec![name])),
        number(file.size),
        number(part.start),
        number(part.end - part.start),
        Arc::new(TimestampMicrosecondArray::from(vec![modified]).with_timezone("UTC")),
    ];
    Ok(ScalarValue::Struct(Arc::new(StructArray::try_new(FIELDS.clone(), columns, None)?)))
}

/// A path as Hadoop writes its URI: what a URI cannot have is written as bytes in hexadecimal.
fn uri(path: &Path) -> String {
    const PLAIN: &str = "_-!.~'()*,;:$&+=@/";
    let text = path.to_string_lossy();
    let (scheme, rest) = match text.find("://") {
        Some(end) => text.split_at(end + 3),
        None => ("file:", text.as_ref()),
    };
    let mut uri = scheme.to_owned();
    for c in rest.chars() {
        if c.is_ascii_alphanumeric() || PLAIN.contains(c) || !c.is_ascii() && !c.is_control() && !c.is_whitespace() {
            uri.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                // Writing to a text does not fail.
                let _ = write!(uri, "%{byte:02X}");
            }
        }
    }
    uri
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_written_as_spark_writes_them() {
        assert_eq!(uri(Path::new("/in/k=1/a b.csv")), "file:/in/k=1/a%20b.csv");
        assert_eq!(uri(Path::new("/in/c%d é.csv")), "file:/in/c%25d%20é.csv");
        assert_eq!(uri(Path::new("s3://bucket/a#b")), "s3://bucket/a%23b");
    }

    #[test]
    fn a_column_of_the_name_is_the_users() {
        let schema = Schema::new(vec![Field::new("_Metadata", DataType::Int32, true)]);
        assert!(with_metadata_column(&schema).is_none());
        let schema = Schema::new(vec![Field::new("a", DataType::Int32, true)]);
        assert_eq!(with_metadata_column(&schema).unwrap().field(1).name(), METADATA);
    }
}
