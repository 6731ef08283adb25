//! From the shape of a load to its schedule.

use super::super::length::Length;
use super::super::schedule::{Piece, Schedule};
use super::file::{ProfileKind, Scenario};

/// How long a load lasts when nobody says.
const DURATION: Length = Length::of(60);
/// The least and the most journeys in flight, when nobody says.
const IN_FLIGHT: (f64, f64) = (64.0, 10_000.0);

/// The search for a knee, before its first plateau.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Search {
    /// The first rate.
    pub(in super::super) first: f64,
    /// The highest that is tried.
    pub(in super::super) at_most: f64,
    /// How closely the knee is to be known, as a fraction.
    pub(in super::super) precision: f64,
}

impl Scenario {
    /// The level at factor 1: journeys a second, or users.
    #[must_use]
    pub fn level(&self) -> f64 {
        self.load.rate.or(self.load.users.map(f64::from)).unwrap_or(0.0)
    }

    /// The schedule. That of a knee is made while it is looked for, and is empty here.
    pub(in super::super) fn schedule(&self) -> Schedule {
        let (profile, level) = (&self.profile, self.level());
        let duration = self.load.duration.unwrap_or(DURATION).seconds();
        let seconds =
            |length: Option<Length>, otherwise: u64| length.unwrap_or(Length::of(otherwise)).seconds();
        Schedule::new(match profile.kind {
            ProfileKind::Constant => vec![Piece::level("steady", duration, level)],
            ProfileKind::Ramp | ProfileKind::Soak => {
                let rise = seconds(profile.rise, if profile.kind == ProfileKind::Ramp { 30 } else { 0 });
                let from = level * profile.factor.unwrap_or(0.0);
                let rising = (rise > 0.0).then(|| Piece::new("rising", rise, from, level));
                rising.into_iter().chain([Piece::level("steady", duration, level)]).collect()
            }
            ProfileKind::Spike => {
                let height = level * profile.factor.unwrap_or(10.0);
                vec![
                    Piece::level("before", seconds(profile.before, 30), level),
                    Piece::new("rising", seconds(profile.within, 120), level, height),
                    Piece::level("spike", seconds(profile.hold, 30), height),
                    Piece::new("falling", seconds(profile.back, 10), height, level),
                    Piece::level("recovering", seconds(profile.recover, 60), level),
                ]
            }
            ProfileKind::Step => {
                let length = self.settle_seconds() + self.hold_seconds();
                let plateau = |(at, factor): (usize, &f64)| {
                    Piece::level(&format!("plateau {}", at + 1), length, level * factor)
                };
                profile.levels.iter().enumerate().map(plateau).collect()
            }
            ProfileKind::Knee => Vec::new(),
        })
    }

    /// How long the load lasts; `None` for a knee, whose search ends when it ends.
    #[must_use]
    pub fn planned_seconds(&self) -> Option<f64> {
        (self.profile.kind != ProfileKind::Knee).then(|| self.schedule().seconds())
    }

    /// How a knee is looked for.
    pub(in super::super) fn search(&self) -> Option<Search> {
        (self.profile.kind == ProfileKind::Knee).then(|| Search {
            first: self.level(),
            at_most: self.level() * self.profile.at_most.unwrap_or(1024.0),
            precision: self.profile.precision.unwrap_or(0.05),
        })
    }

    /// The most journeys in flight.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the range")]
    pub fn in_flight_max(&self) -> usize {
        let peak = self.search().map_or_else(|| self.schedule().peak(), |search| search.at_most);
        let unanswered = (peak * self.bounds.timeout.seconds()).clamp(IN_FLIGHT.0, IN_FLIGHT.1).ceil();
        self.bounds.max_in_flight.map_or(unanswered as usize, |bound| bound as usize)
    }

    /// The most connections.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        let wanted = self.load.users.map_or_else(|| self.in_flight_max(), |users| users as usize);
        self.bounds.max_connections.map_or(wanted, |bound| bound as usize)
    }

    /// The seconds that each plateau settles, whole.
    pub(in super::super) fn settle_seconds(&self) -> f64 {
        self.profile.settle.unwrap_or(Length::of(2)).seconds().ceil()
    }

    /// The seconds that each plateau is measured, whole and at least one.
    pub(in super::super) fn hold_seconds(&self) -> f64 {
        self.profile.hold.unwrap_or(Length::of(10)).seconds().ceil().max(1.0)
    }
}
