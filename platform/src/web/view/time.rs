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

/// `14:32:05.123 UTC`: for those who compare moments.
#[must_use]
pub fn exact_words(at: Timestamp) -> String {
    at.strftime("%H:%M:%S.%3f UTC").to_string()
}

/// A duration in the unit that keeps it short: `850 µs`, `12.3 ms`, `4.2 s`, `3 min`.
#[must_use]
pub fn microseconds(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{}.{} ms", us / 1_000, us % 1_000 / 100),
        1_000_000..120_000_000 => format!("{}.{} s", us / 1_000_000, us % 1_000_000 / 100_000),
        _ => format!("{} min", us / 60_000_000),
    }
}

/// [`microseconds`] of milliseconds; nothing waiting is a dash.
#[must_use]
pub fn milliseconds(ms: u64) -> String {
    if ms == 0 { "–".to_owned() } else { microseconds(ms.saturating_mul(1_000)) }
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
        assert_eq!(exact_words(at), "14:32:05.000 UTC");
    }

    #[test]
    fn durations_stay_short() {
        let words = [850, 12_345, 4_200_000, 180_000_000].map(microseconds);
        assert_eq!(words, ["850 µs", "12.3 ms", "4.2 s", "3 min"]);
        assert_eq!(milliseconds(0), "–");
    }
}
