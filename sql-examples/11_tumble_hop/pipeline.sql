-- Windows as Flink spells them, over generated rows.
CREATE STREAM ticks (timestamp TIMESTAMP, value BIGINT, WATERMARK FOR timestamp AS timestamp - INTERVAL 1 SECOND)
USING rate OPTIONS (rowsPerSecond ${RATE:-10}, watermark.idleTimeout '1 minute');

CREATE FLOW tumbling OUTPUT MODE UPDATE TRIGGER EVERY 1 SECOND
AS SELECT window_start, window_end, count(*) AS n
FROM TUMBLE(TABLE ticks, DESCRIPTOR(timestamp), INTERVAL '5' SECONDS)
GROUP BY window_start, window_end;

CREATE FLOW hopping OUTPUT MODE UPDATE TRIGGER EVERY 1 SECOND
AS SELECT window_start, window_end, avg(value) AS mean
FROM HOP(TABLE ticks, DESCRIPTOR(timestamp), INTERVAL '2' SECONDS, INTERVAL '6' SECONDS)
GROUP BY window_start, window_end;
