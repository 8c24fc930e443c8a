-- CSV files that appear in a directory, written as Parquet: exactly once, also over restarts.
-- Relative paths start at the working directory: run it from the root of the repository, or give paths with -D.
CREATE STREAM orders (id BIGINT, customer STRING, amount DECIMAL(10, 2), ts TIMESTAMP)
USING csv OPTIONS (path '${INPUT:-sql-examples/03_files_to_parquet/input}', maxFilesPerTrigger 1);

CREATE SINK archive USING parquet OPTIONS (path '${OUTPUT:-/tmp/tidemill-examples/orders}');

CREATE FLOW archive_orders
  TRIGGER AVAILABLE NOW
  CHECKPOINT LOCATION '${CHECKPOINT:-/tmp/tidemill-examples/orders-checkpoint}'
AS INSERT INTO archive
SELECT id, customer, amount, ts FROM orders WHERE amount >= 2;
