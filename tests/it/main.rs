//! The program and the engine from outside: the real binary with real sockets and signals, streams against batch
//! queries, crashes at every point.
//!
//! One binary for all of it, because each links the whole engine.
#![cfg(all(feature = "cli", unix))]

mod checkpoint;
mod cli;

mod conditions;
mod conformance;
mod connectors;
mod console;
mod continuous;
mod crash;
mod deep;
mod documents;
mod errors;
mod event_time;
mod examples;
mod file_cases;
mod files;
mod functions;
mod join;
#[cfg(feature = "kafka")]
mod kafka;
mod layers;
mod library;
mod memory_limit;
mod nexmark;
mod oracle;
mod process;
mod recovery;
mod signals;
mod socket;
mod spark_answers;
mod spark_files;
mod state_functions;
mod stepped;
mod stores;
mod waiting;
