-- New users who sell: persons and auctions of the same window of ten seconds.
-- mode: append
-- final: window_end
SELECT p.id, p.name, p.w.start AS window_start, p.w.end AS window_end
FROM (
  SELECT id, name, window(date_time, '10 seconds') AS w
  FROM person WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
  GROUP BY id, name, window(date_time, '10 seconds')
) p
JOIN (
  SELECT seller, window(date_time, '10 seconds') AS w
  FROM auction WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
  GROUP BY seller, window(date_time, '10 seconds')
) a ON p.id = a.seller AND p.w = a.w
