//! Topics of a real Kafka.

pub mod broker;
mod cases;
mod conformance;
mod exactly_once;
mod examples;
mod formats;
mod registry;
mod secure;
mod source;
mod watermarks;
