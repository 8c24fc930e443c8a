-- Every bid into files, in folders by day and minute.
-- mode: append
-- sink: parquet partitionBy day,minute
SELECT auction, bidder, price, date_time, extra,
  date_format(date_time, 'yyyy-MM-dd') AS day, date_format(date_time, 'HH:mm') AS minute
FROM bid
