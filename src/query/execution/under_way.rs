//! What a query does about its batches in flight: notes those that the sink has, waits for them, tells the sources of them.

use futures::FutureExt;

use super::MicroBatchExecution;
use crate::error::{Error, Result};

impl MicroBatchExecution {
    /// Notes which batches in flight the sink has by now.
    pub(super) fn take_done(&mut self) -> Result<()> {
        let Some(in_flight) = &self.in_flight else { return Ok(()) };
        let (done, result) = in_flight.take_done();
        for done in done {
            let Some((mut report, ends)) = self.unreported.pop_front() else { break };
            let rows = report.num_input_rows;
            debug_assert_eq!(report.batch_id, done.batch_id);
            report.sink.num_output_rows = done.output_rows.map_or(-1, |n| n as i64);
            self.remember(report);
            if let Some(durability) = &mut self.durability {
                durability.acknowledge(ends, rows);
            }
        }
        result
    }

    /// Waits until the sink has every batch; `false` if the query is to stop and the sink waits.
    pub(super) async fn drain(&mut self) -> Result<bool> {
        let Some(in_flight) = &self.in_flight else { return Ok(true) };
        let drained = self.unless_given_up(in_flight.drained().map(Ok::<_, Error>)).await?;
        self.take_done()?;
        Ok(drained.is_some())
    }

    /// Returns when the sink has every batch that ran.
    ///
    /// # Errors
    /// What a batch failed with, as [`MicroBatchExecution::run_batch`].
    pub async fn flush(&mut self) -> Result<()> {
        let result = self.drain().await.map(|_| ());
        if let Err(e) = &result {
            self.failure.get_or_insert_with(|| e.clone());
        }
        result
    }

    /// Whether the sink has every batch that ran.
    pub(in crate::query) fn is_settled(&self) -> bool {
        self.unreported.is_empty()
    }

    /// Where rows are handed over as they arrive: asks the disk when it is time, and tells the sources what is durable.
    pub(super) async fn keep_durable(&mut self) -> Result<()> {
        let Some(durability) = &mut self.durability else { return Ok(()) };
        if let Some(lsn) = durability.ask(self.env.clock.now_ms(), || self.checkpoint.last_lsn()) {
            self.checkpoint.request_durable(lsn);
        }
        if let Some(ends) = durability.settle(|lsn| self.checkpoint.is_durable(lsn))? {
            self.sources.iter_mut().zip(ends).for_each(|(s, end)| s.releasable = Some(end));
            self.release().await?;
        }
        Ok(())
    }

    /// Where rows are handed over as they arrive: tells the sources of what the sink has, without waiting for the interval; of the last batch
    /// not, as under other triggers.
    pub(super) async fn tell_sources(&mut self) -> Result<()> {
        if self.durability.is_none() {
            return Ok(());
        }
        self.checkpoint.wait_durable(self.checkpoint.last_lsn()).await?;
        self.sources.iter_mut().for_each(|s| s.releasable = s.previous.take().or(s.releasable.take()));
        self.release().await
    }
}
