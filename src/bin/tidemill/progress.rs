//! `--progress-json`: the progress of every batch as a line of JSON.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;

use parking_lot::Mutex;
use tidemill::{StreamingQueryListener, StreamingQueryProgress};
use tokio::sync::Notify;

use crate::WRONG;
use crate::cli::ProgressOutput;
use crate::output::{StandardError, say};

/// Prints the progress of every batch.
pub struct PrintProgress {
    output: Mutex<Output>,
    /// Notified when nobody reads it any more.
    unread: Arc<Notify>,
}

struct Output {
    to: Box<dyn Write + Send>,
    /// What it is called in messages.
    name: String,
    failed: bool,
}

impl PrintProgress {
    /// Opens the output; a file is appended to, so that a restart does not lose what was before. The exit code if it
    /// cannot be opened.
    pub fn to(output: &ProgressOutput, unread: Arc<Notify>) -> Result<Self, u8> {
        let (to, name): (Box<dyn Write + Send>, _) = match output {
            ProgressOutput::Stderr => (Box::new(StandardError), "standard error".to_owned()),
            ProgressOutput::Stdout => (Box::new(io::stdout()), "standard output".to_owned()),
            ProgressOutput::File(path) => match File::options().create(true).append(true).open(path) {
                Ok(file) => (Box::new(file), format!("file '{}'", path.display())),
                Err(e) => {
                    say(&format!("error: --progress-json: file '{}': {e}", path.display()));
                    return Err(WRONG);
                }
            },
        };
        Ok(Self { output: Mutex::new(Output { to, name, failed: false }), unread })
    }
}

impl StreamingQueryListener for PrintProgress {
    fn on_query_progress(&self, progress: &Arc<StreamingQueryProgress>) {
        let mut output = self.output.lock();
        let line = progress.to_json() + "\n";
        let written = output.to.write_all(line.as_bytes()).and_then(|()| output.to.flush());
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => self.unread.notify_one(),
            Err(e) if !output.failed => {
                output.failed = true;
                say(&format!("warning: progress is lost: {}: {e}", output.name));
            }
            _ => {}
        }
    }
}
