-- Bids by bidder so far: number, sum and highest price.
-- mode: update
-- key: bidder
SELECT bidder, count(*) AS bids, sum(price) AS total, max(price) AS highest FROM bid GROUP BY bidder
