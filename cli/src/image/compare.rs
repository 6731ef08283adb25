//! The image beside the one that a single `FROM rust` would make: base, toolchain, sources and what the build leaves behind.
//!
//! Nothing is estimated. What is on this machine is packed as the image's own layers are, and weighed; what is not here is
//! named and left out, so that the naive image is at least as large as told. A folder with the base system counts too when
//! one is given (`debootstrap --variant=minbase --include=gcc,libc6-dev bookworm FOLDER`).

use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::build::{PROFILE, Workspace};
use super::layer::pack;
use super::layout::Image;
use super::tree::Tree;
use crate::failure::{Exit, Failure};

/// The comparison.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// The naive image, part by part.
    pub parts: Vec<Part>,
    /// What it would hold besides, and was not weighed.
    pub not_counted: Vec<&'static str>,
    /// The naive image, compressed: at least so much.
    pub naive_bytes: u64,
    /// The same unpacked.
    pub naive_plain_bytes: u64,
    /// Ours, compressed.
    pub own_bytes: u64,
    /// Ours, unpacked.
    pub own_plain_bytes: u64,
    /// By so much ours is smaller, compressed: at least.
    pub smaller_percent: f64,
}

/// A part of the naive image, measured.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    /// What it is.
    pub name: &'static str,
    /// Compressed.
    pub size_bytes: u64,
    /// Unpacked.
    pub plain_bytes: u64,
    /// How many files, folders and links.
    pub entries: usize,
}

/// What the naive image is made of on this machine.
#[derive(Clone, Debug)]
pub struct Naive<'a> {
    /// The sources.
    pub workspace: &'a Workspace,
    /// The target that was built for.
    pub target: &'a str,
    /// The Rust toolchain.
    pub toolchain: PathBuf,
    /// A folder with the base system.
    pub base: Option<PathBuf>,
}

/// Weighs the naive image. `tell` hears of each part.
///
/// # Errors
/// When a part cannot be read.
pub fn compare(
    image: &Image,
    naive: &Naive<'_>,
    mut tell: impl FnMut(&str, u64, u64),
) -> anyhow::Result<Comparison> {
    let mut trees = Vec::new();
    if let Some(base) = &naive.base {
        trees.push(("base system", folder(base, "")?));
    }
    let toolchain = Tree::of_files(&naive.toolchain, minimal(&naive.toolchain)?, "usr/local/rust")
        .map_err(|error| unreadable(&naive.toolchain, error))?;
    trees.push(("Rust toolchain", toolchain));
    let root = &naive.workspace.root;
    let sources = naive.workspace.sources()?.into_iter().filter(|path| root.join(path).is_file());
    trees.push(("sources", Tree::of_files(root, sources, "shop").map_err(|error| unreadable(root, error))?));
    let left = root.join("target").join(naive.target).join(PROFILE);
    trees.push(("what the build leaves", folder(&left, "shop/target/release")?));

    let mut parts = Vec::new();
    let total = trees.len() as u64;
    for (at, (name, tree)) in trees.into_iter().enumerate() {
        tell(&format!("weighing the naive image: {name}"), at as u64, total);
        let (weight, _) = pack(&tree, 0, io::sink()).map_err(|error| unreadable(root, error))?;
        let (size_bytes, plain_bytes) = (weight.size_bytes, weight.plain_bytes);
        parts.push(Part { name, size_bytes, plain_bytes, entries: tree.len() });
    }
    let mut not_counted = Vec::new();
    if naive.base.is_none() {
        not_counted.push("Debian and its C compiler (--compare-base counts a folder with them)");
    }
    not_counted.push("the sources of the dependencies in cargo's cache");
    Ok(comparison(image.size_bytes(), image.plain_bytes(), parts, not_counted))
}

fn comparison(own: u64, own_plain: u64, parts: Vec<Part>, not_counted: Vec<&'static str>) -> Comparison {
    let naive_bytes: u64 = parts.iter().map(|part| part.size_bytes).sum();
    #[expect(clippy::cast_precision_loss, reason = "a percentage of megabytes")]
    let share = if naive_bytes == 0 { 1.0 } else { own as f64 / naive_bytes as f64 };
    Comparison {
        naive_bytes,
        naive_plain_bytes: parts.iter().map(|part| part.plain_bytes).sum(),
        own_bytes: own,
        own_plain_bytes: own_plain,
        // Rounded towards zero: the promise is "at least".
        smaller_percent: ((1.0 - share) * 1000.0).floor() / 10.0,
        parts,
        not_counted,
    }
}

fn folder(path: &Path, at: &str) -> anyhow::Result<Tree> {
    Ok(Tree::of_folder(path, at).map_err(|error| unreadable(path, error))?)
}

/// The files that rustup's minimal profile has, as the image `rust` does: compiler, cargo and the standard library.
fn minimal(toolchain: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let all = folder(toolchain, "")?;
    Ok(all.entries().map(|(path, _)| path.to_owned()).filter(|path| is_minimal(path)).collect())
}

fn is_minimal(path: &Path) -> bool {
    let host = format!("lib/rustlib/{}-unknown-linux-gnu", std::env::consts::ARCH);
    let is_library = path.parent().is_some_and(|folder| folder == Path::new("lib"));
    path == Path::new("bin/rustc")
        || path == Path::new("bin/cargo")
        || path.starts_with(Path::new(&host).join("lib"))
        || path.starts_with(Path::new(&host).join("bin"))
        || is_library
}

fn unreadable(path: &Path, error: io::Error) -> Failure {
    Failure::new(Exit::Preflight, "E-COMPARE", "could not weigh the naive image")
        .object(path.display())
        .hint("--compare needs the sources, the toolchain and what a build from these sources has left")
        .because(anyhow::Error::from(error).context(format!("could not read {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(size_bytes: u64) -> Part {
        Part { name: "x", size_bytes, plain_bytes: size_bytes * 3, entries: 1 }
    }

    #[test]
    fn the_saving_is_never_rounded_up() {
        let found = comparison(10, 30, vec![part(20), part(9)], Vec::new());
        assert_eq!((found.naive_bytes, found.naive_plain_bytes), (29, 87));
        assert!((found.smaller_percent - 65.5).abs() < 1e-9, "{}", found.smaller_percent);
        assert!((comparison(10, 30, Vec::new(), Vec::new()).smaller_percent - 0.0).abs() < 1e-9);
    }

    #[test]
    fn the_documentation_of_the_toolchain_is_not_held_against_the_naive_image() {
        for path in ["bin/rustc", "lib/librustc_driver-1.so"] {
            assert!(is_minimal(Path::new(path)), "{path}");
        }
        for path in ["share/doc/rust/html/index.html", "bin/rustfmt", "lib/rustlib/wasm32/lib/libstd.rlib"] {
            assert!(!is_minimal(Path::new(path)), "{path}");
        }
    }
}
