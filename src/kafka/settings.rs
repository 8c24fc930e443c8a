//! The options `kafka.…`: settings of the client library, by its own names or by those of the Java client.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::error::{Error, Result};
use crate::options::{OptionReader, OptionSpec, OptionType, did_you_mean, is_secret};

/// What [`Settings::read`] reads.
pub const SETTINGS: [OptionSpec; 2] = [
    OptionSpec::new("kafka.bootstrap.servers", OptionType::Text, "Brokers to begin with, as host:port,host:port.")
        .required(),
    OptionSpec::new(
        "kafka.*",
        OptionType::Text,
        "A setting of the client: of librdkafka, or of the Java client where there is a counterpart.",
    ),
];

const PREFIX: &str = "kafka.";

/// Settings of the Java client that librdkafka has under another name.
const OTHER_NAMES: [(&str, &str); 9] = [
    ("fetch.max.wait.ms", "fetch.wait.max.ms"),
    ("max.request.size", "message.max.bytes"),
    ("receive.buffer.bytes", "socket.receive.buffer.bytes"),
    ("send.buffer.bytes", "socket.send.buffer.bytes"),
    ("request.timeout.ms", "socket.timeout.ms"),
    ("default.api.timeout.ms", "socket.timeout.ms"),
    ("max.block.ms", "message.timeout.ms"),
    ("ssl.truststore.certificates", "ssl.ca.pem"),
    ("ssl.keystore.certificate.chain", "ssl.certificate.pem"),
];

/// Settings that would take from the query what it has to decide, and what to do instead.
const REFUSED: [(&str, &str); 9] = [
    ("auto.offset.reset", "set the source option 'startingOffsets' instead: offsets are kept by the query"),
    ("enable.auto.commit", "offsets are kept by the query; 'commitOffsets' says whether the group is told"),
    ("enable.auto.offset.store", "offsets are kept by the query"),
    ("interceptor.classes", "there is no Java here for an interceptor to run in"),
    ("key.deserializer", "keys are bytes, or what 'key.format' makes of them"),
    ("value.deserializer", "values are bytes, or what 'value.format' makes of them"),
    ("key.serializer", "keys are strings or bytes, or what 'key.format' makes of columns"),
    ("value.serializer", "values are strings or bytes, or what 'value.format' makes of columns"),
    ("transactional.id", "set 'transactionalIdPrefix' instead: each query has an id of its own"),
];

/// What the client is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientKind {
    /// It reads.
    Consumer,
    /// It writes.
    Producer,
}

/// The settings of a client, as its user gave them.
#[derive(Debug, Clone)]
pub struct Settings {
    config: ClientConfig,
    servers: String,
}

impl Settings {
    /// Reads `kafka.…` and checks names and values.
    ///
    /// # Errors
    /// `MISSING_OPTION`, `UNKNOWN_OPTION`, `INVALID_OPTION`.
    pub fn read(reader: &OptionReader<'_>, kind: ClientKind) -> Result<Self> {
        let servers = reader.required("kafka.bootstrap.servers")?.to_owned();
        let mut config = ClientConfig::new();
        for (key, value) in reader.family("kafka.*") {
            let name = key[PREFIX.len()..].to_ascii_lowercase();
            if let Some((_, instead)) = REFUSED.iter().find(|(refused, _)| *refused == name) {
                return Err(reader.refused(key, "is not supported").with_help(*instead));
            }
            set(reader, &mut config, kind, key, &name, value)?;
        }
        config.create_native_config().map_err(|e| unfit(reader, &e))?;
        Ok(Self { config, servers })
    }

    /// The brokers, for messages.
    pub fn servers(&self) -> &str {
        &self.servers
    }

    /// What the user set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.config.get(name)
    }

    /// The settings with defaults of ours where the user has said nothing.
    pub fn with_defaults(&self, defaults: &[(&str, &str)]) -> ClientConfig {
        let mut config = self.config.clone();
        for (name, value) in defaults {
            if self.config.get(name).is_none() {
                config.set(*name, *value);
            }
        }
        config
    }
}

fn set(
    reader: &OptionReader<'_>,
    config: &mut ClientConfig,
    kind: ClientKind,
    key: &str,
    name: &str,
    value: &str,
) -> Result<()> {
    let value = value.trim();
    match name {
        "sasl.jaas.config" => {
            for field in ["username", "password"] {
                let found = jaas(value, field)
                    .ok_or_else(|| reader.invalid(key, "", "a login module with username=\"…\" password=\"…\";"))?;
                config.set(format!("sasl.{field}"), found);
            }
        }
        "buffer.memory" => {
            let bytes: u64 = value.parse().map_err(|_| reader.invalid(key, value, "a number of bytes"))?;
            config.set("queue.buffering.max.kbytes", (bytes / 1024).max(1).to_string());
        }
        "ssl.truststore.type" | "ssl.keystore.type" if value.eq_ignore_ascii_case("pem") => {}
        "ssl.truststore.type" | "ssl.keystore.type" => {
            return Err(reader.invalid(key, value, "PEM, which is all that is read"));
        }
        "ssl.truststore.location" => {
            config.set("ssl.ca.location", value);
        }
        _ => {
            let other = OTHER_NAMES.iter().find(|(java, _)| *java == name).map(|(_, own)| *own);
            if kind == ClientKind::Consumer && other == Some("message.timeout.ms") {
                return Err(reader.refused(key, "is a setting of producers").with_help("leave it out of a source"));
            }
            config.set(other.unwrap_or(name), value);
        }
    }
    Ok(())
}

/// A field of a JAAS entry such as `…PlainLoginModule required username="u" password="p";`.
fn jaas(entry: &str, field: &str) -> Option<String> {
    let at = entry.find(&format!("{field}="))? + field.len() + 1;
    let rest = &entry[at..];
    match rest.chars().next()? {
        quote @ ('"' | '\'') => rest[1..].split(quote).next().map(str::to_owned),
        _ => rest.split([' ', ';']).next().map(str::to_owned),
    }
}

/// The error for a setting that librdkafka does not take.
fn unfit(reader: &OptionReader<'_>, error: &KafkaError) -> Error {
    let KafkaError::ClientConfig(_, said, name, value) = error else {
        return Error::invalid("INVALID_OPTION", format!("the settings 'kafka.…' do not fit: {error}"))
            .with_help("see the configuration reference of librdkafka");
    };
    let key = format!("{PREFIX}{name}");
    if said.contains("No such configuration property") {
        let error = reader.unknown(&key);
        return match did_you_mean(name, known().iter().map(String::as_str)) {
            Some(near) => error.with_help(format!("did you mean '{PREFIX}{near}'?")),
            None => error.with_help("settings are those of librdkafka; some of the Java client have no counterpart"),
        };
    }
    let shown = if is_secret(&key) { "*****" } else { value.as_str() };
    let error = reader.invalid(&key, shown, &format!("what librdkafka takes: {said}"));
    match said.contains("not available at build time") {
        true => error.with_help("build tidemill with the cargo feature 'kafka-ssl'"),
        false => error,
    }
}

/// The names of all settings.
fn known() -> Vec<String> {
    let mut count = 0;
    // SAFETY: the dump is an array of `count` strings, name and value in turn, that is freed below by its own function.
    unsafe {
        let conf = rdkafka::bindings::rd_kafka_conf_new();
        let dump = rdkafka::bindings::rd_kafka_conf_dump(conf, &raw mut count);
        let names = (0..count)
            .step_by(2)
            .map(|i| std::ffi::CStr::from_ptr(*dump.add(i)).to_string_lossy().into_owned())
            .collect();
        rdkafka::bindings::rd_kafka_conf_dump_free(dump, count);
        rdkafka::bindings::rd_kafka_conf_destroy(conf);
        names
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::Options;

    fn read(pairs: &[(&str, &str)]) -> Result<Settings> {
        let mut options = Options::from_iter(pairs.iter().copied());
        options.set("kafka.bootstrap.servers", "b:1");
        let reader = OptionReader::new("the kafka source", &options, &[&SETTINGS]);
        let settings = Settings::read(&reader, ClientKind::Consumer)?;
        reader.finish()?;
        Ok(settings)
    }

    #[test]
    fn settings_have_the_names_of_either_client() {
        let settings = read(&[
            ("kafka.fetch.max.wait.ms", "7"),
            ("KAFKA.fetch.min.bytes", "3"),
            ("kafka.sasl.jaas.config", "x.PlainLoginModule required username=\"u\" password='p;q';"),
        ])
        .unwrap();
        let set = |name| settings.get(name).unwrap().to_owned();
        assert_eq!((set("fetch.wait.max.ms"), set("fetch.min.bytes")), ("7".into(), "3".into()));
        assert_eq!((set("sasl.username"), set("sasl.password")), ("u".into(), "p;q".into()));
        assert_eq!((set("bootstrap.servers"), settings.servers()), ("b:1".into(), "b:1"));
    }

    #[test]
    fn what_is_no_setting_is_told() {
        let error = |key, value| read(&[(key, value)]).unwrap_err();
        let e = error("kafka.fetch.min.byte", "1");
        assert_eq!((e.condition(), e.help()), ("UNKNOWN_OPTION", Some("did you mean 'kafka.fetch.min.bytes'?")));
        let e = error("kafka.fetch.min.bytes", "much");
        assert!(e.condition() == "INVALID_OPTION" && e.message().contains("kafka.fetch.min.bytes"), "{e}");
        let e = error("kafka.auto.offset.reset", "earliest");
        assert!(e.message().contains("auto.offset.reset") && e.help().unwrap().contains("startingOffsets"), "{e}");
        assert_eq!(error("kafka.max.block.ms", "1").condition(), "INVALID_OPTION");
        let e = error("kafka.sasl.jaas.config", "hunter2");
        assert!(!e.to_string().contains("hunter2"), "{e}");
    }
}
