//! Arguments.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// Spark's Structured Streaming semantics in SQL, in one binary, without a JVM.
#[derive(Debug, Parser)]
#[command(name = "tidemill", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Show what happens; twice for details. RUST_LOG says it exactly
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

/// Below the help of the program.
const EXAMPLES: &str = "\
Examples:
  tidemill demo                              a word count that needs nothing
  tidemill run pipeline.sql -D PORT=9999     until Ctrl-C, or until every flow has ended
  tidemill run -e \"SELECT 1 + 1\"            a query from the command line
  tidemill sql                               statements as they are typed

Exit codes:
  0    done, or stopped by Ctrl-C, SIGTERM or SIGHUP
  1    a flow has failed
  2    the script or the command line is wrong, and nothing was started
  130  a second Ctrl-C
Colours are for terminals only; NO_COLOR turns them off.";

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run SQL files until Ctrl-C, or until every flow has ended
    Run(RunArgs),
    /// Serve lines on a local port and count their words: needs nothing
    Demo(DemoArgs),
    /// Show plans, stateful operators and watermarks; starts nothing
    Explain(ExplainArgs),
    /// Run pipeline tests
    Test(TestArgs),
    /// Interactive shell
    Sql(SessionArgs),
    /// What can be read, written and called, with all options
    List(ListArgs),
    /// Look into checkpoints
    Checkpoint {
        #[command(subcommand)]
        command: CheckpointCommand,
    },
    /// Measure how fast queries are, and check what they give
    Bench {
        #[command(subcommand)]
        command: BenchCommand,
    },
}

#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// The queries of Nexmark over persons, auctions and bids
    Nexmark(NexmarkArgs),
}

#[derive(Debug, Args)]
pub struct NexmarkArgs {
    /// Names of queries, such as q0 q5w q12; without any, all of them
    #[arg(value_name = "QUERY", conflicts_with = "write")]
    pub queries: Vec<String>,
    /// How many persons, auctions and bids there are together
    #[arg(long, value_name = "N", default_value_t = 1_000_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub events: i64,
    /// How many of them a second of event time has
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(i64).range(1..))]
    pub rate: i64,
    /// Another number makes other rows
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// What the queries read; kafka needs --bootstrap
    #[arg(long, value_enum, default_value_t = NexmarkSource::Memory, conflicts_with = "write")]
    pub source: NexmarkSource,
    /// Brokers of Kafka; topics are made there, and stay
    #[arg(long, value_name = "HOST:PORT", required_if_eq("source", "kafka"))]
    pub bootstrap: Option<String>,
    /// When batches run: 'available now', once, default, or 'every 1 second'
    #[arg(long, value_name = "TRIGGER", default_value = "available now", value_parser = trigger, conflicts_with = "write")]
    pub trigger: tidemill::Trigger,
    /// How many batches the events come in; of files, a batch is one
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = parts, conflicts_with = "write")]
    pub batches: usize,
    /// Measure only: what the queries give is not compared with that of the same queries over tables
    #[arg(long, conflicts_with = "write")]
    pub no_check: bool,
    /// The figures as a JSON array
    #[arg(long, conflicts_with = "write")]
    pub json: bool,
    /// Only write the rows, for other programs: DIR/person, DIR/auction and DIR/bid
    #[arg(long, value_name = "DIR")]
    pub write: Option<PathBuf>,
    /// What the files are
    #[arg(long, value_enum, default_value_t = NexmarkFiles::Parquet, requires = "write")]
    pub format: NexmarkFiles,
    /// How many files a table is written to
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = parts, requires = "write")]
    pub files: usize,
}

/// Where the rows of Nexmark are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NexmarkSource {
    /// In memory, before the queries start
    Memory,
    /// Files in a temporary directory
    Parquet,
    /// The same, a row of JSON a line
    Json,
    /// JSON in topics
    Kafka,
}

/// A format of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum NexmarkFiles {
    Parquet,
    Json,
}

#[derive(Debug, Subcommand)]
pub enum CheckpointCommand {
    /// What a checkpoint directory holds
    Show(ShowArgs),
}

#[derive(Debug, Args)]
pub struct ListArgs {
    /// Of what
    #[arg(value_enum)]
    pub what: Listed,
    /// Only this one, with its options
    pub name: Option<String>,
    /// As a JSON array
    #[arg(long)]
    pub json: bool,
}

/// What `tidemill list` lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Listed {
    /// What stands behind USING in CREATE STREAM and CREATE TABLE
    Sources,
    /// What stands behind USING in CREATE SINK
    Sinks,
    /// Formats of files
    Formats,
    /// Functions and operators of SQL
    Functions,
}

#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The checkpoint of one flow, or the directory with those of all flows
    pub dir: PathBuf,
    /// Of each checkpoint only the last N batches
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
    /// As one JSON object
    #[arg(long)]
    pub json: bool,
}

/// Scripts to read.
#[derive(Debug, Args)]
pub struct ScriptArgs {
    /// SQL files, run in order in one session; '-' is the standard input
    #[arg(value_name = "FILE", required_unless_present = "execute")]
    pub files: Vec<PathBuf>,
    /// SQL text, run after the files
    #[arg(short = 'e', long = "execute", value_name = "SQL", allow_hyphen_values = true)]
    pub execute: Vec<String>,
}

/// How the session is made.
#[derive(Debug, Args)]
pub struct SessionArgs {
    /// The value of ${NAME} in scripts
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE", value_parser = definition)]
    pub define: Vec<(String, String)>,
    /// Keep the checkpoint of each flow in a directory of its name below this one
    #[arg(long, value_name = "DIR")]
    pub checkpoint_root: Option<PathBuf>,
    /// How many cores to use: local[N], local[*] or local
    #[arg(long, value_name = "local[N]", value_parser = master)]
    pub master: Option<Master>,
}

#[derive(Debug, Args)]
pub struct RunArgs {
    #[command(flatten)]
    pub scripts: ScriptArgs,
    #[command(flatten)]
    pub session: SessionArgs,
    /// Stop everything when a flow fails
    #[arg(long)]
    pub fail_fast: bool,
    /// Print the progress of every batch as Spark's JSON, one line each: to the standard error, appended to FILE, or with '-'
    /// to the standard output, while results go to the standard error
    #[arg(long, value_name = "FILE|-", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = progress_output)]
    pub progress_json: Option<ProgressOutput>,
}

#[derive(Debug, Args)]
pub struct ExplainArgs {
    #[command(flatten)]
    pub scripts: ScriptArgs,
    #[command(flatten)]
    pub session: SessionArgs,
    /// Also the plans before optimisation
    #[arg(long)]
    pub extended: bool,
}

#[derive(Debug, Args)]
pub struct TestArgs {
    /// sqllogictest files
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Settings to run every file under
    #[arg(long, value_enum, default_value_t = Matrix::File)]
    pub matrix: Matrix,
    /// Files at a time; 0 for one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub jobs: usize,
    /// The value of ${NAME} in scripts that a test includes
    #[arg(short = 'D', long = "define", value_name = "NAME=VALUE", value_parser = definition)]
    pub define: Vec<(String, String)>,
}

/// Which settings a pipeline test runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Matrix {
    /// Those of its own `configMatrix` lines
    File,
    /// Of batch size, partitions, state and restarts so many combinations that every three values meet
    Covering,
    /// Every combination of batch size, partitions, state and restarts
    Full,
}

#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after this many batches with rows; without it, run until Ctrl-C
    #[arg(long, value_name = "N")]
    pub batches: Option<u64>,
}

/// Where the progress goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProgressOutput {
    Stderr,
    Stdout,
    File(PathBuf),
}

/// How many cores to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Master {
    /// `local[N]`.
    Cores(usize),
    /// `local[*]`.
    All,
}

impl Cli {
    /// Threads of the runtime; one for each core without.
    pub fn workers(&self) -> Option<usize> {
        let session = match &self.command {
            Command::Run(args) => &args.session,
            Command::Explain(args) => &args.session,
            Command::Sql(args) => args,
            _ => return None,
        };
        session.cores()
    }
}

impl SessionArgs {
    /// The N of `local[N]`.
    pub fn cores(&self) -> Option<usize> {
        match self.master {
            Some(Master::Cores(n)) => Some(n),
            Some(Master::All) | None => None,
        }
    }
}

const PROGRESS_JSON: &str = "--progress-json";

/// The arguments with the file of `--progress-json FILE` behind an '=': clap cannot tell the file from a script. A name that
/// ends in `.sql` is a script.
pub fn arguments(given: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec![];
    for argument in given {
        let text = argument.to_string_lossy();
        let is_file = text == "-" || !text.starts_with('-') && !text.to_ascii_lowercase().ends_with(".sql");
        match arguments.last_mut().filter(|last| *last == PROGRESS_JSON && is_file) {
            Some(last) => {
                last.push("=");
                last.push(&argument);
            }
            None => arguments.push(argument),
        }
    }
    arguments
}

fn progress_output(text: &str) -> Result<ProgressOutput, String> {
    Ok(match text {
        "" => ProgressOutput::Stderr,
        "-" => ProgressOutput::Stdout,
        path => ProgressOutput::File(path.into()),
    })
}

fn trigger(text: &str) -> Result<tidemill::Trigger, String> {
    tidemill::testing::nexmark::trigger(text)
        .ok_or_else(|| "expected 'available now', once, default, or every with a duration".into())
}

/// A number of parts that a directory can hold as files.
fn parts(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| (1..=100_000).contains(n)).ok_or_else(|| "expected a number from 1 to 100000".into())
}

fn definition(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".into()),
    }
}

/// Each core is a thread with a stack of its own: many more than there are only cost memory.
const MOST_CORES: usize = 1024;

fn master(text: &str) -> Result<Master, String> {
    let inner = text.strip_prefix("local[").and_then(|rest| rest.strip_suffix(']'));
    match (text, inner) {
        ("local", _) => Ok(Master::Cores(1)),
        (_, Some("*")) => Ok(Master::All),
        (_, Some(n)) => match n.parse() {
            Ok(n) if (1..=MOST_CORES).contains(&n) => Ok(Master::Cores(n)),
            _ => Err(format!("expected local[N] with N from 1 to {MOST_CORES}")),
        },
        _ => Err("expected local, local[N] or local[*]; there are no clusters".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_file_of_the_progress_is_told_from_a_script() {
        let parsed = |line: &str| {
            let given = ["tidemill", "run"].into_iter().chain(line.split(' ')).map(OsString::from);
            let Command::Run(run) = Cli::parse_from(arguments(given)).command else { panic!("{line}") };
            (run.progress_json, run.scripts.files.len())
        };
        let file = || Some(ProgressOutput::File("p.jsonl".into()));
        assert_eq!(parsed("a.sql"), (None, 1));
        assert_eq!(parsed("--progress-json a.sql"), (Some(ProgressOutput::Stderr), 1));
        assert_eq!(parsed("a.sql --progress-json"), (Some(ProgressOutput::Stderr), 1));
        assert_eq!(parsed("a.sql --progress-json --fail-fast"), (Some(ProgressOutput::Stderr), 1));
        assert_eq!(parsed("a.sql --progress-json p.jsonl"), (file(), 1));
        assert_eq!(parsed("--progress-json p.jsonl a.sql"), (file(), 1));
        assert_eq!(parsed("--progress-json=p.jsonl -"), (file(), 1));
        assert_eq!(parsed("- --progress-json -"), (Some(ProgressOutput::Stdout), 1));
    }

    #[test]
    fn masters() {
        assert_eq!(master("local[4]"), Ok(Master::Cores(4)));
        assert_eq!(master("local[*]"), Ok(Master::All));
        assert!(master("spark://host").is_err());
        assert!(master("local[0]").is_err() && master("local[999999]").is_err());
    }
}
