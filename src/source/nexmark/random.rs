//! Random numbers that depend on nothing but a seed and the number of an event.

/// The step of SplitMix64.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;
/// How many numbers an event may draw before it draws those of the next one.
const DRAWS: u64 = 256;

/// Spreads the bits of a number over all of them.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The numbers of one event: a stretch of one long sequence, so that those of two events have nothing in common.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The numbers of `event`.
    pub fn of(seed: u64, event: i64) -> Self {
        Self(mixed(seed ^ STEP).wrapping_add((event as u64).wrapping_mul(STEP.wrapping_mul(DRAWS))))
    }

    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mixed(self.0)
    }

    /// A number from 0 on that is less than `end`.
    pub fn below(&mut self, end: i64) -> i64 {
        ((u128::from(self.next()) * end.max(1) as u128) >> 64) as i64
    }

    /// A number from 0 to 1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A price in cents: as many between 1 and 10 as between 100 000 and a million.
    pub fn price(&mut self) -> i64 {
        const LN_MILLION: f64 = 13.815_510_557_964_274;
        // Not the function of the system's library, which is not the same everywhere.
        (libm::exp(self.unit() * LN_MILLION) * 100.0).round() as i64
    }

    /// Adds `count` small letters; `a` to `f` are twice as frequent as the others.
    pub fn letters(&mut self, count: usize, text: &mut Vec<u8>) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        let end = text.len() + count;
        while text.len() < end {
            // Eight at a time: numbers below 32, of which those from 26 on begin again at 0.
            let numbers = self.next() & (31 * ONES);
            let over = ((numbers + 6 * ONES) >> 5) & ONES;
            let letters = numbers - over * 26 + ONES * u64::from(b'a');
            text.extend_from_slice(&letters.to_le_bytes());
        }
        text.truncate(end);
    }

    /// A length whose mean is `mean`, up to a fifth more or less.
    pub fn about(&mut self, mean: i64) -> usize {
        let span = mean / 5;
        usize::try_from(mean - span + self.below(2 * span + 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_letters_and_all_of_them() {
        let mut text = vec![];
        Random::of(1, 2).letters(10_000, &mut text);
        assert_eq!(text.len(), 10_000);
        assert!(text.iter().all(u8::is_ascii_lowercase));
        assert!((b'a'..=b'z').all(|letter| text.iter().filter(|t| **t == letter).count() > 200));
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut random = Random::of(7, -1);
        let drawn: Vec<i64> = (0..1000).map(|_| random.below(10)).collect();
        assert!((0..10).all(|n| drawn.contains(&n)) && drawn.iter().all(|n| (0..10).contains(n)));
        assert!((0..1000).map(|_| random.price()).all(|p| (100..=100_000_000).contains(&p)));
        assert!((0..1000).map(|_| random.about(68)).all(|n| (55..=81).contains(&n)));
    }
}
