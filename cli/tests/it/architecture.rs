//! The arrows between the rooms, read from the `use` lines and from every path that starts at a crate.

use std::path::{Path, PathBuf};

/// The rooms, from the top down. A room may use those on a lower line, and itself.
const ROOMS: &[&[&str]] = &[
    &["main", "lib"],
    &["args"],
    &["commands"],
    &["context"],
    &["targets", "walkthroughs", "claims", "load", "bench", "image"],
    &["cluster"],
    &["config", "output", "process", "wire"],
    &["failure"],
];

/// Rooms that share a line and may still know one another, each with its reason.
const NEIGHBOURS: &[(&str, &str, &str)] = &[
    ("bench", "targets", "a measurement starts a shop"),
    ("bench", "load", "a measurement makes load"),
    ("load", "targets", "a load finds the shop of this machine"),
    ("walkthroughs", "targets", "a story finds the shop it started"),
];

/// What the tool may know of the platform.
const PLATFORM_ROOMS: &[&str] = &["app", "manifest", "client", "verify", "vocabulary"];

fn level(room: &str) -> usize {
    ROOMS.iter().position(|rooms| rooms.contains(&room)).unwrap_or_else(|| {
        panic!("room `{room}` has no place in the list of rooms: give it one in architecture.rs")
    })
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path()) {
        if entry.is_dir() {
            files(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(entry);
        }
    }
}

/// The first part of each path under `root` (`crate` or `platform`), with braces opened.
fn uses(text: &str, root: &str) -> Vec<String> {
    let start = format!("{root}::");
    let mut found = Vec::new();
    for (at, _) in text.match_indices(&start) {
        let before = text[..at].chars().next_back().unwrap_or(' ');
        if before.is_alphanumeric() || matches!(before, '_' | ':' | '"') {
            continue;
        }
        let rest = &text[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(group) => {
                let mut depth = 0;
                let mut part = String::new();
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => found.push(std::mem::take(&mut part)),
                        _ if depth == 0 => part.push(letter),
                        _ => {}
                    }
                }
                found.push(part);
            }
            None => found.push(rest.to_owned()),
        }
    }
    let word = |path: String| -> String {
        path.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    found.into_iter().map(word).filter(|room| !room.is_empty()).collect()
}

#[test]
fn the_arrows_point_down() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut all = Vec::new();
    files(&root, &mut all);
    assert!(all.len() > 20, "the rooms were not found under {}", root.display());
    let mut broken = Vec::new();
    for file in all {
        let inside = file.strip_prefix(&root).expect("a path below src");
        let room = inside.iter().next().and_then(|part| Path::new(part).file_stem()).expect("a name");
        let room = room.to_str().expect("a readable name");
        let text = std::fs::read_to_string(&file).expect("a file");
        for used in uses(&text, "crate") {
            if used == room {
                continue;
            }
            let is_neighbour = NEIGHBOURS.iter().any(|(from, to, _)| (*from, *to) == (room, used.as_str()));
            if level(&used) <= level(room) && !is_neighbour {
                broken.push(format!(
                    "{}: `{room}` uses `crate::{used}`, which is not below it; move the code down, or the need up",
                    inside.display()
                ));
            }
        }
        for used in uses(&text, "platform") {
            if !PLATFORM_ROOMS.contains(&used.as_str()) {
                broken.push(format!(
                    "{}: the tool may not know `platform::{used}`; ask for it through {}",
                    inside.display(),
                    PLATFORM_ROOMS.join(", ")
                ));
            }
        }
    }
    broken.sort();
    broken.dedup();
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn paths_are_found_in_lists_and_in_running_code() {
    let text = "use crate::{output::{Body, Report}, config};\nfn f() { crate::failure::x(); mycrate::y(); }";
    assert_eq!(uses(text, "crate"), ["output", "config", "failure"]);
}

#[test]
fn files_are_rooms_that_fit_in_the_eye() {
    let mut all = Vec::new();
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut all);
    for file in all {
        let lines = std::fs::read_to_string(&file).expect("a file").lines().count();
        assert!(lines <= 600, "{} has {lines} lines: split it by meaning", file.display());
    }
}
