-- The records from one offset up to another, which is not read: -2 is the first, -1 the end.
CREATE TABLE lines USING kafka OPTIONS (
    kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}',
    subscribe 'words',
    startingOffsets '{"words": {"0": -2}}',
    endingOffsets '{"words": {"0": 2}}'
);

SELECT offset, timestamp, CAST(value AS STRING) AS line FROM lines ORDER BY offset;
