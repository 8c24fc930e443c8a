//! A real Apache Kafka, one broker, and what tests do to its topics.
//!
//! The jars are in a folder that `tests/run` fills; `TIDEMILL_KAFKA` names another.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

pub const PATIENCE: Duration = Duration::from_secs(30);

/// A record to be written.
#[derive(Debug, Clone, Default)]
pub struct Out {
    pub partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    pub time: Option<i64>,
}

impl Out {
    pub fn value(partition: i32, value: impl Into<Vec<u8>>) -> Self {
        Self { partition, value: Some(value.into()), ..Self::default() }
    }
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Read {
    pub topic: String,
    pub partition: i32,
    pub offset: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

/// A broker that ends with the test, or with the tests.
pub struct Broker {
    dir: tempfile::TempDir,
    port: u16,
    /// Where it wants TLS and a password, if it does.
    secure_port: Option<u16>,
    child: Mutex<Option<Child>>,
}

fn jars() -> String {
    let home = std::env::var("HOME").unwrap_or_default();
    let dir = std::env::var("TIDEMILL_KAFKA")
        .map_or_else(|_| PathBuf::from(home).join(".cache/tidemill/kafka"), PathBuf::from);
    assert!(dir.is_dir(), "there is no Kafka in {}: tests/run fetches it", dir.display());
    format!("{}/*", dir.display())
}

/// A port that no outgoing connection takes while the broker is down.
pub fn free_port() -> u16 {
    let begin = 20_000 + (std::process::id() % 9000) as u16;
    static NEXT: Mutex<u16> = Mutex::new(0);
    let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        *next += 1;
        let port = begin + *next;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", &jars(), class]);
    command
}

/// The same with a listener for TLS and passwords, and grants.
fn secured(properties: &str, port: u16, dir: &Path) -> String {
    let openssl = |args: &str| {
        let done = Command::new("openssl").args(args.split(' ')).current_dir(dir).output();
        let done = done.expect("openssl, which tests/run installs");
        assert!(done.status.success(), "openssl {args}: {}", String::from_utf8_lossy(&done.stderr));
    };
    std::fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1,DNS:localhost\n").unwrap();
    openssl("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj /CN=tests");
    openssl("req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=127.0.0.1");
    openssl(
        "x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out server.pem -days 30 -extfile names",
    );
    openssl("pkcs12 -export -in server.pem -inkey server.key -certfile ca.pem -out server.p12 -passout pass:changeit");
    let own = "listener.name.sasl_ssl";
    let users = "user_admin=\"admin-secret\" user_reader=\"reader-secret\"";
    properties
        .replace(",CONTROLLER://", &format!(",SASL_SSL://127.0.0.1:{port},CONTROLLER://"))
        .replace("\nadvertised.listeners=", &format!("\nadvertised.listeners=SASL_SSL://127.0.0.1:{port},"))
        .replace("CONTROLLER:PLAINTEXT", "CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL")
        + &format!(
            "sasl.enabled.mechanisms=PLAIN\n{own}.sasl.enabled.mechanisms=PLAIN\n\
             {own}.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required {users};\n\
             {own}.ssl.keystore.type=PKCS12\n{own}.ssl.keystore.location={}\n{own}.ssl.keystore.password=changeit\n\
             {own}.ssl.key.password=changeit\nauthorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
             super.users=User:ANONYMOUS;User:admin\n",
            dir.join("server.p12").display()
        )
}

impl Broker {
    /// The one that tests share which do not hurt it.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Broker> = OnceLock::new();
        SHARED.get_or_init(Self::new)
    }

    /// One of its own, which is running.
    pub fn new() -> Self {
        Self::with(None)
    }

    /// One that also listens with TLS, where `admin` (password `admin-secret`) may do everything and `reader` (`reader-secret`)
    /// what is granted.
    pub fn secure() -> Self {
        Self::with(Some(free_port()))
    }

    fn with(secure_port: Option<u16>) -> Self {
        let (dir, port, controller) = (tempfile::tempdir().unwrap(), free_port(), free_port());
        let data = dir.path().join("data");
        let properties = format!(
            "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
             advertised.listeners=PLAINTEXT://127.0.0.1:{port}\ncontroller.listener.names=CONTROLLER\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\nlog.dirs={}\n\
             offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\ndefault.replication.factor=1\n\
             transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\ntransaction.state.log.num.partitions=4\n\
             min.insync.replicas=1\nauto.create.topics.enable=false\ngroup.initial.rebalance.delay.ms=0\n\
             broker.session.timeout.ms=2000\nbroker.heartbeat.interval.ms=500\n\
             log.retention.check.interval.ms=1000\nlog.initial.task.delay.ms=500\nlog.segment.delete.delay.ms=1000\n\
             log.cleaner.dedupe.buffer.size=4194304\nlog.cleaner.backoff.ms=200\n",
            data.display()
        );
        let properties = match secure_port {
            None => properties,
            Some(secure) => secured(&properties, secure, dir.path()),
        };
        std::fs::write(dir.path().join("server.properties"), properties).unwrap();
        let broker = Self { dir, port, secure_port, child: Mutex::default() };
        let formatted = java("kafka.tools.StorageTool")
            .args(["format", "--cluster-id", "dGlkZW1pbGwtdGVzdHMtMQ", "--config"])
            .arg(broker.dir.path().join("server.properties"))
            .output()
            .expect("java, which tests/run installs");
        assert!(formatted.status.success(), "{formatted:?}");
        broker.start();
        broker
    }

    /// Starts it, and waits until it answers.
    pub fn start(&self) {
        let mut server = java("kafka.Kafka");
        server.arg(self.dir.path().join("server.properties"));
        // The shell holds the end of a pipe to this process, and ends the server when this process has ended, however.
        let args: Vec<_> = server.get_args().map(|arg| format!("'{}'", arg.to_string_lossy())).collect();
        let script = format!(
            "java {} > {}/log 2>&1 < /dev/null & read _; kill -9 $!",
            args.join(" "),
            self.dir.path().display()
        );
        let child = Command::new("sh").args(["-c", &script]).stdin(Stdio::piped()).spawn().unwrap();
        *self.child.lock().unwrap() = Some(child);
        let client: BaseConsumer = self.config().create().unwrap();
        let begin = Instant::now();
        while client.fetch_metadata(None, Duration::from_secs(1)).is_err() {
            let log = || std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            assert!(begin.elapsed() < 2 * PATIENCE, "the broker does not answer:\n{}", log());
            sleep(Duration::from_millis(100));
        }
    }

    /// `kill -9`.
    pub fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(child.stdin.take());
            let _ = child.wait();
        }
    }

    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it wants TLS and a password.
    pub fn secure_servers(&self) -> String {
        format!("127.0.0.1:{}", self.secure_port.expect("a secure broker"))
    }

    /// The certificate that its own is signed by.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// Lets a user read a topic.
    pub fn grant(&self, user: &str, topic: &str) {
        let principal = format!("User:{user}");
        self.tool(
            "kafka.admin.AclCommand",
            &[
                "--add",
                "--allow-principal",
                &principal,
                "--operation",
                "Read",
                "--operation",
                "Describe",
                "--topic",
                topic,
            ],
            "",
        );
        sleep(Duration::from_millis(500));
    }

    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.servers()).set("log_level", "0");
        config
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
    }

    /// The number of partitions of a topic, 0 if there is none.
    pub fn partitions(&self, topic: &str) -> usize {
        let client: BaseConsumer = self.config().create().unwrap();
        let metadata = client.fetch_metadata(Some(topic), PATIENCE).unwrap();
        metadata.topics().iter().filter(|t| t.error().is_none()).map(|t| t.partitions().len()).sum()
    }

    #[track_caller]
    fn wait_until(&self, what: &str, met: impl Fn() -> bool) {
        let begin = Instant::now();
        while !met() {
            assert!(begin.elapsed() < 2 * PATIENCE, "waited in vain: {what}");
            sleep(Duration::from_millis(50));
        }
    }

    pub fn create(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) {
        let mut new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1)).set("retention.ms", "-1");
        for (key, value) in config {
            new = new.set(key, value);
        }
        // The name of a topic that was just deleted may still be taken.
        self.wait_until("the topic is made", || {
            let made = self.block_on(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
            made[0].is_ok()
        });
        self.wait_until("the topic is there", || self.partitions(topic) == partitions as usize);
    }

    pub fn delete(&self, topic: &str) {
        self.block_on(self.admin().delete_topics(&[topic], &AdminOptions::new())).unwrap()[0].clone().unwrap();
        self.wait_until("the topic is gone", || self.partitions(topic) == 0);
        sleep(Duration::from_millis(300));
    }

    pub fn add_partitions(&self, topic: &str, count: usize) {
        let new = NewPartitions::new(topic, count);
        self.block_on(self.admin().create_partitions([&new], &AdminOptions::new())).unwrap()[0].clone().unwrap();
        self.wait_until("the partitions are there", || self.partitions(topic) == count);
    }

    /// Removes the records before an offset.
    pub fn delete_before(&self, topic: &str, offsets: &BTreeMap<i32, i64>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
        }
        let deleted = self.block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        deleted.elements().iter().for_each(|e| e.error().unwrap());
    }

    /// A producer; with an id it is transactional.
    pub fn producer(&self, transactional_id: Option<&str>) -> BaseProducer {
        let mut config = self.config();
        config.set("linger.ms", "0").set("acks", "all");
        if let Some(id) = transactional_id {
            config.set("transactional.id", id).set("transaction.timeout.ms", "300000");
        }
        let producer: BaseProducer = config.create().unwrap();
        if transactional_id.is_some() {
            producer.init_transactions(PATIENCE).unwrap();
        }
        producer
    }

    pub fn send(&self, producer: &BaseProducer, topic: &str, records: &[Out]) {
        for record in records {
            let headers = record
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |all, (key, value)| all.insert(Header { key, value: value.as_ref() }));
            let mut out = BaseRecord::<[u8], [u8]>::to(topic).partition(record.partition);
            (out.key, out.payload, out.timestamp) = (record.key.as_deref(), record.value.as_deref(), record.time);
            out.headers = (!record.headers.is_empty()).then_some(headers);
            while let Err((_, again)) = producer.send(out) {
                producer.poll(Duration::from_millis(10));
                out = again;
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    pub fn produce(&self, topic: &str, records: &[Out]) {
        self.send(&self.producer(None), topic, records);
    }

    /// All records of a topic that a reader with this isolation sees, by partition and offset.
    pub fn read_with(&self, topic: &str, isolation: &str) -> Vec<Read> {
        let mut config = self.config();
        config.set("group.id", "reader").set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        let consumer: BaseConsumer = config.set("isolation.level", isolation).create().unwrap();
        let mut list = TopicPartitionList::new();
        let mut open: std::collections::BTreeSet<_> = (0..self.partitions(topic) as i32).collect();
        for partition in &open {
            list.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        }
        consumer.assign(&list).unwrap();
        let (mut found, begin) = (vec![], Instant::now());
        while !open.is_empty() {
            assert!(begin.elapsed() < 4 * PATIENCE, "{topic} cannot be read to its end: {open:?}");
            match consumer.poll(Duration::from_secs(1)) {
                None => {}
                Some(Err(KafkaError::PartitionEOF(partition))) => drop(open.remove(&partition)),
                Some(Err(e)) => panic!("reading: {e}"),
                Some(Ok(message)) => {
                    let headers = message.headers().map(|headers| {
                        let header = |h: Header<'_, &[u8]>| (h.key.to_owned(), h.value.map(<[u8]>::to_vec));
                        headers.iter().map(header).collect()
                    });
                    found.push(Read {
                        topic: message.topic().to_owned(),
                        partition: message.partition(),
                        offset: message.offset(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                        headers: headers.unwrap_or_default(),
                    });
                }
            }
        }
        found.sort();
        found
    }

    /// The same of several topics, by one that sees what is committed.
    pub fn read(&self, topics: &[&str]) -> Vec<Read> {
        topics.iter().flat_map(|topic| self.read_with(topic, "read_committed")).collect()
    }

    /// Runs one of Kafka's own tools; what it printed.
    pub fn tool(&self, class: &str, args: &[&str], stdin: &str) -> String {
        let mut command = java(class);
        command.args(["--bootstrap-server", &self.servers()]).args(args);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("java");
        child.stdin.take().unwrap().write_all(stdin.as_bytes()).unwrap();
        String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
    }

    /// What a consumer group has committed.
    pub fn committed(&self, group: &str, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        let found = consumer.committed_offsets(list, PATIENCE).unwrap();
        found.elements()[0].offset().to_raw().filter(|offset| *offset >= 0)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
