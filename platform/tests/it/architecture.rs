//! The arrows of the house: which room may know which. Reads the `use` lines and `crate::` paths of every file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Rooms from the top down. A room may know the rooms below it and, among those of one row, only itself.
const FLOORS: &[&[&str]] = &[
    &["app", "client", "testing"],
    &["gateway", "web", "sandbox", "services", "verify", "external_metrics"],
    &["saga"],
    &["capabilities"],
    &["manifest", "secrets", "config"],
    &["bus", "cache", "http", "resilience", "storage", "telemetry"],
    &["vocabulary"],
];

/// Neighbours that may know each other, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("config", "manifest", "the rate-limit table has a row per class of route"),
    (
        "gateway",
        "services",
        "the gateway routes by the services' manifests and verifies tokens through the user client",
    ),
    ("gateway", "web", "the gateway serves the pages"),
    ("web", "services", "the pages show what the services' clients answer"),
    ("web", "verify", "the operator's page runs the checks and shows what they found"),
    (
        "verify",
        "services",
        "orders are replayed by the order service's own rules, and payments compared by the payment service's",
    ),
    ("verify", "sandbox", "the provider's statement is one side of the comparison"),
    ("testing", "app", "a test shop is a whole shop"),
    ("testing", "client", "a test shop is driven as clients drive it"),
    ("bus", "storage", "the embedded bus lives in the database"),
    ("bus", "telemetry", "queues tell their depth"),
    ("cache", "telemetry", "caches count hits"),
    ("http", "storage", "a storage failure becomes a problem on the wire"),
    ("http", "telemetry", "the server records requests"),
    ("http", "resilience", "calls have deadlines"),
    ("resilience", "telemetry", "breakers tell their state"),
    ("telemetry", "http", "traces are exported over HTTP and carry the request's context"),
    ("storage", "telemetry", "pools tell their use"),
];

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

/// The text without its test module and comments: tests may reach further.
fn production(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests").unwrap_or(text.len());
    let lines = text[..end].lines().filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Every `crate::room::next` that `text` names, `use crate::{a::b, c::d}` unfolded.
fn mentions(text: &str) -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut item = String::new();
            for letter in group.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 0 || (depth == 1 && letter == ',') {
                    found.extend(split(item.trim()));
                    item.clear();
                    if depth == 0 {
                        break;
                    }
                } else {
                    item.push(letter);
                }
            }
        } else {
            found.extend(split(rest));
        }
    }
    found
}

fn split(path: &str) -> Option<(String, String)> {
    let word = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
    };
    let room = word(path);
    let next = path[room.len()..].strip_prefix("::").map(word).unwrap_or_default();
    (!room.is_empty()).then_some((room, next))
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

#[test]
fn rooms_know_only_the_rooms_below_them() {
    let mut broken = Vec::new();
    let mut all = Vec::new();
    files(&source(), &mut all);
    for path in &all {
        let inside = path.strip_prefix(source()).expect("below src");
        let room =
            inside.components().next().expect("a room").as_os_str().to_string_lossy().replace(".rs", "");
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if is_test || matches!(room.as_str(), "lib" | "bin") {
            continue;
        }
        let Some(own) = floor(&room) else {
            broken.push(format!("`{room}` has no floor: give it one in tests/it/architecture.rs"));
            continue;
        };
        let text = production(&std::fs::read_to_string(path).expect("a source file"));
        for (other, _) in mentions(&text) {
            let Some(theirs) = floor(&other) else { continue };
            let allowed = ALLOWED.iter().any(|(from, to, _)| *from == room && *to == other);
            if other != room && theirs <= own && !allowed {
                broken.push(format!(
                    "{} knows `{other}`, but `{room}` must not: arrows point down (app → gateway web services sandbox → saga → storage bus http … → vocabulary)",
                    inside.display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn a_service_knows_of_a_sibling_only_its_client() {
    let mut broken = Vec::new();
    let mut all = Vec::new();
    files(&source().join("services"), &mut all);
    let is_service = |name: &str| source().join("services").join(name).is_dir();
    for path in &all {
        let inside = path.strip_prefix(source().join("services")).expect("below services");
        let mut parts = inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
        let (Some(own), Some(_)) = (parts.next(), parts.next()) else { continue };
        let text = production(&std::fs::read_to_string(path).expect("a source file"));
        for (at, _) in text.match_indices("services::") {
            let Some((sibling, part)) = split(&text[at + "services::".len()..]) else { continue };
            if is_service(&sibling) && sibling != own && part != "client" {
                broken.push(format!(
                    "services/{} reaches into services/{sibling}/{part}: a service talks to a sibling only through services/{sibling}/client.rs",
                    inside.display()
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

#[test]
fn the_vocabulary_knows_nobody() {
    let mut all = Vec::new();
    files(&source().join("vocabulary"), &mut all);
    for path in all {
        let text = production(&std::fs::read_to_string(&path).expect("a source file"));
        for line in text.lines().filter(|line| line.trim_start().starts_with("use ")) {
            let root = line.trim_start().trim_start_matches("use ").split("::").next().unwrap_or_default();
            let known = ["std", "serde", "uuid", "jiff", "rand", "super", "crate"];
            assert!(
                known.contains(&root),
                "{} imports `{root}`: the vocabulary needs nobody",
                path.display()
            );
        }
    }
}

#[test]
fn no_room_is_a_drawer() {
    let mut all = Vec::new();
    files(&source(), &mut all);
    for path in all {
        let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let drawers = ["util", "utils", "common", "helper", "helpers", "misc", "core", "types", "manager"];
        assert!(!drawers.contains(&stem.as_str()), "{} is a drawer without a name", path.display());
    }
}
