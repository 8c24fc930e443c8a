//! Names laid over those of a session: what a script makes before it is known to be right, and what one batch sees.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{
    CatalogProvider, CatalogProviderList, MemoryCatalogProvider, MemoryCatalogProviderList, SchemaProvider,
    TableProvider,
};
use datafusion::error::Result as DataFusionResult;
use datafusion::prelude::SessionContext;
use parking_lot::{Mutex, MutexGuard};

use super::catalog::NamedTable;
use crate::error::{Error, Result};

/// The tables of a session, behind tables of its own.
#[derive(Debug)]
pub(super) struct Overlay {
    base: Arc<dyn SchemaProvider>,
    /// By name; `None` for one that was taken away.
    own: Mutex<BTreeMap<String, Option<NamedTable>>>,
}

impl Overlay {
    /// A copy of the DataFusion session whose changes of tables and settings are its own.
    pub(super) fn context(session: &SessionContext) -> Result<(SessionContext, Arc<Self>)> {
        let mut state = session.state();
        let names = state.config_options().catalog.clone();
        let below = state.catalog_list().clone();
        let missing = || Error::internal("the session has no default schema");
        let default = below.catalog(&names.default_catalog).ok_or_else(missing)?;
        let base = default.schema(&names.default_schema).ok_or_else(missing)?;
        let overlay = Arc::new(Self { base, own: Mutex::default() });
        let catalog = MemoryCatalogProvider::new();
        for name in default.schema_names() {
            if let Some(schema) = default.schema(&name) {
                catalog.register_schema(&name, schema)?;
            }
        }
        catalog.register_schema(&names.default_schema, overlay.clone())?;
        let list = MemoryCatalogProviderList::new();
        for name in below.catalog_names() {
            if let Some(other) = below.catalog(&name) {
                list.register_catalog(name, other);
            }
        }
        list.register_catalog(names.default_catalog, Arc::new(catalog));
        // A state that is built anew would give functions their names in another order, DataFusion's before ours.
        state.register_catalog_list(Arc::new(list));
        Ok((SessionContext::new_with_state(state), overlay))
    }

    /// Names a table, or with `None` takes the name away.
    pub(super) fn set(&self, name: &str, table: Option<NamedTable>) {
        self.own().insert(name.to_owned(), table);
    }

    /// What differs from the session below.
    pub(super) fn changes(&self) -> BTreeMap<String, Option<NamedTable>> {
        self.own().clone()
    }

    fn own(&self) -> MutexGuard<'_, BTreeMap<String, Option<NamedTable>>> {
        self.own.lock()
    }
}

#[async_trait]
impl SchemaProvider for Overlay {
    fn table_names(&self) -> Vec<String> {
        let own = self.own();
        let below = self.base.table_names().into_iter().filter(|n| !own.contains_key(n));
        below.chain(own.iter().filter(|(_, t)| t.is_some()).map(|(n, _)| n.clone())).collect()
    }

    async fn table(&self, name: &str) -> DataFusionResult<Option<Arc<dyn TableProvider>>> {
        let own = self.own().get(name).cloned();
        match own {
            Some(own) => Ok(own),
            None => self.base.table(name).await,
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.own().get(name).map_or_else(|| self.base.table_exist(name), Option::is_some)
    }
}
