//! Waiting for brokers that are away: a line in the log when it begins, and one when it is over.

use std::sync::atomic::{AtomicUsize, Ordering};

use rdkafka::error::KafkaError;

use super::error::failed;
use crate::error::Result;

/// The wait of one request.
#[derive(Debug)]
pub struct Waiting<'a> {
    what: &'a str,
    servers: &'a str,
    /// How many requests wait.
    count: Option<&'a AtomicUsize>,
    has_begun: bool,
}

impl<'a> Waiting<'a> {
    /// For a request of these brokers; `what` is asked for.
    pub fn new(what: &'a str, servers: &'a str) -> Self {
        Self { what, servers, count: None, has_begun: false }
    }

    /// The same, counted while it waits.
    #[must_use]
    pub fn counted(mut self, count: &'a AtomicUsize) -> Self {
        self.count = Some(count);
        self
    }

    /// The request has failed, and is to be made again.
    ///
    /// # Errors
    /// The brokers do not let this client in, or waiting does not mend it.
    pub fn go_on(&mut self, error: &KafkaError, refusal: Option<KafkaError>, may_pass: bool) -> Result<()> {
        if let Some(error) = refusal.as_ref().or((!may_pass).then_some(error)) {
            return Err(failed(self.what, self.servers, error));
        }
        if !self.has_begun {
            self.has_begun = true;
            if let Some(count) = self.count {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let (what, servers) = (self.what, self.servers);
            tracing::warn!("kafka: no answer from the brokers at '{servers}' ({what}: {error}); waiting for them");
        }
        Ok(())
    }

    /// The request is answered.
    pub fn end(&self) {
        if self.has_begun {
            tracing::warn!("kafka: the brokers at '{}' answer again", self.servers);
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if let Some(count) = self.count.filter(|_| self.has_begun) {
            count.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
