//! Java's date patterns (`yyyy-MM-dd HH:mm:ss`): read once, then used for many rows.

mod names;
mod parse;

use std::fmt::Write;

use crate::time_zone::Tz;
use chrono::{Datelike, NaiveDateTime, Offset, TimeZone, Timelike};

use super::cast::temporal::{days_since_epoch, to_local};
use crate::{Error, Result};
use names::{MONTHS, WEEKDAYS};

/// A pattern as a list of fields and literal text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(Vec<Item>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Literal(String),
    /// A letter and how often it stands there.
    Field(char, usize),
    /// `[` … `]`: may be absent when read.
    Optional(Vec<Item>),
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `INVALID_DATETIME_PATTERN` for letters that Spark does not know or has forbidden.
    pub fn new(pattern: &str) -> Result<Self> {
        let mut chars = pattern.chars().peekable();
        let mut items = read_items(&mut chars, pattern, false)?;
        if first_letter(&items, &['G']).is_some() {
            count_years_in_eras(&mut items);
        }
        Ok(Self(items))
    }

    /// Reads a pattern for texts that are read, which have no weekday and no quarter.
    ///
    /// # Errors
    /// As [`Pattern::new`].
    pub fn for_reading(pattern: &str) -> Result<Self> {
        let read = Self::new(pattern)?;
        match first_letter(&read.0, &['E', 'F', 'Q', 'q']) {
            None => Ok(read),
            Some(letter) => Err(illegal(pattern, &letter.to_string())
                .with_help("leave the weekday or quarter out of the text before it is read: substring(…), split(…)")),
        }
    }

    /// Appends the instant as `tz` shows it.
    pub fn format(&self, out: &mut String, us: i64, tz: Tz) {
        if let Some(local) = to_local(us, tz) {
            format_items(&self.0, out, us, local, tz);
        }
    }

    /// Writes many instants, as `tz` shows them.
    pub fn writer(&self, tz: Tz) -> PatternWriter<'_> {
        PatternWriter { pattern: self, tz, unit: unit_of(&self.0), last: None, text: String::new() }
    }

    /// The instant that a text means; local times are those of `tz`, without one a zone in the text is left out. None if
    /// the text does not match.
    pub fn parse(&self, text: &str, tz: Option<Tz>) -> Option<i64> {
        parse::fields(&self.0, text)?.instant(tz)
    }

    /// The day that a text means, counted from 1970-01-01; times and zones in it are left out.
    pub fn parse_date(&self, text: &str) -> Option<i32> {
        days_since_epoch(parse::fields(&self.0, text)?.date()?)
    }

    /// The local time that a text means, which must have no zone.
    pub fn parse_local(&self, text: &str) -> Option<i64> {
        let fields = parse::fields(&self.0, text)?;
        if fields.has_zone() { None } else { fields.instant(None) }
    }
}

/// Writes instants one after the other: those of one day, hour, minute or second, as the pattern has it, are written once.
#[derive(Debug)]
pub struct PatternWriter<'p> {
    pattern: &'p Pattern,
    tz: Tz,
    /// Microseconds of local time in which the text stays the same, if there are such.
    unit: Option<i64>,
    /// The unit that `text` is of.
    last: Option<i64>,
    text: String,
}

impl PatternWriter<'_> {
    /// The text of an instant; empty for one that no calendar has.
    pub fn text(&mut self, us: i64) -> &str {
        let local = to_local(us, self.tz);
        let number = self.unit.zip(local).map(|(unit, local)| local.and_utc().timestamp_micros().div_euclid(unit));
        if number.is_none() || self.last != number {
            self.text.clear();
            if let Some(local) = local {
                format_items(&self.pattern.0, &mut self.text, us, local, self.tz);
            }
            self.last = number;
        }
        &self.text
    }
}

/// Microseconds of local time in which a text of these items stays the same; none if an item shows fractions or depends on the zone.
fn unit_of(items: &[Item]) -> Option<i64> {
    const SECOND: i64 = 1_000_000;
    let unit = |item: &Item| match item {
        Item::Literal(_) => Some(24 * 3600 * SECOND),
        Item::Optional(items) => unit_of(items),
        Item::Field(letter, _) => match letter {
            's' => Some(SECOND),
            'm' => Some(60 * SECOND),
            'a' | 'H' | 'k' | 'h' | 'K' => Some(3600 * SECOND),
            'G' | 'Y' | 'y' | 'M' | 'L' | 'Q' | 'q' | 'd' | 'D' | 'F' | 'E' => Some(24 * 3600 * SECOND),
            _ => None,
        },
    };
    items.iter().map(unit).try_fold(24 * 3600 * SECOND, |least, unit| Some(least.min(unit?)))
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn read_items(chars: &mut Chars<'_>, pattern: &str, nested: bool) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            '\'' => items.push(Item::Literal(read_quoted(chars).ok_or_else(|| illegal(pattern, "'"))?)),
            '[' => items.push(Item::Optional(read_items(chars, pattern, true)?)),
            ']' if nested => return Ok(items),
            ']' | '{' | '}' | '#' => return Err(illegal(pattern, &c.to_string())),
            c if c.is_ascii_alphabetic() => {
                let mut count = 1;
                while chars.next_if_eq(&c).is_some() {
                    count += 1;
                }
                items.push(field(c, count, pattern)?);
            }
            c => items.push(Item::Literal(c.to_string())),
        }
    }
    Ok(items)
}

/// Years beside an era are counted within it, which is the letter `Y` here.
fn count_years_in_eras(items: &mut [Item]) {
    for item in items {
        match item {
            Item::Field(letter @ 'y', _) => *letter = 'Y',
            Item::Optional(items) => count_years_in_eras(items),
            _ => {}
        }
    }
}

/// The first of `letters` in a pattern.
fn first_letter(items: &[Item], letters: &[char]) -> Option<char> {
    items.iter().find_map(|item| match item {
        Item::Field(letter, _) => letters.contains(letter).then_some(*letter),
        Item::Optional(items) => first_letter(items, letters),
        Item::Literal(_) => None,
    })
}

fn illegal(pattern: &str, what: &str) -> Error {
    let message = format!("date pattern '{pattern}' is not recognized: '{what}'");
    Error::invalid("INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER", message)
        .with_help("text in a pattern stands in single quotes: 'yyyy-MM-dd''T''HH:mm:ss'")
}

/// Text in quotes; two quotes stand for one. None if it does not end.
fn read_quoted(chars: &mut Chars<'_>) -> Option<String> {
    let mut text = String::new();
    loop {
        match chars.next()? {
            '\'' if chars.next_if_eq(&'\'').is_none() => break,
            c => text.push(c),
        }
    }
    Some(if text.is_empty() { "'".to_owned() } else { text })
}

fn field(letter: char, count: usize, pattern: &str) -> Result<Item> {
    let most = match letter {
        'y' => 6,
        'D' => 3,
        'S' => 9,
        'M' | 'L' | 'Q' | 'q' | 'E' | 'G' => 4,
        'z' => 3,
        'X' | 'x' | 'Z' => 5,
        'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' => 2,
        'a' | 'F' => 1,
        _ => 0,
    };
    let fits = match letter {
        'V' => count == 2,
        'O' => count == 1 || count == 4,
        _ => count <= most,
    };
    if fits {
        return Ok(Item::Field(letter, count));
    }
    if letter == 'z' && count == 4 {
        let message = format!("date pattern '{pattern}' has the full names of zones, 'zzzz'");
        return Err(Error::unsupported("UNSUPPORTED_FEATURE", message).with_help("write z or VV"));
    }
    Err(illegal(pattern, &letter.to_string().repeat(count)))
}

fn format_items(items: &[Item], out: &mut String, us: i64, local: NaiveDateTime, tz: Tz) {
    for item in items {
        match item {
            Item::Literal(text) => out.push_str(text),
            Item::Optional(items) => format_items(items, out, us, local, tz),
            Item::Field(letter, count) => format_field(out, *letter, *count, us, local, tz),
        }
    }
}

fn format_field(out: &mut String, letter: char, n: usize, us: i64, t: NaiveDateTime, tz: Tz) {
    let text = match letter {
        'Y' => {
            let digits = format!("{:0n$}", if t.year() > 0 { t.year() } else { 1 - t.year() });
            if n >= 4 && digits.len() > n { format!("+{digits}") } else { digits }
        }
        'y' if n == 2 => format!("{:02}", t.year().abs() % 100),
        'y' => {
            let digits = format!("{:0n$}", t.year().abs());
            let sign = match t.year() {
                ..0 => "-",
                _ if n >= 4 && digits.len() > n => "+",
                _ => "",
            };
            format!("{sign}{digits}")
        }
        'G' => if t.year() > 0 { "AD" } else { "BC" }.to_owned(),
        'M' | 'L' if n == 3 => month_name(t)[..3].to_owned(),
        'M' | 'L' if n == 4 => month_name(t).to_owned(),
        'M' | 'L' => format!("{:0n$}", t.month()),
        'Q' | 'q' => quarter(t.month0() / 3 + 1, n),
        'd' => format!("{:0n$}", t.day()),
        'D' => format!("{:0n$}", t.ordinal()),
        'F' => format!("{}", (t.day() - 1) % 7 + 1),
        'E' => {
            let name = WEEKDAYS[t.weekday().num_days_from_monday() as usize];
            if n < 4 { &name[..3] } else { name }.to_owned()
        }
        'a' => if t.hour() < 12 { "AM" } else { "PM" }.to_owned(),
        'H' => format!("{:0n$}", t.hour()),
        'k' => format!("{:0n$}", if t.hour() == 0 { 24 } else { t.hour() }),
        'h' => format!("{:0n$}", if t.hour().is_multiple_of(12) { 12 } else { t.hour() % 12 }),
        'K' => format!("{:0n$}", t.hour() % 12),
        'm' => format!("{:0n$}", t.minute()),
        's' => format!("{:0n$}", t.second()),
        'S' => format!("{:09}", t.nanosecond())[..n].to_owned(),
        _ => zone_text(letter, n, us, tz),
    };
    out.push_str(&text);
}

fn month_name(t: NaiveDateTime) -> &'static str {
    MONTHS[t.month0() as usize]
}

fn quarter(quarter: u32, n: usize) -> String {
    match n {
        1 => quarter.to_string(),
        2 => format!("{quarter:02}"),
        3 => format!("Q{quarter}"),
        _ => format!("{}{} quarter", quarter, ["st", "nd", "rd", "th"][quarter as usize - 1]),
    }
}

fn zone_text(letter: char, n: usize, us: i64, tz: Tz) -> String {
    let utc = chrono::DateTime::from_timestamp_micros(us).unwrap_or_default().naive_utc();
    let offset = tz.offset_from_utc_datetime(&utc);
    let seconds = offset.fix().local_minus_utc();
    match letter {
        'V' => tz.name(),
        'z' => zone_name(offset.abbreviation(), tz),
        'O' if seconds == 0 => "GMT".to_owned(),
        'O' if n == 1 => {
            let (sign, s) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
            let seconds = if s % 60 == 0 { String::new() } else { format!(":{:02}", s % 60) };
            let minutes = if s % 3600 == 0 { String::new() } else { format!(":{:02}{seconds}", s / 60 % 60) };
            format!("GMT{sign}{}{minutes}", s / 3600)
        }
        'O' => format!("GMT{}", offset_text(seconds, true, true)),
        'X' if seconds == 0 => "Z".to_owned(),
        'Z' if n == 4 && seconds == 0 => "GMT".to_owned(),
        'Z' if n == 4 => format!("GMT{}", offset_text(seconds, true, true)),
        'Z' if n == 5 && seconds == 0 => "Z".to_owned(),
        'X' | 'x' if n == 1 && seconds % 3600 / 60 == 0 => offset_text(seconds, false, false)[..3].to_owned(),
        _ => offset_text(seconds, matches!(n, 3 | 5) && !(letter == 'Z' && n == 3), n >= 4),
    }
}

/// The short name of a zone at some time; for times before there were names, that of its winter.
fn zone_name(name: Option<&str>, tz: Tz) -> String {
    match name {
        Some("LMT") => {
            let winter = chrono::DateTime::from_timestamp(946_684_800, 0).unwrap_or_default().naive_utc();
            let offset = tz.offset_from_utc_datetime(&winter);
            offset.abbreviation().map_or_else(|| tz.name(), str::to_owned)
        }
        Some(name) => name.to_owned(),
        None => tz.name(),
    }
}

/// `+HHMM`, with colons or without, with seconds if there are any and they are wanted.
fn offset_text(seconds: i32, colon: bool, with_seconds: bool) -> String {
    let mut out = String::new();
    let (sign, s) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    let colon = if colon { ":" } else { "" };
    // Writing to a String cannot fail.
    let _ = write!(out, "{sign}{:02}{colon}{:02}", s / 3600, s / 60 % 60);
    if with_seconds && s % 60 != 0 {
        let _ = write!(out, "{colon}{:02}", s % 60);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_writes_what_each_instant_is_by_itself() {
        let zones = [Tz::UTC, "Europe/Prague".parse().unwrap(), "Asia/Kathmandu".parse().unwrap()];
        // Around a change of the clocks, a new year, the epoch.
        let starts = [1_711_846_800_000_000_i64, 1_735_685_999_999_999, 0, -1];
        let steps = [0_i64, 1, 999_999, 59_000_000, 1_800_000_000, 3_600_000_001, 86_400_000_000];
        for text in
            ["yyyy-MM-dd", "EEE d MMM yy", "HH", "hh a", "HH:mm", "mm", "ss", "HH:mm:ss.SSS", "[yyyy HH]", "HH xxx"]
        {
            let pattern = Pattern::new(text).unwrap();
            for tz in zones {
                let mut writer = pattern.writer(tz);
                for us in starts.iter().flat_map(|start| steps.map(|step| start + step)) {
                    let mut alone = String::new();
                    pattern.format(&mut alone, us, tz);
                    assert_eq!(writer.text(us), alone, "{text} in {tz:?} at {us}");
                }
            }
        }
    }

    fn show(pattern: &str, us: i64) -> String {
        let mut out = String::new();
        Pattern::new(pattern).unwrap().format(&mut out, us, Tz::UTC);
        out
    }

    #[test]
    fn fields_of_all_kinds() {
        let us = 1_709_211_909_123_456; // 2024-02-29 13:05:09.123456
        assert_eq!(show("yyyy-MM-dd HH:mm:ss", us), "2024-02-29 13:05:09");
        assert_eq!(show("EEE d MMM yy", us), "Thu 29 Feb 24");
        assert_eq!(show("hh:mm a", us), "01:05 PM");
        assert_eq!(show("SSS", us), "123");
        assert_eq!(show("D", us), "60");
        assert_eq!(show("EEEE", us), "Thursday");
        assert_eq!(show("Q", us), "1");
        assert_eq!(show("yyyy-MM-dd'T'HH:mm:ss.SSSXXX", us), "2024-02-29T13:05:09.123Z");
        assert!(Pattern::new("YYYY").is_err());
    }

    #[test]
    fn reading_is_strict() {
        let read = |pattern: &str, text| Pattern::new(pattern).unwrap().parse(text, Some(Tz::UTC));
        assert_eq!(read("yyyy-MM-dd HH:mm:ss", "2024-02-29 10:11:12"), Some(1_709_201_472_000_000));
        assert_eq!(read("yyyy-MM-dd HH:mm:ss", "2024-02-29"), None);
        assert_eq!(read("yyyyMMdd", "20240229"), Some(1_709_164_800_000_000));
        assert_eq!(read("dd/MMM/yyyy:HH:mm:ss Z", "29/Feb/2024:11:11:12 +0100"), Some(1_709_201_472_000_000));
        assert_eq!(read("yyyy-MM-dd[ HH:mm]", "2024-02-29"), Some(1_709_164_800_000_000));
    }
}
