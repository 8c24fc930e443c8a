//! A session laid over another: a script is prepared in it, and the session below changes at once when the script is right.

use std::sync::Arc;

use parking_lot::Mutex;

use super::catalog::Catalog;
use super::conf::Settings;
use super::overlay::Overlay;
use super::{Session, Shared};
use crate::error::Result;
use crate::sql::ScriptText;

/// Names and settings of a script that are not the session's yet.
pub(super) struct Layer {
    /// What statements are prepared in.
    pub session: Session,
    tables: Arc<Overlay>,
    catalog_before: Catalog,
    settings_before: Settings,
}

impl Layer {
    /// An empty layer over `base`, for a script.
    pub(super) fn over(base: &Session, script: &ScriptText) -> Result<Self> {
        let (context, tables) = Overlay::context(base.context())?;
        let (catalog_before, settings_before) = (base.catalog().clone(), base.settings().clone());
        let shared = Shared {
            context,
            clock: base.0.clock.clone(),
            failpoints: base.0.failpoints.clone(),
            conf: Mutex::new(settings_before.clone()),
            catalog: Mutex::new(catalog_before.clone()),
            connectors: Mutex::new(base.connectors()),
            queries: base.0.queries.clone(),
            below: Some((base.downgrade(), tables.clone())),
            script: Some(script.clone()),
        };
        Ok(Self { session: Session(Arc::new(shared)), tables, catalog_before, settings_before })
    }

    /// Makes what the layer holds the session's own; `false`, and nothing happened, if another script has changed one of the
    /// same names since the layer was made.
    pub(super) fn commit(self, base: &Session) -> Result<bool> {
        let changes = self.session.catalog().changes_since(&self.catalog_before);
        let mut catalog = base.catalog();
        if catalog.differs_in(&self.catalog_before, &changes) {
            return Ok(false);
        }
        for (key, table) in self.tables.changes() {
            super::catalog::replace_table(base.context(), &key, table)?;
        }
        catalog.apply(changes);
        let mut settings = base.settings();
        settings.adopt(&self.session.settings(), &self.settings_before);
        settings.apply(base.context())?;
        Ok(true)
    }
}
