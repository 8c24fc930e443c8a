//! Pipeline tests: `.slt` files with verbs for streams, triggers, time and crashes.
//!
//! A file is one session with a manual clock. Statements that are not verbs go to [`Session::sql`](crate::Session::sql).
//! The verbs are in [`verb`]; how they act on queries is in [`pipeline`]; [`matrix`] says under which settings a file
//! runs.

mod include;
mod matrix;
mod pipeline;
mod query;
mod scratch;
mod seen;
mod session;
mod system;
mod verb;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use datafusion::common::runtime::SpawnedTask;
use futures::StreamExt;
use sqllogictest::{DefaultColumnType, Normalizer, Record, Runner};

use crate::error::{Error, Result};
use crate::session::Variables;
use matrix::{Combination, Matrix};

pub use matrix::Breadth;
use pipeline::{Pipeline, TestFile};

/// How files are run.
#[derive(Debug, Clone, Default)]
pub struct SltOptions {
    /// The settings that every file runs under.
    pub breadth: Breadth,
    /// Files at a time; 0 for one a core.
    pub jobs: usize,
    /// Values of `${NAME}` in the scripts that files include.
    pub variables: Variables,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct SltReport {
    /// Runs without a failure; a file runs once for every combination of its matrix.
    pub passed: usize,
    /// The others.
    pub failures: Vec<SltFailure>,
}

/// A run that failed.
#[derive(Debug)]
pub struct SltFailure {
    /// The file.
    pub path: PathBuf,
    /// The settings it ran under; empty if the file has no matrix.
    pub settings: String,
    /// What was expected, what came, and `file:line`.
    pub message: String,
}

impl SltReport {
    /// 0 if everything passed, else 1.
    pub fn exit_code(&self) -> u8 {
        u8::from(!self.failures.is_empty())
    }
}

impl fmt::Display for SltReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for failure in &self.failures {
            let settings = if failure.settings.is_empty() { String::new() } else { format!(" [{}]", failure.settings) };
            writeln!(f, "FAILED {}{settings}\n{}\n", failure.path.display(), failure.message.trim_end())?;
        }
        write!(f, "{} passed, {} failed", self.passed, self.failures.len())
    }
}

/// Runs `.slt` files, and those below directories. Prints failures and a summary line to stderr.
///
/// # Errors
/// A path that does not exist. Files that cannot be parsed are failures of the report.
pub async fn run_slt(paths: &[PathBuf], options: SltOptions) -> Result<SltReport> {
    let files = find_files(paths)?;
    let jobs = match options.jobs {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        n => n,
    };
    let start = Instant::now();
    let runs = files.into_iter().map(|path| async {
        let task = SpawnedTask::spawn(run_file(path.clone(), options.clone()));
        task.join().await.unwrap_or_else(|e| {
            let message = format!("the test did not end: {e}");
            SltReport { passed: 0, failures: vec![SltFailure { path, settings: String::new(), message }] }
        })
    });
    let reports: Vec<SltReport> = futures::stream::iter(runs).buffered(jobs).collect().await;
    let mut all = SltReport::default();
    for report in reports {
        all.passed += report.passed;
        all.failures.extend(report.failures);
    }
    eprintln!("{all} in {:.1} s", start.elapsed().as_secs_f64());
    Ok(all)
}

/// The files of `paths`, in order, those of a directory by name.
fn find_files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = vec![];
    for path in paths {
        add_files(path, &mut files).map_err(|e| {
            Error::invalid("PATH_NOT_FOUND", format!("pipeline test '{}' cannot be read: {e}", path.display()))
        })?;
    }
    Ok(files)
}

fn add_files(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut names: Vec<PathBuf> = std::fs::read_dir(path)?.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>()?;
    names.sort();
    for name in names {
        if name.is_dir() || name.extension().is_some_and(|e| e == "slt") {
            add_files(&name, files)?;
        }
    }
    Ok(())
}

/// All combinations of a file, one after the other.
async fn run_file(path: PathBuf, options: SltOptions) -> SltReport {
    let mut report = SltReport::default();
    let combinations = match read_file(&path, &options) {
        Ok(parsed) => parsed,
        Err(e) => {
            report.failures.push(SltFailure { path, settings: String::new(), message: e.to_string() });
            return report;
        }
    };
    let (records, combinations) = combinations;
    let dir = path.parent().map(Path::to_owned).unwrap_or_default();
    let files = Arc::new(TestFile { dir, variables: options.variables });
    for combination in combinations {
        match run_records(records.clone(), combination.clone(), files.clone()).await {
            Ok(()) => report.passed += 1,
            Err(message) => {
                report.failures.push(SltFailure { path: path.clone(), settings: combination.to_string(), message });
            }
        }
    }
    report
}

type Records = Vec<Record<DefaultColumnType>>;

fn read_file(path: &Path, options: &SltOptions) -> Result<(Records, Vec<Combination>)> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Error::invalid("PATH_NOT_FOUND", format!("'{}' cannot be read: {e}", path.display())))?;
    let records = sqllogictest::parse_with_name(&text, path.display().to_string())
        .map_err(|e| Error::invalid("PARSE_SYNTAX_ERROR", e.to_string()))?;
    // without a query that is started there is nothing that the project's settings could change
    let whole = options.breadth != Breadth::File && records.iter().any(starts_a_query);
    let mut matrix = if whole { Matrix::full() } else { Matrix::default() };
    matrix.read_header(&text)?;
    Ok((records, matrix.combinations(options.breadth)))
}

fn starts_a_query(record: &Record<DefaultColumnType>) -> bool {
    let (Record::Statement { sql, .. } | Record::Query { sql, .. }) = record else { return false };
    let word = |i| sql.split_whitespace().nth(i).unwrap_or_default().to_ascii_uppercase();
    match word(0).as_str() {
        "START" | "INCLUDE" | "INSERT" => true,
        "CREATE" => matches!(word(1).as_str(), "FLOW" | "STREAM" | "STREAMING"),
        _ => false,
    }
}

async fn run_records(records: Records, combination: Combination, files: Arc<TestFile>) -> Result<(), String> {
    let mut runner = Runner::new(move || {
        let (combination, files) = (combination.clone(), files.clone());
        async move { Pipeline::new(&combination, files) }
    });
    runner.with_validator(same_rows);
    let result = runner.run_multi_async(records).await.map_err(|e| e.display(false).to_string());
    runner.shutdown_async().await;
    result
}

/// Rows are equal if they are when each is written on one line; the number of blanks does not count, as sqllogictest has it.
fn same_rows(normalize: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    actual.len() == expected.len()
        && actual.iter().zip(expected).all(|(row, line)| normalize(&row.join(" ")) == normalize(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_compared_as_lines() {
        let normalize: Normalizer = sqllogictest::runner::default_normalizer;
        let rows = [vec![String::new(), "a  b".into()], vec!["c".into()]];
        assert!(same_rows(normalize, &rows, &[" a b".into(), "c".into()]));
        assert!(!same_rows(normalize, &rows, &["a b".into()]));
    }
}
