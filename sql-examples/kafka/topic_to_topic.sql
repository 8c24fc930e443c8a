-- Long lines go into another topic, each once, whatever is killed when: a batch is one transaction, which readers with read_committed see whole.
CREATE STREAM lines USING kafka OPTIONS (
    kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}',
    subscribe 'words',
    startingOffsets 'earliest'
);

CREATE SINK counts USING kafka OPTIONS (kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}', topic 'counts');

CREATE FLOW long_lines CHECKPOINT LOCATION '${CHECKPOINT:-/tmp/tidemill-kafka-copy}' AS
INSERT INTO counts
SELECT key, to_json(struct(CAST(value AS STRING) AS line, timestamp)) AS value FROM lines WHERE length(value) > 5;
