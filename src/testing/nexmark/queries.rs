//! The queries, from the files in `benches/nexmark`.
//!
//! A file is a query behind lines of comment: what it does, and `-- name: value` for its output mode and how it is checked.

use crate::output_mode::OutputMode;
use crate::source::NexmarkTable;

/// A name and the text of the file.
macro_rules! files {
    ($($name:literal),*) => {
        &[$(($name, include_str!(concat!("../../../benches/nexmark/", $name, ".sql")))),*]
    };
}

const FILES: &[(&str, &str)] = files![
    "q0", "q1", "q2", "q3", "q4", "q5", "q5w", "q7", "q7w", "q8", "q9", "q10", "q11", "q12", "q13", "q14", "q15",
    "q16", "q17", "q18", "q19", "q20", "q21", "q22"
];

/// A query of the benchmark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NexmarkQuery {
    /// Its name, such as `q12`.
    pub name: &'static str,
    /// What it does, in a sentence or two.
    pub about: &'static str,
    /// The query.
    pub sql: &'static str,
    /// Which rows it gives.
    pub mode: OutputMode,
    /// In update mode: the columns of a key, of whose rows the last one counts.
    pub key: Vec<&'static str>,
    /// In append mode: the time from which on the watermark lets a row be given, as SQL says it.
    pub is_final: Option<&'static str>,
    /// The columns that are compared; all, without any.
    pub compared: Vec<&'static str>,
    /// The folders of the files that it writes; without any, its rows are counted and dropped.
    pub partition_by: Option<&'static str>,
}

impl NexmarkQuery {
    /// All of them, in order.
    pub fn all() -> Vec<Self> {
        FILES.iter().map(|(name, text)| Self::read(name, text)).collect()
    }

    /// Those of these names, in the order given, or all if there are none.
    ///
    /// # Errors
    /// A name that is none; all that there are.
    pub fn find(names: &[String]) -> Result<Vec<Self>, String> {
        let all = Self::all();
        if names.is_empty() {
            return Ok(all);
        }
        let find = |name: &String| {
            let found = all.iter().find(|query| query.name.eq_ignore_ascii_case(name));
            found.cloned().ok_or_else(|| {
                let names: Vec<_> = all.iter().map(|query| query.name).collect();
                format!("there is no query '{name}'; there are {}", names.join(", "))
            })
        };
        names.iter().map(find).collect()
    }

    fn read(name: &'static str, text: &'static str) -> Self {
        let comments = || text.lines().map_while(|line| line.strip_prefix("-- "));
        let value = |key: &str| comments().find_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        let columns = |key: &str| value(key).into_iter().flat_map(|columns| columns.split(", ")).collect();
        let mode = match value("mode") {
            Some("update") => OutputMode::Update,
            Some("complete") => OutputMode::Complete,
            _ => OutputMode::Append,
        };
        Self {
            name,
            about: comments().next().unwrap_or_default(),
            sql: text,
            mode,
            key: columns("key"),
            is_final: value("final"),
            compared: columns("compared"),
            partition_by: value("sink").and_then(|sink| sink.strip_prefix("parquet partitionBy ")),
        }
    }

    /// The tables that it reads, which stand behind FROM and JOIN.
    pub fn tables(&self) -> Vec<NexmarkTable> {
        let code = self.sql.lines().filter(|line| !line.starts_with("--"));
        let words = code.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_'));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let is_read = |table: &NexmarkTable| {
            words.windows(2).any(|pair| ["FROM", "JOIN"].contains(&pair[0]) && pair[1] == table.name())
        };
        NexmarkTable::ALL.into_iter().filter(is_read).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_say_what_their_queries_are() {
        let find = |name: &str| NexmarkQuery::find(&[name.to_owned()]).unwrap().remove(0);
        let q16 = find("Q16");
        assert_eq!((q16.mode, q16.key.as_slice()), (OutputMode::Update, ["channel", "day"].as_slice()));
        assert_eq!(find("q10").partition_by, Some("day,minute"));
        assert_eq!(find("q7").is_final, Some("window_end"));
        assert_eq!(find("q18").compared, ["bidder", "auction", "date_time"]);
        assert_eq!(find("q3").tables(), [NexmarkTable::Person, NexmarkTable::Auction]);
        assert_eq!(find("q13").tables(), [NexmarkTable::Bid]);
        for query in NexmarkQuery::all() {
            assert!(query.about.ends_with('.') && !query.tables().is_empty(), "{query:?}");
            assert_eq!(query.mode == OutputMode::Update, !query.key.is_empty(), "{query:?}");
        }
        assert!(NexmarkQuery::find(&["q6".to_owned()]).unwrap_err().contains("q5w, q7"));
    }
}
