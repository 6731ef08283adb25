//! What a process asks of the kernel about its memory.

/// Asks the kernel for pages of the usual size, for this process and those it starts. The allocator reserves memory in
/// large pieces, and a kernel that backs them with huge pages makes an idle shop half as large again as what it needs.
/// Call it first in `main`: pieces that were touched before stay as they are. A kernel that refuses costs memory only.
pub fn prefer_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}
