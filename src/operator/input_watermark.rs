//! The watermark that an operator sees: the query's own, or less where a join below holds rows back for longer.
//!
//! ```text
//! global 60 s ─► join, lt >= rt - 40 s ─► least of 60 s and 19.999 s ─► aggregate sees 19.999 s
//! ```

/// Up to which event time a join's state is of no use any more, given the watermark of its input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StateBound {
    /// Whether it moves with the watermark.
    pub follows: bool,
    /// Added to the watermark, in microseconds.
    pub offset_us: i64,
    /// Whether a row exactly there may still match, so that only what is a millisecond earlier goes.
    pub inclusive: bool,
}

impl StateBound {
    /// At a watermark, in milliseconds.
    fn at(self, watermark_ms: i64) -> i64 {
        let start = if self.follows { watermark_ms.saturating_mul(1000) } else { 0 };
        let bound = start.saturating_add(self.offset_us) / 1000;
        bound.saturating_sub(i64::from(self.inclusive))
    }
}

/// Where several conditions bound a side, all must be past.
pub fn least(bounds: &[StateBound], watermark_ms: i64) -> Option<i64> {
    bounds.iter().map(|b| b.at(watermark_ms)).min()
}

/// What an operator's input watermark is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InputWatermark {
    /// The input has none.
    None,
    /// The query's.
    Global,
    /// The least of those that there are.
    Least(Vec<InputWatermark>),
    /// What a join passes on: its rows are as old as the older of its two states.
    Join {
        /// Of the join's inputs.
        input: Box<InputWatermark>,
        /// Of its two states.
        bounds: Vec<Vec<StateBound>>,
    },
}

impl InputWatermark {
    /// In milliseconds; 0 where there is none, and never less.
    pub fn at(&self, global_ms: i64) -> i64 {
        self.find(global_ms).unwrap_or(0).max(0)
    }

    fn find(&self, global_ms: i64) -> Option<i64> {
        match self {
            Self::None => None,
            Self::Global => Some(global_ms),
            Self::Least(inputs) => inputs.iter().filter_map(|i| i.find(global_ms)).min(),
            Self::Join { input, bounds } => {
                let input = input.find(global_ms)?;
                bounds.iter().filter_map(|b| least(b, input)).chain([input]).min()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_join_holds_the_watermark_back_by_its_longer_range() {
        let bound = |offset_us, inclusive| StateBound { follows: true, offset_us, inclusive };
        let bounds = vec![vec![bound(-40_000_000, true)], vec![bound(10_000_000, false), bound(-5_000_000, false)]];
        let inputs = InputWatermark::Least(vec![InputWatermark::None, InputWatermark::Global]);
        let above = InputWatermark::Join { input: Box::new(inputs), bounds };
        assert_eq!(above.at(100_000), 59_999);
        assert_eq!(above.at(10_000), 0);
        assert_eq!(InputWatermark::None.at(10_000), 0);
    }

    #[test]
    fn parts_of_a_millisecond_are_cut_towards_zero() {
        let bound = |offset_us| StateBound { follows: true, offset_us, inclusive: false };
        assert_eq!(bound(-1_500).at(10), 8);
        assert_eq!(bound(-1_500).at(0), -1);
    }
}
