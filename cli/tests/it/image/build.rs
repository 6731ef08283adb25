//! What is laid out is what was meant, the same on every machine, and nothing half.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;

use flate2::read::GzDecoder;
use serde_json::{Value, json};

use super::{project, write_program};
use crate::shopctl::{Project, steady};

fn build(project: &Project, words: &str) -> Value {
    let ran = project.run(&format!("image build --binary shopd -o json {words}"));
    assert_eq!(ran.code, 0, "{}", ran.picture());
    ran.json()["data"].clone()
}

fn document(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("a file")).expect("a document")
}

fn blob(layout: &Path, named: &Value) -> std::path::PathBuf {
    let digest = named["digest"].as_str().expect("a digest").strip_prefix("sha256:").expect("sha256");
    layout.join("blobs/sha256").join(digest)
}

/// Mode and owner of everything below `root`, by its path.
fn found(root: &Path, at: &Path, all: &mut BTreeMap<String, (u32, u32, u32)>) {
    for entry in at.read_dir().expect("a folder") {
        let path = entry.expect("an entry").path();
        let facts = path.symlink_metadata().expect("facts");
        let name = path.strip_prefix(root).expect("a path below").display().to_string();
        all.insert(name, (facts.mode() & 0o7777, facts.uid(), facts.gid()));
        if facts.is_dir() {
            found(root, &path, all);
        }
    }
}

/// Unpacked as an engine does it: the archive, then every layer in the order of the manifest.
#[test]
fn what_is_unpacked_is_what_was_meant() {
    let project = project();
    build(&project, "--tag shop:1 --archive shop.tar");
    let layout = project.path().join("layout");
    tar::Archive::new(File::open(project.path().join("shop.tar")).unwrap()).unpack(&layout).unwrap();
    let index = document(&layout.join("index.json"));
    let manifest = document(&blob(&layout, &index["manifests"][0]));
    let root = project.path().join("root");
    std::fs::create_dir(&root).unwrap();
    let is_root = rustix::process::getuid().is_root();
    for layer in manifest["layers"].as_array().unwrap() {
        let mut tar = tar::Archive::new(GzDecoder::new(File::open(blob(&layout, layer)).unwrap()));
        tar.set_preserve_permissions(true);
        tar.set_preserve_ownerships(is_root);
        tar.unpack(&root).unwrap();
    }
    let mut all = BTreeMap::new();
    found(&root, &root, &mut all);
    let mut meant: BTreeMap<String, (u32, u32, u32)> = [
        ("data", (0o700, 65_532, 65_532)),
        ("etc", (0o755, 0, 0)),
        ("etc/group", (0o644, 0, 0)),
        ("etc/nsswitch.conf", (0o644, 0, 0)),
        ("etc/passwd", (0o644, 0, 0)),
        ("etc/ssl", (0o755, 0, 0)),
        ("etc/ssl/certs", (0o755, 0, 0)),
        ("etc/ssl/certs/ca-certificates.crt", (0o644, 0, 0)),
        ("shopd", (0o755, 0, 0)),
        ("tmp", (0o1777, 0, 0)),
    ]
    .map(|(path, facts)| (path.to_owned(), facts))
    .into();
    if !is_root {
        // Only root may give files away, so the owners cannot be looked at here.
        for facts in meant.values_mut().chain(all.values_mut()) {
            *facts = (facts.0, 0, 0);
        }
    }
    assert_eq!(all, meant);
    let program = std::fs::read(project.path().join("shopd")).unwrap();
    assert!(std::fs::read(root.join("shopd")).unwrap() == program, "the program was changed on the way");

    let config = document(&blob(&layout, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Entrypoint"], json!(["/shopd"]));
    assert_eq!(config["config"]["Healthcheck"]["Test"], json!(["CMD", "/shopd", "health"]));
    assert_eq!((&config["os"], &config["architecture"]), (&json!("linux"), &json!("amd64")));
}

/// The archive is an OCI layout and Docker's own format at once.
#[test]
fn both_lists_of_the_archive_name_the_same_image() {
    let project = project();
    build(&project, "--tag ghcr.io/acme/shop:1.2 --archive shop.tar");
    let layout = project.path().join("layout");
    tar::Archive::new(File::open(project.path().join("shop.tar")).unwrap()).unpack(&layout).unwrap();
    let named = &document(&layout.join("index.json"))["manifests"][0];
    assert_eq!(named["annotations"]["io.containerd.image.name"], "ghcr.io/acme/shop:1.2");
    assert_eq!(named["annotations"]["org.opencontainers.image.ref.name"], "1.2");
    let manifest = document(&blob(&layout, named));
    let docker = &document(&layout.join("manifest.json"))[0];
    assert_eq!(docker["RepoTags"], json!(["ghcr.io/acme/shop:1.2"]));
    let path = |named: &Value| blob(Path::new(""), named).display().to_string();
    assert_eq!(docker["Config"], path(&manifest["config"]));
    let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(path).collect();
    assert_eq!(docker["Layers"], json!(layers));
}

#[test]
fn the_same_inputs_have_the_same_digest_wherever_and_however_they_are_put() {
    let one = project();
    let other = project();
    let first = build(&one, "--tag shop:1 --archive a.tar");
    let second = build(&other, "--tag shop:1 --archive b.tar --oci-layout layout");
    assert_eq!(first["digest"], second["digest"]);
    assert!(
        std::fs::read(one.path().join("a.tar")).unwrap()
            == std::fs::read(other.path().join("b.tar")).unwrap(),
        "the archives differ"
    );
    let renamed = build(&other, "--tag elsewhere.example/shop:2 --archive c.tar");
    assert_eq!(renamed["digest"], first["digest"], "the name is no part of the image");
    let later = project().variable("SOURCE_DATE_EPOCH", "1700000000");
    assert_ne!(build(&later, "")["digest"], first["digest"]);
}

/// Hides what follows from the machine's own certificates and from the time.
fn anywhere(body: impl FnOnce()) {
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"sha256:[0-9a-f]{64}", "sha256:[DIGEST]");
    settings.add_filter(r"\b[0-9a-f]{12}\b", "[LAYER]");
    settings.add_filter(r" *\d+(\.\d+)? [kM]?B\b", " [SIZE]");
    settings.add_filter(r"\d+ +(etc/ssl/certs/ca-certificates.crt)", "[SIZE] $1");
    settings.add_filter(r"\.tmp\w{6}", ".tmp[NAME]");
    settings.bind(|| steady(body));
}

#[test]
fn inspect_tells_what_is_in_it_from_a_file_a_folder_and_a_stream() {
    let project = project();
    let built = build(&project, "--tag shop:1 --archive shop.tar --oci-layout layout");
    let seen = project.run("image inspect shop.tar");
    anywhere(|| insta::assert_snapshot!("image_inspect", seen.picture()));
    let files = project.run("image inspect layout --files");
    anywhere(|| insta::assert_snapshot!("image_inspect_files", files.picture()));
    let document = project.run("image inspect layout -o json").json();
    assert_eq!(document["data"]["digest"], built["digest"]);
    assert_eq!(document["data"]["size_bytes"], built["size_bytes"]);

    let mut command = project.command(&["image", "inspect", "-", "-o", "json"]);
    command.stdin(File::open(project.path().join("shop.tar")).unwrap()).stderr(Stdio::null());
    let output = command.output().unwrap();
    let streamed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(streamed["data"], document["data"]);
}

#[test]
fn what_cannot_become_an_image_is_refused_with_the_next_step() {
    let project = project().variable("HOME", "/nowhere");
    write_program(&project, "dynamic", Some("/lib64/ld-linux-x86-64.so.2"));
    project.write("script", "#!/bin/sh\n");
    std::fs::create_dir(project.path().join("letters")).unwrap();
    project.write("letters/letter", "dear");
    let cases = [
        ("no_sources", 2, "image build"),
        ("no_binary", 2, "image build --binary nowhere"),
        ("dynamic", 4, "image build --binary dynamic"),
        ("script", 4, "image build --binary script"),
        ("no_tag", 2, "image build --binary shopd --tag ghcr.io/acme/shop"),
        ("other_folder", 4, "image build --binary shopd --oci-layout letters"),
        ("no_folder", 4, "image build --binary shopd --archive nowhere/shop.tar"),
        ("inspect_nothing", 2, "image inspect nowhere.tar"),
        ("inspect_else", 4, "image inspect script"),
    ];
    for (name, code, line) in cases {
        let ran = project.run(line);
        assert_eq!(ran.code, code, "{line}: {}", ran.picture());
        anywhere(|| insta::assert_snapshot!(format!("image_{name}"), ran.picture()));
    }
    let no_client = project.variable("PATH", "/nowhere");
    let ran = no_client.run("image build --binary shopd --containerd-namespace k8s.io");
    assert_eq!(ran.code, 4, "{}", ran.picture());
    assert!(ran.stderr.contains("ctr"), "{}", ran.picture());
    assert!(!no_client.path().join("shop.tar").exists(), "another place was named");
}

/// The file for `docker build` and our own layout are two ways to one image.
#[test]
fn the_dockerfile_runs_the_program_as_the_image_does() {
    let project = project();
    build(&project, "--oci-layout layout");
    let layout = project.path().join("layout");
    let manifest = document(&blob(&layout, &document(&layout.join("index.json"))["manifests"][0]));
    let run = document(&blob(&layout, &manifest["config"]))["config"].clone();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Dockerfile");
    let text = std::fs::read_to_string(path).unwrap();
    let last_stage = text.split("FROM scratch").nth(1).expect("a last stage");
    let said = |word: &str| {
        let line = last_stage.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("the Dockerfile says no {word}")).to_owned()
    };
    let words = |word: &str| serde_json::from_str::<Value>(&said(word)).unwrap();
    assert_eq!(said("USER"), run["User"]);
    assert_eq!(words("ENTRYPOINT"), run["Entrypoint"]);
    assert_eq!(words("CMD"), run["Cmd"]);
    assert_eq!(words("VOLUME"), json!(run["Volumes"].as_object().unwrap().keys().collect::<Vec<_>>()));
    assert_eq!(said("ENV"), run["Env"][0]);
    assert_eq!(said("WORKDIR"), run["WorkingDir"]);
    assert_eq!(
        format!("{}/tcp", said("EXPOSE")),
        *run["ExposedPorts"].as_object().unwrap().keys().next().unwrap()
    );
    assert!(said("HEALTHCHECK").ends_with(r#"CMD ["/shopd", "health"]"#));
}
