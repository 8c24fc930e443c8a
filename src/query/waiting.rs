//! What a query waits for before it gives or drops state: which input holds the watermark, and what it closes next.

use std::fmt::Write;
use std::sync::Arc;

use serde::Serialize;

use super::progress::iso_timestamp;
use crate::interval::duration_text;
use crate::operator::{StatefulOperator, WatermarkState};
use crate::plan::display::as_sql;

/// Beyond Spark's progress: the watermark of the next batch, and why it is where it is.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Waiting {
    /// The watermark that the next batch runs with.
    pub watermark: String,
    /// Every `WATERMARK` of the query.
    pub inputs: Vec<WaitingInput>,
    /// Stateful operators, the one nearest to the sink first.
    pub operators: Vec<WaitingOperator>,
}

/// One `WATERMARK`.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingInput {
    /// The streams below it.
    pub streams: Vec<String>,
    /// Its event-time column.
    pub column: String,
    /// How late rows may be.
    pub delay_ms: i64,
    /// The latest event time of this run; null without rows.
    pub max_event_time: Option<String>,
    /// That less the delay; the epoch without rows.
    pub watermark: String,
    /// Left out, because its streams have had no rows for longer than `watermark.idleTimeout`.
    pub is_idle: bool,
    /// Whether the query's watermark is where it is because of this one.
    pub holds_watermark: bool,
    /// The partition that is furthest behind, if each holds the watermark by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slowest_partition: Option<String>,
}

/// One stateful operator.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingOperator {
    /// Spark's name.
    pub operator_name: String,
    /// What bounds its state.
    pub state: String,
    /// The watermark at which the oldest of what is in state is closed; null if there is nothing.
    pub next_close: Option<String>,
    /// Rows that came too late in this run.
    pub num_late_rows: u64,
}

impl Waiting {
    /// Of a query whose next batch runs with `watermark_ms`; `late` has the late rows of each operator.
    pub(super) fn new(
        watermark_ms: i64,
        inputs: Vec<WatermarkState>,
        operators: &[Arc<dyn StatefulOperator>],
        late: &[u64],
    ) -> Self {
        let input = |s: WatermarkState| WaitingInput {
            streams: s.input.streams,
            column: s.input.column,
            delay_ms: s.input.delay_ms,
            max_event_time: s.max_ms.map(iso_timestamp),
            watermark: iso_timestamp(s.watermark_ms),
            is_idle: s.idle,
            holds_watermark: s.holds,
            slowest_partition: s.slowest,
        };
        let operator = |(o, late): (&Arc<dyn StatefulOperator>, &u64)| WaitingOperator {
            operator_name: o.operator_name().to_owned(),
            state: as_sql(&o.bound().to_string()),
            // The watermark has milliseconds: it closes what ends within one only with the next.
            next_close: o.first_close_us().map(|us| iso_timestamp(us.saturating_add(999).div_euclid(1000))),
            num_late_rows: *late,
        };
        Self {
            watermark: iso_timestamp(watermark_ms),
            inputs: inputs.into_iter().map(input).collect(),
            operators: operators.iter().zip(late).map(operator).collect(),
        }
    }

    /// For people.
    pub fn to_text(&self) -> String {
        let mut text = format!("watermark: {}\n", self.watermark);
        for i in &self.inputs {
            let seen = match &i.max_event_time {
                Some(max) => {
                    let delay = duration_text(i.delay_ms.saturating_mul(1000));
                    format!("{} (latest {max}, delay {delay})", i.watermark)
                }
                None => "no rows yet".to_owned(),
            };
            let role = match (i.is_idle, i.holds_watermark, &i.slowest_partition) {
                (true, _, _) => ", idle: left out".to_owned(),
                (false, true, None) => ", holds the watermark".to_owned(),
                (false, true, Some(partition)) => {
                    format!(", holds the watermark: partition {partition} is furthest behind")
                }
                (false, false, _) => String::new(),
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  '{}' of {}: {seen}{role}", i.column, i.streams.join(", "));
        }
        for (id, o) in self.operators.iter().enumerate() {
            let next = match &o.next_close {
                Some(at) => format!("the oldest of its state closes at {at}"),
                None => "nothing in state waits for the watermark".to_owned(),
            };
            let _ = writeln!(text, "[{id}] {}: {next}; {} late rows", o.operator_name, o.num_late_rows);
            let _ = writeln!(text, "    state: {}", o.state);
        }
        text
    }
}
