-- Statements that run for every batch: its rows are the view `batch`, its number is batch_id().
CREATE STREAM ticks USING rate OPTIONS (rowsPerSecond 5);

CREATE SINK audit USING console OPTIONS (truncate false);

CREATE FLOW audited TRIGGER EVERY 2 SECONDS
AS SELECT value % 3 AS key, value FROM ticks
FOREACH BATCH BEGIN
  INSERT INTO audit SELECT batch_id() AS batch, count(*) AS n, min(value) AS first, max(value) AS last FROM batch;
  SELECT key, count(*) AS n FROM batch GROUP BY key ORDER BY key;
END;
