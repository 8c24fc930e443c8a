-- Needs nothing: generated rows, counted in windows that slide.
CREATE STREAM ticks USING rate OPTIONS (rowsPerSecond ${RATE:-10});

CREATE FLOW sliding OUTPUT MODE UPDATE TRIGGER EVERY 1 SECOND
AS SELECT window.start, window.end, count(*) AS n, avg(value) AS mean
FROM STREAM ticks WATERMARK timestamp DELAY OF INTERVAL 2 SECONDS
GROUP BY window(timestamp, '4 seconds', '2 seconds');
