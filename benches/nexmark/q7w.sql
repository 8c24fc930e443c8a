-- The highest price and the number of bids in windows of ten seconds.
-- mode: append
-- final: window_end
SELECT window.start AS window_start, window.end AS window_end, max(price) AS price, count(*) AS num
FROM bid WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
GROUP BY window(date_time, '10 seconds')
