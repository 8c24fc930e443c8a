//! The drawing of ARCHITECTURE.md against the `use` lines of the sources.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn folders_use_what_the_drawing_says() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let drawn = drawing(&text);
    let order: Vec<&String> = drawn.iter().map(|(folder, _)| folder).collect();
    for (i, (folder, used)) in drawn.iter().enumerate() {
        let above = used.iter().find(|u| !order[i + 1..].contains(u));
        assert!(above.is_none(), "the arrow {folder} → {above:?} does not lead downwards");
    }
    let drawn: Arrows = drawn.into_iter().collect();
    let mut found = Arrows::new();
    for file in rust_files(&root.join("src")) {
        let path = file.strip_prefix(root.join("src")).unwrap();
        let module = path.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs").to_owned();
        if ["bin", "lib"].contains(&module.as_str()) || is_test(path) {
            continue;
        }
        let used = uses(&std::fs::read_to_string(&file).unwrap());
        for u in used.into_iter().filter(|u| *u != module) {
            if drawn.contains_key(&u) {
                assert!(drawn.contains_key(&module), "{}: a file that all may use uses the folder {u}", path.display());
                assert!(drawn[&module].contains(&u), "{}: {module} → {u} is not in the drawing", path.display());
            }
            found.entry(module.clone()).or_default().insert(u);
        }
    }
    for (folder, used) in &drawn {
        for u in used {
            assert!(
                found.get(folder).is_some_and(|f| f.contains(u)),
                "nothing in {folder} uses {u}, as the drawing says"
            );
        }
    }
}

/// The lines `folder → a, b` of the first block that has them, in order.
fn drawing(text: &str) -> Vec<(String, BTreeSet<String>)> {
    let lines = text.lines().skip_while(|l| !l.starts_with("testing ")).take_while(|l| *l != "```");
    lines
        .map(|line| {
            let (folder, used) = line.split_once('→').expect("an arrow in each line");
            let used = used.split(',').map(|u| u.trim().to_owned()).filter(|u| !u.is_empty()).collect();
            (folder.trim().to_owned(), used)
        })
        .collect()
}

/// The modules after `crate::` outside of comments and of the tests at the end of the file.
fn uses(text: &str) -> BTreeSet<String> {
    let code = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().filter(|l| !l.trim_start().starts_with("//"));
    let names = lines.flat_map(|l| l.split("crate::").skip(1));
    let names = names.map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or_default());
    names.filter(|n| !n.is_empty()).map(str::to_owned).collect()
}

fn is_test(path: &Path) -> bool {
    let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or_default();
    name == "tests" || name.ends_with("_tests") || path.iter().any(|p| p == "tests") || path.ends_with("testing.rs")
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path());
    entries
        .flat_map(|path| match path.is_dir() {
            true => rust_files(&path),
            false => vec![path],
        })
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .collect()
}
