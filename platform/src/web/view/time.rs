//! Times as a person reads them. All in UTC, and said so where it could be mistaken.

use crate::vocabulary::Timestamp;

/// `14 Nov 2026`.
#[must_use]
pub fn date_words(at: Timestamp) -> String {
    at.strftime("%-d %b %Y").to_string()
}

/// `14 Nov 2026, 14:32:05 UTC`.
#[must_use]
pub fn moment_words(at: Timestamp) -> String {
    at.strftime("%-d %b %Y, %H:%M:%S UTC").to_string()
}

/// `14:32 UTC`.
#[must_use]
pub fn clock_words(at: Timestamp) -> String {
    at.strftime("%H:%M UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_name_their_zone() {
        let at: Timestamp = "2026-11-04T14:32:05Z".parse().unwrap();
        assert_eq!(date_words(at), "4 Nov 2026");
        assert_eq!(moment_words(at), "4 Nov 2026, 14:32:05 UTC");
        assert_eq!(clock_words(at), "14:32 UTC");
    }
}
