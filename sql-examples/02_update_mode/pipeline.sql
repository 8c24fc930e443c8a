-- Only the words whose count has changed, every two seconds.
CREATE STREAM lines USING socket OPTIONS (host '${HOST:-127.0.0.1}', port ${PORT:-9999});

CREATE FLOW word_count
  OUTPUT MODE UPDATE
  TRIGGER EVERY 2 SECONDS
AS SELECT word, count(*) AS count
FROM (SELECT explode(split(value, ' ')) AS word FROM lines) AS words
GROUP BY word;
