//! What librdkafka says went wrong, as an error of ours.

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::error::{Error, ErrorKind};

/// Whether it may be over in a while: a broker that is away, or that is starting or moving partitions.
pub fn is_transient(code: Code) -> bool {
    use Code::*;
    matches!(
        code,
        BrokerTransportFailure
            | AllBrokersDown
            | Resolve
            | OperationTimedOut
            | TimedOutQueue
            | MessageTimedOut
            | WaitingForCoordinator
            | RequestTimedOut
            | BrokerNotAvailable
            | ReplicaNotAvailable
            | LeaderNotAvailable
            | NotLeaderForPartition
            | NetworkException
            | CoordinatorLoadInProgress
            | CoordinatorNotAvailable
            | NotCoordinator
            | NotEnoughReplicas
            | NotEnoughReplicasAfterAppend
            | KafkaStorageError
            | OffsetNotAvailable
            | FencedLeaderEpoch
            | UnknownLeaderEpoch
            | PreferredLeaderNotAvailable
            | NotController
            | UnknownTopicId
            | Retry
            | InProgress
    )
}

/// The error of a request: `what` was asked for, as in "the offsets of topic 'orders'".
pub fn failed(what: &str, servers: &str, error: &KafkaError) -> Error {
    use Code::*;
    let code = error.rdkafka_error_code();
    let said = code.map_or_else(|| error.to_string(), |code| code.to_string());
    let message = format!("{what}: {said}");
    match code.unwrap_or(Fail) {
        Authentication | SaslAuthenticationFailed | UnsupportedSASLMechanism | IllegalSASLState => Error::io(
            "KAFKA_AUTHENTICATION_FAILED",
            format!("the brokers at '{servers}' do not let this user in: {said}"),
        )
        .with_help("check kafka.security.protocol, kafka.sasl.mechanism, kafka.sasl.username and kafka.sasl.password"),
        SSL => Error::io("KAFKA_TLS_FAILED", format!("no TLS connection with the brokers at '{servers}': {said}"))
            .with_help("check kafka.security.protocol and kafka.ssl.ca.location"),
        TopicAuthorizationFailed
        | GroupAuthorizationFailed
        | ClusterAuthorizationFailed
        | TransactionalIdAuthorizationFailed => Error::io("KAFKA_AUTHORIZATION_FAILED", message)
            .with_help("the user of this connection needs a grant (ACL) for it"),
        UnknownTopicOrPartition | UnknownTopic | UnknownPartition | UnknownTopicId => {
            Error::io("KAFKA_UNKNOWN_TOPIC", message).with_help("create the topic first, or check its name")
        }
        InvalidTopic => Error::io("KAFKA_INVALID_TOPIC", message)
            .with_help("a topic's name has letters, digits, '.', '_' and '-', and at most 249 of them"),
        MessageSizeTooLarge | InvalidMessageSize => Error::execution("KAFKA_RECORD_TOO_LARGE", message)
            .with_help("raise kafka.message.max.bytes here and max.message.bytes of the topic"),
        Fenced | ProducerFenced | InvalidProducerEpoch => Error::execution("KAFKA_PRODUCER_FENCED", message)
            .with_help("another producer has the same transactional id: end the other run of this query"),
        code if is_transient(code) => Error::io("KAFKA_BROKER_UNAVAILABLE", message).with_help(format!(
            "check that the brokers at '{servers}' run, and that their advertised listeners can be reached"
        )),
        _ => Error::new(ErrorKind::Io, "KAFKA_FAILED", message).with_help("the broker's log may say more"),
    }
}

/// Spark's condition for records that are no longer what the query's offsets say.
pub fn data_loss(condition: &'static str, message: impl Into<String>) -> Error {
    Error::execution(condition, message).with_help(
        "records may be gone before they were read, by retention or because a topic was made anew; to go on with what is there, set failOnDataLoss 'false'",
    )
}
