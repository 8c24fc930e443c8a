//! Java's date patterns (`yyyy-MM-dd HH:mm:ss`): read once, then used for many rows.

use std::fmt::Write;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike};
use chrono_tz::{OffsetName, Tz};

use super::cast::temporal::{offset_seconds, to_epoch, to_local};
use crate::{Error, Result};

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

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

/// What a text said, field by field.
#[derive(Debug, Clone, Default)]
struct Parsed {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    day_of_year: Option<u32>,
    hour: Option<u32>,
    hour12: Option<u32>,
    afternoon: Option<bool>,
    minute: u32,
    second: u32,
    nanos: u32,
    offset: Option<i64>,
    zone: Option<Tz>,
}

impl Pattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// `INVALID_DATETIME_PATTERN` for letters that Spark does not know or has forbidden.
    pub fn new(pattern: &str) -> Result<Self> {
        let mut chars = pattern.chars().peekable();
        let items = read_items(&mut chars, pattern, false)?;
        Ok(Self(items))
    }

    /// Appends the instant as `tz` shows it.
    pub fn format(&self, out: &mut String, us: i64, tz: Tz) {
        if let Some(local) = to_local(us, tz) {
            format_items(&self.0, out, us, local, tz);
        }
    }

    /// The instant that a text means; local times are those of `tz`. None if the text does not match.
    pub fn parse(&self, text: &str, tz: Option<Tz>) -> Option<i64> {
        let mut parsed = Parsed::default();
        let rest = parse_items(&self.0, text, &mut parsed)?;
        if rest.is_empty() { parsed.instant(tz) } else { None }
    }
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn read_items(chars: &mut Chars<'_>, pattern: &str, nested: bool) -> Result<Vec<Item>> {
    let mut items = Vec::new();
    while let Some(c) = chars.next() {
        match c {
            '\'' => items.push(Item::Literal(read_quoted(chars))),
            '[' => items.push(Item::Optional(read_items(chars, pattern, true)?)),
            ']' if nested => return Ok(items),
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

/// Text in quotes; two quotes stand for one.
fn read_quoted(chars: &mut Chars<'_>) -> String {
    let mut text = String::new();
    while let Some(c) = chars.next() {
        if c == '\'' && chars.next_if_eq(&'\'').is_none() {
            break;
        }
        text.push(c);
    }
    if text.is_empty() { "'".to_owned() } else { text }
}

fn field(letter: char, count: usize, pattern: &str) -> Result<Item> {
    let most = match letter {
        'y' | 'u' => 6,
        'D' => 3,
        'S' => 9,
        'M' | 'L' | 'Q' | 'q' | 'E' | 'z' | 'V' => 4,
        'O' | 'G' => 4,
        'X' | 'x' | 'Z' => 5,
        'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's' => 2,
        'a' | 'F' => 1,
        _ => 0,
    };
    if count <= most {
        return Ok(Item::Field(letter, count));
    }
    let message = format!("date pattern '{pattern}' is not recognized: '{}'", letter.to_string().repeat(count));
    Err(Error::invalid("INVALID_DATETIME_PATTERN.ILLEGAL_CHARACTER", message)
        .with_help("text in a pattern stands in single quotes: 'yyyy-MM-dd''T''HH:mm:ss'"))
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
        'y' | 'u' if n == 2 => format!("{:02}", t.year().rem_euclid(100)),
        'y' | 'u' => format!("{:0n$}", t.year()),
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
        'V' => tz.name().to_owned(),
        'z' => offset.abbreviation().map_or_else(|| tz.name().to_owned(), str::to_owned),
        'O' if seconds == 0 => "GMT".to_owned(),
        'O' => format!("GMT{}", offset_text(seconds, true)),
        'X' if seconds == 0 => "Z".to_owned(),
        'Z' if n == 4 && seconds == 0 => "GMT".to_owned(),
        'Z' if n == 4 => format!("GMT{}", offset_text(seconds, true)),
        'Z' if n == 5 && seconds == 0 => "Z".to_owned(),
        'X' | 'x' if n == 1 && seconds % 3600 == 0 => offset_text(seconds, false)[..3].to_owned(),
        _ => offset_text(seconds, matches!(n, 3 | 5) && !(letter == 'Z' && n == 3)),
    }
}

fn offset_text(seconds: i32, colon: bool) -> String {
    let mut out = String::new();
    let (sign, s) = if seconds < 0 { ('-', -seconds) } else { ('+', seconds) };
    // Writing to a String cannot fail.
    let _ = write!(out, "{sign}{:02}{}{:02}", s / 3600, if colon { ":" } else { "" }, s / 60 % 60);
    out
}

/// Reads the items from the front of `text`; gives the rest.
fn parse_items<'a>(items: &[Item], mut text: &'a str, to: &mut Parsed) -> Option<&'a str> {
    for (i, item) in items.iter().enumerate() {
        text = match item {
            Item::Literal(literal) => text.strip_prefix(literal.as_str())?,
            Item::Optional(items) => {
                let mut attempt = to.clone();
                match parse_items(items, text, &mut attempt) {
                    Some(rest) => {
                        *to = attempt;
                        rest
                    }
                    None => text,
                }
            }
            Item::Field(letter, count) => {
                // Without a separator behind it a number takes its own width only: `yyyyMMdd`.
                let adjacent = matches!(items.get(i + 1), Some(Item::Field(_, _)));
                to.read(*letter, *count, adjacent, text)?
            }
        };
    }
    Some(text)
}

/// A number of `least` to `most` digits in front of `text`.
fn number(text: &str, least: usize, most: usize) -> Option<(u32, &str)> {
    let digits = text.bytes().take(most).take_while(u8::is_ascii_digit).count();
    if digits < least {
        return None;
    }
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// The first of `names` (whole or its first three letters) that `text` begins with, counted from 0.
fn name<'a>(text: &'a str, names: &[&str], short: bool) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let len = if short { 3 } else { name.len() };
        let front = text.get(..len)?;
        front.eq_ignore_ascii_case(&name[..len]).then(|| (i, &text[len..]))
    })
}

impl Parsed {
    fn read<'a>(&mut self, letter: char, n: usize, adjacent: bool, text: &'a str) -> Option<&'a str> {
        let width = |most: usize| number(text, n.min(most), if adjacent { n } else { most.max(n) });
        let (slot, (value, rest)) = match letter {
            'y' | 'u' if n == 2 => {
                let (year, rest) = number(text, 2, 2)?;
                self.year = Some(2000 + year as i32);
                return Some(rest);
            }
            'y' | 'u' => {
                let (negative, unsigned) = text.strip_prefix('-').map_or((false, text), |t| (true, t));
                let most = if adjacent { n.max(4) } else { 7 };
                let (year, rest) = number(unsigned, n.min(most), most)?;
                self.year = Some(if negative { -(year as i32) } else { year as i32 });
                return Some(rest);
            }
            'M' | 'L' if n >= 3 => {
                let (month, rest) = name(text, &MONTHS, n == 3)?;
                self.month = Some(month as u32 + 1);
                return Some(rest);
            }
            'E' => return name(text, &WEEKDAYS, n < 4).map(|(_, rest)| rest),
            'a' => {
                let (half, rest) = text.split_at_checked(2)?;
                self.afternoon = Some(half.eq_ignore_ascii_case("PM"));
                return half.to_ascii_uppercase().ends_with('M').then_some(rest);
            }
            'S' => {
                let (value, rest) = number(text, n.min(1), n)?;
                let digits = text.len() - rest.len();
                self.nanos = value * 10_u32.pow(9 - digits as u32);
                return if adjacent && digits < n { None } else { Some(rest) };
            }
            'X' | 'x' | 'Z' | 'V' | 'z' | 'O' => return self.read_zone(text),
            'M' | 'L' => (&mut self.month, width(2)?),
            'd' => (&mut self.day, width(2)?),
            'D' => (&mut self.day_of_year, width(3)?),
            'H' | 'k' => (&mut self.hour, width(2)?),
            'h' | 'K' => (&mut self.hour12, width(2)?),
            'm' | 's' => {
                let (value, rest) = width(2)?;
                *(if letter == 'm' { &mut self.minute } else { &mut self.second }) = value;
                return Some(rest);
            }
            _ => return None,
        };
        *slot = Some(if letter == 'k' { value % 24 } else { value });
        Some(rest)
    }

    fn read_zone<'a>(&mut self, text: &'a str) -> Option<&'a str> {
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-:/_".contains(c))).unwrap_or(text.len());
        let (zone, rest) = text.split_at(end);
        let numeric = ["GMT", "UTC", "UT"].iter().find_map(|p| zone.strip_prefix(p)).unwrap_or(zone);
        match numeric {
            "" | "Z" if !zone.is_empty() => self.offset = Some(0),
            _ => match offset_seconds(numeric) {
                Some(seconds) => self.offset = Some(seconds),
                None => self.zone = Some(zone.parse().ok()?),
            },
        }
        Some(rest)
    }

    fn instant(&self, tz: Option<Tz>) -> Option<i64> {
        let year = self.year.unwrap_or(1970);
        let date = match self.day_of_year {
            Some(day) if self.month.is_none() => NaiveDate::from_yo_opt(year, day)?,
            _ => NaiveDate::from_ymd_opt(year, self.month.unwrap_or(1), self.day.unwrap_or(1))?,
        };
        let local = date.and_time(NaiveTime::from_hms_nano_opt(self.hour()?, self.minute, self.second, self.nanos)?);
        match (tz, self.offset, self.zone) {
            (None, _, _) => to_epoch(local, None),
            (_, Some(offset), _) => Some(to_epoch(local, None)? - offset * 1_000_000),
            (tz, None, zone) => to_epoch(local, zone.or(tz)),
        }
    }

    fn hour(&self) -> Option<u32> {
        match (self.hour, self.hour12) {
            (Some(hour), _) => Some(hour),
            (None, Some(hour)) if hour <= 12 => Some(hour % 12 + if self.afternoon == Some(true) { 12 } else { 0 }),
            (None, Some(_)) => None,
            (None, None) => Some(if self.afternoon == Some(true) { 12 } else { 0 }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
