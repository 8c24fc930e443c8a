-- Bids by channel and day: how many of which prices, and the last minute with one.
-- mode: update
-- key: channel, day
SELECT channel, date_format(date_time, 'yyyy-MM-dd') AS day, max(date_format(date_time, 'HH:mm')) AS minute, count(*) AS total_bids,
  count(*) FILTER (WHERE price < 10000) AS rank1_bids,
  count(*) FILTER (WHERE price >= 10000 AND price < 1000000) AS rank2_bids,
  count(*) FILTER (WHERE price >= 1000000) AS rank3_bids
FROM bid GROUP BY channel, date_format(date_time, 'yyyy-MM-dd')
