-- The last bid of each bidder on each auction; of several at one time any.
-- mode: update
-- key: bidder, auction
-- compared: bidder, auction, date_time
SELECT bidder, auction, last.price, last.channel, last.url, last.date_time, last.extra
FROM (
  SELECT bidder, auction, max_by(struct(price, channel, url, date_time, extra), date_time) AS last FROM bid GROUP BY bidder, auction
)
