//! The binary as a child process, and the server it reads from.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take before the test gives up.
const LIMIT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// What a pipe gave so far.
#[derive(Clone, Default)]
pub struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    fn of(mut pipe: impl Read + Send + 'static) -> Self {
        let captured = Self::default();
        let shared = captured.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..n]);
            }
        });
        captured
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

/// A running `tidemill`. It is killed if the test ends before it does.
pub struct Tidemill {
    child: Child,
    pub stdout: Captured,
    pub stderr: Captured,
}

/// How it ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, `None` if a signal killed it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// The command, in the project's directory and without what the caller's environment sets.
pub fn command<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidemill"));
    command.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// `tidemill run -e SQL` with more arguments.
pub fn run_sql(sql: &str, more: &[&str]) -> Tidemill {
    Tidemill::start(&mut command(["run", "-e", sql].iter().chain(more)))
}

/// Runs to its end.
pub fn run_to_end<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ended {
    Tidemill::start(&mut command(args)).ended()
}

impl Tidemill {
    pub fn start(command: &mut Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stdout = child.stdout.take().map(Captured::of).unwrap_or_default();
        let stderr = child.stderr.take().map(Captured::of).unwrap_or_default();
        Self { child, stdout, stderr }
    }

    /// Starts with nobody reading its standard output.
    pub fn start_unread(command: &mut Command) -> (Self, std::process::ChildStdout) {
        let mut child = command.spawn().unwrap();
        let unread = child.stdout.take().unwrap();
        let stderr = child.stderr.take().map(Captured::of).unwrap_or_default();
        (Self { child, stdout: Captured::default(), stderr }, unread)
    }

    pub fn write_stdin(&mut self, text: &str) {
        self.child.stdin.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    /// Waits for `what` of its output; fails with all of it if it ends before, or never comes.
    pub fn wait_for(&mut self, what: &str, met: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !met(self) {
            let ended = self.child.try_wait().unwrap();
            // It may have ended just after it met the condition.
            thread::sleep(PAUSE);
            if ended.is_some() && !met(self) || start.elapsed() > LIMIT {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                panic!("no {what} (ended: {ended:?})\n-- stdout\n{stdout}\n-- stderr\n{stderr}");
            }
        }
    }

    pub fn wait_for_stdout(&mut self, text: &str) {
        self.wait_for(&format!("'{text}' on stdout"), |t| t.stdout.text().contains(text));
    }

    pub fn wait_for_stderr(&mut self, text: &str) {
        self.wait_for(&format!("'{text}' on stderr"), |t| t.stderr.text().contains(text));
    }

    /// Waits until the whole of a batch is printed, its empty line included.
    pub fn wait_for_batch(&mut self, id: u64) {
        let head = format!("Batch: {id}\n");
        let whole = |text: &str| {
            text.find(&head).is_some_and(|at| text[at..].contains("+\n\n") || text[at..].contains("rows\n"))
        };
        self.wait_for(&format!("batch {id}"), |t| whole(&t.stdout.text()));
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for the end.
    pub fn ended(mut self) -> Ended {
        let status = self.status();
        // The threads that read the pipes may be a moment behind.
        let mut before = (self.stdout.text(), self.stderr.text());
        loop {
            thread::sleep(PAUSE * 3);
            let now = (self.stdout.text(), self.stderr.text());
            if now == before {
                return Ended { code: status.code(), stdout: now.0, stderr: now.1 };
            }
            before = now;
        }
    }

    fn status(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            if start.elapsed() > LIMIT {
                let (stdout, stderr) = (self.stdout.text(), self.stderr.text());
                panic!("it did not end\n-- stdout\n{stdout}\n-- stderr\n{stderr}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Ctrl-C, and how it ended.
    pub fn interrupted(self) -> Ended {
        self.signal("INT");
        self.ended()
    }

    /// `kill -9`.
    pub fn killed(mut self) -> Ended {
        self.child.kill().unwrap();
        self.ended()
    }
}

impl Drop for Tidemill {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    #[track_caller]
    pub fn assert_code(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "-- stdout\n{}\n-- stderr\n{}", self.stdout, self.stderr);
        self
    }
}

/// A server of lines on a free port.
pub struct Server(TcpListener);

impl Server {
    pub fn new() -> Self {
        Self::on(0)
    }

    pub fn on(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self(listener)
    }

    pub fn port(&self) -> u16 {
        self.0.local_addr().unwrap().port()
    }

    /// Waits for the next client.
    pub fn accept(&self) -> Peer {
        let start = Instant::now();
        loop {
            match self.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    stream.set_nodelay(true).unwrap();
                    return Peer(stream);
                }
                Err(e) => assert!(start.elapsed() < LIMIT, "nobody connects: {e}"),
            }
            thread::sleep(PAUSE);
        }
    }
}

/// A client of the server.
pub struct Peer(TcpStream);

impl Peer {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }
}

/// A port on which nobody listens.
pub fn closed_port() -> u16 {
    Server::new().port()
}

/// Waits until `met` holds of something outside of the process.
pub fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    let start = Instant::now();
    while !met() {
        assert!(start.elapsed() < LIMIT, "{what} never came to be");
        thread::sleep(PAUSE);
    }
}

/// The statement that reads a server's lines as the stream `lines`.
pub fn lines_from(port: u16, more: &str) -> String {
    format!("CREATE STREAM lines USING socket OPTIONS (host '127.0.0.1', port {port}{more});\n")
}
