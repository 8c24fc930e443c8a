-- Average of the winning prices by category, of the auctions that end in a window of ten seconds. No auction takes longer than ten seconds.
-- mode: append
-- final: window_end + INTERVAL 10 SECONDS
SELECT category, window.start AS window_start, window.end AS window_end, count(*) AS auctions, avg(final) AS average
FROM (
  SELECT a.id, a.category, window(a.expires, '10 seconds') AS w, max(b.price) AS final
  FROM auction WATERMARK expires DELAY OF INTERVAL 10 SECONDS AS a
  JOIN bid WATERMARK date_time DELAY OF INTERVAL 10 SECONDS AS b
    ON a.id = b.auction AND b.date_time >= a.date_time AND b.date_time <= a.expires AND b.date_time > a.expires - INTERVAL 10 SECONDS
  GROUP BY a.id, a.category, window(a.expires, '10 seconds')
)
GROUP BY category, window(w, '10 seconds')
