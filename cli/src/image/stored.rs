//! An image that was laid out before: in an archive, a folder, or a stream. Blobs stay where they are until they are read.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::archive::{BLOBS, INDEX_FILE};
use super::digest::{Digest, Measured};
use super::document::{DOCKER_MANIFEST, Descriptor, INDEX, ImageConfig, Index, MANIFEST, Manifest, REF_NAME};
use crate::failure::{Exit, Failure};

/// A document larger than this is none.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// Docker's own list of images.
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A stored image: its documents are read and were found to be what their names promise.
#[derive(Debug)]
pub struct Stored {
    blobs: Blobs,
    /// The tag that it was stored under.
    pub tag: Option<String>,
    /// Names the manifest.
    pub named: Descriptor,
    /// The manifest as it stands: its digest is over these bytes.
    pub manifest_bytes: Vec<u8>,
    /// The manifest.
    pub manifest: Manifest,
    /// The config.
    pub config: ImageConfig,
}

/// Where the blobs are.
#[derive(Debug)]
enum Blobs {
    Folder(PathBuf),
    Archive { file: File, places: BTreeMap<String, (u64, u64)> },
}

impl Stored {
    /// The image at `path`: an archive or a folder.
    ///
    /// # Errors
    /// When there is none, or what is there is not whole.
    pub fn open(path: &Path) -> anyhow::Result<Self> {
        let object = path.display().to_string();
        let absent = |error: io::Error| {
            Failure::new(Exit::Usage, "E-IMAGE-ABSENT", format!("could not read an image from {object}"))
                .object(&object)
                .hint("`shopctl image build` makes one")
                .because(error)
        };
        let facts = std::fs::metadata(path).map_err(absent)?;
        let blobs = if facts.is_dir() {
            Blobs::Folder(path.to_owned())
        } else {
            places(File::open(path).map_err(absent)?).map_err(|error| broken(&object, error.into()))?
        };
        Self::read(blobs).map_err(|error| broken(&object, error).into())
    }

    /// The image in a stream, which is kept in a nameless file.
    ///
    /// # Errors
    /// When the stream holds none, or not all of it.
    pub fn from_stream(stream: &mut impl Read) -> anyhow::Result<Self> {
        let kept = tempfile::tempfile().and_then(|mut file| {
            io::copy(stream, &mut file)?;
            Ok(file)
        });
        let blobs = kept.and_then(places).map_err(|error| broken("stdin", error.into()))?;
        Self::read(blobs).map_err(|error| broken("stdin", error).into())
    }

    fn read(blobs: Blobs) -> anyhow::Result<Self> {
        let index = blobs.document(INDEX_FILE)?.ok_or_else(|| {
            anyhow::anyhow!(
                "it has no index.json: it is no OCI archive or layout (podman save --format oci-archive)"
            )
        })?;
        let index: Index = serde_json::from_slice(&index)?;
        let named = blobs.choose(index, 0)?;
        let manifest_bytes = blobs.checked_document(&named)?;
        let manifest: Manifest = serde_json::from_slice(&manifest_bytes)?;
        let config = serde_json::from_slice(&blobs.checked_document(&manifest.config)?)?;
        let tag = named.annotations.get(REF_NAME).cloned();
        Ok(Self { blobs, tag, named, manifest_bytes, manifest, config })
    }

    /// The bytes of a blob, to be read.
    ///
    /// # Errors
    /// When the image does not have it, or less of it than it says.
    pub fn blob(&self, named: &Descriptor) -> io::Result<io::Take<File>> {
        let (file, length) = self.blobs.open(&format!("{BLOBS}/{}", named.digest.hex()))?;
        if length != named.size {
            let message = format!("{} has {length} bytes instead of {}", named.digest, named.size);
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(file.take(length))
    }

    /// Config and layers: everything that the manifest names, in the order in which it is carried.
    pub fn parts(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifest.layers.iter().chain([&self.manifest.config])
    }
}

impl Blobs {
    fn open(&self, path: &str) -> io::Result<(File, u64)> {
        match self {
            Self::Folder(folder) => {
                let file = File::open(folder.join(path))?;
                let length = file.metadata()?.len();
                Ok((file, length))
            }
            Self::Archive { file, places } => {
                let absent =
                    || io::Error::new(io::ErrorKind::NotFound, format!("{path} is not in the archive"));
                let (at, length) = *places.get(path).ok_or_else(absent)?;
                // One file, one position: blobs are read one after another.
                let mut file = file.try_clone()?;
                file.seek(SeekFrom::Start(at))?;
                Ok((file, length))
            }
        }
    }

    fn document(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        let (file, length) = match self.open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        if length > DOCUMENT_BYTES_MAX {
            return Err(io::Error::other(format!("{path} has {length} bytes: it is no document")));
        }
        let mut bytes = Vec::new();
        file.take(length).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    fn checked_document(&self, named: &Descriptor) -> anyhow::Result<Vec<u8>> {
        let bytes = self
            .document(&format!("{BLOBS}/{}", named.digest.hex()))?
            .ok_or_else(|| anyhow::anyhow!("{} is missing", named.digest))?;
        let found = Digest::of(&bytes);
        anyhow::ensure!(found == named.digest, "{} was changed: its digest is {found} now", named.digest);
        Ok(bytes)
    }

    /// The first image of an index; an index may name another one, and what only describes images is passed over.
    fn choose(&self, index: Index, depth: u8) -> anyhow::Result<Descriptor> {
        let is_image =
            |named: &&Descriptor| named.platform.as_ref().is_none_or(|platform| platform.os != "unknown");
        let first = index.manifests.iter().find(is_image);
        let mut named = first.cloned().ok_or_else(|| anyhow::anyhow!("its index names no image"))?;
        match named.media_type.as_str() {
            MANIFEST | DOCKER_MANIFEST => Ok(named),
            INDEX | DOCKER_INDEX if depth < 2 => {
                let inner = serde_json::from_slice(&self.checked_document(&named)?)?;
                let annotations = std::mem::take(&mut named.annotations);
                let mut chosen = self.choose(inner, depth + 1)?;
                chosen.annotations.extend(annotations);
                Ok(chosen)
            }
            other => anyhow::bail!("its index names a `{other}`, which is no image"),
        }
    }
}

/// Where everything stands in the tar. Folders and links are of no interest.
fn places(mut file: File) -> io::Result<Blobs> {
    file.seek(SeekFrom::Start(0))?;
    let mut archive = tar::Archive::new(&file);
    let mut places = BTreeMap::new();
    for entry in archive.entries_with_seek()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() {
            let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_owned();
            places.insert(path, (entry.raw_file_position(), entry.size()));
        }
    }
    Ok(Blobs::Archive { file, places })
}

fn broken(object: &str, error: anyhow::Error) -> Failure {
    Failure::new(Exit::Preflight, "E-IMAGE-BROKEN", format!("{object} does not hold a whole image"))
        .object(object)
        .hint("build or save it again; `shopctl image build` makes one")
        .because(error)
}

/// Reads to the end, and tells the digest and the length of what was read.
///
/// # Errors
/// When it cannot be read to its end.
pub fn digest_of(mut stream: impl Read) -> io::Result<(Digest, u64)> {
    let mut measured = Measured::new(&mut stream);
    io::copy(&mut measured, &mut io::sink())?;
    let (digest, bytes, _) = measured.finish();
    Ok((digest, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::failure::Diagnosis;
    use crate::image::layout::{lay_out, tests::recipe};
    use crate::image::{archive, folder};

    #[test]
    fn what_was_stored_is_found_again_in_every_form() {
        let place = tempfile::tempdir().unwrap();
        let image = lay_out(recipe()).unwrap();
        let name = "shop:1".parse().unwrap();
        let file = place.path().join("shop.tar");
        archive::save(&image, &name, &file).unwrap();
        folder::save(&image, &name, &place.path().join("layout")).unwrap();
        let forms = [
            Stored::open(&file).unwrap(),
            Stored::open(&place.path().join("layout")).unwrap(),
            Stored::from_stream(&mut File::open(&file).unwrap()).unwrap(),
        ];
        for stored in forms {
            assert_eq!(stored.named.digest, image.manifest.digest);
            assert_eq!(stored.manifest_bytes, image.manifest_bytes);
            assert_eq!(stored.tag.as_deref(), Some("1"));
            for part in stored.parts() {
                assert_eq!(digest_of(stored.blob(part).unwrap()).unwrap(), (part.digest.clone(), part.size));
            }
        }
    }

    #[test]
    fn an_archive_that_is_cut_off_or_changed_is_not_taken_for_an_image() {
        let place = tempfile::tempdir().unwrap();
        let image = lay_out(recipe()).unwrap();
        let mut whole = Vec::new();
        archive::write(&image, &"shop:1".parse().unwrap(), &mut whole).unwrap();
        let at = whole.windows(6).position(|window| window == b"amd64\"").unwrap();
        let mut changed = whole.clone();
        changed[at] = b'b';
        let cut = whole[..whole.len() / 2].to_vec();
        for (bytes, says) in [(changed, "was changed"), (cut, ""), (b"not a tar".to_vec(), "")] {
            let path = place.path().join("shop.tar");
            std::fs::write(&path, bytes).unwrap();
            let found = Diagnosis::of(&Stored::open(&path).unwrap_err());
            assert_eq!((found.exit, found.code), (Exit::Preflight, "E-IMAGE-BROKEN"));
            assert!(found.causes.iter().any(|cause| cause.contains(says)), "{found:?}");
        }
    }
}
