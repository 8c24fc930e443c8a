//! Topics of a real Kafka.

pub mod broker;
mod cases;
mod examples;
mod exactly_once;
mod source;
