//! Bids, nearly all of the events: what is made here has to be made fast.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, TimeUnit};

use super::generator::{Settings, Texts, auction, bidder, times};
use super::random::Random;

/// The columns; times get their zone later.
pub const COLUMNS: &[(&str, DataType)] = &[
    ("auction", DataType::Int64),
    ("bidder", DataType::Int64),
    ("price", DataType::Int64),
    ("channel", DataType::Utf8View),
    ("url", DataType::Utf8View),
    ("date_time", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("extra", DataType::Utf8View),
];

/// Half of the bids come through these.
const HOT_CHANNELS: [&str; 4] = ["Google", "Facebook", "Baidu", "Apple"];
/// The others through one of so many.
const CHANNELS: i64 = 10_000;
/// One of so many channels is not named in its URL.
const UNNAMED_ONE_OF: i64 = 10;
/// Bytes of a row, channel and URL not counted, as in the benchmark.
const MEAN_BYTES: i64 = 100;
/// Bytes of numbers and times.
const FIXED_BYTES: i64 = 4 * 8;

/// Names and URLs of the channels, first those of the hot ones.
#[derive(Debug, Default)]
pub struct Channels(Vec<(String, String)>);

impl Channels {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        let hot = HOT_CHANNELS.iter().map(|name| (*name).to_owned());
        let named = hot.chain((0..CHANNELS).map(|n| format!("channel-{n}")));
        let with_url = |(place, name): (usize, String)| {
            // Events count from 0 on.
            let random = &mut Random::of(seed, -1 - place as i64);
            let mut url = "https://www.nexmark.com/".to_owned();
            for _ in 0..3 {
                let mut word = vec![];
                random.letters(5, &mut word);
                url.extend(word.into_iter().map(char::from).chain(['/']));
            }
            url.push_str("item.htm?query=1");
            if place >= HOT_CHANNELS.len() && random.below(UNNAMED_ONE_OF) > 0 {
                url.push_str("&channel_id=");
                url.push_str(name.trim_start_matches("channel-"));
            }
            (name, url)
        };
        Self(named.enumerate().map(with_url).collect())
    }

    fn some(&self, random: &mut Random) -> (&str, &str) {
        let hot = HOT_CHANNELS.len() as i64;
        let place = if random.below(2) > 0 { random.below(hot) } else { hot + random.below(CHANNELS) };
        self.0.get(place as usize).map_or(("", ""), |(name, url)| (name, url))
    }
}

/// The rows of these events.
pub fn columns(settings: &Settings, channels: &Channels, events: impl Iterator<Item = i64>) -> Vec<ArrayRef> {
    let rows = events.size_hint().0;
    let [mut auctions, mut bidders, mut prices, mut at] = std::array::from_fn(|_| Vec::with_capacity(rows));
    let [mut names, mut urls, mut extras] = std::array::from_fn(|_| Texts::new(rows));
    for event in events {
        let random = &mut settings.random(event);
        at.push(settings.time_ms(event, random));
        auctions.push(auction(event, random));
        bidders.push(bidder(event, random));
        prices.push(random.price());
        let (name, url) = channels.some(random);
        names.add(name);
        urls.add(url);
        let count = random.about(MEAN_BYTES - FIXED_BYTES);
        extras.add_letters(count, random);
    }
    let long = |values: Vec<i64>| Arc::new(Int64Array::from(values)) as ArrayRef;
    vec![long(auctions), long(bidders), long(prices), names.finish(), urls.finish(), times(&at), extras.finish()]
}
