//! Into a namespace of containerd on this machine, by its own client: for nodes that need no registry.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;

use super::archive;
use super::layout::Image;
use super::reference::Reference;
use crate::failure::{Exit, Failure};

/// A namespace of a containerd.
#[derive(Clone, Debug)]
pub struct Namespace {
    /// Its name; Kubernetes has `k8s.io`.
    pub name: String,
    /// The socket, when it is not the usual one.
    pub address: Option<PathBuf>,
}

/// Imports `image` under `reference`.
///
/// # Errors
/// When there is no `ctr`, or it says no.
pub fn import(image: &Image, reference: &Reference, namespace: &Namespace) -> anyhow::Result<()> {
    let mut command = Command::new("ctr");
    if let Some(address) = &namespace.address {
        command.arg("--address").arg(address);
    }
    command.args(["--namespace", &namespace.name, "images", "import", "-"]);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| {
        Failure::new(Exit::Preflight, "E-NO-CTR", "could not start `ctr`, the client of containerd")
            .hint("install containerd, or write an archive with --archive and load it where it is needed")
            .because(error)
    })?;
    let stdin = child.stdin.take().context("ctr was started without an input")?;
    // It may end before it has read everything; what it says then counts for more than the broken pipe.
    let written = archive::write(image, reference, std::io::BufWriter::new(stdin));
    let ended = child.wait_with_output().context("could not wait for ctr")?;
    if ended.status.success() {
        return written.context("could not hand the image to ctr");
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().trim_start_matches("ctr: ").to_owned();
    let is_away =
        said.contains("connection refused") || said.contains("no such file") || said.contains("dial unix");
    let (exit, code, hint) = if is_away {
        (Exit::Unreachable, "E-UNREACHABLE", "name the socket with --containerd-address")
    } else {
        (Exit::Preflight, "E-CONTAINERD", "ask containerd's log, or write an archive with --archive")
    };
    let message = format!("containerd did not take {reference} into the namespace `{}`", namespace.name);
    Err(Failure::new(exit, code, message)
        .hint(hint)
        .object(reference)
        .because(anyhow::Error::msg(said))
        .into())
}
