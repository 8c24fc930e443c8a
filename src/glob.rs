//! Patterns of paths and names, as Hadoop has them: `*`, `?`, `[ab]`, `[a-z]`, `[^a]` or `[!a]`, `{a,b}`, and `\` before a
//! sign that means itself.
//!
//! A path is matched component by component. `*` and `?` stay within a name; braces may hold whole components.

use regex::Regex;

/// Signs that mean more than themselves.
const SIGNS: [char; 7] = ['*', '?', '[', ']', '{', '}', '\\'];

/// A pattern for one name.
#[derive(Debug, Clone)]
pub struct Glob(Regex);

impl Glob {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn new(pattern: &str) -> Result<Self, String> {
        let regex = format!("(?s)^(?:{})$", translate(pattern)?);
        Regex::new(&regex).map(Self).map_err(|_| "a range in it ends before it begins, or it is too long".to_owned())
    }

    /// Whether `name` as a whole fits.
    pub fn matches(&self, name: &str) -> bool {
        self.0.is_match(name)
    }
}

/// One component of a path.
#[derive(Debug, Clone)]
pub enum Component {
    /// This name.
    Name(String),
    /// Names that fit.
    Matching(Glob),
}

/// Reads a path of patterns: the paths that it stands for where braces hold separators, each by components.
///
/// # Errors
/// What is wrong with it, in words.
pub fn read_path(path: &str, braces: Braces) -> Result<Vec<Vec<Component>>, String> {
    let component = |text: &String| match literal(text) {
        Some(name) => Ok(Component::Name(name)),
        None => Glob::new(text).map(Component::Matching),
    };
    let paths = spread(path, braces)?;
    paths.iter().map(|p| components(p).iter().map(component).collect()).collect()
}

/// The text that a pattern without wildcards stands for.
pub fn literal(pattern: &str) -> Option<String> {
    let (mut name, mut signs) = (String::new(), pattern.chars());
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => name.push(signs.next()?),
            '*' | '?' | '[' | '{' => return None,
            _ => name.push(sign),
        }
    }
    Some(name)
}

/// The name as a pattern that only it fits.
pub fn escape(name: &str) -> String {
    name.chars().flat_map(|c| SIGNS.contains(&c).then_some('\\').into_iter().chain([c])).collect()
}

/// Parts between separators; one in braces or behind `\` is none.
fn components(path: &str) -> Vec<String> {
    let (mut parts, mut part, mut depth, mut escaped) = (vec![], String::new(), 0usize, false);
    for sign in path.chars() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            '/' if depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(sign);
    }
    parts.push(part);
    parts.retain(|p| !p.is_empty() && p != ".");
    parts
}

/// Which braces of a path are written out as paths of their own. The others are patterns of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Braces {
    /// Those that hold a separator.
    WithSeparator,
    /// All: where names cannot be listed.
    All,
}

/// Writes out braces, the outermost first.
fn spread(path: &str, braces: Braces) -> Result<Vec<String>, String> {
    const MOST: usize = 10_000;
    let mut done = vec![];
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        if done.len() + open.len() > MOST {
            return Err(format!("its braces stand for more than {MOST} paths"));
        }
        match first_braces(&path, braces)? {
            None => done.push(path),
            Some((before, choices, after)) => {
                open.extend(choices.iter().rev().map(|choice| format!("{before}{choice}{after}")));
            }
        }
    }
    Ok(done)
}

/// What is before braces, the choices in them, and what is behind.
type Choices<'p> = (&'p str, Vec<&'p str>, &'p str);

/// The first outermost braces that are to be written out.
fn first_braces(path: &str, braces: Braces) -> Result<Option<Choices<'_>>, String> {
    let (mut depth, mut escaped, mut separator) = (0usize, false, false);
    let (mut start, mut commas) = (0, vec![]);
    for (at, sign) in path.char_indices() {
        match sign {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '{' => {
                if depth == 0 {
                    (start, separator) = (at, braces == Braces::All);
                    commas.clear();
                }
                depth += 1;
            }
            ',' if depth == 1 => commas.push(at),
            '/' if depth > 0 => separator = true,
            '}' if depth == 1 => {
                depth = 0;
                if separator {
                    let ends = commas.iter().copied().chain([at]);
                    let starts = [start].into_iter().chain(commas.iter().copied());
                    let choices = starts.zip(ends).map(|(from, to)| &path[from + 1..to]).collect();
                    return Ok(Some((&path[..start], choices, &path[at + 1..])));
                }
            }
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    if depth > 0 { Err("a '{' has no '}'".to_owned()) } else { Ok(None) }
}

/// The pattern as a regular expression.
fn translate(pattern: &str) -> Result<String, String> {
    let (mut regex, mut depth, mut signs) = (String::new(), 0, pattern.chars().peekable());
    let plain = |regex: &mut String, sign: char| regex.push_str(&regex::escape(sign.encode_utf8(&mut [0; 4])));
    while let Some(sign) = signs.next() {
        match sign {
            '\\' => plain(&mut regex, signs.next().ok_or("no sign follows its last '\\'")?),
            '*' => regex.push_str(".*"),
            '?' => regex.push('.'),
            '{' => {
                depth += 1;
                regex.push_str("(?:");
            }
            ',' if depth > 0 => regex.push('|'),
            '}' if depth > 0 => {
                depth -= 1;
                regex.push(')');
            }
            '[' => regex.push_str(&class(&mut signs)?),
            other => plain(&mut regex, other),
        }
    }
    if depth > 0 { Err("a '{' has no '}'".to_owned()) } else { Ok(regex) }
}

/// The set behind a `[`, its `]` included.
fn class(signs: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<String, String> {
    let mut set = String::from("[");
    if signs.next_if(|c| matches!(c, '^' | '!')).is_some() {
        set.push('^');
    }
    let mut is_first = true;
    loop {
        let sign = signs.next().ok_or("a '[' has no ']'")?;
        match sign {
            ']' if !is_first => break,
            // Between two signs it is a range, as it is; at an end it is a sign.
            '-' if !is_first && signs.peek().is_some_and(|next| *next != ']') => set.push('-'),
            '[' => return Err("a '[' is in a set: write '\\['".to_owned()),
            '\\' => push_member(&mut set, signs.next().ok_or("no sign follows its last '\\'")?),
            other => push_member(&mut set, other),
        }
        is_first = false;
    }
    set.push(']');
    Ok(set)
}

/// A sign of a set, which means itself.
fn push_member(set: &mut String, sign: char) {
    if sign.is_ascii_punctuation() {
        set.push('\\');
    }
    set.push(sign);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Patterns over names, with what Spark finds with each as `pathGlobFilter`; nothing for one that it refuses.
    const SPARK: &str = include_str!("../tests/data/globs.json");

    #[derive(serde::Deserialize)]
    struct Answers {
        names: Vec<String>,
        patterns: Vec<(String, Option<Vec<String>>)>,
    }

    fn matching(pattern: &str, names: &[String]) -> Option<Vec<String>> {
        let glob = Glob::new(pattern).ok()?;
        let mut found: Vec<_> = names.iter().filter(|n| glob.matches(n)).cloned().collect();
        found.sort();
        Some(found)
    }

    #[test]
    fn names_match_as_in_spark() {
        let Answers { names, patterns } = serde_json::from_str(SPARK).unwrap();
        for (pattern, expected) in patterns {
            assert_eq!(matching(&pattern, &names), expected, "{pattern}");
        }
        assert!(Glob::new("a?b").unwrap().matches("a\nb") && Glob::new("a\\").is_err());
    }

    #[test]
    fn names_are_patterns_of_themselves() {
        for name in ["x[1]", "y{a}", "a*?", r"\", "plain"] {
            let names = [name, "x1", "ya", "aa"].map(str::to_owned);
            assert_eq!(matching(&escape(name), &names), Some(vec![name.to_owned()]));
            assert_eq!(literal(&escape(name)).as_deref(), Some(name));
        }
    }

    #[test]
    fn paths() {
        let read = |path: &str| -> Vec<String> {
            let shown = |c: &Component| match c {
                Component::Name(name) => name.clone(),
                Component::Matching(_) => "~".to_owned(),
            };
            let paths = read_path(path, Braces::WithSeparator).unwrap();
            paths.iter().map(|p| p.iter().map(shown).collect::<Vec<_>>().join("/")).collect()
        };
        assert_eq!(read("/data/./x//*.json"), ["data/x/~"]);
        assert_eq!(read(r"a/x\[1\]/\{b\}"), ["a/x[1]/{b}"]);
        assert_eq!(read("a/{b,c}/d"), ["a/~/d"]);
        assert_eq!(read("a/{b/c,d}/e"), ["a/b/c/e", "a/d/e"]);
        assert_eq!(read("{a/{b,c/d},e}"), ["a/b", "a/c/d", "e"]);
        let is_wrong = |path| read_path(path, Braces::WithSeparator).is_err();
        assert!(is_wrong("{a/b") && is_wrong("a/["));
        let all = read_path("x/{a,b}.csv", Braces::All).unwrap();
        assert!(all.len() == 2 && all.iter().flatten().all(|c| matches!(c, Component::Name(_))));
    }
}
