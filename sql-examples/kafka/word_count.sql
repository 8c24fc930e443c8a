-- Words of the records of a topic, counted. What was read is in the checkpoint: started again, it goes on where it ended.
CREATE STREAM lines USING kafka OPTIONS (
    kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}',
    subscribe 'words',
    startingOffsets 'earliest'
);

CREATE VIEW words AS SELECT explode(split(CAST(value AS STRING), ' ')) AS word FROM lines;

CREATE FLOW counts USING console OUTPUT MODE COMPLETE CHECKPOINT LOCATION '${CHECKPOINT:-/tmp/tidemill-kafka-word-count}' AS
SELECT word, count(*) AS count FROM words GROUP BY word;
