//! The generator behind `uuid` and `shuffle`: the Mersenne twister MT19937, seeded by two words.

const SIZE: usize = 624;
const AHEAD: usize = 397;

/// A generator.
#[derive(Debug, Clone)]
pub struct Twister {
    words: [u32; SIZE],
    at: usize,
}

impl Twister {
    /// Seeded as by the array of the high and the low word.
    pub fn new(seed: i64) -> Self {
        let key = [(seed >> 32) as u32, seed as u32];
        let mut words = [0u32; SIZE];
        words[0] = 19_650_218;
        for i in 1..SIZE {
            let before = words[i - 1] ^ words[i - 1] >> 30;
            words[i] = before.wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        let mut i = 1;
        let mut step = |words: &mut [u32; SIZE], factor: u32, add: &dyn Fn(usize) -> u32| {
            let before = words[i - 1] ^ words[i - 1] >> 30;
            words[i] = (words[i] ^ before.wrapping_mul(factor)).wrapping_add(add(i));
            i += 1;
            if i == SIZE {
                words[0] = words[SIZE - 1];
                i = 1;
            }
        };
        for n in 0..SIZE {
            let j = n % key.len();
            step(&mut words, 1_664_525, &|_| key[j].wrapping_add(j as u32));
        }
        for _ in 1..SIZE {
            step(&mut words, 1_566_083_941, &|i| (i as u32).wrapping_neg());
        }
        words[0] = 0x8000_0000;
        Self { words, at: SIZE }
    }

    fn word(&mut self) -> u32 {
        if self.at == SIZE {
            for i in 0..SIZE {
                let y = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % SIZE] & 0x7fff_ffff);
                let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
                self.words[i] = self.words[(i + AHEAD) % SIZE] ^ y >> 1 ^ twist;
            }
            self.at = 0;
        }
        let mut y = self.words[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= y << 7 & 0x9d2c_5680;
        y ^= y << 15 & 0xefc6_0000;
        y ^ y >> 18
    }

    /// 64 bits.
    pub fn long(&mut self) -> u64 {
        let high = u64::from(self.word());
        high << 32 | u64::from(self.word())
    }

    /// A number below `n`, which is above 0.
    fn below(&mut self, n: u32) -> u32 {
        if n.is_power_of_two() {
            return ((u64::from(n) * u64::from(self.word() >> 1)) >> 31) as u32;
        }
        loop {
            let bits = self.word() >> 1;
            let value = bits % n;
            if bits - value <= i32::MAX as u32 - (n - 1) {
                return value;
            }
        }
    }

    /// The numbers below `n` in a random order.
    pub fn order(&mut self, n: usize) -> Vec<u32> {
        let mut order: Vec<u32> = Vec::with_capacity(n);
        for i in 0..n {
            let j = self.below(i as u32 + 1) as usize;
            if j == i {
                order.push(i as u32);
            } else {
                order.push(order[j]);
                order[j] = i as u32;
            }
        }
        order
    }

    /// A random UUID as text.
    pub fn uuid(&mut self) -> String {
        let high = self.long() & 0xffff_ffff_ffff_0fff | 0x4000;
        let low = (self.long() | 0x8000_0000_0000_0000) & 0xbfff_ffff_ffff_ffff;
        uuid::Uuid::from_u64_pair(high, low).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_has_every_number_once() {
        let mut twister = Twister::new(3);
        for n in [0, 1, 2, 7, 64, 100] {
            let mut order = twister.order(n);
            order.sort_unstable();
            assert_eq!(order, (0..n as u32).collect::<Vec<_>>());
        }
    }
}
