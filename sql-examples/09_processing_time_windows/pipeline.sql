-- The windows of Spark Streaming (DStream): over the time at which a line arrived, not one that it carries.
CREATE STREAM lines USING socket
OPTIONS (host '${HOST:-127.0.0.1}', port ${PORT:-9999}, includeTimestamp true);

CREATE VIEW words AS SELECT explode(split(value, ' ')) AS word, timestamp FROM lines;

-- lines.countByWindow(Seconds(10), Seconds(5))
CREATE FLOW count_by_window OUTPUT MODE UPDATE TRIGGER EVERY 1 SECOND
AS SELECT window.start, window.end, count(*) AS n
FROM lines WATERMARK timestamp DELAY OF INTERVAL 0 SECONDS
GROUP BY window(timestamp, '10 seconds', '5 seconds');

-- pairs.reduceByKeyAndWindow(_ + _, Seconds(10), Seconds(5))
CREATE FLOW reduce_by_key_and_window OUTPUT MODE UPDATE TRIGGER EVERY 1 SECOND
AS SELECT window.start, window.end, word, count(*) AS n
FROM words WATERMARK timestamp DELAY OF INTERVAL 0 SECONDS
GROUP BY window(timestamp, '10 seconds', '5 seconds'), word;

-- lines.window(Seconds(10)) as a row for every window: a list of its lines, given once when the window is over
CREATE FLOW windowed TRIGGER EVERY 1 SECOND
AS SELECT window.end AS at, collect_list(value) AS lines
FROM lines WATERMARK timestamp DELAY OF INTERVAL 0 SECONDS
GROUP BY window(timestamp, '10 seconds');
