-- Sessions: the bids of a bidder with no ten seconds between two of them.
-- mode: append
-- final: session_end
SELECT bidder, count(*) AS bids, session_window.start AS session_start, session_window.end AS session_end
FROM bid WATERMARK date_time DELAY OF INTERVAL 4 SECONDS
GROUP BY bidder, session_window(date_time, '10 seconds')
