//! `now()`, `current_timestamp()`, `current_date()`: the time of the trigger in a streaming query, read when the batch
//! runs. DataFusion's own would be folded into the plan once, and the plan is made once for all batches.

use std::any::Any;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use datafusion::arrow::datatypes::{DataType, TimeUnit};
use datafusion::common::{Result as DfResult, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::prelude::SessionContext;

use crate::time::Clock;

/// The time a query's functions see, in milliseconds since the epoch.
#[derive(Debug, Clone, Default)]
pub struct TriggerTime(Arc<AtomicI64>);

impl TriggerTime {
    /// Sets the time of the batch that is about to run.
    pub fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Release);
    }
}

#[derive(Debug, Clone)]
enum TimeSource {
    /// In a batch query: the session's clock.
    Clock(Clock),
    /// In a streaming query: its trigger's time.
    Trigger(TriggerTime),
}

#[derive(Debug)]
struct TimeFunction {
    name: &'static str,
    date: bool,
    source: TimeSource,
    signature: Signature,
}

impl TimeFunction {
    fn new(name: &'static str, source: TimeSource) -> Self {
        let date = matches!(name, "current_date" | "curdate");
        Self { name, date, source, signature: Signature::nullary(Volatility::Volatile) }
    }

    fn now_us(&self) -> i64 {
        match &self.source {
            TimeSource::Clock(clock) => clock.now_us(),
            TimeSource::Trigger(time) => time.0.load(Ordering::Acquire).saturating_mul(1000),
        }
    }
}

impl PartialEq for TimeFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for TimeFunction {}

impl Hash for TimeFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for TimeFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _args: &[DataType]) -> DfResult<DataType> {
        Ok(if self.date { DataType::Date32 } else { DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())) })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let now = self.now_us();
        Ok(ColumnarValue::Scalar(if self.date {
            ScalarValue::Date32(Some(local_day(now, args.config_options.execution.time_zone.as_deref())))
        } else {
            ScalarValue::TimestampMicrosecond(Some(now), Some("UTC".into()))
        }))
    }
}

/// The day of a time in a zone, as days since the epoch.
fn local_day(now_us: i64, zone: Option<&str>) -> i32 {
    let zone: crate::time_zone::Tz = zone.and_then(|z| z.parse().ok()).unwrap_or(crate::time_zone::Tz::UTC);
    let Some(utc) = chrono::DateTime::from_timestamp_micros(now_us) else { return 0 };
    let epoch = chrono::NaiveDate::default();
    (utc.with_timezone(&zone).date_naive() - epoch).num_days() as i32
}

const NAMES: [&str; 4] = ["now", "current_timestamp", "current_date", "curdate"];

/// Registers the functions over the session's clock, in place of DataFusion's.
pub fn register(context: &SessionContext, clock: &Clock) {
    for name in NAMES {
        context.register_udf(ScalarUDF::new_from_impl(TimeFunction::new(name, TimeSource::Clock(clock.clone()))));
    }
}

/// The expression with its time functions reading `time`; `None` if it is not a call of one.
pub fn bind_call(expr: &Expr, time: &TriggerTime) -> Option<Expr> {
    let Expr::ScalarFunction(call) = expr else { return None };
    let function = (call.func.inner().as_ref() as &dyn Any).downcast_ref::<TimeFunction>()?;
    let bound = TimeFunction::new(function.name, TimeSource::Trigger(time.clone()));
    Some(ScalarUDF::new_from_impl(bound).call(vec![]))
}
