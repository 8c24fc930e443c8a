-- Rows of a stream, completed from a table.
-- Relative paths start at the working directory: run it from the root of the repository, or give paths with -D.
CREATE STREAM clicks USING rate OPTIONS (rowsPerSecond 2);

CREATE TABLE customers (id BIGINT, name STRING, city STRING)
USING csv OPTIONS (path '${CUSTOMERS:-sql-examples/04_stream_static_join/customers}');

CREATE FLOW clicks_by_city TRIGGER EVERY 2 SECONDS
AS SELECT k.value AS click, k.timestamp, c.name, c.city
FROM STREAM clicks AS k LEFT JOIN customers AS c ON k.value % 4 = c.id;
