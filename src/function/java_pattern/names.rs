//! English names of months, days and zones in dates.

use chrono_tz::Tz;

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
    Some(match name.to_ascii_uppercase().as_str() {
        "PST" | "PDT" | "PT" => Los_Angeles,
        "MST" | "MDT" | "MT" => Denver,
        "CST" | "CDT" | "CT" => Chicago,
        "EST" | "EDT" | "ET" => New_York,
        "AKST" | "AKDT" => Anchorage,
        "HST" => Tz::Pacific__Honolulu,
        "CET" | "CEST" => Tz::Europe__Paris,
        "EET" | "EEST" => Tz::Europe__Athens,
        "WET" | "WEST" => Tz::Europe__Lisbon,
        "BST" => Tz::Europe__London,
        "MSK" => Tz::Europe__Moscow,
        "JST" => Tz::Asia__Tokyo,
        "KST" => Tz::Asia__Seoul,
        "IST" => Tz::Asia__Kolkata,
        _ => return None,
    })
}
