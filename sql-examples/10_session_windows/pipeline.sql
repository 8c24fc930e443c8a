-- Words that come less than five seconds apart are one session. The console shows each session as it grows.
CREATE STREAM lines USING socket
OPTIONS (host '${HOST:-127.0.0.1}', port ${PORT:-9999}, includeTimestamp true);

CREATE VIEW words AS SELECT explode(split(value, ' ')) AS word, timestamp FROM lines;

CREATE FLOW sessions OUTPUT MODE COMPLETE
AS SELECT word, session_window.start AS opened, session_window.end AS ends, count(*) AS n
FROM words
GROUP BY session_window(timestamp, '5 seconds'), word;

-- The same, each session once, when it is over: a row that comes later moves the watermark past its end.
CREATE FLOW finished
AS SELECT word, session_window.start AS opened, session_window.end AS ended, count(*) AS n
FROM words WATERMARK timestamp DELAY OF INTERVAL 1 SECOND
GROUP BY session_window(timestamp, '5 seconds'), word;
