-- The last bid of each bidder on each auction.
-- mode: update
-- key: bidder, auction
SELECT bidder, auction, last.price, last.channel, last.url, last.date_time, last.extra
FROM (
  SELECT bidder, auction, max(struct(date_time, price, channel, url, extra)) AS last FROM bid GROUP BY bidder, auction
)
