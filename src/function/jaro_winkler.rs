//! `jaro_winkler_similarity`.

/// How alike two texts are, by their units of UTF-16: Jaro's share of matches and transpositions, with Winkler's bonus for the first
/// four that agree.
pub fn similarity(a: &str, b: &str) -> f64 {
    let (a, b): (Vec<u16>, Vec<u16>) = (a.encode_utf16().collect(), b.encode_utf16().collect());
    if a == b {
        return 1.0;
    }
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let reach = (a.len().max(b.len()) / 2).saturating_sub(1);
    let mut taken = vec![false; b.len()];
    let mut of_a = vec![];
    for (i, unit) in a.iter().enumerate() {
        let near = i.saturating_sub(reach)..(i + reach + 1).min(b.len());
        if let Some(j) = near.into_iter().find(|j| !taken[*j] && b[*j] == *unit) {
            taken[j] = true;
            of_a.push(*unit);
        }
    }
    if of_a.is_empty() {
        return 0.0;
    }
    let of_b = b.iter().zip(&taken).filter(|(_, taken)| **taken).map(|(unit, _)| *unit);
    let transposed = of_a.iter().zip(of_b).filter(|(x, y)| **x != *y).count() / 2;
    let matches = of_a.len() as f64;
    let jaro = (matches / a.len() as f64 + matches / b.len() as f64 + (matches - transposed as f64) / matches) / 3.0;
    let prefix = a.iter().zip(&b).take(4).take_while(|(x, y)| x == y).count();
    jaro + prefix as f64 * 0.1 * (1.0 - jaro)
}
