//! Every folder of `sql-examples` runs: its pipeline gives output, and ends with 0 at an interrupt.
//!
//! Sockets are served from here; directories for output and checkpoints come through the variables that the examples take
//! from the environment.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::thread;

use super::process::{Tidemill, command};

#[test]
fn every_example_runs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-examples");
    let mut pipelines: Vec<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path().join("pipeline.sql")).filter(|p| p.is_file()).collect();
    pipelines.sort();
    assert!(!pipelines.is_empty(), "no examples below {}", dir.display());
    pipelines.iter().for_each(|p| run(p));
}

fn run(pipeline: &Path) {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let mut command = command(["run".as_ref(), pipeline.as_os_str()]);
    command.env("HOST", "127.0.0.1").env("PORT", serve_lines().to_string());
    command.env("OUTPUT", at("output")).env("CHECKPOINT", at("checkpoint"));
    let mut example = Tidemill::start(&mut command);
    example.wait_for(&format!("output of {}", pipeline.display()), |e| {
        !e.stdout.text().is_empty() || has_part(&at("output"))
    });
    // Some end by themselves, before or after the signal.
    let ended = if example.is_running() { example.interrupted() } else { example.ended() };
    assert_eq!(ended.code, Some(0), "{}: {}", pipeline.display(), ended.stderr);
}

fn has_part(output: &Path) -> bool {
    let Ok(entries) = fs::read_dir(output) else { return false };
    entries.flatten().any(|e| e.file_name().to_string_lossy().starts_with("part-"))
}

/// A port that gives every connection a few lines, and keeps it open.
fn serve_lines() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut open = vec![];
        for mut connection in listener.incoming().flatten() {
            let _ = connection.write_all(b"apache spark\napache arrow\n");
            open.push(connection);
        }
    });
    port
}
