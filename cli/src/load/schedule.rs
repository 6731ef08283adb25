//! How much load there is to be at each moment: straight pieces, one after the other.
//!
//! The level is journeys a second in an open model and users in a closed one. Times are seconds since the load
//! began. A random arrival that is due when the level has added up to one more is due at an exact moment, also
//! while the level climbs: that is what [`Schedule::after`] solves.

/// A straight piece of a schedule.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    /// What is being done: `steady`, `rising`, `spike`.
    pub(super) phase: String,
    /// How long it lasts.
    pub(super) seconds: f64,
    /// The level at its beginning.
    pub(super) from: f64,
    /// The level at its end.
    pub(super) to: f64,
}

impl Piece {
    /// A piece that rises or falls.
    pub(super) fn new(phase: &str, seconds: f64, from: f64, to: f64) -> Self {
        Self { phase: phase.to_owned(), seconds, from, to }
    }

    /// A piece that stays.
    pub(super) fn level(phase: &str, seconds: f64, level: f64) -> Self {
        Self::new(phase, seconds, level, level)
    }

    fn level_at(&self, into: f64) -> f64 {
        if self.seconds <= 0.0 { self.to } else { self.from + (self.to - self.from) * into / self.seconds }
    }

    /// Level times time, from its beginning until `into`.
    fn area(&self, into: f64) -> f64 {
        (self.from + self.level_at(into)) / 2.0 * into
    }

    /// How far into the piece its area is `area` more than it was at `start`; `None` when it never is.
    fn reaches_area(&self, start: f64, area: f64) -> Option<f64> {
        let slope = if self.seconds > 0.0 { (self.to - self.from) / self.seconds } else { 0.0 };
        let level = self.level_at(start);
        // level·x + slope·x²/2 = area, in the form that does not lose digits when the slope is small.
        let root = (level * level + 2.0 * slope * area).max(0.0).sqrt();
        let divisor = level + root;
        let more = if divisor > 0.0 { 2.0 * area / divisor } else { return None };
        let into = start + more;
        let is_real = level * level + 2.0 * slope * area >= 0.0;
        (is_real && into <= self.seconds).then_some(into)
    }
}

/// Pieces, one after the other.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Schedule {
    pieces: Vec<Piece>,
}

impl Schedule {
    /// These pieces.
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        Self { pieces }
    }

    /// Adds a piece at the end.
    pub(super) fn push(&mut self, piece: Piece) {
        self.pieces.push(piece);
    }

    /// Its whole length.
    pub(super) fn seconds(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.seconds).sum()
    }

    /// The highest level.
    pub(super) fn peak(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.from.max(piece.to)).fold(0.0, f64::max)
    }

    /// Level times time over all of it: how many arrivals it asks for.
    pub(super) fn total(&self) -> f64 {
        self.pieces.iter().map(|piece| piece.area(piece.seconds)).sum()
    }

    /// Level times time until `end`.
    pub(super) fn total_until(&self, end: f64) -> f64 {
        self.with_starts().map(|(start, piece)| piece.area((end - start).clamp(0.0, piece.seconds))).sum()
    }

    /// What is being done at `at`.
    pub(super) fn phase(&self, at: f64) -> &str {
        self.piece(at).map_or("waiting for the last answers", |(_, piece)| piece.phase.as_str())
    }

    /// The times that the phase called `phase` begins and ends at.
    pub(super) fn span(&self, phase: &str) -> Option<(f64, f64)> {
        self.with_starts()
            .find(|(_, piece)| piece.phase == phase)
            .map(|(start, piece)| (start, start + piece.seconds))
    }

    /// When the area since `at` is `area`; `None` when it never is.
    pub(super) fn after(&self, at: f64, area: f64) -> Option<f64> {
        let mut left = area;
        for (start, piece) in self.with_starts().filter(|(start, piece)| start + piece.seconds > at) {
            let into = (at - start).max(0.0);
            if let Some(reached) = piece.reaches_area(into, left) {
                return Some(start + reached);
            }
            left = (left - (piece.area(piece.seconds) - piece.area(into))).max(0.0);
        }
        None
    }

    /// The first moment from `at` on at which the level is over `level`; `None` when it never is.
    pub(super) fn rises_over(&self, at: f64, level: f64) -> Option<f64> {
        for (start, piece) in self.with_starts().filter(|(start, piece)| start + piece.seconds > at) {
            let into = (at - start).max(0.0);
            if piece.level_at(into) > level {
                return Some(start + into);
            }
            if piece.to > level {
                let slope = (piece.to - piece.from) / piece.seconds;
                return Some(start + (level - piece.from) / slope + 1e-6);
            }
        }
        None
    }

    fn with_starts(&self) -> impl Iterator<Item = (f64, &Piece)> {
        self.pieces.iter().scan(0.0, |start, piece| {
            let begins = *start;
            *start += piece.seconds;
            Some((begins, piece))
        })
    }

    fn piece(&self, at: f64) -> Option<(f64, &Piece)> {
        self.with_starts().find(|(start, piece)| at >= *start && at < start + piece.seconds)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn spike() -> Schedule {
        Schedule::new(vec![
            Piece::level("steady", 10.0, 50.0),
            Piece::new("rising", 20.0, 50.0, 500.0),
            Piece::level("spike", 10.0, 500.0),
            Piece::new("falling", 5.0, 500.0, 50.0),
            Piece::level("pause", 5.0, 0.0),
            Piece::level("recovering", 10.0, 50.0),
        ])
    }

    proptest! {
        #[test]
        fn the_area_up_to_the_moment_is_what_was_asked_for(at in 0.0_f64..60.0, area in 0.01_f64..5000.0) {
            let schedule = spike();
            let left = schedule.total() - schedule.total_until(at);
            match schedule.after(at, area) {
                Some(then) => {
                    let between = schedule.total_until(then) - schedule.total_until(at);
                    prop_assert!((between - area).abs() < 1e-6 * area.max(1.0), "{between} for {area}");
                }
                None => prop_assert!(left < area + 1e-6, "{left} was left for {area}"),
            }
        }
    }

    #[test]
    fn arrivals_one_apart_are_as_many_as_the_whole() {
        let schedule = spike();
        let (mut at, mut count) = (0.0, 0);
        while let Some(next) = schedule.after(at, 1.0) {
            assert!(next > at && next <= schedule.seconds());
            (at, count) = (next, count + 1);
        }
        assert!((f64::from(count) - schedule.total()).abs() <= 1.0, "{count} of {}", schedule.total());
    }

    #[test]
    fn a_user_is_called_when_the_level_rises_over_it() {
        let schedule =
            Schedule::new(vec![Piece::new("rising", 10.0, 0.0, 100.0), Piece::level("steady", 5.0, 100.0)]);
        assert!((schedule.rises_over(0.0, 50.0).unwrap() - 5.0).abs() < 1e-3);
        assert_eq!(schedule.rises_over(12.0, 99.5), Some(12.0));
        assert_eq!(schedule.rises_over(0.0, 100.0), None);
    }

    #[test]
    fn phases_have_names_and_levels() {
        let schedule = spike();
        assert_eq!(
            (schedule.phase(0.0), schedule.phase(35.0), schedule.phase(99.0)),
            ("steady", "spike", "waiting for the last answers")
        );
        assert_eq!(schedule.span("spike"), Some((30.0, 40.0)));
        assert_eq!(schedule.peak(), 500.0);
    }
}
