//! Dates and times that were written in the calendar of old Spark and Hive: Julian before 15 October 1582. They stand for the same day,
//! by its number in the year, of the calendar that is used since.

use std::collections::HashMap;

#[cfg(any(feature = "avro", feature = "orc"))]
use arrow::array::make_array;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use std::sync::Arc;

/// The first day of the Gregorian calendar, in days since the epoch.
const GREGORIAN: i32 = -141_427;
/// Days from the start of the Julian day count to the epoch.
const EPOCH: i64 = 2_440_588;
const DAY_US: i64 = 24 * 60 * 60 * 1_000_000;

/// What the metadata of a file say about its calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Calendar {
    /// Dates, and times that are numbers of microseconds or milliseconds.
    dates_are_julian: bool,
    /// Times in 96 bits.
    int96_is_julian: bool,
}

impl Calendar {
    /// Of a file with this metadata: Spark says it, since version 3.
    pub fn of(metadata: &HashMap<String, String>) -> Self {
        let is_old = metadata.get("org.apache.spark.version").is_some_and(|version| {
            version.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major < 3)
        });
        Self {
            dates_are_julian: is_old || metadata.contains_key("org.apache.spark.legacyDateTime"),
            int96_is_julian: is_old || metadata.contains_key("org.apache.spark.legacyINT96"),
        }
    }

    /// Whether dates, and times that are numbers, are in the old calendar.
    #[cfg(feature = "avro")]
    pub fn has_julian_dates(self) -> bool {
        self.dates_are_julian
    }

    /// Whether values of this type in the file are to be brought to the calendar of today when they are read as the other.
    pub fn is_julian(self, stored: &DataType, declared: &DataType) -> bool {
        match (stored, declared) {
            (DataType::Date32, _) => self.dates_are_julian,
            // What is 96 bits in the file has no zone here.
            (DataType::Timestamp(_, None), DataType::Timestamp(_, Some(_))) => self.int96_is_julian,
            (DataType::Timestamp(_, Some(_)), DataType::Timestamp(_, Some(_))) => self.dates_are_julian,
            _ => false,
        }
    }
}

/// The values in the calendar of today.
pub fn to_gregorian(values: &ArrayRef) -> ArrayRef {
    match values.data_type() {
        DataType::Date32 => Arc::new(values.as_primitive::<Date32Type>().unary::<_, Date32Type>(day)),
        DataType::Timestamp(TimeUnit::Microsecond, zone) => {
            let times = values.as_primitive::<TimestampMicrosecondType>();
            let times = times.unary::<_, TimestampMicrosecondType>(|us| {
                let days = us.div_euclid(DAY_US);
                match i32::try_from(days) {
                    Ok(days) => i64::from(day(days)) * DAY_US + us.rem_euclid(DAY_US),
                    Err(_) => us,
                }
            });
            Arc::new(times.with_timezone_opt(zone.clone()))
        }
        _ => values.clone(),
    }
}

/// The same for what is inside lists, maps and structs too. Times without a zone are left as they are, unless they are `local`.
#[cfg(any(feature = "avro", feature = "orc"))]
pub fn all_to_gregorian(values: &ArrayRef, local: bool) -> ArrayRef {
    match values.data_type() {
        DataType::Timestamp(_, None) if !local => values.clone(),
        data_type if data_type.is_nested() => {
            let data = values.to_data();
            let children =
                data.child_data().iter().map(|child| all_to_gregorian(&make_array(child.clone()), local).to_data());
            let children = children.collect();
            data.into_builder().child_data(children).build().map_or_else(|_| values.clone(), make_array)
        }
        _ => to_gregorian(values),
    }
}

/// The day of the same year, month and day of month.
fn day(julian: i32) -> i32 {
    if julian >= GREGORIAN {
        return julian;
    }
    // From the day count to year, month and day of the Julian calendar, which has a leap year every four years.
    let c = i64::from(julian) + EPOCH + 32_082;
    let d = (4 * c + 3).div_euclid(1461);
    let e = c - (1461 * d).div_euclid(4);
    let m = (5 * e + 2).div_euclid(153);
    let (day, month, year) = (e - (153 * m + 2).div_euclid(5) + 1, m + 3 - 12 * (m / 10), d - 4800 + m / 10);
    // And back by the Gregorian one.
    let a = (14 - month).div_euclid(12);
    let (y, m) = (year + 4800 - a, month + 12 * a - 3);
    let number = day + (153 * m + 2).div_euclid(5) + 365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400);
    i32::try_from(number - 32_045 - EPOCH).unwrap_or(julian)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Date32Array, TimestampMicrosecondArray};

    #[test]
    fn the_same_day_of_the_same_month() {
        // What Spark 4.3 writes and reads: 1500-01-01 is day -171655 of the old calendar and -171664 of that of today.
        for (julian, gregorian) in
            [(-171_655, -171_664), (-141_428, -141_438), (-141_427, -141_427), (0, 0), (18295, 18295)]
        {
            assert_eq!(day(julian), gregorian);
        }
        let dates: ArrayRef = Arc::new(Date32Array::from(vec![Some(-171_655), None]));
        assert_eq!(to_gregorian(&dates).as_primitive::<Date32Type>(), &Date32Array::from(vec![Some(-171_664), None]));
        let times: ArrayRef =
            Arc::new(TimestampMicrosecondArray::from(vec![-14_830_992_000_000_000 + 5]).with_timezone("UTC"));
        let moved = to_gregorian(&times);
        assert_eq!(moved.as_primitive::<TimestampMicrosecondType>().value(0), -171_664 * DAY_US + 5);
        assert_eq!(moved.data_type(), times.data_type());
    }

    #[test]
    fn what_the_metadata_say() {
        let of = |key: &str, value: &str| Calendar::of(&HashMap::from([(key.to_owned(), value.to_owned())]));
        let utc = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        assert!(of("org.apache.spark.version", "2.4.5").is_julian(&DataType::Date32, &DataType::Date32));
        assert!(!of("org.apache.spark.version", "4.3.0").is_julian(&DataType::Date32, &DataType::Date32));
        assert!(of("org.apache.spark.legacyDateTime", "").is_julian(&utc, &utc));
        let local = DataType::Timestamp(TimeUnit::Microsecond, None);
        assert!(of("org.apache.spark.legacyINT96", "").is_julian(&local, &utc));
        assert!(!of("org.apache.spark.legacyINT96", "").is_julian(&local, &local));
    }
}
