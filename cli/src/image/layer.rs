//! A layer: the files of a tree as a tar, compressed. The same tree makes the same bytes, whenever and wherever.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

use super::digest::{Digest, Measured};
use super::tree::{Content, Entry, Tree};

/// How hard to squeeze: the program goes over the wire to every node.
const LEVEL: Compression = Compression::best();

/// What a layer weighs, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weight {
    /// The digest of the compressed blob.
    pub digest: Digest,
    /// The length of the compressed blob.
    pub size_bytes: u64,
    /// The digest of the tar.
    pub plain_digest: Digest,
    /// The length of the tar.
    pub plain_bytes: u64,
}

/// A layer that is ready to be carried.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What is in it, for a person.
    pub about: String,
    /// Its weight and its names.
    pub weight: Weight,
    /// The compressed blob.
    pub blob: Vec<u8>,
}

impl Layer {
    /// The layer of `tree`, with every file as of `time_seconds`.
    ///
    /// # Errors
    /// When a file of the tree cannot be read.
    pub fn of(tree: &Tree, time_seconds: u64, about: &str) -> io::Result<Self> {
        let (weight, blob) = pack(tree, time_seconds, Vec::new())?;
        Ok(Self { about: about.to_owned(), weight, blob })
    }
}

/// Writes the compressed layer of `tree` into `out`.
///
/// # Errors
/// When a file of the tree cannot be read, or `out` takes no more.
pub fn pack<W: Write>(tree: &Tree, time_seconds: u64, out: W) -> io::Result<(Weight, W)> {
    // The header of gzip has a time and a system as well: 0 and "unknown" unless one sets them.
    let squeezed = GzBuilder::new().write(Measured::new(out), LEVEL);
    let mut tar = Builder::new(Measured::new(squeezed));
    for (path, entry) in tree.entries() {
        append(&mut tar, path, entry, time_seconds)?;
    }
    let (plain_digest, plain_bytes, squeezed) = tar.into_inner()?.finish();
    let (digest, size_bytes, out) = squeezed.finish()?.finish();
    Ok((Weight { digest, size_bytes, plain_digest, plain_bytes }, out))
}

fn append<W: Write>(tar: &mut Builder<W>, path: &Path, entry: &Entry, time_seconds: u64) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_mode(entry.mode);
    header.set_uid(entry.owner.user.into());
    header.set_gid(entry.owner.group.into());
    header.set_mtime(time_seconds);
    header.set_size(0);
    match &entry.content {
        Content::Folder => {
            header.set_entry_type(EntryType::Directory);
            // A folder's name ends with a slash in a tar.
            tar.append_data(&mut header, path.join(""), io::empty())
        }
        Content::Link(target) => {
            header.set_entry_type(EntryType::Symlink);
            tar.append_link(&mut header, path, target)
        }
        Content::File(bytes) => {
            header.set_size(bytes.len() as u64);
            tar.append_data(&mut header, path, bytes.as_slice())
        }
        Content::Copy(source) => {
            let file = File::open(source)?;
            header.set_size(file.metadata()?.len());
            tar.append_data(&mut header, path, file)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use flate2::read::GzDecoder;

    use super::*;
    use crate::image::tree::{Owner, ROOT};

    fn tree() -> Tree {
        let shop = Owner { user: 65_532, group: 65_532 };
        Tree::default().with("shopd", 0o755, ROOT, Content::File(b"program".repeat(1000))).with(
            "data",
            0o700,
            shop,
            Content::Folder,
        )
    }

    #[test]
    fn the_same_files_make_the_same_bytes_and_the_names_tell_the_truth() {
        let layer = Layer::of(&tree(), 0, "").unwrap();
        assert_eq!(layer.blob, Layer::of(&tree(), 0, "").unwrap().blob);
        assert_eq!(layer.weight.digest, Digest::of(&layer.blob));
        assert_eq!(layer.weight.size_bytes, layer.blob.len() as u64);
        let mut plain = Vec::new();
        GzDecoder::new(layer.blob.as_slice()).read_to_end(&mut plain).unwrap();
        assert_eq!(layer.weight.plain_digest, Digest::of(&plain));
        assert_eq!(layer.weight.plain_bytes, plain.len() as u64);
        assert_ne!(Layer::of(&tree(), 1, "").unwrap().weight.digest, layer.weight.digest);
    }

    #[test]
    fn what_is_unpacked_is_what_was_meant() {
        let layer = Layer::of(&tree(), 7, "").unwrap();
        let mut archive = tar::Archive::new(GzDecoder::new(layer.blob.as_slice()));
        let found: Vec<_> = archive
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                let owner = (header.uid().unwrap(), header.gid().unwrap());
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), owner, header.mtime().unwrap(), entry.size())
            })
            .collect();
        assert_eq!(found[0], ("data/".to_owned(), 0o700, (65_532, 65_532), 7, 0));
        assert_eq!(found[1], ("shopd".to_owned(), 0o755, (0, 0), 7, 7000));
    }
}
