//! The command line. It is thin: it reads arguments, runs scripts in a session, and shows what they give.
//!
//! Results go to the standard output, everything else to the standard error. Exit codes: 0 done or stopped by a signal,
//! 1 a query failed, 2 the script or the command line is wrong, 130 a second signal.

mod allocator;
mod bench;
mod cli;
mod demo;
mod list;
mod output;
mod progress;
mod run;
mod shell;
mod signals;

use std::process::ExitCode;

use clap::Parser;

use cli::{BenchCommand, CheckpointCommand, Cli, Command};
use output::{fail, say};
use tidemill::testing::{Breadth, SltOptions, run_slt};

/// A query failed.
const FAILED: u8 = 1;
/// The script or the command line is wrong.
const WRONG: u8 = 2;

/// Of every thread: expressions of generated SQL are as deep as the parser lets them. Only what is used of it takes memory.
const STACK_BYTES: usize = 256 << 20;

fn main() -> ExitCode {
    allocator::keep_freed_memory();
    let cli = Cli::parse_from(cli::arguments(std::env::args_os()));
    init_logs(cli.verbose, matches!(cli.command, Command::Test(_)));
    let main = std::thread::Builder::new().name("tidemill".to_owned()).stack_size(STACK_BYTES);
    let code = main.spawn(move || run(cli)).map(std::thread::JoinHandle::join);
    match code {
        Ok(Ok(code)) => code,
        Ok(Err(_)) => ExitCode::from(FAILED),
        Err(e) => {
            say(&format!("error: no thread: {e}"));
            ExitCode::from(FAILED)
        }
    }
}

/// Runs the command on a runtime of its own.
fn run(cli: Cli) -> ExitCode {
    let workers = cli.workers();
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.thread_stack_size(STACK_BYTES);
    if let Some(n) = workers {
        builder.worker_threads(n);
    }
    let runtime = match builder.enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            say(&format!("error: no runtime: {e}"));
            return ExitCode::from(FAILED);
        }
    };
    let code = dispatch(&runtime, cli.command);
    // Reads that never end, such as of a terminal, must not keep the process.
    runtime.shutdown_background();
    ExitCode::from(code)
}

fn dispatch(runtime: &tokio::runtime::Runtime, command: Command) -> u8 {
    match command {
        Command::Run(args) => runtime.block_on(run::run(args)),
        Command::Demo(args) => runtime.block_on(demo::demo(args)),
        Command::Explain(args) => runtime.block_on(run::explain(args)),
        Command::Test(args) => runtime.block_on(test(args)),
        Command::Sql(args) => shell::shell(runtime, &args),
        Command::List(args) => list::list(&args),
        Command::Checkpoint { command: CheckpointCommand::Show(args) } => show_checkpoint(&args),
        Command::Bench { command: BenchCommand::Nexmark(args) } => runtime.block_on(bench::nexmark(args)),
    }
}

/// Shows a checkpoint, whole as it may be; the exit code says whether it is.
fn show_checkpoint(args: &cli::ShowArgs) -> u8 {
    match tidemill::checkpoint_describe(&args.dir) {
        Ok(shown) => {
            let text = if args.json { shown.to_json(args.last) } else { shown.to_text(args.last) };
            let printed = output::print(&text);
            shown.check().map_or_else(|e| fail(&e, None), |()| printed)
        }
        Err(e) => fail(&e, None),
    }
}

/// Runs pipeline tests and says how they went.
async fn test(args: cli::TestArgs) -> u8 {
    let variables = run::variables(&args.define);
    let breadth = match args.matrix {
        cli::Matrix::File => Breadth::File,
        cli::Matrix::Covering => Breadth::Covering,
        cli::Matrix::Full => Breadth::Full,
    };
    let options = SltOptions { breadth, jobs: args.jobs, variables };
    match run_slt(&args.files, options).await {
        Ok(report) if report.failures.is_empty() && report.passed == 0 => {
            say("error: there is no test: a pipeline test is a file that ends in .slt");
            WRONG
        }
        Ok(report) if report.failures.is_empty() => 0,
        Ok(_) => FAILED,
        Err(e) => {
            fail(&e, None);
            WRONG
        }
    }
}

/// Logs go to the standard error: warnings, with `-v` what happens, or as `RUST_LOG` says. Pipeline tests lose rows on
/// purpose, and say themselves what came of it.
fn init_logs(verbose: u8, is_test: bool) {
    use tracing_subscriber::EnvFilter;
    let default = match verbose {
        0 if is_test => "warn,tidemill::query::losses=error",
        0 => "warn",
        1 => "warn,tidemill=info",
        2 => "info,tidemill=debug",
        _ => "debug,tidemill=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| output::StandardError)
        .with_ansi(output::colour())
        .with_target(verbose > 1)
        .init();
}
