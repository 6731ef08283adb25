//! What is in a stored image, layer by layer. Every blob is read whole and held against its name.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;
use serde::Serialize;

use super::digest::{Digest, Measured};
use super::document::{Descriptor, Platform, RunConfig};
use super::stored::Stored;
use crate::failure::{Exit, Failure};

/// Everything that can be told.
#[derive(Clone, Debug, Serialize)]
pub struct Inspection {
    /// The digest of the manifest: the image's own name.
    pub digest: Digest,
    /// The digest of the config, which Docker calls the image's id.
    pub config_digest: Digest,
    /// The tag that it is stored under.
    pub tag: Option<String>,
    /// The machines.
    pub platform: Platform,
    /// When it was made, as it says.
    pub created: String,
    /// What travels: compressed layers, config and manifest.
    pub size_bytes: u64,
    /// The layers as they are unpacked.
    pub plain_bytes: u64,
    /// How it is run.
    pub run: RunConfig,
    /// The layers.
    pub layers: Vec<LayerView>,
    /// The files of all layers, the lowest first.
    pub files: Vec<FileView>,
}

/// A layer.
#[derive(Clone, Debug, Serialize)]
pub struct LayerView {
    /// The digest of the blob.
    pub digest: Digest,
    /// The digest of the tar.
    pub plain_digest: Digest,
    /// The length of the blob.
    pub size_bytes: u64,
    /// The length of the tar.
    pub plain_bytes: u64,
    /// How it came to be, as the image says.
    pub about: String,
    /// How many entries it has.
    pub entries: usize,
}

/// A file, folder or link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileView {
    /// Its layer, from 1.
    pub layer: usize,
    /// Its path.
    pub path: String,
    /// `file`, `folder`, `link`, or `other`.
    pub kind: &'static str,
    /// The permissions in octal.
    pub mode: String,
    /// The user's number.
    pub user: u64,
    /// The group's number.
    pub group: u64,
    /// Its length.
    pub size_bytes: u64,
    /// Where a link leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// Reads the whole image.
///
/// # Errors
/// When a blob is missing, changed or of a kind that cannot be read.
pub fn inspect(stored: &Stored) -> anyhow::Result<Inspection> {
    let mut layers = Vec::new();
    let mut files = Vec::new();
    let with_layer = stored.config.history.iter().filter(|history| !history.empty_layer);
    let mut about = with_layer.map(|history| history.created_by.clone());
    for (at, named) in stored.manifest.layers.iter().enumerate() {
        let read = read_layer(stored, named, at + 1).map_err(|error| damaged(named, error))?;
        let promised = stored.config.rootfs.diff_ids.get(at);
        if promised != Some(&read.plain_digest) {
            let message = format!("the config promises another tar: {promised:?}");
            return Err(damaged(named, io::Error::other(message)).into());
        }
        layers.push(LayerView {
            digest: named.digest.clone(),
            plain_digest: read.plain_digest,
            size_bytes: named.size,
            plain_bytes: read.plain_bytes,
            about: about.next().unwrap_or_default(),
            entries: read.files.len(),
        });
        files.extend(read.files);
    }
    let manifest_bytes = stored.manifest_bytes.len() as u64;
    Ok(Inspection {
        digest: stored.named.digest.clone(),
        config_digest: stored.manifest.config.digest.clone(),
        tag: stored.tag.clone(),
        platform: stored.config.platform.clone(),
        created: stored.config.created.clone(),
        size_bytes: stored.parts().map(|part| part.size).sum::<u64>() + manifest_bytes,
        plain_bytes: layers.iter().map(|layer| layer.plain_bytes).sum(),
        run: stored.config.config.clone(),
        layers,
        files,
    })
}

struct LayerContents {
    plain_digest: Digest,
    plain_bytes: u64,
    files: Vec<FileView>,
}

fn read_layer(stored: &Stored, named: &Descriptor, layer: usize) -> io::Result<LayerContents> {
    let blob = Measured::new(stored.blob(named)?);
    let read = match named.media_type.rsplit(['+', '.']).next() {
        Some("gzip") => {
            let (read, decoder) = read_tar(MultiGzDecoder::new(blob), layer)?;
            (read, decoder.into_inner())
        }
        Some("tar") => read_tar(blob, layer)?,
        _ => {
            return Err(io::Error::other(format!(
                "layers of the kind `{}` cannot be read",
                named.media_type
            )));
        }
    };
    let (read, mut blob) = read;
    io::copy(&mut blob, &mut io::sink())?;
    let (digest, ..) = blob.finish();
    if digest != named.digest {
        return Err(io::Error::other(format!("it was changed: its digest is {digest} now")));
    }
    Ok(read)
}

fn read_tar<R: Read>(stream: R, layer: usize) -> io::Result<(LayerContents, R)> {
    let mut archive = tar::Archive::new(Measured::new(stream));
    let mut files = Vec::new();
    for entry in archive.entries()? {
        let entry = entry?;
        let header = entry.header();
        let kind = match header.entry_type() {
            kind if kind.is_file() => "file",
            kind if kind.is_dir() => "folder",
            kind if kind.is_symlink() || kind.is_hard_link() => "link",
            _ => "other",
        };
        files.push(FileView {
            layer,
            path: entry.path()?.display().to_string(),
            kind,
            mode: format!("{:04o}", header.mode()?),
            user: header.uid()?,
            group: header.gid()?,
            size_bytes: entry.size(),
            target: entry.link_name()?.map(|target| target.display().to_string()),
        });
    }
    let mut measured = archive.into_inner();
    // The tar ends with blocks of zeros, which belong to it and which its reader leaves.
    io::copy(&mut measured, &mut io::sink())?;
    let (plain_digest, plain_bytes, stream) = measured.finish();
    Ok((LayerContents { plain_digest, plain_bytes, files }, stream))
}

fn damaged(named: &Descriptor, error: io::Error) -> Failure {
    Failure::new(Exit::Preflight, "E-IMAGE-BROKEN", format!("the layer {} cannot be read", named.digest))
        .object(&named.digest)
        .hint("build or save the image again")
        .because(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;
    use crate::image::layout::{Image, lay_out, tests::recipe};
    use crate::image::{archive, contents};

    fn stored(image: &Image) -> Stored {
        let mut bytes = Vec::new();
        archive::write(image, &"shop:1".parse().unwrap(), &mut bytes).unwrap();
        Stored::from_stream(&mut bytes.as_slice()).unwrap()
    }

    #[test]
    fn what_is_found_is_what_was_meant() {
        let image = lay_out(recipe()).unwrap();
        let found = inspect(&stored(&image)).unwrap();
        assert_eq!(found.digest, image.manifest.digest);
        assert_eq!((found.size_bytes, found.plain_bytes), (image.size_bytes(), image.plain_bytes()));
        assert_eq!(found.run, contents::run_config(recipe().labels));
        let base = contents::base();
        let program = contents::program(Vec::new());
        let meant: Vec<String> =
            base.entries().chain(program.entries()).map(|(path, _)| path.display().to_string()).collect();
        let paths: Vec<&str> = found.files.iter().map(|file| file.path.trim_end_matches('/')).collect();
        assert_eq!(paths, meant);
    }

    #[test]
    fn a_layer_that_was_changed_is_named() {
        let mut image = lay_out(recipe()).unwrap();
        let last = image.layers[1].blob.len() - 10;
        image.layers[1].blob[last] ^= 1;
        let found = Diagnosis::of(&inspect(&stored(&image)).unwrap_err());
        assert_eq!((found.exit, found.code), (Exit::Preflight, "E-IMAGE-BROKEN"));
        assert!(found.message.contains(image.layers[1].weight.digest.as_str()), "{found:?}");
    }
}
