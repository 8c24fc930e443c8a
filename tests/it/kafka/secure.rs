//! Brokers that want TLS, a password and grants.

use super::broker::{Broker, Out};
use crate::process::{Ended, run_to_end};

/// Copies `in` to `out` as a user; `$` in the settings is the broker's certificate.
fn copy(broker: &Broker, settings: &str) -> Ended {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings.replace('$', &broker.certificate().display().to_string());
    let connection = format!("kafka.bootstrap.servers '{}', {settings}", broker.secure_servers());
    let sql = format!(
        "CREATE STREAM s USING kafka OPTIONS ({connection}, subscribe 'in', startingOffsets 'earliest');
         CREATE SINK o USING kafka OPTIONS ({connection}, topic 'out');
         CREATE FLOW q TRIGGER AVAILABLE NOW CHECKPOINT LOCATION '{}' AS INSERT INTO o SELECT key, value FROM s;",
        dir.path().display()
    );
    run_to_end(["run", "-e", &sql])
}

#[test]
fn tls_passwords_and_grants() {
    let broker = Broker::secure();
    broker.create("in", 1, &[]);
    broker.create("out", 1, &[]);
    broker.produce("in", &["one", "two"].map(|value| Out::value(0, value)));
    let user = |name: &str, password: &str| {
        format!(
            "kafka.security.protocol 'SASL_SSL', kafka.sasl.mechanism 'PLAIN', kafka.ssl.ca.location '$', kafka.sasl.username '{name}', kafka.sasl.password '{password}'"
        )
    };
    copy(&broker, &user("admin", "admin-secret")).assert_code(0);
    let values =
        || broker.read(&["out"]).into_iter().map(|r| String::from_utf8(r.value.unwrap()).unwrap()).collect::<Vec<_>>();
    assert_eq!(values(), ["one", "two"]);
    // As the Java client has it.
    let java = "kafka.security.protocol 'SASL_SSL', kafka.sasl.mechanism 'PLAIN', kafka.ssl.truststore.type 'PEM', kafka.ssl.truststore.location '$',
        kafka.sasl.jaas.config 'org.apache.kafka.common.security.plain.PlainLoginModule required username=\"admin\" password=\"admin-secret\";'";
    copy(&broker, java).assert_code(0);
    assert_eq!(values().len(), 4);
    let refused = |settings: &str, condition: &str| {
        let ended = copy(&broker, settings);
        ended.assert_code(1);
        assert!(ended.stderr.contains(condition), "{settings}: {}", ended.stderr);
        assert!(!ended.stderr.contains("-secret"), "{}", ended.stderr);
    };
    refused(&user("admin", "wrong-secret"), "KAFKA_AUTHENTICATION_FAILED");
    refused(&user("nobody", "any-secret"), "KAFKA_AUTHENTICATION_FAILED");
    refused(&user("admin", "admin-secret").replace("kafka.ssl.ca.location '$', ", ""), "KAFKA_TLS_FAILED");
    refused(&user("reader", "reader-secret"), "KAFKA_AUTHORIZATION_FAILED");
    // A grant to read the one topic, and none to write.
    broker.grant("reader", "in");
    refused(&user("reader", "reader-secret"), "KAFKA_AUTHORIZATION_FAILED");
    assert_eq!(values().len(), 4);
}
