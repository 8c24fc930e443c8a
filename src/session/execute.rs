//! Running a script that is right, statement by statement.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::TableReference;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::DataFrame;

use super::Session;
use super::rows::RowSet;
use super::script::{Action, Script};
use super::start::Flow;
use crate::error::{Error, Result};
use crate::options::Options;
use crate::output_mode::OutputMode;
use crate::query::{StreamingQuery, StreamingQueryProgress, delivery};
use crate::sql::query::PlannedQuery;
use crate::sql::statement::{Name, ObjectKind};
use crate::trigger::{Delivery, Trigger};

/// What a statement gave.
#[derive(Debug)]
pub enum StatementResult {
    /// It did something, and has nothing to show.
    Nothing,
    /// It started a query.
    Query(StreamingQuery),
    /// Rows.
    Rows(RowSet),
    /// Text for people.
    Text(String),
}

impl Session {
    /// Runs a prepared script; `each` gets what every statement gave, in order and at once.
    ///
    /// # Errors
    /// That of the first statement that failed. The queries that the script had started are stopped.
    pub async fn execute(&self, script: Script, mut each: impl FnMut(StatementResult)) -> Result<()> {
        let mut started: Vec<StreamingQuery> = vec![];
        for action in script.actions {
            match self.execute_action(action).await {
                Ok(result) => {
                    if let StatementResult::Query(query) = &result {
                        started.push(query.clone());
                    }
                    each(result);
                }
                Err(e) => {
                    for query in &started {
                        query.stop().await?;
                    }
                    return Err(e);
                }
            }
        }
        Ok(())
    }

    /// Runs a prepared script but for its flows, which are handed over instead of started, with whether they print. What
    /// waits for a flow or stops one is left out.
    ///
    /// # Errors
    /// That of the first statement that failed.
    #[cfg(feature = "cli")]
    pub(crate) async fn execute_all_but_flows(&self, script: Script) -> Result<Vec<(crate::query::QuerySpec, bool)>> {
        let mut flows = vec![];
        for action in script.actions {
            match action {
                Action::Start { flow, .. } => flows.push((flow.spec.clone(), flow.prints)),
                Action::Await { .. } | Action::Stop { .. } => {}
                other => drop(self.execute_action(other).await?),
            }
        }
        Ok(flows)
    }

    async fn execute_action(&self, action: Action) -> Result<StatementResult> {
        Ok(match action {
            Action::Nothing => StatementResult::Nothing,
            Action::Start { flow, place } => {
                self.wait_for_fillers(&flow.reads, Some(&flow), place).await?;
                let query = self.start_flow(&flow).await.map_err(|e| e.with_span(place))?;
                StatementResult::Query(query)
            }
            Action::Query { planned, reads, place } => {
                self.wait_for_fillers(&reads, None, Some(place)).await?;
                StatementResult::Rows(self.collect(planned).await.map_err(|e| e.with_span(place))?)
            }
            Action::Await { name, timeout } => {
                self.await_flow(&name, timeout).await.map(|()| StatementResult::Nothing)?
            }
            Action::Insert(insert) => self.run_insert(insert).await.map(|()| StatementResult::Nothing)?,
            Action::Text(text) => StatementResult::Text(text),
            Action::Table(names, rows) => StatementResult::Rows(text_rows(&names, &rows)?),
            Action::Show(kind) => StatementResult::Rows(self.show(kind)?),
            Action::DescribeFlow(name) => StatementResult::Rows(self.describe_flow(&name)?),
            Action::ExplainFlow { name, extended } => StatementResult::Text(self.explain_flow(&name, extended).await?),
            Action::ExplainWaiting(name) => StatementResult::Text(self.explain_waiting(&name)?),
            Action::Stop { name, forget } => self.stop_flow(&name, forget).await.map(|()| StatementResult::Nothing)?,
        })
    }

    /// Starts a flow; a running one of the same name, which it replaces, is stopped first.
    async fn start_flow(&self, flow: &Arc<Flow>) -> Result<StreamingQuery> {
        if let Some(old) = self.streams().get_by_name(flow.name()) {
            old.stop().await?;
        }
        self.label_flows();
        self.start(flow).await
    }

    /// Runs a query that ends.
    pub(super) async fn collect(&self, planned: PlannedQuery) -> Result<RowSet> {
        let schema = planned.plan.schema().inner().clone();
        let batches = DataFrame::new(self.context().state(), planned.plan).collect().await?;
        RowSet::new(&schema, &planned.names, batches)
    }

    async fn stop_flow(&self, name: &Name, forget: bool) -> Result<()> {
        let flow = self.existing_flow(name)?;
        if let Some(query) = self.streams().get_by_name(flow.name()) {
            query.stop().await?;
        }
        if forget {
            self.catalog().remove_flow(&name.key());
        }
        Ok(())
    }

    async fn explain_flow(&self, name: &Name, extended: bool) -> Result<String> {
        let flow = self.existing_flow(name)?;
        let plan = match self.streams().get_by_name(flow.name()) {
            Some(query) => query.explain(extended).to_string(),
            None => self.explain(&flow.spec.plan, flow.spec.output_mode, extended).await?,
        };
        Ok(match Self::delivery_of(&flow) {
            Some(delivery) => format!("trigger: {}\ndelivery: {delivery}\n\n{plan}", flow.spec.trigger),
            None => plan,
        })
    }

    /// What a crash may do to the output of a flow that hands rows over as they arrive, in words.
    fn delivery_of(flow: &Flow) -> Option<String> {
        let Trigger::Continuous(every) = flow.spec.trigger else { return None };
        let delivery = delivery(&flow.spec.conf, &Options::new());
        let ms = every.as_millis();
        Some(match delivery {
            Delivery::ExactlyOnce => {
                format!("{delivery}: output waits until its record is durable; offsets are committed every {ms} ms")
            }
            Delivery::AtLeastOnce => format!(
                "{delivery}: output waits for nothing; its record is durable, and offsets are committed, every {ms} ms"
            ),
        })
    }

    fn explain_waiting(&self, name: &Name) -> Result<String> {
        let flow = self.existing_flow(name)?;
        let Some(query) = self.streams().get_by_name(flow.name()) else {
            return Err(Error::invalid("FLOW_NOT_RUNNING", format!("flow '{}' does not run", flow.name()))
                .with_span(name.span)
                .with_help("EXPLAIN WAITING is about a flow that runs; EXPLAIN FLOW shows what bounds its state"));
        };
        Ok(match query.last_progress() {
            None => format!("flow '{}' has not run a batch yet", flow.name()),
            Some(p) => match &p.waiting {
                Some(waiting) => waiting.to_text(),
                None => format!("flow '{}' has no watermark: nothing waits for one", flow.name()),
            },
        })
    }

    /// Plans of a query that does not run; a query over static tables has no output mode.
    pub(super) async fn explain(&self, plan: &LogicalPlan, mode: OutputMode, extended: bool) -> Result<String> {
        if crate::plan::is_streaming(plan) {
            let prepared = crate::plan::prepare(&self.context().state(), plan, mode).await?;
            return Ok(prepared.plan.explain(extended));
        }
        let frame = DataFrame::new(self.context().state(), plan.clone());
        let physical = frame.create_physical_plan().await?;
        let physical = datafusion::physical_plan::displayable(physical.as_ref()).indent(false).to_string();
        let logical = plan.display_indent();
        Ok(crate::plan::display::as_sql(&match extended {
            true => format!("== Logical Plan ==\n{logical}\n\n== Physical Plan ==\n{physical}"),
            false => format!("== Physical Plan ==\n{physical}"),
        }))
    }

    /// What every flow of the script is, without starting one.
    ///
    /// # Errors
    /// A plan that cannot be made.
    pub async fn explain_script(&self, script: &Script, extended: bool) -> Result<Vec<(String, String)>> {
        let mut texts = vec![];
        for action in &script.actions {
            match action {
                Action::Start { flow, .. } => {
                    let text = self.explain(&flow.spec.plan, flow.spec.output_mode, extended).await?;
                    texts.push((format!("flow {}: {} to {}", flow.name(), flow.spec.output_mode, flow.target), text));
                }
                Action::Query { planned, .. } => {
                    let text = self.explain(&planned.plan, OutputMode::Append, extended).await?;
                    texts.push(("query".to_owned(), text));
                }
                _ => {}
            }
        }
        Ok(texts)
    }

    fn show(&self, kind: ObjectKind) -> Result<RowSet> {
        let catalog = self.catalog();
        if kind == ObjectKind::Flow {
            let rows: Vec<_> = catalog.flows().map(|f| self.flow_row(f)).collect();
            return text_rows(&["name", "status", "outputMode", "trigger", "target"], &rows);
        }
        let text = |o: &Option<String>| o.clone().unwrap_or_default();
        let rows: Vec<_> =
            catalog.relations_of(kind).map(|o| vec![o.name.clone(), o.format.clone(), text(&o.comment)]).collect();
        text_rows(&["name", "format", "comment"], &rows)
    }

    fn flow_row(&self, flow: &Flow) -> Vec<String> {
        let (mode, trigger) = (flow.spec.output_mode.to_string(), flow.spec.trigger.to_string());
        vec![flow.name().to_owned(), self.flow_status(flow), mode, trigger, flow.target.clone()]
    }

    fn flow_status(&self, flow: &Flow) -> String {
        if !flow.was_started() {
            return "not started".into();
        }
        if let Some(query) = self.streams().get_by_name(flow.name()) {
            return query.status().message;
        }
        match flow.last_run().and_then(|run| run.exception()) {
            Some(e) => format!("failed: {}", e.condition()),
            None => "ended".into(),
        }
    }

    fn describe_flow(&self, name: &Name) -> Result<RowSet> {
        let flow = self.existing_flow(name)?;
        let mut rows: Vec<Vec<String>> = [
            ("name", flow.name().to_owned()),
            ("status", self.flow_status(&flow)),
            ("target", flow.target.clone()),
            ("outputMode", flow.spec.output_mode.to_string()),
            ("trigger", flow.spec.trigger.to_string()),
            (
                "checkpoint",
                flow.spec.checkpoint.as_ref().map_or_else(|| "temporary".into(), |p| p.display().to_string()),
            ),
            ("comment", flow.comment.clone().unwrap_or_default()),
            ("query", flow.spec.text.clone()),
        ]
        .into_iter()
        .map(|(k, v)| vec![k.to_owned(), v])
        .collect();
        if let Some(delivery) = Self::delivery_of(&flow) {
            rows.insert(5, vec!["delivery".into(), delivery]);
        }
        if let Some(query) = self.streams().get_by_name(flow.name()) {
            rows.push(vec!["id".into(), query.id().to_string()]);
            rows.push(vec!["runId".into(), query.run_id().to_string()]);
            let last = query.last_progress();
            rows.extend(last.iter().flat_map(|p| last_batch(p)).map(|(k, v)| vec![k.to_owned(), v]));
        }
        text_rows(&["property", "value"], &rows)
    }

    /// Columns of a table, stream or view; options of a sink.
    pub(super) async fn describe_relation(&self, name: &Name) -> Result<Action> {
        let object = self.catalog().relation(&name.key()).cloned();
        let object = object.ok_or_else(|| self.catalog().not_found(ObjectKind::Table, name))?;
        let header = vec!["col_name", "data_type", "comment"];
        let mut rows = vec![];
        if object.kind != ObjectKind::Sink || object.sink.is_some() {
            let table = self.context().table_provider(TableReference::bare(name.key())).await?;
            let column =
                |f: &Arc<Field>| vec![f.name().clone(), crate::type_name::type_name(f.data_type()), String::new()];
            rows.extend(table.schema().fields().iter().map(column));
        }
        rows.push(vec!["# kind".into(), object.kind.name().into(), object.comment.unwrap_or_default()]);
        if !object.format.is_empty() {
            rows.push(vec!["# format".into(), object.format, String::new()]);
        }
        rows.extend(object.options.display().map(|(k, v)| vec![format!("# option {k}"), v.to_owned(), String::new()]));
        rows.extend(object.query.map(|q| vec!["# query".into(), q, String::new()]));
        Ok(Action::Table(header, rows))
    }
}

/// What a flow's last batch was, in words.
fn last_batch(progress: &StreamingQueryProgress) -> Vec<(&'static str, String)> {
    let watermark = progress.event_time.get("watermark").and_then(|w| w.as_str());
    let state: u64 = progress.state_operators.iter().map(|o| o.num_rows_total).sum();
    let mut rows = vec![
        ("lastBatch", progress.batch_id.to_string()),
        ("lastBatchTime", progress.timestamp.clone()),
        ("lastBatchRows", progress.num_input_rows.to_string()),
        ("stateRows", state.to_string()),
    ];
    rows.extend(watermark.map(|w| ("watermark", w.to_owned())));
    rows
}

/// Rows of text.
fn text_rows(names: &[&str], rows: &[Vec<String>]) -> Result<RowSet> {
    let schema = Schema::new(names.iter().map(|n| Field::new(*n, DataType::Utf8, true)).collect::<Vec<_>>());
    let column =
        |i: usize| -> ArrayRef { Arc::new(rows.iter().map(|r| r.get(i).map(String::as_str)).collect::<StringArray>()) };
    let columns = (0..names.len()).map(column).collect();
    let batch = RecordBatch::try_new(Arc::new(schema.clone()), columns).map_err(Error::from)?;
    let names: Vec<_> = names.iter().map(|n| (*n).to_owned()).collect();
    Ok(RowSet::new(&schema, &names, vec![batch])?.in_full())
}
