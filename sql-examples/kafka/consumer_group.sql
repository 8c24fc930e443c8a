-- Words that come from now on, with a consumer group that Kafka's tools show the lag of: kafka-consumer-groups --describe --group word-count
CREATE STREAM lines USING kafka OPTIONS (
    kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}',
    subscribe 'words',
    startingOffsets '${START:-latest}',
    kafka.group.id 'word-count',
    maxOffsetsPerTrigger '10000'
);

CREATE FLOW words USING console CHECKPOINT LOCATION '${CHECKPOINT:-/tmp/tidemill-kafka-group}' AS
SELECT topic, partition, offset, explode(split(CAST(value AS STRING), ' ')) AS word FROM lines;
