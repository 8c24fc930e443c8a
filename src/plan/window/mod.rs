//! Windows of event time: `window(time, size[, slide[, start]])`, `window_time(window)` and `session_window(time, gap)`.
//!
//! A window is a struct `{start, end}`, the end exclusive. Tumbling windows are computed by the function itself, since every
//! time has one of them; the analyzer rule in `resolve` removes the rows without a time below the node that
//! calls it, and turns sliding windows into a row for each window. Windows carry the watermark of their time.

pub mod columns;
mod function;
mod pane;
mod resolve;
mod session;
mod types;
mod window_time;

use std::sync::Arc;

use datafusion::logical_expr::ScalarUDF;
use datafusion::prelude::SessionContext;

pub(super) use function::{as_window, windows_of};
pub(super) use pane::panes_of;
pub(super) use session::session_key;

/// Registers the functions and the rule that resolves them.
pub fn register(context: &SessionContext) {
    context.register_udf(ScalarUDF::new_from_impl(function::WindowFunction::new(false)));
    context.register_udf(ScalarUDF::new_from_impl(window_time::WindowTime::new()));
    session::register(context);
    context.add_analyzer_rule(Arc::new(resolve::ResolveTimeWindows));
}
