//! A length of time as a person types it: `500ms`, `30s`, `10m`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span(Duration);

impl Span {
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
}
