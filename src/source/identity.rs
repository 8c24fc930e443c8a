//! What a stream reads, as far as a checkpoint depends on it: offsets and state are about these records and no others.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use crate::disk::is_remote;
use crate::options::Options;

/// Options that decide where the records of a file begin and end and what their fields are, with their defaults.
const CUTTING: [(&str, &str); 10] = [
    ("sep", ","),
    ("quote", "\""),
    ("escape", "\\"),
    ("comment", ""),
    ("header", "false"),
    ("multiLine", "false"),
    ("wholetext", "false"),
    ("lineSep", ""),
    ("encoding", "UTF-8"),
    ("recursiveFileLookup", "false"),
];
/// Other names of some of them.
const ALIASES: [(&str, &str); 2] = [("delimiter", "sep"), ("charset", "encoding")];

/// What a stream reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamIdentity {
    /// The format's name.
    pub format: String,
    /// A path as it is written, without scheme and superfluous parts.
    pub path: Option<String>,
    /// The same from the root on.
    pub location: Option<String>,
    /// Options that decide what is read, where they are not the default.
    pub options: BTreeMap<String, String>,
}

impl StreamIdentity {
    /// A stream of which nothing else matters.
    pub fn of_format(format: &str) -> Self {
        Self { format: format.to_owned(), ..Self::default() }
    }

    /// The files at `path`, a local one or one in a store.
    pub fn of_files(format: &str, path: &str, options: &Options) -> Self {
        let (path, location) = match is_remote(path) {
            true => (PathBuf::from(path), PathBuf::from(path)),
            false => {
                let path = plain(path);
                let location = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
                (path, location)
            }
        };
        let mut cutting = BTreeMap::new();
        for (key, default) in CUTTING {
            let alias = ALIASES.iter().find(|(_, name)| *name == key).and_then(|(alias, _)| options.get(alias));
            let value = options.get(key).or(alias).filter(|v| !v.eq_ignore_ascii_case(default));
            cutting.extend(value.map(|v| (key.to_owned(), v.to_owned())));
        }
        Self {
            format: format.to_owned(),
            path: Some(path.display().to_string()),
            location: Some(location.display().to_string()),
            options: cutting,
        }
    }
}

/// The path without `.` and doubled or trailing separators.
fn plain(path: &str) -> PathBuf {
    let kept = Path::new(path).components().filter(|c| *c != Component::CurDir).collect::<PathBuf>();
    if kept.as_os_str().is_empty() { PathBuf::from(".") } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_the_same_however_it_is_written() {
        let options = |pairs: &[(&str, &str)]| Options::from_iter(pairs.iter().copied());
        let of = |path: &str, pairs: &[(&str, &str)]| StreamIdentity::of_files("csv", path, &options(pairs));
        let plain = of("in", &[("maxFilesPerTrigger", "1"), ("mode", "FAILFAST")]);
        assert_eq!(plain, of("./in//", &[("header", "FALSE"), ("delimiter", ",")]));
        assert_eq!(plain.location, of(&std::path::absolute("in").unwrap().display().to_string(), &[]).location);
        assert_ne!(plain, of("in", &[("sep", ";")]));
        assert_eq!(of("in", &[("sep", ";")]), of("in", &[("delimiter", ";")]));
        assert_eq!(of("s3://b/in", &[]).location.as_deref(), Some("s3://b/in"));
    }
}
