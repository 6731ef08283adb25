//! What a process asks of the kernel about its memory.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::capabilities::Capabilities;

/// How long nobody asks anything before a shop takes itself for idle.
const QUIET_S: i64 = 3;
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks the kernel for pages of the usual size, for this process and those it starts. The allocator reserves memory in
/// large pieces, and a kernel that backs them with huge pages makes an idle shop half as large again as what it needs.
/// Call it first in `main`: pieces that were touched before stay as they are. A kernel that refuses costs memory only.
pub fn prefer_small_pages() {
    let _ = rustix::thread::disable_transparent_huge_pages(true);
}

/// Gives back the program's pages each time the shop has come to rest, until `stop`: a third of what an idle shop would hold.
pub(super) async fn watch(capabilities: Capabilities, stop: CancellationToken) {
    let mut rest = Rest::default();
    while stop.run_until_cancelled(tokio::time::sleep(LOOK_EVERY)).await.is_some() {
        let newest = capabilities.telemetry.live().newest();
        if rest.has_come(newest, capabilities.env.now().as_second()) {
            give_back_the_program();
        }
    }
}

/// Whether a shop is at rest, told once for each time that it was busy.
#[derive(Debug, Default)]
struct Rest {
    /// The last busy second after which it was told.
    told: Option<i64>,
}

impl Rest {
    /// Whether the shop, busy at `newest` for the last time, has just come to rest at `now`; both in seconds.
    fn has_come(&mut self, newest: Option<i64>, now: i64) -> bool {
        let is_quiet = newest.is_some_and(|newest| now - newest >= QUIET_S);
        let is_new = newest != self.told;
        if is_quiet && is_new {
            self.told = newest;
        }
        is_quiet && is_new
    }
}

/// Gives back the pages of the program that were needed until now, at the start or while customers asked. They stay in the
/// kernel's page cache, and one that is needed again is mapped again at a touch: some three hundred of them, sixteen at a time,
/// when the next customer comes. A kernel that refuses costs memory only.
pub(super) fn give_back_the_program() {
    let Ok(maps) = std::fs::read_to_string("/proc/self/maps") else { return };
    let Ok(program) = std::env::current_exe() else { return };
    for (from, len) in code_of(&program.to_string_lossy(), &maps) {
        // SAFETY: the range is code of this program, mapped from its file, privately and not writable, so that no page of it
        // differs from the file: what is dropped is read from there again. No memory that Rust owns lies in it.
        #[expect(
            unsafe_code,
            reason = "the kernel is told by address; the range is checked to be unwritten code"
        )]
        let told = unsafe {
            rustix::mm::madvise(
                std::ptr::without_provenance_mut(from),
                len,
                rustix::mm::Advice::LinuxDontNeed,
            )
        };
        if let Err(error) = told {
            tracing::debug!(%error, "could not give the program's pages back");
        }
    }
}

/// Where the code of `program` lies, as `maps` tells: start and length in bytes.
fn code_of(program: &str, maps: &str) -> Vec<(usize, usize)> {
    let code = maps.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        if rights != "r-xp" || !line.ends_with(program) {
            return None;
        }
        let (from, to) = range.split_once('-')?;
        let from = usize::from_str_radix(from, 16).ok()?;
        let to = usize::from_str_radix(to, 16).ok()?;
        Some((from, to.checked_sub(from)?))
    });
    code.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_code_of_the_program_is_given_back() {
        let maps = "55d0-55e0 r--p 00000000 fe:01 1 /bin/shop\n\
                    55e0-5600 r-xp 00001000 fe:01 1 /bin/shop\n\
                    5600-5610 rw-p 00002000 fe:01 1 /bin/shop\n\
                    7f00-7f10 r-xp 00000000 fe:01 2 /lib/libc.so.6\n\
                    7ff0-7fff r-xp 00000000 00:00 0 [vdso]\n";
        assert_eq!(code_of("/bin/shop", maps), [(0x55e0, 0x20)]);
        assert!(code_of("/bin/other", maps).is_empty());
    }

    #[test]
    fn what_was_given_back_still_runs() {
        let told = |value: u64| format!("{value:?} {:.3}", value as f64).len();
        let before = told(7);
        give_back_the_program();
        assert_eq!(told(7), before);
    }

    #[test]
    fn it_rests_once_after_each_time_that_it_was_busy() {
        let mut rest = Rest::default();
        assert!(!rest.has_come(None, 100), "nobody came yet, and the start's pages are given back");
        assert!(!rest.has_come(Some(100), 101));
        assert!(!rest.has_come(Some(101), 103));
        assert!(rest.has_come(Some(101), 104));
        assert!(!rest.has_come(Some(101), 105), "once");
        assert!(!rest.has_come(Some(106), 106));
        assert!(rest.has_come(Some(106), 900), "also when nobody looked for long");
        assert!(!rest.has_come(Some(900), 890), "a clock that was set back");
    }
}
