-- Hot items: the auctions with the most bids of the last ten seconds, every two seconds.
-- mode: append
-- final: window_end
WITH counts AS (
  SELECT auction, window(date_time, '10 seconds', '2 seconds') AS w, count(*) AS num
  FROM bid WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
  GROUP BY auction, window(date_time, '10 seconds', '2 seconds')
)
SELECT c.auction, c.num, c.w.start AS window_start, c.w.end AS window_end
FROM counts c
JOIN (SELECT w, max(num) AS num FROM counts GROUP BY w) m ON c.w = m.w AND c.num = m.num
