-- A sink, the flow that fills it and a table to read, in one statement.
-- Relative paths start at the working directory: run it from the root of the repository, or give paths with -D.
CREATE STREAM ticks USING rate OPTIONS (rowsPerSecond 20);

CREATE STREAMING TABLE even_ticks
  USING parquet
  OPTIONS (path '${OUTPUT:-/tmp/tidemill-examples/even_ticks}')
  TRIGGER EVERY 2 SECONDS
  CHECKPOINT LOCATION '${CHECKPOINT:-/tmp/tidemill-examples/even_ticks-checkpoint}'
AS SELECT value, timestamp FROM ticks WHERE value % 2 = 0;
