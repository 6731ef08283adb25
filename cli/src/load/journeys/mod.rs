//! Journeys: what somebody does in the shop, step by step. Compiled in; scenarios say how often each is made.
//!
//! # Adding one
//! A file with its `make`, a variant of [`Journey`] with its line in each match, and a field in the scenario's `mix`.

mod browse;
mod buying;
mod cart;
mod checkout;
mod flash_sale;
mod probe;
mod returning_customer;
mod search;

use super::chance::Chance;
use super::step::Step;
use super::worker::visitor::{Journeyed, Visitor};

/// A journey.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Journey {
    /// A page of the catalogue, a category, some products.
    Browse,
    /// A search and a product.
    Search,
    /// A cart that is filled and left.
    Cart,
    /// A guest buys.
    Checkout,
    /// Somebody who is signed in looks, and some buy.
    ReturningCustomer,
    /// Everybody wants the same thing.
    FlashSale,
    /// One page by its path.
    Probe,
}

impl Journey {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Browse,
        Self::Search,
        Self::Cart,
        Self::Checkout,
        Self::ReturningCustomer,
        Self::FlashSale,
        Self::Probe,
    ];

    /// Its name in scenario files.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Browse => "browse",
            Self::Search => "search",
            Self::Cart => "cart",
            Self::Checkout => "checkout",
            Self::ReturningCustomer => "returning-customer",
            Self::FlashSale => "flash-sale",
            Self::Probe => "probe",
        }
    }

    /// Whether it may place orders.
    #[must_use]
    pub fn buys(self) -> bool {
        matches!(self, Self::Checkout | Self::ReturningCustomer | Self::FlashSale)
    }

    /// The step that it begins with: the one that a dropped arrival never sent.
    pub(super) fn first_step(self) -> Step {
        match self {
            Self::Browse => Step::Catalogue,
            Self::Search => Step::Search,
            Self::Cart | Self::Checkout | Self::FlashSale => Step::Product,
            Self::ReturningCustomer => Step::Account,
            Self::Probe => Step::Probe,
        }
    }

    /// Makes it.
    pub(super) async fn make(self, visitor: &mut Visitor) -> Journeyed {
        match self {
            Self::Browse => browse::make(visitor).await,
            Self::Search => search::make(visitor).await,
            Self::Cart => cart::make(visitor).await,
            Self::Checkout => checkout::make(visitor).await,
            Self::ReturningCustomer => returning_customer::make(visitor).await,
            Self::FlashSale => flash_sale::make(visitor).await,
            Self::Probe => probe::make(visitor).await,
        }
    }
}

/// Which journey comes next.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// Journeys with the sum of the weights up to and including theirs, as fractions of the whole.
    up_to: Vec<(Journey, f64)>,
}

impl Choice {
    /// A choice by weight.
    pub(super) fn new(weights: &[(Journey, f64)]) -> Self {
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut sum = 0.0;
        let made = weights.iter().filter(|(_, weight)| *weight > 0.0);
        let up_to = made.map(|(journey, weight)| {
            sum += weight / total;
            (*journey, sum)
        });
        Self { up_to: up_to.collect() }
    }

    /// The next.
    pub(super) fn next(&self, chance: &mut Chance) -> Journey {
        let drawn = chance.fraction();
        let chosen = self.up_to.iter().find(|(_, up_to)| drawn < *up_to).or(self.up_to.last());
        chosen.map_or(Journey::Browse, |(journey, _)| *journey)
    }
}

#[cfg(test)]
mod tests {
    use super::super::chance::Stream;
    use super::*;

    #[test]
    fn journeys_come_as_often_as_their_weights_say() {
        let choice = Choice::new(&[(Journey::Browse, 3.0), (Journey::Search, 0.0), (Journey::Checkout, 1.0)]);
        let mut chance = Chance::new(7, Stream::Journey, 0);
        let rounds = 40_000;
        let all: Vec<Journey> = (0..rounds).map(|_| choice.next(&mut chance)).collect();
        let count = |journey| all.iter().filter(|one| **one == journey).count();
        assert_eq!(count(Journey::Search), 0);
        assert!(count(Journey::Browse).abs_diff(rounds * 3 / 4) < rounds / 100, "{}", count(Journey::Browse));
    }
}
