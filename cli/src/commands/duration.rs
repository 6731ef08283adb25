//! A length of time as a person types it: `500ms`, `30s`, `10m`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use platform::vocabulary::Timestamp;
use platform::vocabulary::clock::since;

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(Duration);

impl Span {
    /// So many seconds.
    pub(super) const fn seconds(count: u64) -> Self {
        Self(Duration::from_secs(count))
    }

    /// The same for the standard library.
    #[must_use]
    pub(super) fn duration(self) -> Duration {
        self.0
    }
}

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let unit_at = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(unit_at);
        let ms = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, ms)| *ms);
        let length = number.parse::<u64>().ok().zip(ms).and_then(|(number, ms)| number.checked_mul(ms));
        length
            .map(|ms| Self(Duration::from_millis(ms)))
            .ok_or_else(|| "a number with its unit, as 500ms, 30s, 10m or 2h".to_owned())
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let fitting = UNITS.iter().rev().find(|(_, unit)| ms >= *unit && ms % unit == 0);
        let (name, unit) = fitting.unwrap_or(&UNITS[0]);
        write!(f, "{}{name}", ms / unit)
    }
}

/// A length of time to the second, as a person says it.
pub(super) fn told(span: Duration) -> String {
    let seconds = span.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}

/// A length of time in its largest unit, as a column has room for: `5s`, `12m`, `3h`, `40d`.
pub(super) fn short(span: Duration) -> String {
    let ms = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let fitting = UNITS.iter().skip(1).rev().find(|(_, unit)| ms >= *unit);
    let (name, unit) = fitting.unwrap_or(&UNITS[1]);
    format!("{}{name}", ms / unit)
}

/// How far `at` lies from `now`, as a person says it: `in 4 s`, `2 min 5 s ago`.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", told(since(now, at))) } else { format!("{} ago", told(since(at, now))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_written_the_same() {
        for text in ["500ms", "30s", "10m", "2h", "1d", "90s"] {
            assert_eq!(text.parse::<Span>().unwrap().to_string(), text);
        }
        for text in ["", "30", "s", "1.5s", "-1s", "9999999999999999999h", "3 s"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        let told = |seconds| told(Duration::from_secs(seconds));
        assert_eq!([told(5), told(65), told(7265)], ["5 s", "1 min 5 s", "2 h 1 min"]);
    }

    #[test]
    fn a_span_in_a_column_has_one_unit() {
        let short = |seconds| short(Duration::from_secs(seconds));
        assert_eq!(
            [short(0), short(59), short(3599), short(7200), short(3_456_000)],
            ["0s", "59s", "59m", "2h", "40d"]
        );
    }

    #[test]
    fn a_moment_is_told_from_now() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(relative(at(104), at(100)), "in 4 s");
        assert_eq!(relative(at(100), at(165)), "1 min 5 s ago");
        assert_eq!(relative(at(100), at(100)), "0 s ago");
    }
}
