//! Words of the lines that arrive on a socket, counted: the Rust API in one screen.
//!
//! Run `nc -lk 9999`, then `cargo run --example word_count`, and type lines into `nc`.

use std::time::Duration;

use tidemill::datafusion::functions_aggregate::expr_fn::count;
use tidemill::prelude::*;

#[tokio::main]
async fn main() -> Result<()> {
    let session = Session::new();
    let lines = session.read_stream().format("socket").option("host", "127.0.0.1").option("port", 9999).load().await?;
    let counts = lines
        .select([explode(split(col("value"), lit(" "))).alias("word")])?
        .aggregate(vec![col("word")], vec![count(lit(1)).alias("count")])?;
    let query = counts
        .write_stream()
        .format("console")
        .output_mode(OutputMode::Complete)
        .trigger(Trigger::ProcessingTime(Duration::from_secs(1)))
        .start()
        .await?;
    query.await_termination().await
}
