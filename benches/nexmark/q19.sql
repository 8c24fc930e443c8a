-- The ten highest bids of each auction.
-- mode: update
-- key: auction
SELECT auction, max_by(struct(price, bidder, date_time), struct(price, bidder, date_time), 10) AS bids FROM bid GROUP BY auction
