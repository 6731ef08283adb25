//! An image as one file that every engine loads: an OCI layout in a tar, with Docker's list of images beside it.

use std::io::{self, Write};
use std::path::Path;

use tar::{Builder, Header};
use tempfile::NamedTempFile;

use super::document::{CONTAINERD_NAME, DockerEntry, INDEX, Index, REF_NAME};
use super::layout::Image;
use super::reference::Reference;

/// The file that says that this is a layout.
pub const LAYOUT_FILE: &str = "oci-layout";
/// What it says.
pub const LAYOUT_TEXT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;
/// The file that names the images.
pub const INDEX_FILE: &str = "index.json";
/// Docker's file that names the images.
const DOCKER_FILE: &str = "manifest.json";
/// The folder of the blobs.
pub const BLOBS: &str = "blobs/sha256";

/// The index of an archive that holds `image` under `reference`.
#[must_use]
pub fn index(image: &Image, reference: &Reference) -> Index {
    let mut named = image.manifest.clone();
    named.annotations =
        [(CONTAINERD_NAME.to_owned(), reference.to_string()), (REF_NAME.to_owned(), reference.tag.clone())]
            .into();
    Index { schema_version: 2, media_type: INDEX.to_owned(), manifests: vec![named] }
}

/// Writes the archive of `image` to `out`.
///
/// # Errors
/// When `out` takes no more.
pub fn write(image: &Image, reference: &Reference, out: impl Write) -> io::Result<()> {
    let mut tar = Builder::new(out);
    let mut add = |path: &str, bytes: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, path, bytes)
    };
    add(LAYOUT_FILE, LAYOUT_TEXT.as_bytes())?;
    for blob in image.blobs() {
        add(&format!("{BLOBS}/{}", blob.digest.hex()), blob.bytes)?;
    }
    add(INDEX_FILE, &serde_json::to_vec(&index(image, reference))?)?;
    let path = |hex: &str| format!("{BLOBS}/{hex}");
    let docker = DockerEntry {
        config: path(image.config.digest.hex()),
        repo_tags: vec![reference.familiar()],
        layers: image.layers.iter().map(|layer| path(layer.weight.digest.hex())).collect(),
    };
    add(DOCKER_FILE, &serde_json::to_vec(&[docker])?)?;
    tar.into_inner()?.flush()
}

/// Writes the archive to `path`, which has the old file or the new one at any moment, never half of it.
///
/// # Errors
/// When the folder cannot be written.
pub fn save(image: &Image, reference: &Reference, path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut beside = NamedTempFile::new_in(folder)?;
    write(image, reference, io::BufWriter::new(beside.as_file_mut()))?;
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    beside.as_file().set_permissions(readable)?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::layout::{lay_out, tests::recipe};

    #[test]
    fn the_same_image_makes_the_same_archive() {
        let archive = || {
            let mut bytes = Vec::new();
            let name = "ghcr.io/acme/shop:1".parse().unwrap();
            write(&lay_out(recipe()).unwrap(), &name, &mut bytes).unwrap();
            bytes
        };
        assert_eq!(archive(), archive());
    }

    #[test]
    fn a_folder_that_is_not_there_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let image = lay_out(recipe()).unwrap();
        let name = "shop:1".parse().unwrap();
        assert!(save(&image, &name, &folder.path().join("no/shop.tar")).is_err());
        save(&image, &name, &folder.path().join("shop.tar")).unwrap();
        let left: Vec<_> =
            folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["shop.tar"]);
    }
}
