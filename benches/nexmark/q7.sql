-- Highest bid: the bids with the highest price of each window of ten seconds.
-- mode: append
-- final: window_end
WITH bids AS (
  SELECT * FROM bid WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
)
SELECT b.auction, b.price, b.bidder, b.bid_time, m.w.end AS window_end, b.extra
FROM (
  SELECT auction, price, bidder, CAST(date_time AS TIMESTAMP_NTZ) AS bid_time, window(date_time, '10 seconds') AS w, extra FROM bids
) b
JOIN (
  SELECT window(date_time, '10 seconds') AS w, max(price) AS price FROM bids GROUP BY window(date_time, '10 seconds')
) m ON b.w = m.w AND b.price = m.price
