//! `tidemill bench`: queries with their figures.

use tidemill::testing::nexmark::{NexmarkBench, NexmarkFormat, NexmarkInput, NexmarkQuery, json, table};

use crate::cli::{NexmarkArgs, NexmarkFiles, NexmarkSource};
use crate::output::{fail, print, say};
use crate::{FAILED, WRONG};

/// `tidemill bench nexmark`; the exit code, which also says whether all rows are right.
pub async fn nexmark(args: NexmarkArgs) -> u8 {
    let queries = match NexmarkQuery::find(&args.queries) {
        Ok(queries) => queries,
        Err(problem) => {
            say(&format!("error: {problem}"));
            return WRONG;
        }
    };
    let input = match (args.source, args.bootstrap) {
        (NexmarkSource::Kafka, servers) => NexmarkInput::Kafka(servers.unwrap_or_default()),
        (_, Some(_)) => {
            say("error: --bootstrap is for --source kafka");
            return WRONG;
        }
        (NexmarkSource::Memory, None) => NexmarkInput::Memory,
        (NexmarkSource::Parquet, None) => NexmarkInput::Files(NexmarkFormat::Parquet),
        (NexmarkSource::Json, None) => NexmarkInput::Files(NexmarkFormat::Json),
    };
    let bench = NexmarkBench {
        queries,
        events: args.events,
        events_per_second: args.rate,
        batches: if args.write.is_some() { args.files } else { args.batches },
        seed: args.seed,
        input,
        trigger: args.trigger,
        is_checked: !args.no_check,
    };
    if let Some(dir) = args.write {
        let format = match args.format {
            NexmarkFiles::Parquet => NexmarkFormat::Parquet,
            NexmarkFiles::Json => NexmarkFormat::Json,
        };
        return bench.write(&dir, format).await.map_or_else(|e| fail(&e, None), |()| 0);
    }
    run(&bench, args.json).await
}

async fn run(bench: &NexmarkBench, is_json: bool) -> u8 {
    let mut code = if is_json { 0 } else { print(&table(None)) };
    let ran = bench.run(|figures| {
        if !is_json {
            code = code.max(print(&table(Some(figures))));
        }
        if figures.checked.as_ref().is_some_and(|checked| checked.difference.is_some()) {
            say(&format!("error: the rows of {} are not those of the same query over tables", figures.query));
            code = FAILED;
        }
    });
    match ran.await {
        Ok(all) if is_json => code.max(print(&json(&all))),
        Ok(_) => code,
        Err(e) => fail(&e, None),
    }
}
