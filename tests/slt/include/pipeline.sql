-- A pipeline that goes to work elsewhere: nothing that it names is there where tests run.
CREATE STREAM orders (
  id BIGINT, customer BIGINT, amount DECIMAL(10, 2), ts TIMESTAMP,
  WATERMARK FOR ts AS ts - INTERVAL 10 SECONDS
) USING json OPTIONS (path '${INPUT:-/nowhere/orders}', maxFilesPerTrigger 10, watermark.idleTimeout '1 hour');
CREATE STREAM lines USING socket OPTIONS (host 'localhost', port ${PORT:-9999});
CREATE STREAM ticks USING `rate-micro-batch` OPTIONS (rowsPerBatch 2);

CREATE TABLE customers (id BIGINT, country STRING) USING parquet OPTIONS (path '/nowhere/customers');
CREATE SINK archive USING parquet OPTIONS (path '/nowhere/archive', compression 'zstd');
CREATE SINK audit USING json OPTIONS (path '/nowhere/audit');

CREATE FLOW archive_orders
  TRIGGER EVERY 5 SECONDS
  CHECKPOINT LOCATION '/nowhere/checkpoint'
AS INSERT INTO archive
SELECT o.id, c.country, o.amount FROM orders o LEFT JOIN customers c ON o.customer = c.id;

CREATE FLOW plain USING csv OPTIONS (path '/nowhere/csv', header true, noDataMicroBatches.enabled false)
AS SELECT id FROM orders WHERE amount > 5;

CREATE STREAMING TABLE per_minute USING parquet OPTIONS (path '/nowhere/minute') CHECKPOINT LOCATION '/nowhere/c2'
AS SELECT window(ts, '1 minute').start AS minute, count(*) AS n FROM orders GROUP BY window(ts, '1 minute');

CREATE FLOW audited AS SELECT id, amount FROM orders
FOREACH BATCH BEGIN
  INSERT INTO audit SELECT count(*) AS n, max(amount) AS highest FROM batch;
END;

CREATE FLOW ticking TRIGGER ONCE AS SELECT value FROM ticks;
AWAIT ticking TIMEOUT 1 SECOND;

SELECT upper(value) AS word FROM lines;
