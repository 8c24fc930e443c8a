-- The last bid of each bidder on each auction; of several at one time any.
-- mode: update
-- key: bidder, auction
-- compared: bidder, auction, date_time
SELECT bidder, auction, max_by(price, date_time) AS price, max_by(channel, date_time) AS channel, max_by(url, date_time) AS url,
  max(date_time) AS date_time, max_by(extra, date_time) AS extra
FROM bid GROUP BY bidder, auction
