//! Random streams cut into random batches, with restarts and crashes at every point: the last count of every key is that
//! of all rows at once.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::failpoint::Action;
use crate::prelude::*;

const KEYS: [&str; 5] = ["a", "b", "", "ü", "a key that is longer than twelve bytes"];
pub(super) const POINTS: [&str; 7] = [
    "before_offset_log",
    "after_offset_log",
    "after_batch",
    "before_sink_commit",
    "after_sink_commit",
    "before_commit_log",
    "after_commit_log",
];

async fn with_group_state(_: &Session, s: DataFrame) -> Result<DataFrame> {
    let sum = |key: String, rows: Rows<(String, i64, i64)>, state: &mut GroupState<(i64, i64)>| {
        let (mut n, mut sum) = state.get().copied().unwrap_or_default();
        for (_, value, _) in rows {
            (n, sum) = (n + 1, sum + value);
        }
        state.update((n, sum));
        Ok((key, n, sum))
    };
    let columns = "k STRING, n BIGINT, sum BIGINT";
    s.group_by_key([col("k")])?.map_groups_with_state(columns, GroupStateTimeout::ProcessingTime, sum)
}

#[derive(Clone, Default)]
struct Sum {
    values: ListState<i64>,
    seen: MapState<i64, i64>,
}

impl StatefulProcessor for Sum {
    type Key = String;
    type Input = Rows<(String, i64, i64)>;
    type Output = Vec<(String, i64, i64)>;

    fn init(&mut self, handle: &StatefulProcessorHandle) -> Result<()> {
        self.values = handle.get_list_state("values", None)?;
        self.seen = handle.get_map_state("seen", None)?;
        Ok(())
    }

    fn handle_input_rows(
        &mut self,
        _: &StatefulProcessorHandle,
        key: &String,
        rows: Self::Input,
        _: &TimerValues,
    ) -> Result<Self::Output> {
        for (_, value, _) in rows {
            self.values.append_value(&value)?;
            self.seen.update_value(&value, &(self.seen.get_value(&value)?.unwrap_or(0) + 1))?;
        }
        let n = self.seen.values()?.into_iter().sum();
        Ok(vec![(key.clone(), n, self.values.get()?.into_iter().sum())])
    }
}

async fn with_processor(_: &Session, s: DataFrame) -> Result<DataFrame> {
    let columns = "k STRING, n BIGINT, sum BIGINT";
    let processor = Sum::default();
    s.group_by_key([col("k")])?.transform_with_state(columns, TimeMode::None, OutputMode::Update, processor)
}

/// Feeds random rows and lets the query run, restart and die; the last row of every key against what was fed.
async fn check(seed: u64, query: impl AsyncFn(&Session, DataFrame) -> Result<DataFrame>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut bench = Bench::new(OutputMode::Update);
    let mut expected: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    let mut run = bench.open(&query).await.unwrap();
    for _ in 0..12 {
        let rows: Vec<_> = (0..rng.random_range(0..6))
            .map(|_| (KEYS[rng.random_range(0..KEYS.len())], rng.random_range(-3..4)))
            .collect();
        for (key, value) in &rows {
            let sum = expected.entry(*key).or_default();
            *sum = (sum.0 + 1, sum.1 + value);
        }
        bench.feed_rows(&rows);
        match rng.random_range(0..4) {
            0 => continue,
            1 => {
                run.drain().await.unwrap();
                run.close().await;
            }
            2 => {
                let point = POINTS[rng.random_range(0..POINTS.len())];
                bench.failpoints.arm(point, Action::Error).unwrap();
                run.drain().await.unwrap_err();
                bench.failpoints.clear();
                drop(run);
            }
            _ => {
                run.drain().await.unwrap();
                continue;
            }
        }
        bench.partitions = rng.random_range(1..4);
        run = bench.open(&query).await.unwrap();
    }
    run.drain().await.unwrap();
    let all = bench.sink.batches();
    let rows = all.iter().flat_map(|(_, rows)| rows.iter().flat_map(texts));
    let last: BTreeMap<String, String> = rows
        .map(|row| {
            let cells: Vec<&str> = row.rsplitn(3, ' ').collect();
            (cells[2].to_owned(), format!("{} {}", cells[1], cells[0]))
        })
        .collect();
    let expected: BTreeMap<_, _> = expected.into_iter().map(|(k, (n, s))| (k.to_owned(), format!("{n} {s}"))).collect();
    assert_eq!(last, expected, "seed {seed}");
}

#[tokio::test]
async fn sums_are_those_of_all_rows() {
    for seed in 0..12 {
        check(seed, with_group_state).await;
        check(seed, with_processor).await;
    }
}
