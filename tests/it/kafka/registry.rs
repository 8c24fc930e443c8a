//! A real schema registry with Confluent's API, Apicurio's, and Confluent's own Python client beside it.
//!
//! The registry is in a folder that `tests/run` fills, `TIDEMILL_REGISTRY` names another; the client is in the Python of the tests of object stores.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::broker::{PATIENCE, free_port};
use crate::stores::python;

pub struct Registry {
    dir: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

fn jar() -> PathBuf {
    let home = std::env::var("HOME").unwrap_or_default();
    let dir = std::env::var("TIDEMILL_REGISTRY")
        .map_or_else(|_| PathBuf::from(home).join(".cache/tidemill/registry"), PathBuf::from);
    let files = std::fs::read_dir(&dir).into_iter().flatten().map(|e| e.unwrap().path());
    let found = files.into_iter().find(|f| f.to_string_lossy().ends_with("-runner.jar"));
    found.unwrap_or_else(|| panic!("there is no schema registry in {}: tests/run fetches it", dir.display()))
}

impl Registry {
    /// One that answers.
    pub fn new() -> Self {
        let mut registry = Self { dir: tempfile::tempdir().unwrap(), port: free_port(), child: None };
        registry.start();
        registry
    }

    /// Starts it, with the schemas that it had.
    pub fn start(&mut self) {
        let database = format!("jdbc:h2:file:{}/db;WRITE_DELAY=0", self.dir.path().display());
        // The shell ends the server when this process has ended, however.
        let script = format!(
            "java -Xmx384m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dquarkus.http.host=127.0.0.1 -Dquarkus.http.port={} \
             '-Dquarkus.datasource.jdbc.url={database}' '-Dregistry.datasource.url={database}' -jar '{}' > '{}/log' 2>&1 < /dev/null & \
             read _; kill -9 $!",
            self.port,
            jar().display(),
            self.dir.path().display()
        );
        self.child = Some(Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap());
        let begin = Instant::now();
        while self.python("client.get_subjects()").is_err() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < 4 * PATIENCE, "the registry does not answer:\n{}", log());
            std::thread::sleep(Duration::from_millis(300));
        }
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/apis/ccompat/v7", self.port)
    }

    /// Runs Python with Confluent's client of this registry as `client`; what it printed, or the end of what it complained of.
    pub fn python(&self, script: &str) -> Result<String, String> {
        let head = format!(
            "from confluent_kafka.schema_registry import SchemaRegistryClient\n\
             from confluent_kafka.schema_registry.avro import AvroSerializer, AvroDeserializer\n\
             from confluent_kafka.serialization import SerializationContext, MessageField\n\
             client = SchemaRegistryClient({{'url': '{}', 'max.retries': 0}})\n",
            self.url()
        );
        let mut command = Command::new(python());
        let mut child = command
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{}: {e}; tests/run installs it", python().display()));
        child.stdin.take().unwrap().write_all(format!("{head}{script}\n").as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
    }
}
