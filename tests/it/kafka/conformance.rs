//! The conformance suites over topics.

use std::sync::{Arc, Mutex};

use tidemill::arrow::array::RecordBatch;
use tidemill::arrow::datatypes::{DataType, Field, Schema};
use tidemill::testing::sink::{self, TestedSink};
use tidemill::testing::source::{self, TestedSource};
use tidemill::{ConnectorRequest, Options, Result, Session, Sink, StreamProvider, async_trait};

use super::broker::{Broker, Out};

/// Topics, one for each clause of a suite. Of one partition: records of several have no order among them.
struct Topics(Mutex<Vec<String>>);

impl Topics {
    fn new(name: &str) -> Self {
        const CLAUSES: usize = 12;
        let names: Vec<_> = (0..CLAUSES).map(|n| format!("conformance-{name}-{n}")).collect();
        names.iter().for_each(|name| Broker::shared().create(name, 1, &[]));
        Self(Mutex::new(names))
    }

    fn next(&self) -> String {
        self.0.lock().unwrap().pop().expect("a topic for each clause")
    }
}

struct Records {
    topic: String,
    format: Option<&'static str>,
    sent: usize,
}

#[async_trait]
impl TestedSource for Records {
    async fn stream(&mut self) -> Result<Arc<dyn StreamProvider>> {
        let session = Session::new();
        let mut options = Options::from_iter([
            ("kafka.bootstrap.servers", Broker::shared().servers()),
            ("subscribe", self.topic.clone()),
            ("startingOffsets", "earliest".to_owned()),
        ]);
        let columns = self.format.map(|format| {
            options.set("value.format", format);
            Arc::new(Schema::new(vec![
                Field::new("n", DataType::Int64, true),
                Field::new("t", DataType::Utf8View, true),
            ]))
        });
        let request = ConnectorRequest { context: session.context(), name: "s", declared: columns, options: &options };
        session.connectors().stream("kafka", request).await
    }

    async fn add_rows(&mut self) -> Result<()> {
        self.sent += 1;
        let value = |i: usize| {
            let n = self.sent * 100 + i;
            match self.format {
                Some("csv") => format!("{n},row {n}"),
                _ => format!("{{\"n\":{n},\"t\":\"row {n}\"}}"),
            }
        };
        let records: Vec<_> = (0..10).map(|i| Out::value(0, value(i))).collect();
        let topic = self.topic.clone();
        tokio::task::spawn_blocking(move || Broker::shared().produce(&topic, &records)).await.unwrap();
        Ok(())
    }
}

#[test]
fn streams_of_topics_conform() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for format in [None, Some("json"), Some("csv")] {
        let topics = Topics::new(format.unwrap_or("records"));
        let made = source::conforms(|| Box::new(Records { topic: topics.next(), format, sent: 0 }));
        let made = runtime.block_on(made);
        made.unwrap_or_else(|e| panic!("{format:?}: {e}"));
    }
}

struct Output(String);

#[async_trait]
impl TestedSink for Output {
    async fn sink(&mut self) -> Result<Arc<dyn Sink>> {
        let session = Session::new();
        let options = Options::from_iter([
            ("kafka.bootstrap.servers", Broker::shared().servers()),
            ("topic", self.0.clone()),
            ("value.format", "json".to_owned()),
            // A query of its own for each clause.
            ("transactionalIdPrefix", self.0.clone()),
        ]);
        let request = ConnectorRequest { context: session.context(), name: "o", declared: None, options: &options };
        session.connectors().sink("kafka", request)
    }

    async fn visible(&mut self) -> Result<Option<Vec<RecordBatch>>> {
        // Brokers show what is committed a moment later.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        let session = Session::new();
        let (servers, topic) = (Broker::shared().servers(), &self.0);
        session
            .sql(&format!(
                "CREATE TABLE seen (n BIGINT) USING kafka OPTIONS (kafka.bootstrap.servers '{servers}', subscribe '{topic}',
                 kafka.isolation.level 'read_committed', value.format 'json')"
            ))
            .await?;
        Ok(Some(session.context().table("seen").await?.collect().await?))
    }
}

#[test]
fn sinks_of_topics_conform() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let topics = Topics::new("sink");
    runtime.block_on(sink::conforms(|| Box::new(Output(topics.next())))).unwrap();
}
