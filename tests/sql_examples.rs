//! Every folder of `sql-examples` runs: its pipeline gives output within a time, and ends with 0 at an interrupt.
//!
//! Sockets are served from here; directories for output and checkpoints come through the variables that the examples take
//! from the environment.
#![cfg(all(feature = "cli", unix))]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

const OUTPUT_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(15);

#[test]
fn every_example_runs() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql-examples");
    let mut pipelines: Vec<PathBuf> =
        fs::read_dir(&dir).unwrap().map(|e| e.unwrap().path().join("pipeline.sql")).filter(|p| p.is_file()).collect();
    pipelines.sort();
    assert!(!pipelines.is_empty(), "no examples below {}", dir.display());
    let failures: Vec<String> =
        pipelines.iter().filter_map(|p| run(p).err().map(|e| format!("{}: {e}", p.display()))).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

fn run(pipeline: &Path) -> Result<(), String> {
    let scratch = tempfile::tempdir().unwrap();
    let mut example = Example::start(pipeline, scratch.path());
    let status = match example.wait_for_output(&scratch.path().join("output")) {
        Waited::Exited => example.child.wait().unwrap(),
        Waited::Output => example.interrupt()?,
        Waited::Nothing => {
            let _ = example.child.kill();
            return Err(format!("no output within {} s; stderr:\n{}", OUTPUT_LIMIT.as_secs(), example.stderr()));
        }
    };
    if !status.success() {
        return Err(format!("it ended with {status}; stderr:\n{}", example.stderr()));
    }
    Ok(())
}

/// A process that runs an example.
struct Example {
    child: Child,
    stdout: Arc<Mutex<Vec<u8>>>,
    stderr: Arc<Mutex<Vec<u8>>>,
}

enum Waited {
    Output,
    Exited,
    Nothing,
}

impl Example {
    fn start(pipeline: &Path, scratch: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tidemill"))
            .arg("run")
            .arg(pipeline)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env("HOST", "127.0.0.1")
            .env("PORT", serve_lines().to_string())
            .env("OUTPUT", scratch.join("output"))
            .env("CHECKPOINT", scratch.join("checkpoint"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Rows on stdout, or a file in the output directory.
    fn wait_for_output(&mut self, output: &Path) -> Waited {
        let start = Instant::now();
        while start.elapsed() < OUTPUT_LIMIT {
            if self.child.try_wait().unwrap().is_some() {
                return Waited::Exited;
            }
            if !self.stdout.lock().unwrap().is_empty() || has_part(output) {
                return Waited::Output;
            }
            thread::sleep(Duration::from_millis(50));
        }
        Waited::Nothing
    }

    fn interrupt(&mut self) -> Result<std::process::ExitStatus, String> {
        Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        let start = Instant::now();
        while start.elapsed() < STOP_LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(50));
        }
        let _ = self.child.kill();
        Err(format!("it did not stop within {} s; stderr:\n{}", STOP_LIMIT.as_secs(), self.stderr()))
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.stderr.lock().unwrap()).into_owned()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn has_part(output: &Path) -> bool {
    let Ok(entries) = fs::read_dir(output) else { return false };
    entries.flatten().any(|e| e.file_name().to_string_lossy().starts_with("part-"))
}

fn collect(mut pipe: impl Read + Send + 'static) -> Arc<Mutex<Vec<u8>>> {
    let all = Arc::new(Mutex::new(vec![]));
    let shared = all.clone();
    thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(n @ 1..) = pipe.read(&mut buffer) {
            shared.lock().unwrap().extend_from_slice(&buffer[..n]);
        }
    });
    all
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
