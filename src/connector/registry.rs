//! The connectors of a session, by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use datafusion::catalog::TableProvider;

use super::files::FileConnector;
use super::{Connector, ConnectorRequest, Role, cannot_be, plain};
use crate::error::{Error, Result};
use crate::options::{OptionReader, did_you_mean};
use crate::sink::Sink;
use crate::source::StreamProvider;

/// Connectors that come with a cargo feature: their names, and the feature.
const FEATURES: [(&str, &str); 3] = [("avro", "avro"), ("orc", "orc"), ("kafka", "kafka")];

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Connectors(BTreeMap<String, Arc<dyn Connector>>);

impl Default for Connectors {
    /// Those that come with Tidemill.
    fn default() -> Self {
        let mut connectors = Self(BTreeMap::new());
        plain::all().into_iter().chain(FileConnector::all()).for_each(|connector| connectors.put(connector));
        #[cfg(feature = "kafka")]
        connectors.put(Arc::new(super::kafka::Kafka));
        connectors
    }
}

impl Connectors {
    fn put(&mut self, connector: Arc<dyn Connector>) {
        self.0.insert(connector.name().to_ascii_lowercase(), connector);
    }

    /// Adds one.
    ///
    /// # Errors
    /// Its name is taken.
    pub fn register(&mut self, connector: Arc<dyn Connector>) -> Result<()> {
        let name = connector.name();
        if self.0.contains_key(&name.to_ascii_lowercase()) {
            return Err(Error::invalid("CONNECTOR_ALREADY_EXISTS", format!("there is a connector '{name}' already"))
                .with_help("give it another name"));
        }
        self.put(connector);
        Ok(())
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<dyn Connector>> {
        self.0.values()
    }

    /// The connector for `USING format` of a statement that makes something of this role.
    ///
    /// # Errors
    /// `DATA_SOURCE_NOT_FOUND`.
    pub fn find(&self, format: &str, role: Role) -> Result<&Arc<dyn Connector>> {
        let key = format.to_ascii_lowercase();
        match self.0.get(&key) {
            Some(connector) if connector.roles().contains(&role) => Ok(connector),
            Some(connector) => Err(cannot_be(connector.name(), role, connector.roles())),
            None => Err(self.unknown(&key, role)),
        }
    }

    fn unknown(&self, format: &str, role: Role) -> Error {
        let error = Error::invalid("DATA_SOURCE_NOT_FOUND", format!("there is no {role} format '{format}'"));
        if let Some((_, feature)) = FEATURES.iter().find(|(name, _)| *name == format) {
            return error.with_help(format!("build tidemill with the cargo feature '{feature}'"));
        }
        let names = || self.iter().filter(|c| c.roles().contains(&role)).map(|c| c.name());
        match did_you_mean(format, names()) {
            Some(near) => error.with_help(format!("did you mean '{near}'?")),
            None => error.with_help(format!("formats are: {}", names().collect::<Vec<_>>().join(", "))),
        }
    }

    /// The connector, once the options of the request fit what it declares.
    fn checked(&self, format: &str, role: Role, request: &ConnectorRequest<'_>) -> Result<&Arc<dyn Connector>> {
        let connector = self.find(format, role)?;
        let specs = connector.options(role);
        OptionReader::new(format!("the {} {}", connector.name(), role.noun()), request.options, &[&specs]).check()?;
        Ok(connector)
    }

    /// A stream of `format`.
    ///
    /// # Errors
    /// There is no such format; options or columns that do not fit it.
    pub async fn stream(&self, format: &str, request: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        self.checked(format, Role::Stream, &request)?.stream(request).await
    }

    /// A table of `format`.
    ///
    /// # Errors
    /// As [`Connectors::stream`]; there is nothing.
    pub async fn table(&self, format: &str, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        self.checked(format, Role::Table, &request)?.table(request).await
    }

    /// The table of what a sink of `format` writes.
    ///
    /// # Errors
    /// As [`Connectors::stream`].
    pub async fn table_of_sink(&self, format: &str, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        // Its options are those of the sink, which has checked them.
        self.find(format, Role::Table)?.table_of_sink(request).await
    }

    /// A sink of `format`.
    ///
    /// # Errors
    /// As [`Connectors::stream`].
    pub fn sink(&self, format: &str, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        self.checked(format, Role::Sink, &request)?.sink(request)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;
    use crate::options::Options;

    fn sink_error(format: &str, pairs: &[(&str, &str)]) -> Error {
        let (context, options) = (SessionContext::new(), Options::from_iter(pairs.iter().copied()));
        let request = ConnectorRequest { context: &context, name: "s", declared: None, options: &options };
        Connectors::default().sink(format, request).unwrap_err()
    }

    #[test]
    fn an_unknown_format_names_the_nearest() {
        let e = sink_error("parket", &[]);
        assert_eq!((e.condition(), e.help()), ("DATA_SOURCE_NOT_FOUND", Some("did you mean 'parquet'?")));
        let e = sink_error("socket", &[]);
        assert_eq!((e.condition(), e.help()), ("DATA_SOURCE_NOT_FOUND", Some("'socket' can be: stream")));
    }

    #[test]
    fn options_are_checked_when_an_object_is_made() {
        for (format, key) in [("console", "rows"), ("memory", "path"), ("noop", "x"), ("csv", "header")] {
            let e = sink_error(format, &[(key, "true")]);
            assert!(["UNKNOWN_OPTION", "MISSING_OPTION"].contains(&e.condition()), "{format}: {e}");
        }
        assert_eq!(sink_error("csv", &[("path", "x"), ("headr", "true")]).help(), Some("did you mean 'header'?"));
        assert_eq!(sink_error("csv", &[("path", "x"), ("header", "yes")]).condition(), "INVALID_OPTION");
    }

    #[test]
    fn names_and_options_are_one_each() {
        for connector in Connectors::default().iter() {
            assert!(!connector.help().is_empty() && !connector.roles().is_empty());
            for role in connector.roles() {
                let specs = connector.options(*role);
                for (i, spec) in specs.iter().enumerate() {
                    assert!(spec.help.ends_with('.'), "{}: {}", connector.name(), spec.name);
                    assert!(
                        !specs[..i].iter().any(|s| s.is_named(spec.name)),
                        "{} twice: {}",
                        connector.name(),
                        spec.name
                    );
                    assert!(
                        spec.default.is_none_or(|default| spec.takes(default)),
                        "{}: {}",
                        connector.name(),
                        spec.name
                    );
                }
            }
        }
    }
}
