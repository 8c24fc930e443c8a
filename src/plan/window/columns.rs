//! `window_start`, `window_end` and `window_time`: the columns that `TUMBLE`, `HOP` and `SESSION` add.
//!
//! Metadata says which of a window a column is, wherever projections and aliases take it. A GROUP BY that has both bounds of a
//! window groups by the window as a whole, [`Window::key`], with the watermark of its time.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, StructArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{Column, DFSchema, Result as DfResult, TableReference};
use datafusion::functions::core::expr_fn::get_field;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, LogicalPlanBuilder, ReturnFieldArgs, ScalarFunctionArgs,
    ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::session::SESSION_KEY;
use super::types::window_type;
use super::window_time::WindowTime;
use crate::error::{Error, Result};
use crate::plan::watermark::WATERMARK_KEY;

/// The key of the field metadata that says which column of which window this is.
const WINDOW_KEY: &str = "tidemill.window";
/// Between the parts of its value.
const SEPARATOR: char = '\u{1f}';

/// The window that a relation's rows are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// Unique in the query.
    pub id: String,
    /// For a session, the columns by which it is one.
    pub partition_by: Option<Vec<String>>,
    watermark: Option<String>,
}

/// Which of a window's columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// `window_start`
    Start,
    /// `window_end`
    End,
    /// `window_time`
    Time,
}

impl Part {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "window_start",
            Self::End => "window_end",
            Self::Time => "window_time",
        }
    }
}

/// The columns of `input` and those of the window that `call` gives.
///
/// # Errors
/// A call that cannot be.
pub fn add(
    input: LogicalPlan,
    call: Expr,
    (id, partition_by): (String, Option<Vec<String>>),
) -> DfResult<(LogicalPlan, Vec<Column>)> {
    let all: Vec<Expr> = input.schema().columns().into_iter().map(Expr::Column).collect();
    let name = format!("{id}#window");
    let plan = LogicalPlanBuilder::from(input).project(all.iter().cloned().chain([call.alias(&name)]))?.build()?;
    let (_, field) = plan.schema().qualified_field(all.len());
    let window = Window { id, partition_by, watermark: field.metadata().get(WATERMARK_KEY).cloned() };
    let struct_ = Expr::Column(Column::new_unqualified(name));
    let column = |part: Part| {
        let value = match part {
            Part::Start => get_field(struct_.clone(), "start"),
            Part::End => get_field(struct_.clone(), "end"),
            Part::Time => window_time(struct_.clone()),
        };
        // The relation may have columns of these names already.
        let relation = TableReference::bare(window.id.clone());
        value.alias_qualified_with_metadata(Some(relation), part.name(), Some(window.metadata(part)))
    };
    let parts = [Part::Start, Part::End, Part::Time];
    let plan = LogicalPlanBuilder::from(plan).project(all.into_iter().chain(parts.map(column)))?.build()?;
    let column = |p: Part| Column::new(Some(TableReference::bare(window.id.clone())), p.name());
    Ok((plan, parts.map(column).to_vec()))
}

fn window_time(window: Expr) -> Expr {
    ScalarUDF::new_from_impl(WindowTime::new()).call(vec![window])
}

impl Window {
    fn metadata(&self, part: Part) -> FieldMetadata {
        let partition_by =
            self.partition_by.iter().flat_map(|p| std::iter::once("session").chain(p.iter().map(String::as_str)));
        let watermark = self.watermark.as_deref().unwrap_or_default();
        let values: Vec<&str> = [part.name(), &self.id, watermark].into_iter().chain(partition_by).collect();
        let value = values.join(&SEPARATOR.to_string());
        let mut metadata = HashMap::from([(WINDOW_KEY.to_owned(), value)]);
        if let (Part::Time, Some(watermark)) = (part, &self.watermark) {
            metadata.insert(WATERMARK_KEY.to_owned(), watermark.clone());
        }
        FieldMetadata::from(metadata)
    }

    /// The window, and which of its columns, that a field is.
    pub fn of(field: &Field) -> Option<(Self, Part)> {
        let mut values = field.metadata().get(WINDOW_KEY)?.split(SEPARATOR);
        let part = match values.next()? {
            "window_start" => Part::Start,
            "window_end" => Part::End,
            _ => Part::Time,
        };
        let id = values.next()?.to_owned();
        let watermark = Some(values.next()?).filter(|w| !w.is_empty()).map(str::to_owned);
        let partition_by = values.next().map(|_| values.map(str::to_owned).collect());
        Some((Self { id, partition_by, watermark }, part))
    }

    /// The window as one value, of its two bounds.
    pub fn key(start: Expr, end: Expr) -> Expr {
        ScalarUDF::new_from_impl(WindowOf::new()).call(vec![start, end])
    }

    /// A part of the key.
    pub fn part(key: Expr, part: Part) -> Expr {
        match part {
            Part::Start => get_field(key, "start"),
            Part::End => get_field(key, "end"),
            Part::Time => window_time(key),
        }
    }

    /// The sessions among these columns.
    pub fn sessions(schema: &DFSchema) -> Vec<Self> {
        let windows = schema.fields().iter().filter_map(|f| Self::of(f)).map(|(window, _)| window);
        let mut sessions: Vec<Self> = windows.filter(|w| w.partition_by.is_some()).collect();
        sessions.dedup();
        sessions
    }

    /// The column of a window that an expression is.
    pub fn column(e: &Expr, schema: &DFSchema) -> Option<(Self, Part)> {
        let Expr::Column(_) = e else { return None };
        Self::of(&e.to_field(schema).ok()?.1)
    }
}

/// `{start, end}` of two columns that are the bounds of windows, with the marks of the window.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct WindowOf {
    signature: Signature,
}

impl WindowOf {
    /// The function.
    pub fn new() -> Self {
        Self { signature: Signature::any(2, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for WindowOf {
    fn name(&self) -> &str {
        "__window_of"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, args: &[DataType]) -> DfResult<DataType> {
        Ok(window_type(&args[0])?.0)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        let mut field = Field::new(self.name(), self.return_type(&[args.arg_fields[0].data_type().clone()])?, true);
        if let Some((window, _)) = Window::of(&args.arg_fields[0]) {
            let mut marks = HashMap::new();
            marks.extend(window.watermark.map(|w| (WATERMARK_KEY.to_owned(), w)));
            marks.extend(window.partition_by.map(|_| (SESSION_KEY.to_owned(), String::new())));
            field = field.with_metadata(marks);
        }
        Ok(Arc::new(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return Err(Error::internal("a window of no STRUCT").into());
        };
        let columns = fields
            .iter()
            .zip(&arrays)
            .map(|(f, a)| cast(a, f.data_type()))
            .collect::<std::result::Result<Vec<_>, _>>()?;
        let nulls = columns[0].nulls().cloned();
        Ok(ColumnarValue::Array(Arc::new(StructArray::try_new(fields.clone(), columns, nulls)?)))
    }
}

/// The error for sessions that nothing merges.
pub fn unmerged_session() -> Error {
    let message = "SESSION(…) gives windows only to GROUP BY window_start, window_end";
    Error::unsupported("UNSUPPORTED_FEATURE", message).with_help(
        "a session is known when its rows are together: group by window_start, window_end and the keys of PARTITION BY",
    )
}

/// Refuses a session whose keys are others than those of its PARTITION BY.
///
/// # Errors
/// The keys that differ.
pub fn check_partition(window: &Window, others: &[Expr]) -> Result<()> {
    let Some(partition_by) = &window.partition_by else { return Ok(()) };
    let name = |e: &Expr| match e {
        Expr::Column(c) => c.name.to_lowercase(),
        other => other.schema_name().to_string(),
    };
    let mut grouped: Vec<String> = others.iter().map(name).collect();
    let mut wanted: Vec<String> = partition_by.iter().map(|p| p.to_lowercase()).collect();
    grouped.sort();
    wanted.sort();
    if grouped == wanted {
        return Ok(());
    }
    let message = format!(
        "SESSION(…) is partitioned by ({}), but grouped by ({}) besides its window",
        wanted.join(", "),
        grouped.join(", ")
    );
    Err(Error::unsupported("UNSUPPORTED_FEATURE", message)
        .with_help("write the same keys in PARTITION BY and in GROUP BY"))
}
