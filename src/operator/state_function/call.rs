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
        self.guard(function)?.map_err(|e| e.in_user_function(self.condition, self.operator))
    }

    /// Calls `function`; only its panics are errors of the user's function.
    pub fn guard<T>(self, function: impl FnOnce() -> T) -> Result<T> {
        // What a function leaves behind when it panics is dropped with the batch.
        catch_unwind(AssertUnwindSafe(function)).map_err(|panic| {
            let panicked = format!("it panicked: {}", text_of(panic.as_ref()));
            Error::execution("USER_FUNCTION_PANIC", panicked)
                .with_help("return an error where the function cannot go on; RUST_BACKTRACE=1 shows where it panicked")
                .in_user_function(self.condition, self.operator)
        })
    }
}

fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
