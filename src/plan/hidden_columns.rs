//! Tables and streams of files with their hidden column `_metadata`, for the queries that name it.

use std::sync::Arc;

use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::TableSource;

use super::StreamTable;
pub use crate::source::METADATA;
use crate::source::table_with_hidden;

/// The same table with the column behind the others; `None` where rows do not come from files, or the name is taken.
pub fn with_hidden(source: &Arc<dyn TableSource>) -> Option<Arc<dyn TableSource>> {
    let provider = source_as_provider(source).ok()?;
    if let Some(stream) = provider.downcast_ref::<StreamTable>() {
        return Some(provider_as_source(Arc::new(stream.with_hidden()?)));
    }
    table_with_hidden(provider.as_ref()).map(provider_as_source)
}

/// Whether the table is a stream each of whose partitions holds watermarks by itself.
pub fn holds_by_partition(source: &Arc<dyn TableSource>) -> bool {
    let Ok(provider) = source_as_provider(source) else { return false };
    provider.downcast_ref::<StreamTable>().is_some_and(|stream| stream.provider().watermarks_by_partition())
}
