-- Bids by auction in windows of ten seconds, one every two seconds.
-- mode: append
-- final: window_end
SELECT auction, window.start AS window_start, window.end AS window_end, count(*) AS num
FROM bid WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
GROUP BY auction, window(date_time, '10 seconds', '2 seconds')
