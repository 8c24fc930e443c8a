-- Every bid as it is: what reading and writing alone cost.
-- mode: append
SELECT auction, bidder, price, date_time, extra FROM bid
