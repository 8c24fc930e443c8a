//! Connectors of a program's own are as those that come with Tidemill; and what the command line lists of them all.

use std::sync::Arc;

use serde_json::Value;
use tidemill::arrow::datatypes::{DataType, Field, Schema};
use tidemill::datafusion::catalog::TableProvider;
use tidemill::datafusion::datasource::MemTable;
use tidemill::prelude::*;
use tidemill::{
    Connector, ConnectorRequest, MemorySink, MemoryStream, OptionSpec, OptionType, Role, Sink, StreamProvider,
    async_trait,
};

use super::process::run_to_end;

/// A shelf holds rows of numbers: it can be read as it is, read as it grows, and added to.
#[derive(Debug, Default)]
struct Shelf {
    stream: std::sync::Mutex<Option<MemoryStream>>,
}

#[async_trait]
impl Connector for Shelf {
    fn name(&self) -> &'static str {
        "shelf"
    }

    fn help(&self) -> &'static str {
        "Rows on a shelf."
    }

    fn roles(&self) -> &'static [Role] {
        &Role::ALL
    }

    fn options(&self, role: Role) -> Vec<OptionSpec> {
        let mut options = vec![OptionSpec::new("board", OptionType::Whole(1, 9), "Which board.").required()];
        if role == Role::Sink {
            options.push(OptionSpec::new("key", OptionType::Secret, "What opens it."));
        }
        options
    }

    fn has_one_writer(&self) -> bool {
        true
    }

    async fn stream(&self, _: ConnectorRequest<'_>) -> Result<Arc<dyn StreamProvider>> {
        let schema = Arc::new(Schema::new(vec![Field::new("n", DataType::Int64, true)]));
        let stream = MemoryStream::new(schema);
        *self.stream.lock().unwrap() = Some(stream.clone());
        Ok(Arc::new(stream))
    }

    async fn table(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn TableProvider>> {
        let columns = request.declared.expect("columns");
        Ok(Arc::new(MemTable::try_new(columns, vec![vec![]])?))
    }

    fn sink(&self, request: ConnectorRequest<'_>) -> Result<Arc<dyn Sink>> {
        assert_eq!(request.options.get("BOARD"), Some("3"));
        Ok(Arc::new(MemorySink::new(request.name)))
    }
}

async fn refused(session: &Session, sql: &str) -> (String, String) {
    let e = session.sql(sql).await.unwrap_err();
    (e.condition().to_owned(), format!("{} / {}", e.message(), e.help().unwrap_or_default()))
}

#[tokio::test]
async fn a_connector_of_a_program_is_as_any_other() -> Result<()> {
    let session = Session::new();
    let shelf = Arc::new(Shelf::default());
    session.register_connector(shelf.clone())?;
    let taken = session.register_connector(Arc::new(Shelf::default())).unwrap_err();
    assert_eq!(taken.condition(), "CONNECTOR_ALREADY_EXISTS");

    let (condition, text) = refused(&session, "CREATE STREAM s USING shelf OPTIONS (bord 3)").await;
    assert_eq!(condition, "MISSING_OPTION");
    assert!(text.contains("did you mean 'board'"), "{text}");
    assert_eq!(refused(&session, "CREATE STREAM s USING shelf OPTIONS (board 12)").await.0, "INVALID_OPTION");
    assert_eq!(refused(&session, "CREATE STREAM s USING shelf OPTIONS (board 3, key 'k')").await.0, "UNKNOWN_OPTION");
    let (condition, text) = refused(&session, "CREATE STREAM s USING shlf OPTIONS (board 3)").await;
    assert_eq!(condition, "DATA_SOURCE_NOT_FOUND");
    assert!(text.contains("did you mean 'shelf'"), "{text}");

    session
        .sql(
            "CREATE STREAM s USING shelf OPTIONS (board 3, watermark.idleTimeout '1 minute');
             CREATE TABLE names (n BIGINT, name STRING) USING shelf OPTIONS (board 3, refresh '1 minute');
             CREATE SINK out USING shelf OPTIONS (board 3, key 'hunter2');
             CREATE FLOW f AS INSERT INTO out SELECT n * 2 AS n FROM s;",
        )
        .await?;
    let (condition, text) = refused(&session, "CREATE FLOW g AS INSERT INTO out SELECT n FROM s").await;
    assert_eq!(condition, "CONCURRENT_STREAM_WRITE", "{text}");

    let rows = session.context().sql("SELECT 21 AS n").await?.collect().await?;
    let stream = shelf.stream.lock().unwrap().clone().expect("the stream was made");
    stream.add_data(rows[0].clone())?;
    let flow = session.streams().get_by_name("f").expect("it runs");
    flow.process_all_available().await?;
    // A sink that can be read is a table of its own name.
    let seen = session.context().sql("SELECT n FROM out").await?.collect().await?;
    assert_eq!(tidemill::arrow::util::pretty::pretty_format_batches(&seen)?.to_string().lines().nth(3), Some("| 42 |"));
    session.stop_all().await
}

#[test]
fn what_there_is_can_be_listed() {
    let listed = |words: &[&str]| {
        let ended = run_to_end(["list"].iter().chain(words).copied());
        ended.assert_code(0).stdout.clone()
    };
    let sinks = listed(&["sinks"]);
    assert!(sinks.contains("console") && sinks.contains("parquet") && !sinks.contains("socket"), "{sinks}");
    assert!(listed(&["sources", "socket"]).contains("maxLineLength"));
    let formats: Value = serde_json::from_str(&listed(&["formats", "--json"])).unwrap();
    let csv = formats.as_array().unwrap().iter().find(|f| f["name"] == "csv").unwrap();
    let options = csv["roles"]["stream"]["options"].as_array().unwrap();
    let header = options.iter().find(|o| o["name"] == "header").unwrap();
    assert_eq!((&header["type"], &header["default"]), (&Value::from("true or false"), &Value::from("false")));
    let functions: Value = serde_json::from_str(&listed(&["functions", "--json"])).unwrap();
    assert!(functions.as_array().unwrap().len() > 400);
    let ended = run_to_end(["list", "sinks", "parket"]);
    ended.assert_code(2);
    assert!(ended.stderr.contains("did you mean 'parquet'?"), "{}", ended.stderr);
}
