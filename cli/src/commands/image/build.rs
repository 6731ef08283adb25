//! `shopctl image build`: the program from the sources or from a file, laid out and put where it is wanted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::size;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure};
use crate::image::build::{Workspace, target, toolchain};
use crate::image::compare::{Comparison, Naive, compare};
use crate::image::containerd::{Namespace, import};
use crate::image::folder::FolderError;
use crate::image::layout::{Image, Recipe, lay_out};
use crate::image::program::Program;
use crate::image::reference::Reference;
use crate::image::{archive, folder};
use crate::output::{Progress, Report};

/// Where the archive goes when nobody says where.
const ARCHIVE: &str = "shop.tar";
/// The variable that says as of when everything is; other builders know it too.
const TIME: &str = "SOURCE_DATE_EPOCH";

/// The words of `image build`.
#[derive(Debug, Args)]
#[command(
    after_help = "The program is built by cargo when this runs among the sources, else --binary names it.\n\
                        Without a place to put it, the image goes to ./shop.tar: `docker load`, `podman load` and\n\
                        `ctr images import` take it, and `shopctl image push` brings it to a registry.\n\
                        SOURCE_DATE_EPOCH sets the time of all files; 0 without it."
)]
pub struct BuildArgs {
    /// What the image is called [default: shop:VERSION]
    #[arg(long, value_name = "NAME:TAG")]
    tag: Option<Reference>,
    /// Write an archive that every engine loads
    #[arg(long, value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Put it into a folder as an OCI layout, beside other images
    #[arg(long, value_name = "FOLDER")]
    oci_layout: Option<PathBuf>,
    /// Import it into this namespace of containerd, through `ctr`
    #[arg(long, value_name = "NAME")]
    containerd_namespace: Option<String>,
    /// The socket of that containerd, when it is not the usual one
    #[arg(long, value_name = "SOCKET", requires = "containerd_namespace")]
    containerd_address: Option<PathBuf>,
    /// Take this static shopd instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Say something more about the image; may be repeated
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Weigh it beside the image that a single `FROM rust` would make
    #[arg(long, conflicts_with = "binary")]
    compare: bool,
    /// Count this folder as the base system of that image
    #[arg(long, value_name = "FOLDER", requires = "compare")]
    compare_base: Option<PathBuf>,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE".to_owned()),
    }
}

/// Where the program comes from.
enum Source {
    Sources { workspace: Workspace, target: String },
    File,
}

pub(super) fn run(args: &BuildArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let mut progress = Progress::new(context.printer);
    let time_seconds = time()?;
    let (source, path) = match &args.binary {
        Some(path) => (Source::File, path.clone()),
        None => built(&mut progress)?,
    };
    let image = laid_out(&source, &path, &args.label, time_seconds, &mut progress)?;
    let version = match &source {
        Source::Sources { workspace, .. } => workspace.version.as_str(),
        Source::File => env!("CARGO_PKG_VERSION"),
    };
    let reference = match &args.tag {
        Some(reference) => reference.clone(),
        None => format!("shop:{version}").parse().map_err(anyhow::Error::msg)?,
    };
    let places = put(args, &image, &reference, &mut progress)?;
    let compared = match &source {
        Source::Sources { workspace, target } if args.compare => {
            Some(beside(&image, workspace, target, args.compare_base.clone(), &mut progress)?)
        }
        _ => None,
    };
    progress.clear();
    Ok(report(&image, &reference, &places, compared.as_ref()))
}

/// The image of the shop that the sources around are of, and its version.
pub(in crate::commands) fn from_sources(progress: &mut Progress<'_>) -> anyhow::Result<(Image, String)> {
    let time_seconds = time()?;
    let (source, path) = built(progress)?;
    let image = laid_out(&source, &path, &[], time_seconds, progress)?;
    let Source::Sources { workspace, .. } = source else { unreachable!("it was built from sources") };
    Ok((image, workspace.version))
}

fn laid_out(
    source: &Source,
    path: &Path,
    label: &[(String, String)],
    time_seconds: u64,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Image> {
    let (bytes, program) = program(path)?;
    progress.step("laying out the image", 0, 0);
    let labels = labels(source, label);
    let recipe = Recipe { program: bytes, platform: program.platform, labels, time_seconds };
    lay_out(recipe).map_err(|error| {
        Failure::new(Exit::Usage, "E-TIME", format!("could not lay the image out as of {TIME}"))
            .because(error)
            .into()
    })
}

/// The program, built from the sources around.
fn built(progress: &mut Progress<'_>) -> anyhow::Result<(Source, PathBuf)> {
    let here = std::env::current_dir().context("could not tell the current folder")?;
    let workspace = Workspace::around(&here)?.ok_or_else(|| {
        Failure::new(Exit::Usage, "E-NO-SOURCES", "there are no sources of the shop around this folder")
            .object(here.display())
            .hint("run it among the sources, or name a static shopd with --binary")
    })?;
    let target = target();
    progress.step(&format!("building shopd for {target}"), 0, 0);
    let path = workspace.build(&target, |parts| {
        progress.line(&format!("building shopd for {target}: {parts} parts"));
    })?;
    Ok((Source::Sources { workspace, target }, path))
}

/// The program's bytes, when an image from nothing can run it.
fn program(path: &Path) -> anyhow::Result<(Vec<u8>, Program)> {
    let object = path.display();
    let refuse = |message: String, hint: &str| {
        Failure::new(Exit::Preflight, "E-IMAGE-BINARY", message).object(object.to_string()).hint(hint)
    };
    let bytes = std::fs::read(path).map_err(|error| {
        Failure::new(Exit::Usage, "E-IMAGE-BINARY", format!("could not read the program {object}"))
            .object(object.to_string())
            .hint("--binary names a shopd that was built before")
            .because(error)
    })?;
    let program = Program::read(&bytes).map_err(|error| {
        refuse(format!("{object} cannot run in a container: {error}"), "--binary names a static shopd")
    })?;
    match &program.loader {
        None => Ok((bytes, program)),
        Some(loader) => Err(refuse(
            format!(
                "{object} is linked dynamically: it asks for {loader}, which an image from nothing lacks"
            ),
            "build it with RUSTFLAGS=-Ctarget-feature=+crt-static, or leave --binary out among the sources",
        )
        .into()),
    }
}

fn time() -> anyhow::Result<u64> {
    let Some(text) = variable(TIME) else { return Ok(0) };
    text.trim().parse().map_err(|_| {
        Failure::new(Exit::Usage, "E-TIME", format!("{TIME} is `{text}`, which is no number of seconds"))
            .hint(format!("leave {TIME} out, or set it to seconds after 1970: `git log -1 --format=%ct`"))
            .into()
    })
}

fn labels(source: &Source, more: &[(String, String)]) -> BTreeMap<String, String> {
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    let mut say = |key: &str, value: &str| {
        if !value.is_empty() {
            labels.insert(format!("org.opencontainers.image.{key}"), value.to_owned());
        }
    };
    say("title", "shop");
    say("description", "A whole e-commerce platform: five services behind a gateway, in one program");
    // Of a program that somebody else built we know neither version nor commit, and say nothing.
    if let Source::Sources { workspace, .. } = source {
        say("version", &workspace.version);
        say("licenses", &workspace.license);
        say("revision", &workspace.revision().unwrap_or_default());
    }
    labels.extend(more.iter().cloned());
    labels
}

/// Puts the image to every place that was named, and tells which.
fn put(
    args: &BuildArgs,
    image: &Image,
    reference: &Reference,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Vec<(&'static str, String)>> {
    let mut places = Vec::new();
    let has_place =
        args.archive.is_some() || args.oci_layout.is_some() || args.containerd_namespace.is_some();
    let archive = args.archive.clone().or_else(|| (!has_place).then(|| PathBuf::from(ARCHIVE)));
    if let Some(path) = archive {
        archive::save(image, reference, &path).map_err(|error| unwritable(&path, error.into()))?;
        places.push(("archive", path.display().to_string()));
    }
    if let Some(path) = &args.oci_layout {
        folder::save(image, reference, path).map_err(|error| match error {
            FolderError::NotALayout => {
                unwritable(path, error.into()).hint("name an empty folder, or one with an OCI layout")
            }
            other => unwritable(path, other.into()),
        })?;
        places.push(("layout", path.display().to_string()));
    }
    if let Some(name) = &args.containerd_namespace {
        progress.step(&format!("importing into containerd's namespace {name}"), 0, 0);
        let namespace = Namespace { name: name.clone(), address: args.containerd_address.clone() };
        import(image, reference, &namespace)?;
        places.push(("containerd", format!("{name}: {reference}")));
    }
    Ok(places)
}

fn unwritable(path: &Path, error: anyhow::Error) -> Failure {
    let message = format!("could not write the image to {}", path.display());
    Failure::new(Exit::Preflight, "E-IMAGE-UNWRITTEN", message)
        .object(path.display())
        .hint("name a place that can be written, with room for some 30 MB")
        .because(error)
}

fn beside(
    image: &Image,
    workspace: &Workspace,
    target: &str,
    base: Option<PathBuf>,
    progress: &mut Progress<'_>,
) -> anyhow::Result<Comparison> {
    let toolchain = toolchain().ok_or_else(|| {
        Failure::new(Exit::Preflight, "E-COMPARE", "there is no Rust toolchain to weigh")
            .hint("--compare needs `rustc` on the PATH: the naive image would hold it")
    })?;
    let naive = Naive { workspace, target, toolchain, base };
    compare(image, &naive, |phase, done, total| progress.step(phase, done, total))
}

fn report(
    image: &Image,
    reference: &Reference,
    places: &[(&'static str, String)],
    compared: Option<&Comparison>,
) -> Report {
    let layer = |layer: &crate::image::layer::Layer| {
        json!({
            "about": layer.about,
            "digest": layer.weight.digest,
            "plain_digest": layer.weight.plain_digest,
            "size_bytes": layer.weight.size_bytes,
            "plain_bytes": layer.weight.plain_bytes,
        })
    };
    let platform = image.manifest.platform.as_ref().map(ToString::to_string).unwrap_or_default();
    let data = json!({
        "reference": reference.to_string(),
        "digest": image.manifest.digest,
        "config_digest": image.config.digest,
        "platform": platform,
        "size_bytes": image.size_bytes(),
        "plain_bytes": image.plain_bytes(),
        "layers": image.layers.iter().map(layer).collect::<Vec<_>>(),
        "places": places.iter().map(|(kind, place)| json!({"kind": kind, "place": place})).collect::<Vec<Value>>(),
        "compared": compared,
    });
    let mut facts = vec![
        ("image".to_owned(), reference.familiar()),
        ("digest".to_owned(), image.manifest.digest.to_string()),
        ("platform".to_owned(), platform),
        (
            "size".to_owned(),
            format!("{} compressed, {} unpacked", size(image.size_bytes()), size(image.plain_bytes())),
        ),
    ];
    facts.extend(places.iter().map(|(kind, place)| ((*kind).to_owned(), place.clone())));
    if let Some(compared) = compared {
        let both = |size_bytes, plain_bytes| {
            format!("{} compressed, {} unpacked", size(size_bytes), size(plain_bytes))
        };
        for part in &compared.parts {
            facts.push((format!("naive: {}", part.name), both(part.size_bytes, part.plain_bytes)));
        }
        facts.push(("naive: not counted".to_owned(), compared.not_counted.join("; ")));
        facts.push((
            "naive image".to_owned(),
            format!("at least {}", both(compared.naive_bytes, compared.naive_plain_bytes)),
        ));
        facts.push(("smaller by".to_owned(), format!("at least {:.1} %", compared.smaller_percent)));
    }
    let next = match places.first() {
        Some(("archive", path)) => {
            format!("`docker load -i {path}` or `shopctl image push {path} REGISTRY/NAME:TAG`")
        }
        Some(("layout", path)) => {
            format!("`shopctl image push {path} REGISTRY/NAME:TAG` brings it to a registry")
        }
        _ => format!("pods of that node can run {reference}"),
    };
    Report::facts(data, facts).last_line(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_foreign_program_nothing_is_claimed() {
        let labels = labels(&Source::File, &[("org.opencontainers.image.source".to_owned(), "x".to_owned())]);
        let keys: Vec<&str> =
            labels.keys().map(|key| key.trim_start_matches("org.opencontainers.image.")).collect();
        assert_eq!(keys, ["description", "source", "title"]);
    }
}
