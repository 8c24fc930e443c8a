-- Local items: who sells in Oregon, Idaho or California, in one category. An inner join of two streams without a bound: all rows are kept.
-- mode: append
SELECT p.name, p.city, p.state, a.id
FROM auction a JOIN person p ON a.seller = p.id
WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')
