//! The program of the image from the sources around: found upward from a folder, built by cargo as one static file.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::Deserialize;

use crate::failure::{Exit, Failure};
use crate::process::find_program;

/// The file by which the sources are known.
const LANDMARK: &str = "platform/src/bin/shopd/main.rs";
/// How the program is built: `[profile.image]` in Cargo.toml.
pub const PROFILE: &str = "image";
/// So much of what cargo says about a failure is passed on.
const LINES_OF_FAILURE: usize = 4;

/// The sources of the shop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// Their folder.
    pub root: PathBuf,
    /// Their version.
    pub version: String,
    /// Their licence.
    pub license: String,
}

/// `Cargo.toml`, as far as it is of interest.
#[derive(Deserialize)]
struct Document {
    workspace: Table,
}
#[derive(Deserialize)]
struct Table {
    package: Package,
}
#[derive(Deserialize)]
struct Package {
    version: String,
    #[serde(default)]
    license: String,
}

impl Workspace {
    /// The sources that `folder` is in, when it is in some.
    ///
    /// # Errors
    /// When there are some that cannot be understood.
    pub fn around(folder: &Path) -> anyhow::Result<Option<Self>> {
        let Some(root) = folder.ancestors().find(|above| above.join(LANDMARK).is_file()) else {
            return Ok(None);
        };
        let path = root.join("Cargo.toml");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
        let document: Document =
            toml::from_str(&text).with_context(|| format!("could not understand {}", path.display()))?;
        let Package { version, license } = document.workspace.package;
        Ok(Some(Self { root: root.to_owned(), version, license }))
    }

    /// The commit of the sources, marked when they have been changed since. Nothing outside a repository.
    #[must_use]
    pub fn revision(&self) -> Option<String> {
        let git = |words: &[&str]| {
            let ran =
                Command::new("git").arg("-C").arg(&self.root).args(words).stderr(Stdio::null()).output();
            let ran = ran.ok().filter(|ran| ran.status.success())?;
            Some(String::from_utf8_lossy(&ran.stdout).trim().to_owned())
        };
        let commit = git(&["rev-parse", "HEAD"]).filter(|commit| !commit.is_empty())?;
        let is_changed = !git(&["status", "--porcelain"])?.is_empty();
        Some(if is_changed { format!("{commit}-dirty") } else { commit })
    }

    /// The files that belong to the sources; what git ignores does not.
    ///
    /// # Errors
    /// When git cannot tell.
    pub fn sources(&self) -> anyhow::Result<Vec<PathBuf>> {
        let ran = Command::new("git").arg("-C").arg(&self.root).args(["ls-files", "-z"]).output();
        let ran = ran.context("could not start git")?;
        anyhow::ensure!(ran.status.success(), "git does not know the files of {}", self.root.display());
        let names = ran.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
        Ok(names.map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned())).collect())
    }

    /// Builds the program and tells where it is. `tell` hears how many parts are built.
    ///
    /// # Errors
    /// When there is no cargo, or it fails.
    pub fn build(&self, target: &str, mut tell: impl FnMut(u64)) -> anyhow::Result<PathBuf> {
        let mut command = Command::new(cargo());
        command
            .current_dir(&self.root)
            .args(["build", "--locked", "--package", "platform", "--bin", "shopd", "--profile", PROFILE])
            .args(["--target", target, "--message-format", "json-render-diagnostics"])
            .env("RUSTFLAGS", rust_flags(&self.root, cargo_home().as_deref()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| {
            Failure::new(Exit::Preflight, "E-NO-CARGO", "could not start cargo to build the program")
                .hint("install Rust, or name a program that exists with --binary")
                .because(error)
        })?;
        let mut said = child.stderr.take().context("cargo was started without a stderr")?;
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            said.read_to_end(&mut text).ok();
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut built = 0;
        let mut program = None;
        let messages = child.stdout.take().context("cargo was started without a stdout")?;
        for line in BufReader::new(messages).lines() {
            let line = line.context("could not read what cargo says")?;
            let Ok(artifact) = serde_json::from_str::<Artifact>(&line) else { continue };
            built += 1;
            tell(built);
            program = artifact.executable.or(program);
        }
        let ended = child.wait().context("could not wait for cargo")?;
        let errors = errors.join().unwrap_or_default();
        if !ended.success() {
            return Err(failed(target, &errors).into());
        }
        program.context("cargo built no program")
    }
}

/// What cargo tells of a part that it built.
#[derive(Deserialize)]
struct Artifact {
    #[serde(rename = "reason")]
    _reason: Reason,
    executable: Option<PathBuf>,
}
#[derive(Deserialize)]
enum Reason {
    #[serde(rename = "compiler-artifact")]
    Artifact,
}

/// The cargo that runs this, when one does.
fn cargo() -> PathBuf {
    std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

fn cargo_home() -> Option<PathBuf> {
    let own = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    own.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")))
}

/// Static, and without the folders of this machine: neither is anybody's business, and they would change the digest.
fn rust_flags(root: &Path, cargo_home: Option<&Path>) -> String {
    let mut flags = "-C target-feature=+crt-static".to_owned();
    let renamed = [(cargo_home, "/cargo"), (Some(root), "/shop")];
    for (from, to) in renamed {
        // A folder with a space in its name cannot be said here; the program is as good with it.
        if let Some(from) = from.and_then(Path::to_str).filter(|from| !from.contains(' ')) {
            flags.push_str(&format!(" --remap-path-prefix={from}={to}"));
        }
    }
    flags
}

/// The target that the program is built for on this machine: musl when it and its C compiler are installed, else glibc, whose
/// static library comes with its headers.
#[must_use]
pub fn target() -> String {
    let sysroot = toolchain();
    let has_musl = |target: &str| {
        let library = sysroot.as_ref().is_some_and(|root| root.join("lib/rustlib").join(target).is_dir());
        library && find_program("musl-gcc").is_some()
    };
    choose_target(std::env::consts::ARCH, has_musl)
}

/// The folder of the Rust toolchain, where there is one.
#[must_use]
pub fn toolchain() -> Option<PathBuf> {
    let ran = Command::new("rustc").args(["--print", "sysroot"]).stderr(Stdio::null()).output().ok()?;
    ran.status.success().then(|| PathBuf::from(String::from_utf8_lossy(&ran.stdout).trim()))
}

fn choose_target(architecture: &str, has: impl Fn(&str) -> bool) -> String {
    let musl = format!("{architecture}-unknown-linux-musl");
    if has(&musl) { musl } else { format!("{architecture}-unknown-linux-gnu") }
}

fn failed(target: &str, errors: &str) -> Failure {
    let mut lines: Vec<&str> = errors.lines().filter(|line| line.starts_with("error")).collect();
    lines.truncate(LINES_OF_FAILURE);
    let has_no_libc = errors.contains("cannot find -lc") || errors.contains("unable to find library -lc");
    let hint = if has_no_libc {
        "install the static C library (libc6-dev on Debian, glibc-static on Fedora)".to_owned()
    } else if errors.contains("E0463") || errors.contains("may not be installed") {
        format!("`rustup target add {target}`")
    } else {
        format!("`cargo build --profile {PROFILE} --bin shopd --target {target}` tells more")
    };
    Failure::new(Exit::Preflight, "E-IMAGE-BUILD", format!("could not build shopd for {target}"))
        .object(target)
        .hint(hint)
        .because(anyhow::Error::msg(if lines.is_empty() {
            "cargo failed".to_owned()
        } else {
            lines.join("\n")
        }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_are_found_from_any_folder_in_them_and_nowhere_else() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let found = Workspace::around(&here.join("src/image")).unwrap().unwrap();
        assert_eq!(found.root, here.parent().unwrap());
        assert_eq!(found.version, env!("CARGO_PKG_VERSION"));
        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(Workspace::around(elsewhere.path()).unwrap(), None);
    }

    #[test]
    fn musl_is_taken_where_it_is_installed() {
        assert_eq!(choose_target("x86_64", |_| false), "x86_64-unknown-linux-gnu");
        assert_eq!(choose_target("aarch64", |target| target.ends_with("musl")), "aarch64-unknown-linux-musl");
    }

    #[test]
    fn the_folders_of_this_machine_stay_out_of_the_program() {
        let flags = rust_flags(Path::new("/home/anna/shop"), Some(Path::new("/home/anna/.cargo")));
        assert_eq!(
            flags,
            "-C target-feature=+crt-static --remap-path-prefix=/home/anna/.cargo=/cargo \
             --remap-path-prefix=/home/anna/shop=/shop"
        );
        assert!(!rust_flags(Path::new("/my shop"), None).contains("my shop"));
    }
}
