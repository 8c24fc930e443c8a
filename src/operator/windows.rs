//! Arithmetic of time windows, and of the panes they consist of.
//!
//! ```text
//! windows of 6 every 4    [ a a a a a a )
//!                                 [ b b b b b b )
//! panes of gcd(6, 4)      [ 1 )[ 2 )[ 3 )[ 4 )[ 5 )        all times of a pane are in the same windows
//! ```

/// Length, distance and first start of windows, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Windows {
    /// Positive.
    pub size: i64,
    /// Positive, at most the size.
    pub slide: i64,
    /// Shorter than the slide.
    pub start: i64,
}

impl Windows {
    /// Whether every time is in one window.
    pub fn is_tumbling(&self) -> bool {
        self.size == self.slide
    }

    /// The start of the last window that holds `time`; `None` if it is out of range.
    pub fn last_start(&self, time: i64) -> Option<i64> {
        floor(time, self.slide, self.start)
    }

    /// The windows that hold `time`, the last one first.
    pub fn of(&self, time: i64) -> impl Iterator<Item = Option<(i64, i64)>> {
        let Self { size, slide, .. } = *self;
        let last = self.last_start(time);
        let count = size.div_euclid(slide) + i64::from(size % slide != 0);
        (0..count).map_while(move |i| {
            let Some(start) = last.and_then(|s| s.checked_sub(i.checked_mul(slide)?)) else { return Some(None) };
            let Some(end) = start.checked_add(size) else { return Some(None) };
            (end > time).then_some(Some((start, end)))
        })
    }

    /// The start of the block that holds `time`; blocks are as long as windows. `None` if it is out of range.
    pub fn block(&self, time: i64) -> Option<i64> {
        floor(time, self.size, self.start)
    }

    /// Length of a pane.
    pub fn pane_width(&self) -> i64 {
        let (mut a, mut b) = (self.size, self.slide);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    }

    /// The start of the pane that holds `time`, for panes of this width; `None` if it is out of range.
    #[inline]
    pub fn pane(&self, time: i64, width: i64) -> Option<i64> {
        floor(time, width, self.start)
    }
}

/// The last time not after `time` that is a multiple of `step` away from `origin`.
#[inline]
fn floor(time: i64, step: i64, origin: i64) -> Option<i64> {
    let since = match time.checked_sub(origin) {
        Some(since) => since.rem_euclid(step),
        None => ((i128::from(time) - i128::from(origin)).rem_euclid(i128::from(step))) as i64,
    };
    time.checked_sub(since)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_times_of_a_pane_are_in_the_same_windows() {
        for (size, slide, start) in [(10, 5, 0), (10, 3, -1), (9, 6, 2), (7, 7, -3), (60, 1, 0)] {
            let windows = Windows { size, slide, start };
            let width = windows.pane_width();
            for time in -100..100 {
                let pane = windows.pane(time, width).unwrap();
                assert!((pane..pane + width).contains(&time));
                assert!(windows.of(pane).eq(windows.of(time)), "{windows:?} at {time}");
            }
        }
    }

    #[test]
    fn the_ends_of_time_have_no_pane_or_an_exact_one() {
        let windows = Windows { size: 10, slide: 10, start: -7 };
        assert_eq!(windows.pane(i64::MIN, 10), None);
        assert_eq!(windows.pane(i64::MAX, 10), Some(i64::MAX - (i64::MAX % 10 + 7) % 10));
    }
}
