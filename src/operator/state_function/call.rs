//! Calling the user's code: its errors and panics fail the batch, under Spark's name for that.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// Whose code is called.
#[derive(Debug, Clone, Copy)]
pub struct Caller {
    /// Spark's condition for its failures.
    pub condition: &'static str,
    /// Spark's name of the operator.
    pub operator: &'static str,
}

impl Caller {
    /// Calls `function`; what fails in it is an error of the user's function.
    pub fn call<T>(self, function: impl FnOnce() -> Result<T>) -> Result<T> {
        // What a function leaves behind when it panics is dropped with the batch.
        match catch_unwind(AssertUnwindSafe(function)) {
            Ok(Ok(given)) => Ok(given),
            Ok(Err(e)) => Err(self.failed(&format!("[{}] {}", e.condition(), e.message()), e.help())),
            Err(panic) => Err(self.failed(&format!("it panicked: {}", text_of(panic.as_ref())), None)),
        }
    }

    fn failed(self, reason: &str, help: Option<&str>) -> Error {
        let operator = self.operator;
        let message = format!("an error occurred in the user provided function in {operator}. Reason: {reason}");
        let mend = "the state is as before the batch: mend the function and restart from the checkpoint";
        Error::execution(self.condition, message).with_help(help.unwrap_or(mend))
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
