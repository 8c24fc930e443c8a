-- Orders in JSON, summed by minute and region; each new sum goes into a topic under its key, where the last record of a key is the newest.
CREATE STREAM orders (id BIGINT, region STRING, amount DECIMAL(10,2), at TIMESTAMP) USING kafka OPTIONS (
    kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}',
    subscribe 'orders',
    startingOffsets 'earliest',
    value.format 'json',
    badRecords 'drop'
);

CREATE SINK sums USING kafka OPTIONS (
    kafka.bootstrap.servers '${BROKERS:-127.0.0.1:9092}',
    topic 'sums',
    value.format 'json',
    key.format 'json',
    key.columns 'minute, region'
);

CREATE FLOW sums_by_region OUTPUT MODE UPDATE CHECKPOINT LOCATION '${CHECKPOINT:-/tmp/tidemill-kafka-sums}' AS
INSERT INTO sums
SELECT window.start AS minute, region, sum(amount) AS amount, max(kafka_offset) AS newest
FROM STREAM orders WATERMARK at DELAY OF INTERVAL 10 SECONDS
WHERE amount > 0
GROUP BY window(at, '1 minute'), region;
