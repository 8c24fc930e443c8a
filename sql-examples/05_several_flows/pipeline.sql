-- Two flows over one stream: each has its own position, mode, trigger and checkpoint.
CREATE STREAM ticks (WATERMARK FOR timestamp AS timestamp - INTERVAL 2 SECONDS)
USING rate OPTIONS (rowsPerSecond 5);

CREATE FLOW every_tenth TRIGGER EVERY 2 SECONDS
AS SELECT timestamp, value FROM ticks WHERE value % 10 = 0;

CREATE FLOW per_five_seconds OUTPUT MODE APPEND TRIGGER EVERY 2 SECONDS
AS SELECT window.start, window.end, count(*) AS ticks, max(value) AS last
FROM ticks GROUP BY window(timestamp, '5 seconds');
