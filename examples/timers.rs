//! Devices that fall silent: `transform_with_state` with a timer for each device, and its last values in state.
//!
//! `cargo run --example timers` makes readings up, of devices that stop after a while, and prints who is silent.

use std::time::Duration;

use serde::Deserialize;
use tidemill::prelude::*;

/// Gives a row when a device has sent nothing for so long, and one when it is back.
#[derive(Debug, Clone)]
pub struct Silence {
    limit_ms: i64,
    /// The present timer.
    due_ms: ValueState<i64>,
    /// The last three readings.
    last: ListState<f64>,
}

impl Silence {
    /// Alerts after `limit` without a reading.
    pub fn new(limit: Duration) -> Self {
        Self { limit_ms: limit.as_millis() as i64, due_ms: ValueState::default(), last: ListState::default() }
    }
}

/// A row of the stream.
#[derive(Debug, Deserialize)]
pub struct Reading {
    value: f64,
}

impl StatefulProcessor for Silence {
    type Key = String;
    type Input = Rows<Reading>;
    type Output = Vec<(String, String)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.due_ms = handle.get_value_state("due", None)?;
        self.last = handle.get_list_state("last", None)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        handle: &StatefulProcessorHandle,
        device: &String,
        readings: Rows<Reading>,
        times: &TimerValues,
    ) -> Result<Self::Output> {
        let mut last = self.last.get()?;
        let was_silent = !last.is_empty() && !self.due_ms.exists()?;
        last.extend(readings.map(|r| r.value));
        self.last.put(&last[last.len().saturating_sub(3)..])?;
        if let Some(due) = self.due_ms.get()? {
            handle.delete_timer(due)?;
        }
        let due = times.get_current_processing_time_ms() + self.limit_ms;
        handle.register_timer(due)?;
        self.due_ms.update(&due)?;
        Ok(if was_silent { vec![(device.clone(), "is back".into())] } else { vec![] })
    }

    fn handle_expired_timer(
        &mut self,
        _handle: &StatefulProcessorHandle,
        device: &String,
        _times: &TimerValues,
        _expiry_ms: i64,
    ) -> Result<Self::Output> {
        self.due_ms.clear()?;
        Ok(vec![(device.clone(), format!("is silent after {:?}", self.last.get()?))])
    }
}

/// Alerts of a stream with the columns device and value.
pub fn alerts(readings: DataFrame, limit: Duration) -> Result<DataFrame> {
    let devices = readings.group_by_key([col("device")])?;
    let columns = "device STRING, alert STRING";
    devices.transform_with_state(columns, TimeMode::ProcessingTime, OutputMode::Update, Silence::new(limit))
}

#[tokio::main]
#[allow(dead_code, reason = "tests use the functions above")]
async fn main() -> Result<()> {
    let session = Session::new();
    // Of the devices 0 to 9, one falls silent every two seconds.
    session
        .sql(
            "CREATE STREAM ticks USING rate OPTIONS (rowsPerSecond 20); \
             CREATE VIEW readings AS SELECT concat('device ', value % 10) AS device, value / 10 AS value FROM ticks \
             WHERE value % 10 >= value / 40",
        )
        .await?;
    let readings = session.context().table("readings").await?;
    let query = alerts(readings, Duration::from_secs(3))?
        .write_stream()
        .format("console")
        .output_mode(OutputMode::Update)
        .trigger(Trigger::ProcessingTime(Duration::from_secs(1)))
        .start()
        .await?;
    query.await_termination().await
}
