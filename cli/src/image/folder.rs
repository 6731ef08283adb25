//! An image in a folder: an OCI layout, which may hold other images as well.

use std::io::{self, Write as _};
use std::path::Path;

use tempfile::NamedTempFile;

use super::archive::{BLOBS, INDEX_FILE, LAYOUT_FILE, LAYOUT_TEXT, index};
use super::document::{CONTAINERD_NAME, Index};
use super::layout::Image;
use super::reference::Reference;

/// Why an image could not be put into a folder.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// Something else lives there.
    #[error("the folder holds something else")]
    NotALayout,
    /// Its index cannot be understood.
    #[error("the folder's index.json cannot be read")]
    Index(#[source] serde_json::Error),
    /// The folder cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Puts `image` into the layout in `folder`, in the place of an older one of that name. The index comes last: until then the
/// folder has what it had.
///
/// # Errors
/// When the folder holds something else, or cannot be written.
pub fn save(image: &Image, reference: &Reference, folder: &Path) -> Result<(), FolderError> {
    std::fs::create_dir_all(folder)?;
    let layout = folder.join(LAYOUT_FILE);
    if !layout.exists() {
        if folder.read_dir()?.next().is_some() {
            return Err(FolderError::NotALayout);
        }
        std::fs::write(&layout, LAYOUT_TEXT)?;
    }
    let blobs = folder.join(BLOBS);
    std::fs::create_dir_all(&blobs)?;
    for blob in image.blobs() {
        let path = blobs.join(blob.digest.hex());
        let is_there = std::fs::metadata(&path).is_ok_and(|facts| facts.len() == blob.bytes.len() as u64);
        if !is_there {
            replace(&path, blob.bytes)?;
        }
    }
    let mut whole = index(image, reference);
    let name = reference.to_string();
    let others = known(folder)?.into_iter().flat_map(|index| index.manifests);
    whole.manifests.extend(others.filter(|other| other.annotations.get(CONTAINERD_NAME) != Some(&name)));
    replace(&folder.join(INDEX_FILE), &serde_json::to_vec(&whole).map_err(io::Error::from)?)?;
    Ok(())
}

fn known(folder: &Path) -> Result<Option<Index>, FolderError> {
    match std::fs::read(folder.join(INDEX_FILE)) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(FolderError::Index),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut beside = NamedTempFile::new_in(path.parent().unwrap_or(Path::new(".")))?;
    beside.write_all(bytes)?;
    beside.as_file().set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    beside.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::document::REF_NAME;
    use crate::image::layout::{Recipe, lay_out, tests::recipe};

    fn tags(folder: &Path) -> Vec<String> {
        let index = known(folder).unwrap().unwrap();
        index.manifests.into_iter().map(|manifest| manifest.annotations[REF_NAME].clone()).collect()
    }

    #[test]
    fn an_image_takes_the_place_of_its_namesake_only() {
        let folder = tempfile::tempdir().unwrap();
        let old = lay_out(recipe()).unwrap();
        let new = lay_out(Recipe { time_seconds: 5, ..recipe() }).unwrap();
        save(&old, &"shop:1".parse().unwrap(), folder.path()).unwrap();
        save(&old, &"shop:2".parse().unwrap(), folder.path()).unwrap();
        save(&new, &"shop:1".parse().unwrap(), folder.path()).unwrap();
        assert_eq!(tags(folder.path()), ["1", "2"]);
        let index = known(folder.path()).unwrap().unwrap();
        assert_eq!(index.manifests[0].digest, new.manifest.digest);
        assert_eq!(index.manifests[1].digest, old.manifest.digest);
    }

    #[test]
    fn a_blob_that_was_cut_off_is_written_again() {
        let folder = tempfile::tempdir().unwrap();
        let image = lay_out(recipe()).unwrap();
        let name = "shop:1".parse().unwrap();
        save(&image, &name, folder.path()).unwrap();
        let path = folder.path().join(BLOBS).join(image.config.digest.hex());
        std::fs::write(&path, "half").unwrap();
        save(&image, &name, folder.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), image.config_bytes);
    }

    #[test]
    fn a_folder_with_something_else_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        let error = save(&lay_out(recipe()).unwrap(), &"shop:1".parse().unwrap(), folder.path());
        assert!(matches!(error, Err(FolderError::NotALayout)));
        assert_eq!(folder.path().read_dir().unwrap().count(), 1);
    }
}
