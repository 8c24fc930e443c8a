//! Time zones: regions, whose offset changes, and offsets such as `+05:30`.

use std::fmt;
use std::str::FromStr;

use chrono::{FixedOffset, LocalResult, NaiveDate, NaiveDateTime, Offset, TimeZone};
use chrono_tz::OffsetName;

/// A time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Tz {
    /// A region of the tz database.
    Region(chrono_tz::Tz),
    /// Always the same offset.
    Fixed(FixedOffset),
}

impl Tz {
    /// UTC.
    pub const UTC: Self = Self::Region(chrono_tz::Tz::UTC);

    /// The name of the region, or the offset as `+05:30`.
    pub fn name(&self) -> String {
        match self {
            Self::Region(region) => region.name().to_owned(),
            Self::Fixed(offset) => offset.to_string(),
        }
    }

    /// The region of this name, in any case.
    pub fn any_case(name: &str) -> Option<Self> {
        chrono_tz::TZ_VARIANTS.iter().find(|z| z.name().eq_ignore_ascii_case(name)).copied().map(Self::Region)
    }
}

/// What is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownZone;

impl fmt::Display for UnknownZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("there is no such time zone")
    }
}

impl std::error::Error for UnknownZone {}

impl FromStr for Tz {
    type Err = UnknownZone;

    /// `Europe/Berlin`, one of Java's short names, `Z`, `+05:30`, `+0530`, `+5`, and `UTC`, `GMT` or `UT` before an offset.
    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        if let Some(zone) = named_zone(text) {
            return Ok(zone);
        }
        let offset = ["UTC", "GMT", "UT"].iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text);
        let seconds = match offset {
            "" if !text.is_empty() => 0,
            offset => offset_seconds(offset).ok_or(UnknownZone)?,
        };
        match i32::try_from(seconds).ok().and_then(FixedOffset::east_opt) {
            Some(_) if seconds == 0 => Ok(Self::UTC),
            Some(offset) => Ok(Self::Fixed(offset)),
            None => Err(UnknownZone),
        }
    }
}

/// A zone by its name, or by one of the short names of Java.
pub fn named_zone(name: &str) -> Option<Tz> {
    let region = match name {
        "ACT" => "Australia/Darwin",
        "AET" => "Australia/Sydney",
        "AGT" => "America/Argentina/Buenos_Aires",
        "ART" => "Africa/Cairo",
        "AST" => "America/Anchorage",
        "BET" => "America/Sao_Paulo",
        "BST" => "Asia/Dhaka",
        "CAT" => "Africa/Harare",
        "CNT" => "America/St_Johns",
        "CST" => "America/Chicago",
        "CTT" => "Asia/Shanghai",
        "EAT" => "Africa/Addis_Ababa",
        "ECT" => "Europe/Paris",
        "IET" => "America/Indiana/Indianapolis",
        "IST" => "Asia/Kolkata",
        "JST" => "Asia/Tokyo",
        "MIT" => "Pacific/Apia",
        "NET" => "Asia/Yerevan",
        "NST" => "Pacific/Auckland",
        "PLT" => "Asia/Karachi",
        "PNT" => "America/Phoenix",
        "PRT" => "America/Puerto_Rico",
        "PST" => "America/Los_Angeles",
        "SST" => "Pacific/Guadalcanal",
        "VST" => "Asia/Ho_Chi_Minh",
        "EST" => "Etc/GMT+5",
        "MST" => "Etc/GMT+7",
        "HST" => "Etc/GMT+10",
        "Z" => "UTC",
        other => other,
    };
    region.parse().ok().map(Tz::Region)
}

/// Seconds east of Greenwich: `+h`, `+hh`, `+hhmm`, `+h:m`, `+hh:mm:ss`; 18 hours at most.
pub fn offset_seconds(text: &str) -> Option<i64> {
    let (sign, text) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let digits = |text: &str| -> Option<i64> {
        let fits = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        fits.then(|| text.parse().ok()).flatten()
    };
    let (hour, minute, second) = if text.len() == 4 && !text.contains(':') {
        (digits(text.get(..2)?)?, digits(text.get(2..)?)?, 0)
    } else {
        let mut parts = text.split(':').map(digits);
        (parts.next()??, parts.next().unwrap_or(Some(0))?, parts.next().unwrap_or(Some(0))?)
    };
    let seconds = hour * 3600 + minute * 60 + second;
    (minute < 60 && second < 60 && seconds <= 18 * 3600).then_some(sign * seconds)
}

/// The offset of a zone at some time.
#[derive(Clone, Copy)]
pub enum ZoneOffset {
    /// Of a region.
    Region(chrono_tz::Tz, <chrono_tz::Tz as TimeZone>::Offset),
    /// Of a zone that is an offset.
    Fixed(FixedOffset),
}

impl ZoneOffset {
    /// Such as `CEST`, where there is a short name.
    pub fn abbreviation(&self) -> Option<&str> {
        match self {
            Self::Region(_, offset) => offset.abbreviation(),
            Self::Fixed(_) => None,
        }
    }
}

impl fmt::Debug for ZoneOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for ZoneOffset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(_, offset) => fmt::Display::fmt(offset, f),
            Self::Fixed(offset) => fmt::Display::fmt(offset, f),
        }
    }
}

impl Offset for ZoneOffset {
    fn fix(&self) -> FixedOffset {
        match self {
            Self::Region(_, offset) => offset.fix(),
            Self::Fixed(offset) => *offset,
        }
    }
}

impl TimeZone for Tz {
    type Offset = ZoneOffset;

    fn from_offset(offset: &ZoneOffset) -> Self {
        match offset {
            ZoneOffset::Region(region, _) => Self::Region(*region),
            ZoneOffset::Fixed(offset) => Self::Fixed(*offset),
        }
    }

    fn offset_from_local_date(&self, local: &NaiveDate) -> LocalResult<ZoneOffset> {
        match self {
            Self::Region(region) => region.offset_from_local_date(local).map(|o| ZoneOffset::Region(*region, o)),
            Self::Fixed(fixed) => LocalResult::Single(ZoneOffset::Fixed(*fixed)),
        }
    }

    fn offset_from_local_datetime(&self, local: &NaiveDateTime) -> LocalResult<ZoneOffset> {
        match self {
            Self::Region(region) => region.offset_from_local_datetime(local).map(|o| ZoneOffset::Region(*region, o)),
            Self::Fixed(fixed) => LocalResult::Single(ZoneOffset::Fixed(*fixed)),
        }
    }

    fn offset_from_utc_date(&self, utc: &NaiveDate) -> ZoneOffset {
        match self {
            Self::Region(region) => ZoneOffset::Region(*region, region.offset_from_utc_date(utc)),
            Self::Fixed(fixed) => ZoneOffset::Fixed(*fixed),
        }
    }

    fn offset_from_utc_datetime(&self, utc: &NaiveDateTime) -> ZoneOffset {
        match self {
            Self::Region(region) => ZoneOffset::Region(*region, region.offset_from_utc_datetime(utc)),
            Self::Fixed(fixed) => ZoneOffset::Fixed(*fixed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_those_of_spark() {
        // A time in UTC, and hours and minutes of the same moment there; nothing where Spark knows no such zone.
        let cases = [
            ("+05:30", Some(1050)),
            ("-03:30", Some(510)),
            ("GMT+8", Some(1200)),
            ("UTC-3", Some(540)),
            ("UTC+05:30", Some(1050)),
            ("EST5EDT", Some(480)),
            ("EST", Some(420)),
            ("PST", Some(300)),
            ("IST", Some(1050)),
            ("+5", Some(1020)),
            ("+0530", Some(1050)),
            ("+18:01", None),
            ("UT", Some(720)),
            ("GMT0", Some(720)),
            ("Etc/GMT+5", Some(420)),
            ("+1:2", Some(782)),
            ("utc", None),
            ("europe/berlin", None),
            ("Mars", None),
            ("", None),
            ("CET", Some(840)),
            ("UT+3", Some(900)),
        ];
        let noon = NaiveDate::from_ymd_opt(2024, 7, 1).and_then(|d| d.and_hms_opt(12, 0, 0)).unwrap();
        for (name, minutes) in cases {
            let local =
                name.parse::<Tz>().ok().map(|tz| 720 + tz.offset_from_utc_datetime(&noon).fix().local_minus_utc() / 60);
            assert_eq!(local, minutes, "{name}");
        }
        assert_eq!("+05:30".parse::<Tz>().unwrap().name(), "+05:30");
    }
}
