//! Auctions.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, TimeUnit};

use super::generator::{Settings, Texts, auction_id, seller, times};

/// The columns; times get their zone later.
pub const COLUMNS: &[(&str, DataType)] = &[
    ("id", DataType::Int64),
    ("item_name", DataType::Utf8View),
    ("description", DataType::Utf8View),
    ("initial_bid", DataType::Int64),
    ("reserve", DataType::Int64),
    ("date_time", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("expires", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("seller", DataType::Int64),
    ("category", DataType::Int64),
    ("extra", DataType::Utf8View),
];

const FIRST_CATEGORY: i64 = 10;
const CATEGORIES: i64 = 5;
/// Bytes of a row.
const MEAN_BYTES: i64 = 500;
/// Bytes of numbers and times.
const FIXED_BYTES: usize = 7 * 8;

/// The rows of these events.
pub fn columns(settings: &Settings, events: impl Iterator<Item = i64>) -> Vec<ArrayRef> {
    let rows = events.size_hint().0;
    let [mut ids, mut firsts, mut reserves, mut at, mut ends, mut sellers, mut categories] =
        std::array::from_fn(|_| Vec::with_capacity(rows));
    let [mut items, mut descriptions, mut extras] = std::array::from_fn(|_| Texts::new(rows));
    let longest_ms = settings.horizon_ms().saturating_mul(2);
    for event in events {
        let random = &mut settings.random(event);
        let time = settings.time_ms(event, random);
        at.push(time);
        ends.push(time.saturating_add(1 + random.below(longest_ms)));
        ids.push(auction_id(event));
        sellers.push(seller(event, random));
        categories.push(FIRST_CATEGORY + random.below(CATEGORIES));
        let first = random.price();
        firsts.push(first);
        reserves.push(first + random.price());
        let (item, description) = (random.about(20), random.about(100));
        items.add_letters(item, random);
        descriptions.add_letters(description, random);
        let count = random.about(MEAN_BYTES - (FIXED_BYTES + item + description) as i64);
        extras.add_letters(count, random);
    }
    let long = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    vec![
        long(ids),
        items.finish(),
        descriptions.finish(),
        long(firsts),
        long(reserves),
        times(&at),
        times(&ends),
        long(sellers),
        long(categories),
        extras.finish(),
    ]
}
