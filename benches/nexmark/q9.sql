-- Winning bids: of each auction the bid with the highest price, of several the first. No auction takes longer than ten seconds.
-- mode: update
-- key: id
SELECT id, item_name, seller, category, expires, best.price, -best.before AS time_us, best.bidder
FROM (
  SELECT a.id, a.item_name, a.seller, a.category, a.expires,
    max(struct(b.price AS price, -unix_micros(b.date_time) AS before, b.bidder AS bidder)) AS best
  FROM auction WATERMARK expires DELAY OF INTERVAL 10 SECONDS AS a
  JOIN bid WATERMARK date_time DELAY OF INTERVAL 10 SECONDS AS b
    ON a.id = b.auction AND b.date_time >= a.date_time AND b.date_time <= a.expires AND b.date_time > a.expires - INTERVAL 10 SECONDS
  GROUP BY a.id, a.item_name, a.seller, a.category, a.expires
)
