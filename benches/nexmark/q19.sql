-- The ten highest bids of each auction; of several with one price any.
-- mode: update
-- key: auction
-- compared: auction, prices
SELECT auction, bids, transform(bids, b -> b.price) AS prices
FROM (SELECT auction, max_by(struct(price, bidder, date_time), price, 10) AS bids FROM bid GROUP BY auction)
