//! A log's bytes cut into lines.

use platform::vocabulary::Timestamp;

/// What is kept of a line; the rest of a longer one is left out, and the line says so.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// A line that a container wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// When its node took it down.
    pub at: Timestamp,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// What it says.
    pub text: String,
}

/// The line that has not come to its end yet.
#[derive(Debug, Default)]
pub(super) struct Rest {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Rest {
    /// Takes `bytes` in, and hands each line that ended to `whole`: the moment and the text.
    pub(super) fn take(&mut self, bytes: &[u8], mut whole: impl FnMut(Timestamp, String)) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let (text, has_ended) = match part.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = LINE_BYTES_MAX.saturating_sub(self.bytes.len());
            self.bytes.extend_from_slice(&text[..text.len().min(room)]);
            self.is_cut |= text.len() > room;
            if has_ended {
                self.end(&mut whole);
            }
        }
    }

    /// The log has ended: what is left is a line too.
    pub(super) fn end(&mut self, whole: &mut impl FnMut(Timestamp, String)) {
        let is_cut = std::mem::take(&mut self.is_cut);
        let bytes = std::mem::take(&mut self.bytes);
        let text = String::from_utf8_lossy(&bytes);
        // The node puts the moment in front of every line; what has none is half a line, and comes again whole.
        let Some((at, text)) = text.split_once(' ') else { return };
        if let Ok(at) = at.parse() {
            let mark = if is_cut { " …" } else { "" };
            whole(at, format!("{text}{mark}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(parts: &[&[u8]]) -> Vec<String> {
        let (mut rest, mut found) = (Rest::default(), Vec::new());
        for part in parts {
            rest.take(part, |at, text| found.push(format!("{at} {text}")));
        }
        rest.end(&mut |at, text| found.push(format!("{at} {text}")));
        found
    }

    #[test]
    fn lines_are_put_together_from_parts() {
        let parts: [&[u8]; 3] = [b"2026-11-30T10:00:00.5Z one\n2026-11-30T10:", b"00:01Z two", b" words\n"];
        assert_eq!(lines(&parts), ["2026-11-30T10:00:00.5Z one", "2026-11-30T10:00:01Z two words"]);
    }

    #[test]
    fn a_line_that_is_cut_off_in_its_moment_is_none() {
        assert_eq!(lines(&[b"2026-11-30T10:00:00Z one\n2026-1"]), ["2026-11-30T10:00:00Z one"]);
    }

    #[test]
    fn a_line_without_an_end_is_not_kept_whole() {
        let long = vec![b'x'; 3 * LINE_BYTES_MAX];
        let found = lines(&[b"2026-11-30T10:00:00Z ", &long, b"\n2026-11-30T10:00:01Z two\n"]);
        assert_eq!(found.len(), 2);
        assert!(found[0].len() < LINE_BYTES_MAX + 64 && found[0].ends_with('…'));
        assert!(found[1].ends_with("two"));
    }
}
