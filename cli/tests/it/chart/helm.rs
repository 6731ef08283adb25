//! The same chart by the real helm, and what came out read by helm's own YAML.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// The version that the cluster is said to have. A helm that was built with `go install` takes itself for an old one.
pub(super) const KUBE_VERSION: &str = "1.34.0";
pub(super) const RELEASE: &str = "shop";
pub(super) const NAMESPACE: &str = "shop-test";

/// What is rendered: a chart's values files by name, values, and single values.
#[derive(Clone, Debug, Default)]
pub(super) struct Case {
    pub(super) called: String,
    pub(super) files: Vec<&'static str>,
    pub(super) values: Value,
    pub(super) sets: Vec<&'static str>,
}

impl Case {
    pub(super) fn new(called: &str, values: Value) -> Self {
        Self { called: called.to_owned(), values, ..Self::default() }
    }

    /// The values as the text of a values file.
    pub(super) fn text(&self) -> String {
        if self.values.is_null() { String::new() } else { format!("{:#}", self.values) }
    }
}

/// What helm made of a case: its objects and its notes, or why it refused.
pub(super) type Made = Result<(Vec<Value>, String), String>;

/// The helm that `SHOPCTL_TEST_HELM` names. Without one the test is skipped, which is said; when one is required, it
/// fails.
pub(super) fn find() -> Option<PathBuf> {
    let found = std::env::var_os("SHOPCTL_TEST_HELM").filter(|path| !path.is_empty());
    if found.is_none() {
        let is_required = std::env::var_os("SHOPCTL_REQUIRE_HELM").is_some();
        assert!(!is_required, "SHOPCTL_REQUIRE_HELM is set, but SHOPCTL_TEST_HELM names no helm");
        say_skipped();
    }
    found.map(PathBuf::from)
}

#[expect(clippy::print_stderr, reason = "a skipped test must say so, and tests have no printer")]
fn say_skipped() {
    eprintln!("SKIPPED: SHOPCTL_TEST_HELM names no helm to compare with");
}

/// Renders all cases, and then reads all that came out, each in one go.
pub(super) fn made(helm: &Path, chart: &Path, cases: &[Case]) -> Vec<Made> {
    let scratch = tempfile::tempdir().expect("a folder");
    let chart = with_notes(chart, &scratch);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let texts: Vec<_> = cases.iter().map(|_| std::sync::OnceLock::new()).collect();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let Some(case) = cases.get(number) else { break };
                    let file = scratch.path().join(format!("values-{number}.yaml"));
                    texts[number].set(template(helm, &chart, case, &file)).expect("each once");
                }
            });
        }
    });
    let texts: Vec<_> = texts.into_iter().map(|text| text.into_inner().expect("each was rendered")).collect();
    read(helm, &scratch, &texts)
}

/// Helm tells notes beside a cluster only, so in a copy of the chart they are an object's text.
fn with_notes(chart: &Path, scratch: &TempDir) -> PathBuf {
    let copy = scratch.path().join("chart");
    copy_folder(chart, &copy);
    let name = std::fs::read_to_string(chart.join("Chart.yaml")).expect("a chart");
    let name = name.lines().find_map(|line| line.strip_prefix("name: ")).expect("a name");
    let notes = format!("kind: Notes\ntext: {{{{ include \"{name}/templates/NOTES.txt\" . | toJson }}}}\n");
    std::fs::write(copy.join("templates/notes.yaml"), notes).expect("a file");
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in from.read_dir().expect("a folder").map(|entry| entry.expect("an entry").path()) {
        let target = to.join(entry.file_name().expect("a name"));
        if entry.is_dir() {
            copy_folder(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).expect("a copy");
        }
    }
}

fn template(helm: &Path, chart: &Path, case: &Case, file: &Path) -> Result<String, String> {
    let mut command = Command::new(helm);
    command.args(["template", RELEASE]).arg(chart);
    command.args(["--namespace", NAMESPACE, "--kube-version", KUBE_VERSION]);
    for name in &case.files {
        command.arg("--values").arg(chart.join(name));
    }
    std::fs::write(file, case.text()).expect("a file");
    command.arg("--values").arg(file);
    for set in &case.sets {
        command.args(["--set", set]);
    }
    let told = command.output().unwrap_or_else(|error| panic!("{} cannot be run: {error}", helm.display()));
    if told.status.success() {
        Ok(String::from_utf8(told.stdout).expect("text"))
    } else {
        Err(String::from_utf8_lossy(&told.stderr).trim().to_owned())
    }
}

/// Rendered texts as helm reads them: by a chart whose files they are, and which tells them in JSON.
fn read(helm: &Path, scratch: &TempDir, texts: &[Result<String, String>]) -> Vec<Made> {
    let folder = scratch.path().join("reader");
    std::fs::create_dir_all(folder.join("read")).expect("a folder");
    std::fs::create_dir_all(folder.join("templates")).expect("a folder");
    std::fs::write(folder.join("Chart.yaml"), "apiVersion: v2\nname: reader\nversion: 0.0.0\n")
        .expect("a file");
    let template = "{{- range $path, $_ := .Files.Glob \"read/*\" }}\n{{ dict \"path\" $path \"value\" ($.Files.Get $path | fromYaml) | toJson }}\n---\n{{- end }}\n";
    std::fs::write(folder.join("templates/read.yaml"), template).expect("a file");
    for (number, text) in texts.iter().enumerate() {
        // As the API machinery reads a stream: the newline before a `---` belongs to what ends there.
        let text = format!("\n{}", text.as_deref().unwrap_or_default());
        for (place, document) in text.split("\n---\n").enumerate() {
            std::fs::write(folder.join(format!("read/{number:05}-{place:05}")), format!("{document}\n"))
                .expect("a file");
        }
    }
    let told = Command::new(helm).args(["template", "reader"]).arg(&folder).output().expect("helm");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let mut all: Vec<Made> =
        texts.iter().map(|text| text.clone().map(|_| (Vec::new(), String::new()))).collect();
    for line in String::from_utf8(told.stdout).expect("text").lines().filter(|line| line.starts_with('{')) {
        let line: Value = serde_json::from_str(line).expect("JSON");
        let number: usize = line["path"].as_str().expect("a path")[5..10].parse().expect("a number");
        sort_in(&mut all[number], &line["value"]);
    }
    all
}

fn sort_in(made: &mut Made, value: &Value) {
    let Ok((objects, notes)) = made else { return };
    if let Some(error) = value.get("Error") {
        *made = Err(format!("what was rendered is no YAML: {error}"));
    } else if value["kind"] == "Notes" {
        // JSON hid from helm what it takes out of every file in the end.
        *notes = value["text"].as_str().expect("text").replace("<no value>", "");
    } else if value.as_object().is_some_and(|members| !members.is_empty()) {
        objects.push(value.clone());
    }
}

/// The objects by what names them, with everything that is drawn by lot told by its length only.
pub(super) fn named(objects: impl IntoIterator<Item = Value>) -> Map<String, Value> {
    let mut named = Map::new();
    for mut object in objects {
        if object["kind"] == "Secret" {
            hide_lots(&mut object["data"]);
        }
        let metadata = &object["metadata"];
        let name = format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"]);
        let twice = named.insert(name, object);
        assert!(twice.is_none(), "an object is there twice: {twice:?}");
    }
    named
}

fn hide_lots(data: &mut Value) {
    use base64::Engine as _;
    let Value::Object(members) = data else { return };
    for value in members.values_mut() {
        let bytes =
            base64::engine::general_purpose::STANDARD.decode(value.as_str().expect("text")).expect("base64");
        *value = json!(shape(&String::from_utf8(bytes).expect("text")));
    }
}

/// A text in which every long run of letters and digits is told by its length.
fn shape(text: &str) -> String {
    let mut shape = String::new();
    for run in text.split_inclusive(|letter: char| !letter.is_ascii_alphanumeric()) {
        let letters = run.trim_end_matches(|letter: char| !letter.is_ascii_alphanumeric());
        if letters.len() >= 24 {
            write!(shape, "<{}>", letters.len()).expect("a String takes every write");
        } else {
            shape.push_str(letters);
        }
        shape.push_str(&run[letters.len()..]);
    }
    shape
}
