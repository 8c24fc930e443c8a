//! English names of months, days and zones in dates.

use crate::time_zone::Tz;

/// From January.
pub const MONTHS: [&str; 12] = [
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
/// From Monday.
pub const WEEKDAYS: [&str; 7] = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];

/// The zone that a short name means in a text: it stands for a place, so that in summer the place's summer time holds.
pub fn zone(name: &str) -> Option<Tz> {
    use chrono_tz::America::*;
    use chrono_tz::Tz as Region;
    Some(Tz::Region(match name.to_ascii_uppercase().as_str() {
        "PST" | "PDT" | "PT" => Los_Angeles,
        "MST" | "MDT" | "MT" => Denver,
        "CST" | "CDT" | "CT" => Chicago,
        "EST" | "EDT" | "ET" => New_York,
        "AKST" | "AKDT" => Anchorage,
        "HST" => Region::Pacific__Honolulu,
        "CET" | "CEST" => Region::Europe__Paris,
        "EET" | "EEST" => Region::Europe__Athens,
        "WET" | "WEST" => Region::Europe__Lisbon,
        "BST" => Region::Europe__London,
        "MSK" => Region::Europe__Moscow,
        "JST" => Region::Asia__Tokyo,
        "KST" => Region::Asia__Seoul,
        "IST" => Region::Asia__Kolkata,
        _ => return None,
    }))
}
