//! Topics of a real Kafka.

pub mod broker;
mod cases;
mod exactly_once;
mod examples;
mod source;
