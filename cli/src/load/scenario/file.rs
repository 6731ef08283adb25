//! The file of a scenario, field by field.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::super::journeys::Journey;
use super::super::length::Length;
use super::super::objective::Objective;
use crate::config::document::{self, Kind};
use crate::failure::Failure;

/// A scenario: what load to make and what it has to meet. Every field that is absent has the value that its type's
/// `Default` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// The version of this format: 1.
    pub schema: u32,
    /// What it asks, in a sentence.
    pub about: String,
    /// What the run has to meet.
    #[serde(default)]
    pub objectives: Vec<Objective>,
    /// Who decides when the next journey starts.
    pub load: LoadPart,
    /// How the load rises and falls.
    #[serde(default)]
    pub profile: Profile,
    /// The time between an answer and the next step.
    #[serde(default)]
    pub think: Think,
    /// Which journeys are made how often.
    pub mix: Mix,
    /// What the generator may use, and how long it waits.
    #[serde(default)]
    pub bounds: Bounds,
    /// Users with an account.
    #[serde(default)]
    pub signed_in: SignedIn,
    /// How orders are placed.
    #[serde(default)]
    pub checkout: Checkout,
    /// What everybody wants at once.
    #[serde(default)]
    pub flash_sale: FlashSale,
    /// A page that is asked for by its path.
    #[serde(default)]
    pub probe: Probe,
}

/// Who decides when the next journey starts: the clock (`rate`) or the users (`users`); one of the two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadPart {
    /// Journeys a second, whether or not earlier ones were answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// Users, each of whom waits for an answer before the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub users: Option<u32>,
    /// How arrivals of a rate are spread.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// How long; profiles with parts of their own do not take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration: Option<Length>,
    /// What decides journeys and their contents; drawn when absent, and told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
}

/// How arrivals are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// At random, independent of one another, as people come.
    #[default]
    Poisson,
    /// At even distances.
    Uniform,
}

/// How the load rises and falls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Which shape.
    #[serde(default)]
    pub kind: ProfileKind,
    /// `spike`: how many times the load. `ramp`: where it begins, as a fraction of the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// `ramp`, `soak`: how long it rises first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rise: Option<Length>,
    /// `spike`: how long the load stays before it rises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<Length>,
    /// `spike`: within how long it is at its height.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Length>,
    /// `spike`: how long it stays there. `step`, `knee`: how long each plateau is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Length>,
    /// `spike`: within how long it is back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Length>,
    /// `spike`: how long it is watched afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recover: Option<Length>,
    /// `step`, `knee`: how long each plateau settles before it is measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle: Option<Length>,
    /// `step`: each plateau's load as a multiple of the load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub levels: Vec<f64>,
    /// `knee`: the search ends when it is known this closely, as a fraction.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// `knee`: the search ends at this many times the load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<f64>,
}

/// The shape of a load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileKind {
    /// The same all the time.
    #[default]
    Constant,
    /// Rises, then stays.
    Ramp,
    /// Many times the load within a short time, and back.
    Spike,
    /// The same for a long time; the end is compared with the beginning.
    Soak,
    /// Plateaus, one after the other.
    Step,
    /// Plateaus, each chosen by what the one before showed: the highest rate that meets the objectives.
    Knee,
}

impl ProfileKind {
    /// Its name in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Constant => "constant",
            Self::Ramp => "ramp",
            Self::Spike => "spike",
            Self::Soak => "soak",
            Self::Step => "step",
            Self::Knee => "knee",
        }
    }
}

/// The time between an answer and the next step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Think {
    /// How it is spread.
    #[serde(default)]
    pub kind: ThinkKind,
    /// Its mean.
    pub mean: Length,
}

/// How think times are spread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThinkKind {
    /// Mostly short, sometimes long (at most ten times the mean).
    #[default]
    Exponential,
    /// Evenly from half the mean to half more.
    Uniform,
    /// Always the same.
    Constant,
}

impl Default for Think {
    fn default() -> Self {
        Self { kind: ThinkKind::default(), mean: Length::of(0) }
    }
}

/// Which journeys are made how often: weights, of any sum.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Mix {
    /// A page of the catalogue, a category, some products.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub browse: f64,
    /// A search and a product.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub search: f64,
    /// A cart that is filled and left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub cart: f64,
    /// A guest buys.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub checkout: f64,
    /// Somebody who is signed in looks, and buys.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub returning_customer: f64,
    /// Everybody wants the same thing.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub flash_sale: f64,
    /// One page by its path.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub probe: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
fn is_zero(weight: &f64) -> bool {
    *weight == 0.0
}

impl Mix {
    /// Each journey with its weight.
    #[must_use]
    pub fn weights(&self) -> [(Journey, f64); Journey::ALL.len()] {
        Journey::ALL.map(|journey| {
            let weight = match journey {
                Journey::Browse => self.browse,
                Journey::Search => self.search,
                Journey::Cart => self.cart,
                Journey::Checkout => self.checkout,
                Journey::ReturningCustomer => self.returning_customer,
                Journey::FlashSale => self.flash_sale,
                Journey::Probe => self.probe,
            };
            (journey, weight)
        })
    }

    /// Whether it has `journey`.
    #[must_use]
    pub fn has(&self, journey: Journey) -> bool {
        self.weights().iter().any(|(one, weight)| *one == journey && *weight > 0.0)
    }

    /// Journeys and weights by name, without those that are not made.
    #[must_use]
    pub fn named(&self) -> BTreeMap<String, f64> {
        let made = self.weights().into_iter().filter(|(_, weight)| *weight > 0.0);
        made.map(|(journey, weight)| (journey.name().to_owned(), weight)).collect()
    }
}

/// What the generator may use, and how long it waits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// After this long an answer is given up, and counts as having taken this long.
    pub timeout: Length,
    /// An arrival over this many journeys in flight is dropped, and counts against the shop. When absent: as many as
    /// there would be if nothing were answered within the time-out, at most 10,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// A journey over this many connections waits for one, and is dropped when the time-out passes; the wait is part
    /// of what it felt. When absent: one for each journey in flight, or for each user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// A generator that was later than this in one case of a hundred can say nothing about the shop.
    pub lateness: Length,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            timeout: Length::of(10),
            max_in_flight: None,
            max_connections: None,
            lateness: Length(std::time::Duration::from_millis(50)),
        }
    }
}

/// Users with an account. They are registered, and signed in, before the load begins: otherwise the hashing of
/// passwords would be all that is measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignedIn {
    /// How many accounts there are.
    pub accounts: u32,
    /// Sign-ins a second that are part of the load, at most 1.
    pub sign_ins_per_s: f64,
}

impl Default for SignedIn {
    fn default() -> Self {
        Self { accounts: 8, sign_ins_per_s: 0.0 }
    }
}

/// How orders are placed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Checkout {
    /// The fraction of buyers whose card is declined.
    pub declined: f64,
    /// Units are received before the load begins, enough for every order that it can place. Needs an operator.
    pub restock: bool,
}

impl Default for Checkout {
    fn default() -> Self {
        Self { declined: 0.0, restock: true }
    }
}

/// What everybody wants at once: a product of its own, made before the load begins. Needs an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlashSale {
    /// How many there are.
    pub units: u32,
}

impl Default for FlashSale {
    fn default() -> Self {
        Self { units: 100 }
    }
}

/// A page that is asked for by its path.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Probe {
    /// The path, with its query.
    pub path: String,
}

impl Default for Probe {
    fn default() -> Self {
        Self { path: "/v1/products?limit=20".to_owned() }
    }
}

impl Scenario {
    /// Reads the file called `name`.
    ///
    /// # Errors
    /// The first mistake, with its line and what was meant.
    pub fn read(name: &str, text: &str) -> Result<Self, Failure> {
        let kind = Kind {
            code: "E-SCENARIO-FILE",
            hint: "`shopctl load show mixed` prints a scenario to start from",
        };
        let scenario: Self = document::read(name, text, kind)?;
        scenario.check(name)?;
        Ok(scenario)
    }

    /// The scenario as a file, with every value that it has.
    #[must_use]
    pub fn to_text(&self) -> String {
        // Every field is a number, a text or a table of these, which TOML can hold.
        toml::to_string(self).unwrap_or_default()
    }
}
