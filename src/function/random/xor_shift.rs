//! The generator behind `rand`, as Spark's numbers ask for it: Marsaglia's xorshift of 64 bits.

/// A generator.
#[derive(Debug, Clone)]
pub struct XorShift {
    state: u64,
    /// Normal numbers come in pairs.
    spare: Option<f64>,
}

impl XorShift {
    /// Seeds are hashed, so that those of neighbouring partitions begin far apart.
    pub fn new(seed: i64) -> Self {
        const ARRAY_SEED: u32 = 0x3c07_4a61;
        let bytes = seed.to_be_bytes();
        let low = murmur3(&bytes, ARRAY_SEED);
        let high = murmur3(&bytes, low);
        Self { state: u64::from(high) << 32 | u64::from(low), spare: None }
    }

    /// The lowest bits of the next state.
    fn next(&mut self, bits: u32) -> u64 {
        self.state ^= self.state << 21;
        self.state ^= self.state >> 35;
        self.state ^= self.state << 4;
        self.state & ((1 << bits) - 1)
    }

    /// A whole number.
    pub fn int(&mut self) -> i32 {
        self.next(32) as u32 as i32
    }

    /// From 0 up to 1.
    pub fn uniform(&mut self) -> f64 {
        let high = self.next(26) << 27;
        (high + self.next(27)) as f64 / (1u64 << 53) as f64
    }

    /// By the polar method, with the logarithm of fdlibm, whose last bit is that of Java.
    pub fn normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        loop {
            let (a, b) = (2.0 * self.uniform() - 1.0, 2.0 * self.uniform() - 1.0);
            let s = a * a + b * b;
            if s < 1.0 && s != 0.0 {
                let scale = (-2.0 * libm::log(s) / s).sqrt();
                self.spare = Some(b * scale);
                return a * scale;
            }
        }
    }
}

/// Murmur3 of 32 bits over whole words.
fn murmur3(bytes: &[u8; 8], seed: u32) -> u32 {
    let mut hash = seed;
    for word in bytes.chunks_exact(4) {
        let word = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
        let mixed = word.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
        hash = (hash ^ mixed).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}
