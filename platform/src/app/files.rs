//! Whose the files are that a process makes.

/// From now on whatever this process and those it starts make is its owner's alone: accounts, addresses, statements
/// and logs of a shop are nobody else's. Call it before the first file is made.
pub fn keep_files_private() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
}
