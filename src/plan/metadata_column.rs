//! Tables and streams of files with their hidden column `_metadata`, for the queries that name it.

use std::sync::Arc;

use datafusion::datasource::{provider_as_source, source_as_provider};
use datafusion::logical_expr::TableSource;

use super::StreamTable;
pub use crate::source::METADATA;
use crate::source::table_with_metadata;

/// The same table with the column behind the others; `None` where rows do not come from files, or the name is taken.
pub fn with_metadata(source: &Arc<dyn TableSource>) -> Option<Arc<dyn TableSource>> {
    let provider = source_as_provider(source).ok()?;
    if let Some(stream) = provider.downcast_ref::<StreamTable>() {
        return Some(provider_as_source(Arc::new(stream.with_metadata()?)));
    }
    table_with_metadata(provider.as_ref()).map(provider_as_source)
}
