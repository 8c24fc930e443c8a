-- The word count over a directory of text files that wordcount.py measures: one file a trigger, every changed count
-- computed and thrown away, each batch durable in the checkpoint.
CREATE STREAM lines USING text OPTIONS (path '${INPUT}', maxFilesPerTrigger 1);

CREATE SINK nowhere USING noop;

CREATE FLOW word_count
  OUTPUT MODE UPDATE
  TRIGGER AVAILABLE NOW
  CHECKPOINT LOCATION '${CHECKPOINT}'
AS INSERT INTO nowhere
SELECT word, count(*) AS count
FROM (SELECT explode(split(value, ' ')) AS word FROM lines) AS words
GROUP BY word;
