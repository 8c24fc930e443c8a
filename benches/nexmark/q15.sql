-- Bids by day: how many, and how many of them are cheap, middling and dear.
-- mode: update
-- key: day
SELECT date_format(date_time, 'yyyy-MM-dd') AS day, count(*) AS total_bids,
  count(*) FILTER (WHERE price < 10000) AS rank1_bids,
  count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
  count(*) FILTER (WHERE price >= 1000000) AS rank3_bids
FROM bid GROUP BY date_format(date_time, 'yyyy-MM-dd')
