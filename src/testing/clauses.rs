//! What the suites share: a clause that does not hold is an error that names it.

use crate::error::{Error, Result};

/// All that do not hold as one error.
pub fn broken(found: Vec<(&str, Error)>) -> Result<()> {
    let lines: Vec<_> = found.iter().map(|(clause, e)| format!("{clause}: {}", e.message())).collect();
    ensure(lines.is_empty(), || lines.join("; "))
}

/// The error of a clause.
pub fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<()> {
    match holds {
        true => Ok(()),
        false => Err(Error::execution("CONTRACT_BROKEN", otherwise())
            .with_help("the documentation of the trait says what it must do")),
    }
}
