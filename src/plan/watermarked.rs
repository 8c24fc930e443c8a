//! A stream whose `CREATE STREAM` has a watermark: a view over the stream itself, and one with the stream's hidden columns.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::Result as DfResult;
use datafusion::datasource::ViewTable;
use datafusion::logical_expr::{Expr, LogicalPlan, TableType};
use datafusion::physical_plan::ExecutionPlan;
use futures::future::BoxFuture;

/// See the module.
#[derive(Debug)]
pub struct WatermarkedStream {
    view: ViewTable,
    with_hidden: Arc<ViewTable>,
}

impl WatermarkedStream {
    /// The view, and the same with the hidden columns behind the others.
    pub fn new(view: ViewTable, with_hidden: ViewTable) -> Self {
        Self { view, with_hidden: Arc::new(with_hidden) }
    }

    /// The view with the hidden columns behind the others.
    pub fn with_hidden(&self) -> &Arc<ViewTable> {
        &self.with_hidden
    }
}

#[async_trait]
impl TableProvider for WatermarkedStream {
    fn schema(&self) -> SchemaRef {
        self.view.schema()
    }

    fn table_type(&self) -> TableType {
        self.view.table_type()
    }

    fn get_table_definition(&self) -> Option<&str> {
        self.view.get_table_definition()
    }

    fn get_logical_plan(&self) -> Option<Cow<'_, LogicalPlan>> {
        self.view.get_logical_plan()
    }

    crate::send_sync::scan_by!(Self::scan_view);
}

impl WatermarkedStream {
    fn scan_view<'a>(
        &'a self,
        state: &'a dyn Session,
        projection: Option<&'a Vec<usize>>,
        filters: &'a [Expr],
        limit: Option<usize>,
    ) -> BoxFuture<'a, DfResult<Arc<dyn ExecutionPlan>>> {
        self.view.scan(state, projection, filters, limit)
    }
}
