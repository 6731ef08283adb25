//! The files of a layer, as a value: nothing of when or by whom they were made gets in.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Whose a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The user's number.
    pub user: u32,
    /// The group's number.
    pub group: u32,
}

/// The owner of what nobody in the container may change.
pub const ROOT: Owner = Owner { user: 0, group: 0 };

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// A folder.
    Folder,
    /// A file with these bytes.
    File(Vec<u8>),
    /// A file whose bytes stand in this file, and are read when they are needed.
    Copy(PathBuf),
    /// A symbolic link to this.
    Link(PathBuf),
}

/// One entry of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The permissions.
    pub mode: u32,
    /// Whose it is.
    pub owner: Owner,
    /// What it is.
    pub content: Content,
}

/// The entries of a layer by their path, which has no leading slash. A folder comes before what is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Tree {
    /// A tree with this entry too. Folders above it that nobody named belong to root.
    #[must_use]
    pub fn with(mut self, path: &str, mode: u32, owner: Owner, content: Content) -> Self {
        self.insert(Path::new(path), Entry { mode, owner, content });
        self
    }

    fn insert(&mut self, path: &Path, entry: Entry) {
        for above in path.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
            let folder = Entry { mode: 0o755, owner: ROOT, content: Content::Folder };
            self.entries.entry(above.to_owned()).or_insert(folder);
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// What stands in the folder `from`, put under `at`. Permissions are kept, everything belongs to root; sockets and
    /// devices are left out.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn of_folder(from: &Path, at: &str) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut waiting = vec![PathBuf::new()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(from.join(&folder))? {
                let inside = folder.join(entry?.file_name());
                let source = from.join(&inside);
                let facts = std::fs::symlink_metadata(&source)?;
                let kind = facts.file_type();
                let content = if kind.is_dir() {
                    waiting.push(inside.clone());
                    Content::Folder
                } else if kind.is_symlink() {
                    Content::Link(std::fs::read_link(&source)?)
                } else if kind.is_file() {
                    Content::Copy(source)
                } else {
                    continue;
                };
                let entry = Entry { mode: facts.mode() & 0o7777, owner: ROOT, content };
                tree.insert(&Path::new(at).join(&inside), entry);
            }
        }
        Ok(tree)
    }

    /// These files of the folder `from`, put under `at`.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn of_files(from: &Path, files: impl IntoIterator<Item = PathBuf>, at: &str) -> io::Result<Self> {
        let mut tree = Self::default();
        for inside in files {
            let source = from.join(&inside);
            let facts = std::fs::symlink_metadata(&source)?;
            if facts.is_file() {
                let entry =
                    Entry { mode: facts.mode() & 0o7777, owner: ROOT, content: Content::Copy(source) };
                tree.insert(&Path::new(at).join(&inside), entry);
            }
        }
        Ok(tree)
    }

    /// The entries in the order of their paths.
    pub fn entries(&self) -> impl Iterator<Item = (&Path, &Entry)> {
        self.entries.iter().map(|(path, entry)| (path.as_path(), entry))
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_comes_before_what_is_in_it_and_the_order_of_writing_is_forgotten() {
        let file = || Content::File(Vec::new());
        let one = Tree::default().with("etc/ssl/a", 0o644, ROOT, file()).with("etc/b", 0o644, ROOT, file());
        let other = Tree::default().with("etc/b", 0o644, ROOT, file()).with("etc/ssl/a", 0o644, ROOT, file());
        assert_eq!(one, other);
        let paths: Vec<&Path> = one.entries().map(|(path, _)| path).collect();
        assert_eq!(paths, ["etc", "etc/b", "etc/ssl", "etc/ssl/a"].map(Path::new));
    }

    #[test]
    fn a_folder_is_taken_with_its_links_and_without_its_owners() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("lib")).unwrap();
        std::fs::write(folder.path().join("lib/a"), "a").unwrap();
        std::os::unix::fs::symlink("lib", folder.path().join("lib64")).unwrap();
        let tree = Tree::of_folder(folder.path(), "base").unwrap();
        let found: Vec<_> = tree.entries().map(|(path, entry)| (path, &entry.content)).collect();
        assert_eq!(found[0], (Path::new("base"), &Content::Folder));
        assert_eq!(found[2], (Path::new("base/lib/a"), &Content::Copy(folder.path().join("lib/a"))));
        assert_eq!(found[3], (Path::new("base/lib64"), &Content::Link("lib".into())));
        assert!(tree.entries().all(|(_, entry)| entry.owner == ROOT));
    }
}
