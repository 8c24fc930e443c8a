//! Tables and streams with their hidden columns, such as `_metadata`, for the queries that name them.

use std::sync::Arc;

use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::TableSource;

use super::{StreamTable, WatermarkedStream};
pub use crate::source::METADATA;
use crate::source::table_with_hidden;

/// The same table with the columns behind the others; `None` where there are none, or the name is taken.
pub fn with_hidden(source: &Arc<dyn TableSource>) -> Option<Arc<dyn TableSource>> {
    let provider = source_as_provider(source).ok()?;
    if let Some(stream) = provider.downcast_ref::<StreamTable>() {
        return Some(provider_as_source(Arc::new(stream.with_hidden()?)));
    }
    if let Some(stream) = provider.downcast_ref::<WatermarkedStream>() {
        return Some(provider_as_source(stream.with_hidden().clone()));
    }
    table_with_hidden(provider.as_ref()).map(provider_as_source)
}

/// Whether the table is a stream each of whose partitions holds watermarks by itself.
pub fn holds_by_partition(source: &Arc<dyn TableSource>) -> bool {
    let Ok(provider) = source_as_provider(source) else { return false };
    provider.downcast_ref::<StreamTable>().is_some_and(|stream| stream.provider().watermarks_by_partition())
}
