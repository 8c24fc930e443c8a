//! The program and the engine from outside: the real binary with real sockets and signals, streams against batch
//! queries, crashes at every point.
//!
//! One binary for all of it, because each links the whole engine.
#![cfg(all(feature = "cli", unix))]

mod cli;
mod console;
mod crash;
mod errors;
mod examples;
mod join;
mod oracle;
mod process;
mod recovery;
mod signals;
mod socket;
mod stepped;
