-- What tests/it/spark_files.rs writes, and Spark has read: see make.py. `$` is a folder.
CREATE VIEW v AS SELECT * FROM VALUES
  (1, 'a,b', DATE '2024-02-29', TIMESTAMP '2024-01-02 03:04:05.678', 1.5D, true),
  (2, 'say "x" \\ y', DATE '1969-12-31', TIMESTAMP '1969-12-31 23:59:59.000001', -0.25D, false),
  (3, CAST(NULL AS STRING), CAST(NULL AS DATE), CAST(NULL AS TIMESTAMP), CAST(NULL AS DOUBLE), CAST(NULL AS BOOLEAN)),
  (4, 'üñ ', DATE '9999-12-31', TIMESTAMP '2024-06-30 12:00:00', 1e300D, true)
  AS t(n, s, d, at, x, b);
CREATE SINK c USING csv OPTIONS (path '$/csv', header 'true');
CREATE SINK j USING json OPTIONS (path '$/json');
CREATE SINK p USING parquet OPTIONS (path '$/parquet');
CREATE SINK t USING text OPTIONS (path '$/text');
CREATE SINK f USING json PARTITIONED BY (d, s) OPTIONS (path '$/json-folders');
CREATE SINK r USING parquet OPTIONS (path '$/parquet-rolled', maxFileAge '1 hour');
INSERT INTO c SELECT * FROM v WHERE n < 3;
INSERT INTO c SELECT * FROM v WHERE n >= 3;
INSERT INTO j SELECT * FROM v;
INSERT INTO p SELECT * FROM v;
INSERT INTO t SELECT s FROM v WHERE n < 3;
INSERT INTO f SELECT * FROM v;
INSERT INTO r SELECT * FROM v;
