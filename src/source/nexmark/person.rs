//! Persons.

use std::io::Write as _;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use arrow::datatypes::{DataType, TimeUnit};

use super::generator::{Settings, Texts, person_id, times};

/// The columns; times get their zone later.
pub const COLUMNS: &[(&str, DataType)] = &[
    ("id", DataType::Int64),
    ("name", DataType::Utf8View),
    ("email_address", DataType::Utf8View),
    ("credit_card", DataType::Utf8View),
    ("city", DataType::Utf8View),
    ("state", DataType::Utf8View),
    ("date_time", DataType::Timestamp(TimeUnit::Microsecond, None)),
    ("extra", DataType::Utf8View),
];

const FIRST_NAMES: [&str; 12] =
    ["Ada", "Bela", "Carl", "Dora", "Emil", "Frida", "Gus", "Hanna", "Ivo", "Jana", "Karl", "Lena"];
const LAST_NAMES: [&str; 10] =
    ["Archer", "Baker", "Cooper", "Draper", "Fisher", "Glover", "Hunter", "Mason", "Potter", "Turner"];
/// Cities and, at the same place, their states.
const CITIES: [(&str, &str); 10] = [
    ("Phoenix", "AZ"),
    ("Los Angeles", "CA"),
    ("San Francisco", "CA"),
    ("Boise", "ID"),
    ("Portland", "OR"),
    ("Bend", "OR"),
    ("Redmond", "WA"),
    ("Seattle", "WA"),
    ("Kent", "WA"),
    ("Cheyenne", "WY"),
];
/// Bytes of a row.
const MEAN_BYTES: i64 = 200;

/// The rows of these events.
pub fn columns(settings: &Settings, events: impl Iterator<Item = i64>) -> Vec<ArrayRef> {
    let rows = events.size_hint().0;
    let mut ids = Vec::with_capacity(rows);
    let mut at = Vec::with_capacity(rows);
    let [mut names, mut emails, mut cards, mut cities, mut states, mut extras] =
        std::array::from_fn(|_| Texts::new(rows));
    for event in events {
        let random = &mut settings.random(event);
        at.push(settings.time_ms(event, random));
        ids.push(person_id(event));
        let first = FIRST_NAMES[random.below(FIRST_NAMES.len() as i64) as usize];
        let last = LAST_NAMES[random.below(LAST_NAMES.len() as i64) as usize];
        let (city, state) = CITIES[random.below(CITIES.len() as i64) as usize];
        // Writing into memory cannot fail.
        names.add_written(|text| drop(write!(text, "{first} {last}")));
        emails.add_written(|text| {
            random.letters(7, text);
            text.push(b'@');
            random.letters(5, text);
            text.extend_from_slice(b".com");
        });
        let digits: [i64; 4] = std::array::from_fn(|_| random.below(10_000));
        let [a, b, c, d] = digits;
        cards.add_written(|text| drop(write!(text, "{a:04} {b:04} {c:04} {d:04}")));
        cities.add(city);
        states.add(state);
        let before = 8 + first.len() + 1 + last.len() + 17 + 19 + city.len() + state.len() + 8;
        let count = random.about(MEAN_BYTES - before as i64);
        extras.add_letters(count, random);
    }
    let texts = [names, emails, cards, cities, states].map(Texts::finish);
    let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(ids))];
    columns.extend(texts);
    columns.extend([times(&at), extras.finish()]);
    columns
}
