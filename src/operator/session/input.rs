//! The rows of a batch as a session aggregate wants them: keys, bounds, and what its aggregates take.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type, Schema, SchemaRef, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result as DfResult;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;

use super::store::bounds_fields;
use crate::error::{Error, Result};
use crate::state::record_batch;

/// An aggregate and the condition of its `FILTER`.
pub type Aggregate = (Arc<AggregateFunctionExpr>, Option<Arc<dyn PhysicalExpr>>);

/// An aggregate, the condition of its `FILTER`, and where its arguments are among the columns of the rows.
pub struct Call {
    pub aggregate: Arc<AggregateFunctionExpr>,
    args: std::ops::Range<usize>,
    filter: Option<usize>,
}

impl Call {
    /// Its arguments in these columns of rows.
    pub fn args<'c>(&self, columns: &'c [ArrayRef]) -> &'c [ArrayRef] {
        &columns[self.args.clone()]
    }

    /// The rows that its `FILTER` lets pass.
    pub fn filter<'c>(&self, columns: &'c [ArrayRef]) -> Result<Option<&'c BooleanArray>> {
        let Some(at) = self.filter else { return Ok(None) };
        let filter = columns[at].as_boolean_opt();
        filter.map(Some).ok_or_else(|| Error::internal("the FILTER of an aggregate is no BOOLEAN"))
    }
}

/// Makes rows of the input: keys, start, end, arguments of the aggregates.
pub struct SessionInput {
    pub schema: SchemaRef,
    pub num_keys: usize,
    pub calls: Vec<Call>,
    keys: Vec<Arc<dyn PhysicalExpr>>,
    session: Arc<dyn PhysicalExpr>,
    /// Arguments and filters, in the order of their columns.
    rest: Vec<Arc<dyn PhysicalExpr>>,
}

impl SessionInput {
    /// Over rows of `input`; `session` gives `{start, end}`.
    pub fn try_new(
        input: &Schema,
        keys: Vec<Arc<dyn PhysicalExpr>>,
        session: Arc<dyn PhysicalExpr>,
        aggregates: Vec<Aggregate>,
    ) -> Result<Self> {
        let first = keys.len() + 2;
        let (mut rest, mut calls) = (vec![], vec![]);
        for (aggregate, filter) in aggregates {
            let from = first + rest.len();
            let all = aggregate.all_expressions();
            rest.extend(all.args.into_iter().chain(all.order_by_exprs));
            let args = from..first + rest.len();
            let filter = filter.map(|f| {
                rest.push(f);
                first + rest.len() - 1
            });
            calls.push(Call { aggregate, args, filter });
        }
        let field = |e: &Arc<dyn PhysicalExpr>| -> DfResult<DataType> { e.data_type(input) };
        let mut fields = vec![];
        for (i, key) in keys.iter().enumerate() {
            fields.push(Field::new(format!("key_{i}"), field(key)?, true));
        }
        fields.extend(bounds_fields());
        for (i, e) in rest.iter().enumerate() {
            fields.push(Field::new(format!("arg_{i}"), field(e)?, true));
        }
        let num_keys = keys.len();
        Ok(Self { schema: Arc::new(Schema::new(fields)), num_keys, calls, keys, session, rest })
    }

    /// The rows of a batch.
    pub fn rows(&self, batch: &RecordBatch) -> Result<RecordBatch> {
        let evaluate = |e: &Arc<dyn PhysicalExpr>| e.evaluate(batch)?.into_array(batch.num_rows());
        let (starts, ends) = bounds(&evaluate(&self.session)?)?;
        let mut columns = self.keys.iter().map(evaluate).collect::<DfResult<Vec<_>>>()?;
        columns.push(Arc::new(starts));
        columns.push(Arc::new(ends));
        for e in &self.rest {
            columns.push(evaluate(e)?);
        }
        record_batch(self.schema.clone(), columns, batch.num_rows())
    }

    /// The keys of these rows.
    pub fn keys<'b>(&self, rows: &'b RecordBatch) -> &'b [ArrayRef] {
        &rows.columns()[..self.num_keys]
    }

    /// Their starts and ends.
    pub fn bounds<'b>(&self, rows: &'b RecordBatch) -> Result<(&'b [i64], &'b [i64])> {
        let column = |i: usize| rows.column(i).as_primitive_opt::<Int64Type>().map(|c| &c.values()[..]);
        let both = column(self.num_keys).zip(column(self.num_keys + 1));
        both.ok_or_else(|| Error::internal("a row of a session without bounds"))
    }
}

/// Start and end of windows, none of which is NULL, in microseconds.
fn bounds(windows: &ArrayRef) -> Result<(Int64Array, Int64Array)> {
    let no_windows = || Error::internal(format!("a session window of type {}", windows.data_type()));
    let structs = windows.as_struct_opt().ok_or_else(no_windows)?;
    let column = |name: &str| -> Result<Int64Array> {
        let times = structs.column_by_name(name).ok_or_else(no_windows)?;
        let DataType::Timestamp(_, zone) = times.data_type() else { return Err(no_windows()) };
        let times = cast(times, &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))?;
        let times: &TimestampMicrosecondArray = times.as_primitive::<TimestampMicrosecondType>();
        Ok(Int64Array::new(times.values().clone(), None))
    };
    if structs.logical_null_count() > 0 {
        return Err(Error::internal("a row without a session window reached its aggregate"));
    }
    Ok((column("start")?, column("end")?))
}
