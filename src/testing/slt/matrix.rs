//! The settings a file runs under: every combination of its `# configMatrix: key=v1,v2` lines. Expected output must not
//! depend on them.

use std::cmp::Reverse;
use std::collections::HashSet;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::options::did_you_mean;
use crate::trigger::Trigger;

/// When queries are closed and reopened from their checkpoint without being asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Never.
    #[default]
    Never,
    /// Before every batch.
    EveryTrigger,
}

/// Settings of one run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Combination {
    settings: Vec<(&'static str, String)>,
}

impl Combination {
    /// Settings of the session.
    pub fn conf(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.settings.iter().filter(|(k, _)| ![RESTART, TRIGGER].contains(k)).map(|(k, v)| (*k, v.as_str()))
    }

    /// Every three of its values, in the order of its keys, or all of them if there are fewer.
    fn triples(&self) -> Vec<Vec<(&'static str, String)>> {
        let n = self.settings.len();
        if n < 3 {
            return vec![self.settings.clone()];
        }
        let places = (0..n).flat_map(|i| (i + 1..n).flat_map(move |j| (j + 1..n).map(move |k| [i, j, k])));
        places.map(|of| of.map(|i| self.settings[i].clone()).to_vec()).collect()
    }

    /// The trigger of queries that name none.
    pub fn trigger(&self) -> Trigger {
        let is_continuous = self.settings.iter().any(|(k, v)| *k == TRIGGER && v == "continuous");
        if is_continuous { Trigger::Continuous(CONTINUOUS) } else { Trigger::Default }
    }

    /// When queries restart.
    pub fn restart(&self) -> Restart {
        let every = self.settings.iter().any(|(k, v)| *k == RESTART && v == "every_trigger");
        if every { Restart::EveryTrigger } else { Restart::Never }
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let settings: Vec<String> = self.settings.iter().map(|(k, v)| format!("{k}={v}")).collect();
        f.write_str(&settings.join(", "))
    }
}

const RESTART: &str = "restart";
const TRIGGER: &str = "trigger";
const KEYS: [&str; 5] = ["batch.size", "partitions", "state.backend", RESTART, TRIGGER];
/// The interval of `trigger=continuous`.
const CONTINUOUS: Duration = Duration::from_secs(1);

/// How many combinations of settings a file runs under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Breadth {
    /// All of its own `configMatrix` lines.
    #[default]
    File,
    /// Of the project's whole matrix so many that every three values of different settings meet in one run.
    Covering,
    /// All of the project's whole matrix.
    Full,
}

/// Keys and the values each takes.
#[derive(Debug, Default)]
pub struct Matrix {
    axes: Vec<(&'static str, Vec<String>)>,
}

impl Matrix {
    /// What the project's own files must pass.
    pub fn full() -> Self {
        let axis = |key, values: [&str; 2]| (key, values.map(str::to_owned).to_vec());
        Self {
            axes: vec![
                axis("batch.size", ["1", "8192"]),
                axis("partitions", ["1", "4"]),
                axis("state.backend", ["memory", "disk"]),
                axis(RESTART, ["never", "every_trigger"]),
                axis(TRIGGER, ["default", "continuous"]),
            ],
        }
    }

    /// Adds the `configMatrix` lines among the comments that open `text`; they replace axes of the same key.
    pub fn read_header(&mut self, text: &str) -> Result<()> {
        for line in text.lines().take_while(|l| l.starts_with('#') || l.trim().is_empty()) {
            let Some(axis) = line.trim_start_matches('#').trim().strip_prefix("configMatrix:") else { continue };
            let (key, values) = axis.split_once('=').ok_or_else(|| wrong(line, "expected key=v1,v2"))?;
            let key = known_key(line, key.trim())?;
            let values: Vec<String> = values.split(',').map(|v| v.trim().to_owned()).collect();
            values.iter().try_for_each(|v| check_value(line, key, v))?;
            self.axes.retain(|(k, _)| *k != key);
            self.axes.push((key, values));
        }
        Ok(())
    }

    /// The combinations of `breadth`; one without settings if there are no axes.
    pub fn combinations(&self, breadth: Breadth) -> Vec<Combination> {
        let all = self.all();
        if breadth == Breadth::Covering { covering(all) } else { all }
    }

    fn all(&self) -> Vec<Combination> {
        let mut all = vec![Combination::default()];
        for (key, values) in &self.axes {
            let with = |c: &Combination, v: &String| {
                let mut c = c.clone();
                c.settings.push((key, v.clone()));
                c
            };
            all = all.iter().flat_map(|c| values.iter().map(move |v| with(c, v))).collect();
        }
        all
    }
}

/// As few of `all` as hold every three values of different keys that meet in one of them: next always the one with most new.
fn covering(mut all: Vec<Combination>) -> Vec<Combination> {
    let mut covered = HashSet::new();
    let mut chosen = vec![];
    loop {
        let new: Vec<usize> =
            all.iter().map(|c| c.triples().iter().filter(|t| !covered.contains(*t)).count()).collect();
        // the first of the best, so that the choice does not depend on anything but the axes
        let Some(best) = (0..all.len()).max_by_key(|i| (new[*i], Reverse(*i))) else { return chosen };
        if new[best] == 0 && !chosen.is_empty() {
            return chosen;
        }
        let best = all.remove(best);
        covered.extend(best.triples());
        chosen.push(best);
    }
}

fn known_key(line: &str, key: &str) -> Result<&'static str> {
    KEYS.into_iter().find(|k| *k == key).ok_or_else(|| {
        let error = wrong(line, &format!("there is no key '{key}'"));
        match did_you_mean(key, KEYS) {
            Some(near) => error.with_help(format!("did you mean '{near}'?")),
            None => error.with_help(format!("there are: {}", KEYS.join(", "))),
        }
    })
}

fn check_value(line: &str, key: &str, value: &str) -> Result<()> {
    let fits = match key {
        RESTART => ["never", "every_trigger"].contains(&value),
        "state.backend" => ["memory", "disk"].contains(&value),
        TRIGGER => ["default", "continuous"].contains(&value),
        _ => value.parse::<usize>().is_ok_and(|n| n > 0),
    };
    if fits { Ok(()) } else { Err(wrong(line, &format!("'{value}' is not a value of '{key}'"))) }
}

fn wrong(line: &str, what: &str) -> Error {
    Error::invalid("INVALID_CONFIG_MATRIX", format!("{what} in '{line}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_multiply_and_replace() {
        let mut m = Matrix::full();
        m.read_header("# about\n# configMatrix: batch.size=1,2,3\n\nstatement ok\n# configMatrix: nonsense\n").unwrap();
        let all = m.combinations(Breadth::Full);
        assert_eq!(all.len(), 3 * 2 * 2 * 2 * 2);
        let first = "partitions=1, state.backend=memory, restart=never, trigger=default, batch.size=1";
        assert_eq!((all[0].to_string().as_str(), all[0].trigger()), (first, Trigger::Default));
        assert_eq!((all[47].restart(), all[47].trigger()), (Restart::EveryTrigger, Trigger::Continuous(CONTINUOUS)));
        let conf = [("partitions", "4"), ("state.backend", "disk"), ("batch.size", "3")];
        assert_eq!(all[47].conf().collect::<Vec<_>>(), conf);
        assert_eq!(Matrix::default().combinations(Breadth::Covering), [Combination::default()]);
    }

    #[test]
    fn a_covering_choice_holds_every_three_values() {
        let chosen = Matrix::full().combinations(Breadth::Covering);
        assert_eq!(chosen.len(), 12);
        let triples = |all: &[Combination]| all.iter().flat_map(Combination::triples).collect::<HashSet<_>>();
        assert_eq!(triples(&chosen), triples(&Matrix::full().combinations(Breadth::Full)));
    }

    #[test]
    fn unknown_keys_and_values_are_errors() {
        let read = |line: &str| Matrix::default().read_header(line).unwrap_err();
        assert_eq!(read("# configMatrix: batchsize=1").help(), Some("did you mean 'batch.size'?"));
        assert!(read("# configMatrix: restart=sometimes").message().contains("'sometimes'"));
        assert!(read("# configMatrix: partitions=0").message().contains("'0'"));
    }
}
