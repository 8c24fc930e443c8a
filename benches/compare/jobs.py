"""The jobs that nexmark.py measures, in the SQL of each engine.

Spark and Tidemill take the same text. DataFusion takes it too, unless `batch` says it otherwise. Flink takes `flink`, where
there is one; `no_flink` is the reason why there is none.
"""

from dataclasses import dataclass, field

from wordcount import BATCH_SQL

PERSON = "id BIGINT, name STRING, email_address STRING, credit_card STRING, city STRING, state STRING, date_time TIMESTAMP, extra STRING"
AUCTION = ("id BIGINT, item_name STRING, description STRING, initial_bid BIGINT, reserve BIGINT, date_time TIMESTAMP, "
           "expires TIMESTAMP, seller BIGINT, category BIGINT, extra STRING")
BID = "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time TIMESTAMP, extra STRING"
# Name of a table: format and columns.
TABLES = {"person": ("parquet", PERSON), "auction": ("parquet", AUCTION), "bid": ("parquet", BID),
          "bid_json": ("json", BID), "lines": ("text", "value STRING")}
NARROW = "auction BIGINT, bidder BIGINT, price BIGINT, date_time TIMESTAMP"


@dataclass(frozen=True)
class Job:
    name: str
    what: str
    sql: str
    # Columns of the result and what they are: a number, decimal, text or time.
    out: dict
    batch: str = None
    flink: str = None
    no_flink: str = "left out to keep the run short: expressions of a row, as in q1"
    mode: str = "append"
    watermark: bool = False
    tables: tuple = ("bid",)
    # Of append mode with a window: its end. Windows behind the last watermark are not given; an engine without one leaves them out by this.
    end: str = None
    # Other columns than all of the table, for Tidemill only.
    columns: dict = field(default_factory=dict)


Q2 = "SELECT auction, price FROM bid WHERE auction % 123 = 0"
Q12 = "SELECT bidder, count(*) AS n, sum(price) AS s, max(price) AS m FROM bid GROUP BY bidder"
Q12_OUT = {"bidder": "number", "n": "number", "s": "number", "m": "number"}
CHANNEL = "regexp_extract(url, '(&|^)channel_id=([^&]*)', 2)"
CHANNEL_BATCH = "coalesce(regexp_match(url, '(&|^)channel_id=([^&]*)')[2], '')"
Q21 = """SELECT auction, bidder, price, channel,
    CASE lower(channel) WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3' ELSE {0} END AS channel_id
    FROM bid WHERE {0} <> '' OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')"""
Q14 = """SELECT auction, bidder, 0.908 * price AS price,
    CASE WHEN {0} BETWEEN 8 AND 18 THEN 'dayTime' WHEN {0} <= 6 OR {0} >= 20 THEN 'nightTime' ELSE 'otherTime' END AS bid_time,
    date_time, extra, length(extra) - length(replace(extra, 'c', '')) AS c_counts
    FROM bid WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000"""
Q15 = """SELECT {0} AS day, count(*) AS bids, sum(price) AS s,
    sum(CASE WHEN price < 10000 THEN 1 ELSE 0 END) AS low, sum(CASE WHEN price >= 10000 AND price < 1000000 THEN 1 ELSE 0 END) AS middle,
    sum(CASE WHEN price >= 1000000 THEN 1 ELSE 0 END) AS high FROM bid GROUP BY {0}"""

JOBS = [
    Job("q0", "four columns",
        "SELECT auction, bidder, price, date_time FROM bid",
        {"auction": "number", "bidder": "number", "price": "number", "date_time": "time"},
        flink="SELECT auction, bidder, price, date_time FROM bid"),
    Job("q1", "a product of decimals",
        "SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid",
        {"auction": "number", "bidder": "number", "price": "decimal", "date_time": "time"},
        flink="SELECT auction, bidder, 0.908 * price AS price, date_time FROM bid"),
    Job("q2", "a filter", Q2, {"auction": "number", "price": "number"}, flink="SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0"),
    Job("q2 narrow", "q2 with the four columns declared that some query uses", Q2, {"auction": "number", "price": "number"},
        columns={"bid": NARROW}),
    Job("q14", "expressions", Q14.format("hour(date_time)"),
        {"auction": "number", "price": "decimal", "bid_time": "text", "date_time": "time", "extra": "text", "c_counts": "number"},
        batch=Q14.format("date_part('hour', date_time)")),
    Job("q21", "CASE and a regular expression", Q21.format(CHANNEL),
        {"auction": "number", "price": "number", "channel": "text", "channel_id": "text"}, batch=Q21.format(CHANNEL_BATCH)),
    Job("q22", "parts of a text",
        "SELECT auction, bidder, price, channel, split_part(url, '/', 4) AS d1, split_part(url, '/', 5) AS d2, "
        "split_part(url, '/', 6) AS d3 FROM bid",
        {"auction": "number", "price": "number", "channel": "text", "d1": "text", "d2": "text", "d3": "text"}),
    Job("q7w", "tumbling windows of 10 s",
        "SELECT window.end AS w, max(price) AS m, count(*) AS n FROM bid GROUP BY window(date_time, '10 seconds')",
        {"w": "time", "m": "number", "n": "number"},
        batch="SELECT date_bin(interval '10 seconds', date_time) + interval '10 seconds' AS w, max(price) AS m, count(*) AS n FROM bid GROUP BY 1",
        flink="SELECT window_end AS w, MAX(price) AS m, COUNT(*) AS n FROM TABLE(TUMBLE(TABLE bid, DESCRIPTOR(ts), INTERVAL '10' SECOND)) "
              "GROUP BY window_start, window_end",
        watermark=True, end="w"),
    Job("q5w", "sliding windows, 10 s by 2 s, and a key",
        "SELECT window.end AS w, auction, count(*) AS n FROM bid GROUP BY window(date_time, '10 seconds', '2 seconds'), auction",
        {"w": "time", "auction": "number", "n": "number"},
        # Counts of two seconds, each of which is in five windows.
        batch="SELECT w, auction, sum(n) AS n FROM (SELECT unnest([{0}]) AS w, auction, n FROM (SELECT date_bin(interval '2 seconds', date_time) AS b, "
              "auction, count(*) AS n FROM bid GROUP BY 1, 2)) GROUP BY w, auction".format(
                  ", ".join(f"b + interval '{s} seconds'" for s in (2, 4, 6, 8, 10))),
        flink="SELECT window_end AS w, auction, COUNT(*) AS n FROM "
              "TABLE(HOP(TABLE bid, DESCRIPTOR(ts), INTERVAL '2' SECOND, INTERVAL '10' SECOND)) GROUP BY window_start, window_end, auction",
        watermark=True, end="w"),
    Job("q11", "sessions of a key, gap 10 s",
        "SELECT session_window.end AS w, bidder, count(*) AS n FROM bid GROUP BY session_window(date_time, '10 seconds'), bidder",
        {"w": "time", "bidder": "number", "n": "number"},
        batch="""SELECT max(date_time) + interval '10 seconds' AS w, bidder, count(*) AS n FROM (
            SELECT *, sum(first) OVER (PARTITION BY bidder ORDER BY date_time) AS session FROM (
            SELECT bidder, date_time, CASE WHEN date_time - lag(date_time) OVER (PARTITION BY bidder ORDER BY date_time)
            <= interval '10 seconds' THEN 0 ELSE 1 END AS first FROM bid)) GROUP BY bidder, session""",
        no_flink="left out to keep the run short: windows are measured by q7w and q5w", watermark=True, end="w"),
    Job("q12", "count, sum and maximum by key", Q12, Q12_OUT, mode="update",
        flink="SELECT bidder, COUNT(*) AS n, SUM(price) AS s, MAX(price) AS m FROM bid GROUP BY bidder"),
    Job("q12 narrow", "q12 with the four columns declared that some query uses", Q12, Q12_OUT, mode="update", columns={"bid": NARROW}),
    Job("q15", "counts and sums by day", Q15.format("date_format(date_time, 'yyyy-MM-dd')"),
        {"day": "text", "bids": "number", "s": "number", "low": "number", "middle": "number", "high": "number"},
        batch=Q15.format("to_char(date_time, '%Y-%m-%d')"), mode="update",
        no_flink="left out to keep the run short: aggregates are measured by q12"),
    Job("q3", "join without bounds",
        "SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id "
        "WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')",
        {"name": "text", "city": "text", "state": "text", "id": "number"}, tables=("auction", "person"),
        flink="SELECT p.name, p.city, p.state, a.id FROM auction a JOIN person p ON a.seller = p.id "
              "WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')"),
    Job("q8", "join within 10 s",
        "SELECT p.id, p.name, a.id AS auction FROM person p JOIN auction a ON p.id = a.seller "
        "AND a.date_time BETWEEN p.date_time AND p.date_time + INTERVAL '10' SECOND",
        {"id": "number", "name": "text", "auction": "number"},
        batch="SELECT p.id, p.name, a.id AS auction FROM person p JOIN auction a ON p.id = a.seller "
              "AND a.date_time BETWEEN p.date_time AND p.date_time + INTERVAL '10 seconds'",
        no_flink="left out to keep the run short: joins are measured by q3", watermark=True, tables=("person", "auction")),
    Job("json filter", "two of seven columns of JSON", "SELECT auction, price FROM bid_json WHERE price > 1000000",
        {"auction": "number", "price": "number"}, tables=("bid_json",),
        flink="SELECT auction, price FROM bid_json WHERE price > 1000000"),
    Job("json aggregate", "count and sum by key, of JSON", "SELECT bidder, count(*) AS n, sum(price) AS s FROM bid_json GROUP BY bidder",
        {"bidder": "number", "n": "number", "s": "number"}, mode="update", tables=("bid_json",),
        flink="SELECT bidder, COUNT(*) AS n, SUM(price) AS s FROM bid_json GROUP BY bidder"),
    Job("word count", "count by word, of text",
        "SELECT word, count(*) AS n FROM (SELECT explode(split(value, ' ')) AS word FROM lines) AS words GROUP BY word",
        {"word": "text", "n": "number"}, mode="update", tables=("lines",),
        batch=BATCH_SQL,
        flink="SELECT word, COUNT(*) AS n FROM lines CROSS JOIN UNNEST(SPLIT(`value`, ' ')) AS t(word) GROUP BY word"),
]

# What is compared of a column. Of times: whole seconds, and what is left of the microseconds by a prime.
SUMS = {
    "spark": {"number": {"sum_{0}": "sum({0})"}, "decimal": {"sum_{0}": "sum(CAST({0} * 1000 AS BIGINT))"},
              "text": {"length_{0}": "sum(length({0}))", "min_{0}": "min({0})", "max_{0}": "max({0})"},
              "time": {"sum_{0}": "sum(unix_micros({0}) DIV 1000000)", "rest_{0}": "sum(unix_micros({0}) % 1000003)"}},
    "batch": {"number": {"sum_{0}": "sum({0})"}, "decimal": {"sum_{0}": "sum(CAST({0} * 1000 AS BIGINT))"},
              "text": {"length_{0}": "sum(length({0}))", "min_{0}": "min({0})", "max_{0}": "max({0})"},
              "time": {"sum_{0}": "sum(CAST(arrow_cast({0}, 'Timestamp(Microsecond, None)') AS BIGINT) / 1000000)",
                       "rest_{0}": "sum(CAST(arrow_cast({0}, 'Timestamp(Microsecond, None)') AS BIGINT) % 1000003)"}},
    # Least and greatest texts of a changing table would keep all of them.
    "flink": {"number": {"sum_{0}": "SUM({0})"}, "decimal": {"sum_{0}": "SUM(CAST({0} * 1000 AS BIGINT))"},
              "text": {"length_{0}": "SUM(CAST(CHAR_LENGTH({0}) AS BIGINT))"},
              "time": {"sum_{0}": "SUM(CAST(TIMESTAMPDIFF(SECOND, TIMESTAMP '2000-01-01 00:00:00', {0}) AS BIGINT) + 946684800)"}},
}


def sums(job, engine):
    """The select list that sums up a result."""
    listed = ["count(*) AS row_count"]
    for column, kind in job.out.items():
        listed += [f"{sql.format(column)} AS {name.format(column)}" for name, sql in SUMS[engine][kind].items()]
    return listed


def fold(answers, mode):
    """The sums of all batches: of append mode together, otherwise of the last, which has the whole result."""
    if mode != "append":
        return answers[-1]
    total = {}
    for answer in answers:
        for name, value in answer.items():
            if value is not None:
                total[name] = put_together(name, total[name], value) if name in total else value
    return total


def put_together(name, one, other):
    return min(one, other) if name.startswith("min_") else max(one, other) if name.startswith("max_") else one + other
