-- Words of the lines that arrive on a socket, counted.
CREATE STREAM lines USING socket OPTIONS (host '${HOST:-127.0.0.1}', port ${PORT:-9999});

CREATE VIEW words AS SELECT explode(split(value, ' ')) AS word FROM lines;

SELECT word, count(*) AS count FROM words GROUP BY word;
