//! `transformWithState`: a processor with named state variables and timers for each key.

mod context;
mod function;
mod handle;
mod list;
mod map;
mod value_state;
mod variable;

pub use function::{Initial, ProcessorFunction, WithInitialState, WithoutInitialState};
pub use handle::{QueryInfo, StatefulProcessorHandle, TimerValues};
pub use list::ListState;
pub use map::MapState;
pub use value_state::ValueState;

use serde::de::DeserializeOwned;

use super::rows::{GroupRows, OutputRows};
use crate::error::Result;

/// A program that keeps state for each key (Spark's `StatefulProcessor`).
///
/// State variables are made in [`init`](Self::init) and kept in fields: they always mean the key that the processor is
/// called for. Every query calls a clone of the processor of its own; what is in other fields is neither kept by the
/// checkpoint nor taken back when a batch fails.
pub trait StatefulProcessor: Clone + Send + Sync + 'static {
    /// The key: the value of its column, or a struct or tuple of its columns.
    type Key: DeserializeOwned + 'static;
    /// The rows of a key: [`Rows`](super::rows::Rows) of a type of your own, or a record batch.
    type Input: GroupRows;
    /// What a call gives: a `Vec` of rows, or a record batch.
    type Output: OutputRows;

    /// Makes the state variables. Called once, before the first batch of a run.
    ///
    /// # Errors
    /// What the handle gives for variables that cannot be, or an error of your own: the query does not start.
    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()>;

    /// A key has rows in this batch.
    ///
    /// # Errors
    /// Any error fails the batch, and the state is as before it.
    fn handle_input_rows(
        &mut self,
        handle: &StatefulProcessorHandle,
        key: &Self::Key,
        rows: Self::Input,
        timer_values: &TimerValues,
    ) -> Result<Self::Output>;

    /// The timer of a key at `expiry_ms` has fired: after the rows of the batch, once for each timer, which is gone
    /// then. Gives nothing unless implemented.
    ///
    /// # Errors
    /// Any error fails the batch, and the state is as before it.
    fn handle_expired_timer(
        &mut self,
        handle: &StatefulProcessorHandle,
        key: &Self::Key,
        timer_values: &TimerValues,
        expiry_ms: i64,
    ) -> Result<Self::Output> {
        let _ = (handle, key, timer_values, expiry_ms);
        Ok(Self::Output::none())
    }

    /// The query ends.
    fn close(&mut self) {}
}

/// A processor whose keys can begin with state from a batch query (Spark's `StatefulProcessorWithInitialState`).
pub trait StatefulProcessorWithInitialState: StatefulProcessor {
    /// The state of a key: the value of the column beside the keys, or a struct or tuple of several.
    type Initial: DeserializeOwned + 'static;

    /// Puts the state that a key begins with; called before all else in the first batch, once for each key.
    ///
    /// # Errors
    /// Any error fails the batch.
    fn handle_initial_state(
        &mut self,
        handle: &StatefulProcessorHandle,
        key: &Self::Key,
        initial: Self::Initial,
        timer_values: &TimerValues,
    ) -> Result<()>;
}
