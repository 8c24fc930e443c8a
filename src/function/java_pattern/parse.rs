//! Reads a text by a pattern, as strictly as Java does: digits in the width that a field has, zones in the form that
//! their letters say, and no day that does not exist.

use crate::time_zone::Tz;
use chrono::{Datelike, NaiveDate, NaiveTime};

use super::Item;
use super::names::{MONTHS, WEEKDAYS, zone};
use crate::function::cast::temporal::to_epoch;

/// What a text said, field by field.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fields {
    /// Counted within the era, if the text has one; otherwise the year before 1 is 0.
    year: Option<i64>,
    before_christ: Option<bool>,
    month: Option<i64>,
    quarter: Option<i64>,
    day: Option<i64>,
    day_of_year: Option<i64>,
    weekday: Option<u32>,
    week_of_month: Option<i64>,
    hour: Option<i64>,
    hour12: Option<i64>,
    afternoon: Option<bool>,
    minute: Option<i64>,
    second: Option<i64>,
    nanos: Option<u32>,
    /// Seconds east of Greenwich.
    offset: Option<i64>,
    zone: Option<Tz>,
}

/// The fields of a text that fits the pattern to its end.
pub fn fields(items: &[Item], text: &str) -> Option<Fields> {
    let mut fields = Fields::default();
    read_items(items, text, &mut fields)?.is_empty().then_some(fields)
}

/// Reads the items from the front of `text`; gives the rest.
fn read_items<'a>(items: &[Item], mut text: &'a str, to: &mut Fields) -> Option<&'a str> {
    for (i, item) in items.iter().enumerate() {
        text = match item {
            Item::Literal(literal) => strip(text, literal)?,
            Item::Optional(items) => {
                let mut attempt = *to;
                match read_items(items, text, &mut attempt) {
                    Some(rest) => {
                        *to = attempt;
                        rest
                    }
                    None => text,
                }
            }
            Item::Field(letter, count) => to.read(*letter, *count, reserved(items, i), text)?,
        };
    }
    Some(text)
}

/// Takes `front` off, in any case.
fn strip<'a>(text: &'a str, front: &str) -> Option<&'a str> {
    let (head, rest) = text.split_at_checked(front.len())?;
    head.eq_ignore_ascii_case(front).then_some(rest)
}

/// The digits that the numbers of fixed width right behind item `i` need.
fn reserved(items: &[Item], i: usize) -> usize {
    let fixed = |item: &Item| match item {
        Item::Field('y' | 'Y' | 'M' | 'L' | 'Q' | 'q' | 'd' | 'H' | 'h' | 'k' | 'K' | 'm' | 's', 2) => Some(2),
        Item::Field('S', 1) => Some(1),
        _ => None,
    };
    // A number of fixed width in front takes no more than its own digits anyhow.
    items[i + 1..].iter().map_while(fixed).sum()
}

/// Whether a number may have a sign.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sign {
    Never,
    Minus,
    /// A plus says that there are more digits than the pattern has letters.
    PlusIfLonger,
}

/// A number of `least` to `most` digits in front of `text`, `reserved` of which belong to the next fields.
fn number(text: &str, least: usize, most: usize, sign: Sign, reserved: usize) -> Option<(i64, &str)> {
    let (first, unsigned) = match text.as_bytes().first()? {
        b @ (b'+' | b'-') => (Some(*b), &text[1..]),
        _ => (None, text),
    };
    match (first, sign) {
        (Some(_), Sign::Never) | (Some(b'+'), Sign::Minus) => return None,
        _ => {}
    }
    let found = unsigned.bytes().take(most + reserved).take_while(u8::is_ascii_digit).count();
    if found < least {
        return None;
    }
    let digits = if reserved > 0 { least.max(found.saturating_sub(reserved)) } else { found };
    let value: i64 = unsigned[..digits].parse().ok()?;
    let fits = match (first, sign) {
        (Some(b'-'), _) => value != 0,
        (Some(_), Sign::PlusIfLonger) => digits > least,
        (None, Sign::PlusIfLonger) => digits <= least,
        _ => true,
    };
    let value = if first == Some(b'-') { -value } else { value };
    fits.then_some((value, &unsigned[digits..]))
}

/// The first of `names` (whole or its first three letters) that `text` begins with, counted from 0.
fn name<'a>(text: &'a str, names: &[&str], short: bool) -> Option<(usize, &'a str)> {
    names.iter().enumerate().find_map(|(i, name)| {
        let name = if short { &name[..3] } else { name };
        strip(text, name).map(|rest| (i, rest))
    })
}

impl Fields {
    fn read<'a>(&mut self, letter: char, n: usize, reserved: usize, text: &'a str) -> Option<&'a str> {
        let (slot, (value, rest)) = match letter {
            'y' | 'Y' => {
                let (value, rest) = match n {
                    2 => number(text, 2, 2, Sign::Never, 0).map(|(v, rest)| (v + 2000, rest))?,
                    1 | 3 => number(text, n, 19, Sign::Minus, reserved)?,
                    _ => number(text, n, 19, Sign::PlusIfLonger, reserved)?,
                };
                (&mut self.year, (value, rest))
            }
            'M' | 'L' if n >= 3 => {
                let (month, rest) = name(text, &MONTHS, n == 3)?;
                (&mut self.month, (month as i64 + 1, rest))
            }
            'Q' | 'q' if n >= 3 => {
                let quarter = (1..=4).find_map(|q| {
                    let name = if n == 3 { format!("Q{q}") } else { super::quarter(q, n) };
                    strip(text, &name).map(|rest| (i64::from(q), rest))
                });
                (&mut self.quarter, quarter?)
            }
            'E' => {
                let (day, rest) = name(text, &WEEKDAYS, n < 4)?;
                self.weekday = Some(day as u32);
                return Some(rest);
            }
            'G' => {
                let (era, rest) = if n < 4 {
                    strip(text, "BC").map(|r| (true, r)).or_else(|| strip(text, "AD").map(|r| (false, r)))?
                } else {
                    strip(text, "Before Christ")
                        .map(|r| (true, r))
                        .or_else(|| strip(text, "Anno Domini").map(|r| (false, r)))?
                };
                self.before_christ = Some(era);
                return Some(rest);
            }
            'a' => {
                let (afternoon, rest) =
                    strip(text, "AM").map(|r| (false, r)).or_else(|| strip(text, "PM").map(|r| (true, r)))?;
                self.afternoon = Some(afternoon);
                return Some(rest);
            }
            'S' => {
                let (value, rest) = number(text, 1, n, Sign::Never, 0)?;
                let digits = text.len() - rest.len();
                self.nanos = Some(value as u32 * 10_u32.pow(9 - digits as u32));
                return Some(rest);
            }
            'X' | 'x' | 'Z' | 'V' | 'z' | 'O' => return self.read_zone(letter, n, text),
            'D' if n > 1 => (&mut self.day_of_year, number(text, n, 3, Sign::Never, reserved)?),
            _ => {
                let read = match n {
                    1 => number(text, 1, 19, Sign::Minus, reserved)?,
                    _ => number(text, n, n, Sign::Never, 0)?,
                };
                (self.number_slot(letter)?, read)
            }
        };
        // The same field twice must say the same.
        if slot.is_some_and(|known| known != value) {
            return None;
        }
        *slot = Some(value);
        if letter == 'k' && !(1..=24).contains(&value) || letter == 'h' && !(1..=12).contains(&value) {
            return None;
        }
        match letter {
            'k' => self.hour = Some(value % 24),
            'h' => self.hour12 = Some(value % 12),
            _ => {}
        }
        Some(rest)
    }

    fn number_slot(&mut self, letter: char) -> Option<&mut Option<i64>> {
        Some(match letter {
            'M' | 'L' => &mut self.month,
            'Q' | 'q' => &mut self.quarter,
            'd' => &mut self.day,
            'D' => &mut self.day_of_year,
            'F' => &mut self.week_of_month,
            'H' | 'k' => &mut self.hour,
            'h' | 'K' => &mut self.hour12,
            'm' => &mut self.minute,
            's' => &mut self.second,
            _ => return None,
        })
    }

    fn read_zone<'a>(&mut self, letter: char, n: usize, text: &'a str) -> Option<&'a str> {
        if letter == 'V' || letter == 'z' {
            return self.read_zone_name(letter, text);
        }
        if letter == 'O' || (letter == 'Z' && n == 4) {
            let rest = strip(text, "GMT")?;
            let (seconds, rest) = if n == 4 {
                if rest.starts_with(['+', '-']) { offset(rest, Minutes::Colon, Seconds::Optional)? } else { (0, rest) }
            } else {
                short_offset(rest)
            };
            self.offset = Some(seconds);
            return Some(rest);
        }
        let nothing = match (letter, n) {
            ('X', _) | ('Z', 5) => "Z",
            ('x', 1) => "+00",
            ('x', 3 | 5) => "+00:00",
            _ => "+0000",
        };
        let (minutes, seconds) = match (letter, n) {
            ('X' | 'x', 1) => (Minutes::Optional, Seconds::None),
            ('X' | 'x', 3) => (Minutes::Colon, Seconds::None),
            ('X' | 'x', 4) => (Minutes::Plain, Seconds::Optional),
            ('X' | 'x' | 'Z', 5) => (Minutes::Colon, Seconds::Optional),
            _ => (Minutes::Plain, Seconds::None),
        };
        if let Some(rest) = strip(text, nothing) {
            self.offset = Some(0);
            return Some(rest);
        }
        let (seconds, rest) = offset(text, minutes, seconds)?;
        self.offset = Some(seconds);
        Some(rest)
    }

    /// The id of a zone (`VV`), or its name (`z`).
    fn read_zone_name<'a>(&mut self, letter: char, text: &'a str) -> Option<&'a str> {
        if let Some(rest) = text.strip_prefix(['Z', 'z']) {
            self.offset = Some(0);
            if !rest.starts_with(|c: char| c.is_ascii_alphanumeric()) {
                return Some(rest);
            }
        }
        let unprefixed = ["UTC", "GMT", "UT"].iter().find_map(|p| strip(text, p));
        for front in [Some(text), unprefixed].into_iter().flatten() {
            if front.starts_with(['+', '-']) {
                let (seconds, rest) = zone_offset(front)?;
                self.offset = Some(seconds);
                return Some(rest);
            }
        }
        let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "+-/_".contains(c))).unwrap_or(text.len());
        let (id, rest) = text.split_at(end);
        let found = if letter == 'z' { zone(id) } else { None };
        self.zone = Some(found.or_else(|| id.parse().ok().map(Tz::Region)).or_else(|| Tz::any_case(id))?);
        Some(rest)
    }

    /// Whether the text has a zone.
    pub fn has_zone(&self) -> bool {
        self.offset.is_some() || self.zone.is_some()
    }

    /// The instant; local times are those of `tz`, without one a zone in the text is left out.
    pub fn instant(&self, tz: Option<Tz>) -> Option<i64> {
        let local = self.date()?.and_time(self.time()?);
        match (tz, self.offset, self.zone) {
            (None, _, _) => to_epoch(local, None),
            (_, Some(offset), _) => to_epoch(local, None)?.checked_sub(offset * 1_000_000),
            (tz, None, zone) => to_epoch(local, zone.or(tz)),
        }
    }

    /// The day; what the text does not say is that of 1970-01-01.
    pub fn date(&self) -> Option<NaiveDate> {
        self.time()?;
        let year = match (self.year.unwrap_or(1970), self.before_christ) {
            (year, None) => year,
            (year, Some(_)) if year < 1 => return None,
            (year, Some(before)) => {
                if before {
                    1 - year
                } else {
                    year
                }
            }
        };
        let year = i32::try_from(year).ok()?;
        let part = |n: Option<i64>| u32::try_from(n.unwrap_or(1)).ok();
        let date = match self.day_of_year {
            Some(day) if self.month.is_none() || self.day.is_none() => {
                NaiveDate::from_yo_opt(year, u32::try_from(day).ok()?)?
            }
            _ => NaiveDate::from_ymd_opt(year, part(self.month)?, part(self.day)?)?,
        };
        let fits = self.weekday.is_none_or(|day| date.weekday().num_days_from_monday() == day)
            && self.day_of_year.is_none_or(|day| i64::from(date.ordinal()) == day)
            && self.month.is_none_or(|month| i64::from(date.month()) == month)
            && self.week_of_month.is_none_or(|day| i64::from(date.day0() % 7 + 1) == day);
        fits.then_some(date)
    }

    fn time(&self) -> Option<NaiveTime> {
        let part = |n: Option<i64>| u32::try_from(n.unwrap_or(0)).ok();
        let noon = if self.afternoon == Some(true) { 12 } else { 0 };
        let hour = match (self.hour, self.hour12) {
            (Some(hour), _) => {
                let half = i64::from(hour >= 12);
                if self.afternoon.is_some_and(|afternoon| i64::from(afternoon) != half) {
                    return None;
                }
                u32::try_from(hour).ok()?
            }
            (None, Some(hour)) if (0..12).contains(&hour) => hour as u32 + noon,
            (None, Some(_)) => return None,
            (None, None) => noon,
        };
        NaiveTime::from_hms_nano_opt(hour, part(self.minute)?, part(self.second)?, self.nanos.unwrap_or(0))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Minutes {
    Plain,
    Colon,
    Optional,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seconds {
    None,
    Optional,
}

/// Two digits.
fn two(text: &str) -> Option<(i64, &str)> {
    number(text, 2, 2, Sign::Never, 0)
}

/// `+HH`, minutes and seconds as the pattern has them.
fn offset(text: &str, minutes: Minutes, seconds: Seconds) -> Option<(i64, &str)> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let colon = minutes == Minutes::Colon;
    let part = |text| -> Option<(i64, &str)> {
        two(if colon { str::strip_prefix(text, ':')? } else { text }).filter(|(n, _)| *n < 60)
    };
    let (hour, rest) = two(&text[1..])?;
    let (minute, rest) = match part(rest) {
        Some(found) => found,
        None if minutes == Minutes::Optional => (0, rest),
        None => return None,
    };
    let (second, rest) = match part(rest) {
        Some(found) if seconds == Seconds::Optional => found,
        _ => (0, rest),
    };
    let total = hour * 3600 + minute * 60 + second;
    (total <= 18 * 3600).then_some((sign * total, rest))
}

/// `+H`, `+HH`, `+H:MM` behind `GMT`.
fn short_offset(text: &str) -> (i64, &str) {
    let sign = match text.as_bytes().first() {
        Some(b'+') => 1,
        Some(b'-') => -1,
        _ => return (0, text),
    };
    let Some((hour, rest)) = number(&text[1..], 1, 2, Sign::Never, 0) else { return (0, text) };
    let minutes = rest.strip_prefix(':').and_then(two).filter(|(n, _)| *n < 60);
    let (minute, rest) = minutes.unwrap_or((0, rest));
    (sign * (hour * 3600 + minute * 60), rest)
}

/// The offsets that are zone ids: `+hh`, `+hh:mm`, `+hhmm`, `+hh:mm:ss`.
fn zone_offset(text: &str) -> Option<(i64, &str)> {
    offset(text, Minutes::Colon, Seconds::Optional)
        .or_else(|| offset(text, Minutes::Plain, Seconds::Optional))
        .or_else(|| offset(text, Minutes::Optional, Seconds::None))
}
