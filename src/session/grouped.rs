//! Functions with state over the groups of a stream, as Spark's `KeyValueGroupedDataset` has them.

use std::marker::PhantomData;
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema, SchemaRef};
use datafusion::common::{DFSchema, DFSchemaRef};
use datafusion::logical_expr::expr_rewriter::normalize_cols;
use datafusion::logical_expr::{Expr, ExprSchemable, LogicalPlan, cast};
use datafusion::prelude::DataFrame;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
use crate::operator::state_function::group_state::{GroupState, GroupStateTimeout, GroupsFunction};
use crate::operator::state_function::processor::{
    Initial, ProcessorFunction, StatefulProcessor, WithInitialState, WithoutInitialState,
};
use crate::operator::state_function::rows::{GroupRows, OutputRows};
use crate::operator::state_function::{
    FunctionContext, FunctionKind, FunctionTemplate, InitialState, StateFunction, TimeMode,
};
use crate::output_mode::OutputMode;
use crate::plan::state_function::{Function, StateFunctionNode};
use crate::plan::watermark::{WATERMARK_KEY, event_time_columns, watermark_delay_ms};
use crate::plan::{is_streaming, mentions_stream};
use crate::type_name::sql_type_name;

/// A stream grouped by keys, for functions that keep state for each key.
///
/// Their keys are the value of the key's column, or a tuple or struct of several; a row is a struct by the names of the
/// columns, or a tuple in their order; columns that may be NULL are `Option`s. State is kept in the checkpoint as
/// MessagePack with the names of fields, so that its type may get fields with `#[serde(default)]` and lose others.
#[derive(Debug, Clone)]
pub struct GroupedByKey<I = WithoutInitialState> {
    frame: DataFrame,
    keys: Vec<Expr>,
    initial: Option<InitialState>,
    event_time: Option<String>,
    kind: PhantomData<fn() -> I>,
}

/// The columns that a function gives: a [`Schema`], or Spark's text `user STRING, n BIGINT`.
#[derive(Debug, Clone)]
pub struct Columns(Given);

#[derive(Debug, Clone)]
enum Given {
    Text(String),
    Schema(SchemaRef),
}

impl From<&str> for Columns {
    fn from(text: &str) -> Self {
        Self(Given::Text(text.to_owned()))
    }
}

impl From<Schema> for Columns {
    fn from(schema: Schema) -> Self {
        Self(Given::Schema(schema.into()))
    }
}

impl From<SchemaRef> for Columns {
    fn from(schema: SchemaRef) -> Self {
        Self(Given::Schema(schema))
    }
}

impl Columns {
    fn schema(self) -> Result<SchemaRef> {
        match self.0 {
            Given::Text(text) => crate::sql::query::parse_columns(&text).map(Arc::new),
            Given::Schema(schema) => Ok(schema),
        }
    }
}

impl GroupedByKey {
    pub(super) fn try_new(frame: DataFrame, keys: Vec<Expr>) -> Result<Self> {
        if keys.is_empty() {
            return Err(Error::invalid("INVALID_QUERY", "group_by_key() has no keys")
                .with_help("group by a constant if all rows are of one group: .group_by_key([lit(1)])"));
        }
        let keys = normalize_cols(keys, frame.logical_plan())?;
        for key in &keys {
            key.get_type(frame.schema())?;
        }
        Ok(Self { frame, keys, initial: None, event_time: None, kind: PhantomData })
    }

    /// Lets keys begin with state: the rows of a batch query, grouped by the same keys, of which the other columns are the
    /// state. In the first batch they are put before all else; the function is called for each of their keys, without rows
    /// if there are none.
    ///
    /// # Errors
    /// `initial` is a stream, or its keys are not as many as those of this one, or of other types.
    pub fn with_initial_state(self, initial: GroupedByKey) -> Result<GroupedByKey<WithInitialState>> {
        if mentions_stream(initial.frame.logical_plan()) {
            let message = "Non-streaming DataFrame/Dataset is not supported as the initial state in [flatMap|map]GroupsWithState operation on a streaming DataFrame/Dataset: it is a stream";
            return Err(Error::unsupported("UNSUPPORTED_STREAMING_OPERATION", message)
                .with_help("state to begin with comes from tables"));
        }
        let initial = self.initial_rows(initial)?;
        let Self { frame, keys, event_time, .. } = self;
        Ok(GroupedByKey { frame, keys, initial: Some(initial), event_time, kind: PhantomData })
    }

    fn initial_rows(&self, initial: GroupedByKey) -> Result<InitialState> {
        let types = |g: &GroupedByKey| -> Result<Vec<DataType>> {
            Ok(g.keys.iter().map(|k| k.get_type(g.frame.schema())).collect::<Result<_, _>>()?)
        };
        let (expected, given) = (types(self)?, types(&initial)?);
        if expected.len() != given.len() {
            let message = format!("the initial state has {} keys, the stream has {}", given.len(), expected.len());
            return Err(Error::invalid("INVALID_QUERY", message).with_help("group both by the same columns"));
        }
        let columns = initial.frame.schema().columns().into_iter().map(Expr::Column);
        let values: Vec<Expr> = columns.filter(|c| !initial.keys.contains(c)).collect();
        let keys = initial.keys.iter().zip(expected).enumerate();
        let keys = keys.map(|(i, (key, t))| cast(key.clone().unalias(), t).alias(format!("__key_{i}")));
        let num_keys = initial.keys.len();
        let frame = initial.frame.clone().select(keys.chain(values).collect::<Vec<_>>())?;
        Ok(InitialState { frame, num_keys })
    }
}

impl<I: 'static> GroupedByKey<I> {
    /// Names the column of the result that is its event time, for operators that come after
    /// [`transform_with_state`](Self::transform_with_state). Rows older than the watermark then fail the query.
    #[must_use]
    pub fn event_time_column(mut self, name: impl Into<String>) -> Self {
        self.event_time = Some(name.into());
        self
    }

    /// Calls `function` for every key with rows in a batch, and for those that time out: Spark's `mapGroupsWithState`, in
    /// update mode. Each call gives one row.
    ///
    /// # Errors
    /// `columns` is no list of columns. Anything else is found when the query starts, or fails it.
    pub fn map_groups_with_state<K, R, S, T, F>(
        self,
        columns: impl Into<Columns>,
        timeout: GroupStateTimeout,
        function: F,
    ) -> Result<DataFrame>
    where
        K: DeserializeOwned + 'static,
        R: GroupRows,
        S: Serialize + DeserializeOwned + 'static,
        T: Serialize + 'static,
        F: Fn(K, R, &mut GroupState<S>) -> Result<T> + Send + Sync + 'static,
    {
        let function = move |key: K, rows: R, state: &mut GroupState<S>| function(key, rows, state).map(Some);
        self.groups_function(columns.into(), FunctionKind::MapGroups, timeout, function)
    }

    /// Calls `function` for every key with rows in a batch, and for those that time out: Spark's
    /// `flatMapGroupsWithState`. `output_mode` says what its rows mean, append or update.
    ///
    /// ```
    /// # fn main() -> tidemill::Result<()> { run() }
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn run() -> tidemill::Result<()> {
    /// use tidemill::prelude::*;
    ///
    /// let session = Session::new();
    /// session.sql("CREATE STREAM words (word STRING) USING memory").await?;
    /// let words = session.read_stream().table("words").await?;
    /// let counts = words.group_by_key([col("word")])?.flat_map_groups_with_state(
    ///     "word STRING, n BIGINT",
    ///     OutputMode::Update,
    ///     GroupStateTimeout::None,
    ///     |word: String, rows: Rows<(String,)>, count: &mut GroupState<i64>| {
    ///         let n = count.get().unwrap_or(&0) + rows.count() as i64;
    ///         count.update(n);
    ///         Ok(vec![(word, n)])
    ///     },
    /// )?;
    /// let query = counts.write_stream().format("noop").output_mode(OutputMode::Update).start().await?;
    /// query.stop().await
    /// # }
    /// ```
    ///
    /// # Errors
    /// `columns` is no list of columns, or `output_mode` is complete.
    pub fn flat_map_groups_with_state<K, R, S, O, F>(
        self,
        columns: impl Into<Columns>,
        output_mode: OutputMode,
        timeout: GroupStateTimeout,
        function: F,
    ) -> Result<DataFrame>
    where
        K: DeserializeOwned + 'static,
        R: GroupRows,
        S: Serialize + DeserializeOwned + 'static,
        O: OutputRows,
        F: Fn(K, R, &mut GroupState<S>) -> Result<O> + Send + Sync + 'static,
    {
        if output_mode == OutputMode::Complete {
            let message = "The output mode of function should be append or update";
            return Err(Error::invalid("STREAMING_OUTPUT_MODE.INVALID", message)
                .with_help("give OutputMode::Append or OutputMode::Update to flat_map_groups_with_state"));
        }
        self.groups_function(columns.into(), FunctionKind::FlatMapGroups(output_mode), timeout, function)
    }

    /// Calls `processor` for every key with rows in a batch, and for timers that fire: Spark's `transformWithState`.
    ///
    /// # Errors
    /// `columns` is no list of columns; an event-time column that is none of them, no TIMESTAMP, or in another time mode than
    /// [`TimeMode::EventTime`].
    pub fn transform_with_state<P>(
        self,
        columns: impl Into<Columns>,
        time_mode: TimeMode,
        output_mode: OutputMode,
        processor: P,
    ) -> Result<DataFrame>
    where
        P: StatefulProcessor,
        I: Initial<P>,
    {
        let make = move |context: FunctionContext| {
            let function = ProcessorFunction::<P, I>::try_new(processor.clone(), time_mode, output_mode, context)?;
            Ok(Box::new(function) as Box<dyn StateFunction>)
        };
        self.function(columns.into(), FunctionKind::Transform, time_mode, Arc::new(make))
    }

    fn groups_function<K, R, S, O, F>(
        self,
        columns: Columns,
        kind: FunctionKind,
        timeout: GroupStateTimeout,
        function: F,
    ) -> Result<DataFrame>
    where
        K: DeserializeOwned + 'static,
        R: GroupRows,
        S: Serialize + DeserializeOwned + 'static,
        O: OutputRows,
        F: Fn(K, R, &mut GroupState<S>) -> Result<O> + Send + Sync + 'static,
    {
        if self.event_time.is_some() {
            let message = "the result of [flatMap|map]GroupsWithState has no event-time column";
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help("use transform_with_state"));
        }
        let (function, time) = (Arc::new(function), TimeMode::from(timeout));
        let make = move |context: FunctionContext| {
            let function = function.clone();
            let shared = move |key: K, rows: R, state: &mut GroupState<S>| function(key, rows, state);
            Ok(Box::new(GroupsFunction::new(shared, time, context)) as Box<dyn StateFunction>)
        };
        self.function(columns, kind, time, Arc::new(make))
    }

    fn function(
        self,
        columns: Columns,
        kind: FunctionKind,
        time: TimeMode,
        make: Arc<dyn Fn(FunctionContext) -> Result<Box<dyn StateFunction>> + Send + Sync>,
    ) -> Result<DataFrame> {
        let (state, input) = self.frame.into_parts();
        if !is_streaming(&input) {
            let message = "a function with state needs a DataFrame over a stream";
            return Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
                .with_help("make it with session.read_stream(); over tables, aggregate"));
        }
        let schema = output_schema(columns.schema()?, self.event_time.as_deref(), time, &input)?;
        let function = Function(FunctionTemplate { kind, time, make, initial: self.initial });
        Ok(DataFrame::new(state, StateFunctionNode { input, keys: self.keys, function, schema }.into_plan()))
    }
}

/// The columns of the result, with the event time marked.
fn output_schema(
    columns: SchemaRef,
    event_time: Option<&str>,
    time: TimeMode,
    input: &LogicalPlan,
) -> Result<DFSchemaRef> {
    let Some(name) = event_time else { return Ok(Arc::new(DFSchema::try_from(columns)?)) };
    if time != TimeMode::EventTime {
        let message = format!("an event-time column needs TimeMode::EventTime, not {time}");
        return Err(Error::invalid("STATEFUL_PROCESSOR_CANNOT_PERFORM_OPERATION_WITH_INVALID_TIME_MODE", message)
            .with_help("pass TimeMode::EventTime, or no event-time column"));
    }
    let Some((at, field)) = columns.fields().iter().enumerate().find(|(_, f)| f.name().eq_ignore_ascii_case(name))
    else {
        let message = format!("the function gives no column '{name}' to be the event time");
        let names: Vec<_> = columns.fields().iter().map(|f| f.name().as_str()).collect();
        return Err(Error::invalid("UNRESOLVED_COLUMN.WITH_SUGGESTION", message)
            .with_help(format!("its columns are {}", names.join(", "))));
    };
    if !matches!(field.data_type(), DataType::Timestamp(_, Some(_))) {
        let message =
            format!("the event time '{name}' must be a TIMESTAMP, but is {}", sql_type_name(field.data_type()));
        return Err(Error::invalid("EVENT_TIME_IS_NOT_ON_TIMESTAMP_TYPE", message)
            .with_help("declare it as Timestamp(Microsecond, Some(\"UTC\")), which is Spark's TIMESTAMP"));
    }
    let marks = event_time_columns(input.schema().fields());
    let delay_ms = marks.first().and_then(|i| watermark_delay_ms(input.schema().field(*i))).unwrap_or_default();
    let marked = columns.fields().iter().enumerate().map(|(i, field)| {
        let mut field = field.as_ref().clone();
        if i == at {
            field.metadata_mut().insert(WATERMARK_KEY.to_owned(), delay_ms.to_string());
        }
        field
    });
    Ok(Arc::new(DFSchema::try_from(Schema::new(marked.collect::<Vec<_>>()))?))
}

#[cfg(test)]
mod tests;
