//! The names in the header of a CSV file.

use std::collections::HashMap;

use crate::error::{Error, Result};

/// Compares a header with the columns of a schema, in any case. Other names are an error, or, if the schema is enforced,
/// a warning: columns are taken by their position.
///
/// # Errors
/// `CSV_HEADER_DOES_NOT_CONFORM`.
pub fn check_names(found: &[&str], columns: &[&str], enforce: bool) -> Result<()> {
    let same = |a: &str, b: &str| a.to_lowercase() == b.to_lowercase();
    if found.len() == columns.len() && found.iter().zip(columns).all(|(f, c)| same(f, c)) {
        return Ok(());
    }
    let (header, schema) = (found.join(", "), columns.join(", "));
    if enforce {
        tracing::warn!(header, schema, "CSV header does not conform to the schema: columns are taken by position");
        return Ok(());
    }
    let message = format!("the header has the columns {header}, the schema has {schema}");
    Err(Error::execution("CSV_HEADER_DOES_NOT_CONFORM", message).with_help(
        "declare the columns in the order of the header; with enforceSchema 'true' they are taken by position",
    ))
}

/// The names of columns from the values of a header: one that is missing is `_c` and its position, one that is there
/// twice gets its position. Without a header (`null_value` is None) all are `_c` and their position.
///
/// # Errors
/// `COLUMN_ALREADY_EXISTS` if the names made so are not unique.
pub fn column_names(header: &[Option<String>], null_value: Option<&str>) -> Result<Vec<String>> {
    let Some(null_value) = null_value else { return Ok((0..header.len()).map(|i| format!("_c{i}")).collect()) };
    let mut count = HashMap::<String, usize>::new();
    for name in header.iter().flatten() {
        *count.entry(name.to_lowercase()).or_default() += 1;
    }
    let named = header.iter().enumerate().map(|(i, name)| match name {
        None => format!("_c{i}"),
        Some(name) if name.is_empty() || name == null_value => format!("_c{i}"),
        Some(name) if count[&name.to_lowercase()] > 1 => format!("{name}{i}"),
        Some(name) => name.clone(),
    });
    let names: Vec<_> = named.collect();
    let mut seen = HashMap::new();
    match names.iter().find(|name| seen.insert(name.to_lowercase(), ()).is_some()) {
        None => Ok(names),
        Some(name) => Err(Error::invalid("COLUMN_ALREADY_EXISTS", format!("column '{name}' is there twice"))
            .with_help("declare the columns, (name TYPE, …) behind the name")),
    }
}
