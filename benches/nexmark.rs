//! The queries of Nexmark over rows in memory: `cargo bench --bench nexmark`.
//!
//! Prints what `tidemill bench nexmark --no-check` prints. `EVENTS=100000` and `QUERIES=q0,q12` choose how many events and which queries.

use criterion::{Criterion, criterion_group, criterion_main};
use tidemill::testing::nexmark::{NexmarkBench, NexmarkQuery, table};

/// The allocator of the binary.
#[cfg(feature = "cli")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn queries(_: &mut Criterion) {
    let names = std::env::var("QUERIES").unwrap_or_default();
    let names: Vec<String> = names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let events = std::env::var("EVENTS").map_or(1_000_000, |n| n.parse().expect("EVENTS is a number"));
    let queries = NexmarkQuery::find(&names).expect("queries of these names");
    let bench = NexmarkBench { queries, events, is_checked: false, ..NexmarkBench::default() };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    println!("\n{}", table(None));
    runtime.block_on(bench.run(|figures| println!("{}", table(Some(figures))))).expect("the queries run");
}

criterion_group!(benches, queries);
criterion_main!(benches);
