//! The word count of a directory of text files as one DataFusion batch: no increments, no state, no checkpoint.
//!
//! This is the limit that `wordcount.py` compares with. Prints one line of JSON.

use std::time::Instant;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::error::Result;
use datafusion::prelude::{CsvReadOptions, SessionContext};
use futures::TryStreamExt;

/// The allocator of the `tidemill` binary, so that allocators are not what is compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const WORD_COUNT: &str = "SELECT word, count(*) AS count
    FROM (SELECT unnest(string_to_array(value, ' ')) AS word FROM lines)
    GROUP BY word";

#[tokio::main]
async fn main() -> Result<()> {
    let Some(dir) = std::env::args().nth(1) else {
        eprintln!("usage: wordcount_batch DIR");
        std::process::exit(2);
    };
    let start = Instant::now();
    let context = SessionContext::new();
    let schema = Schema::new(vec![Field::new("value", DataType::Utf8View, true)]);
    // A line is one CSV field: no byte of the text is a separator or a quote.
    let options = CsvReadOptions::new().has_header(false).delimiter(1).quote(2).file_extension(".txt").schema(&schema);
    context.register_csv("lines", dir, options).await?;
    let mut rows = context.sql(WORD_COUNT).await?.execute_stream().await?;
    let mut words = 0;
    while let Some(batch) = rows.try_next().await? {
        words += batch.num_rows();
    }
    println!("{{\"seconds\": {:.3}, \"words\": {words}}}", start.elapsed().as_secs_f64());
    Ok(())
}
