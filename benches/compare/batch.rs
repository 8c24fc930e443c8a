//! SQL texts as one DataFusion batch each over whole directories: no increments, no state, no checkpoint.
//!
//! This is the limit that `nexmark.py` and `wordcount.py` compare with. Takes a file of JSON:
//!
//! ```json
//! {"setup": ["CREATE EXTERNAL TABLE bid …"], "jobs": [{"name": "q0", "sql": "SELECT …", "times": 3, "show": false}]}
//! ```
//!
//! Prints one line of JSON a job: the shortest of its times, from `setup` to the last row, and the number of rows; with
//! `show` the rows themselves; or what went wrong.

use std::time::Instant;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::json::ArrayWriter;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use serde::Deserialize;
use serde_json::{Value, json};

/// The allocator of the `tidemill` binary, so that allocators are not what is compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Deserialize)]
struct Jobs {
    setup: Vec<String>,
    jobs: Vec<Job>,
}

#[derive(Deserialize)]
struct Job {
    name: String,
    sql: String,
    #[serde(default = "once")]
    times: usize,
    #[serde(default)]
    show: bool,
}

fn once() -> usize {
    1
}

#[tokio::main]
async fn main() -> std::result::Result<(), Box<dyn std::error::Error>> {
    let Some(file) = std::env::args().nth(1) else {
        eprintln!("usage: batch FILE");
        std::process::exit(2);
    };
    let Jobs { setup, jobs } = serde_json::from_str(&std::fs::read_to_string(file)?)?;
    for job in jobs {
        let answer = best_of(&setup, &job).await.unwrap_or_else(|e| json!({"error": e.to_string()}));
        println!("{}", json!({"name": job.name, "answer": answer}));
    }
    Ok(())
}

async fn best_of(setup: &[String], job: &Job) -> Result<Value> {
    let mut best = f64::INFINITY;
    let mut rows = 0;
    let mut shown = Value::Null;
    for _ in 0..job.times {
        let start = Instant::now();
        if job.show {
            let batches = session(setup).await?.sql(&job.sql).await?.collect().await?;
            shown = values(&batches)?;
            rows = batches.iter().map(RecordBatch::num_rows).sum();
        } else {
            rows = count(setup, &job.sql).await?;
        }
        best = best.min(start.elapsed().as_secs_f64());
    }
    Ok(json!({"seconds": best, "rows": rows, "values": shown}))
}

/// A new session each time: nothing that an earlier run has read is remembered.
async fn session(setup: &[String]) -> Result<SessionContext> {
    let session = SessionContext::new();
    for statement in setup {
        session.sql(statement).await?.collect().await?;
    }
    Ok(session)
}

/// The number of rows, which are dropped as they come.
async fn count(setup: &[String], sql: &str) -> Result<usize> {
    let mut stream = session(setup).await?.sql(sql).await?.execute_stream().await?;
    let mut rows = 0;
    while let Some(batch) = stream.try_next().await? {
        rows += batch.num_rows();
    }
    Ok(rows)
}

fn values(batches: &[RecordBatch]) -> Result<Value> {
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write_batches(&batches.iter().collect::<Vec<_>>())?;
    writer.finish()?;
    Ok(serde_json::from_slice(&writer.into_inner()).unwrap_or(Value::Null))
}
