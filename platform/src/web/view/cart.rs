//! A cart and its sums.

use serde::Deserialize;

use crate::vocabulary::{CartId, Currency, Money};

/// What a cart or an order adds up to.
#[derive(Clone, Debug, Deserialize)]
pub struct Totals {
    /// The lines before anything else.
    pub subtotal: Money,
    /// What a promotion takes off.
    pub discount: Money,
    /// Tax.
    pub tax: Money,
    /// Shipping.
    pub shipping: Money,
    /// What is paid.
    pub total: Money,
    /// The promotion that is applied.
    #[serde(default)]
    pub promotion: Option<String>,
}

impl Totals {
    /// Nothing at all.
    #[must_use]
    pub fn nothing() -> Self {
        let zero = Money::zero(Currency::USD);
        Self { subtotal: zero, discount: zero, tax: zero, shipping: zero, total: zero, promotion: None }
    }
}

/// One line of a cart.
#[derive(Clone, Debug, Deserialize)]
pub struct CartLine {
    /// What.
    pub sku: String,
    /// Its name.
    pub title: String,
    /// How many.
    pub quantity: i64,
    /// What one costs.
    pub unit_price: Money,
    /// What they cost together.
    pub line_total: Money,
    /// The product's address, when it is known.
    #[serde(default)]
    pub slug: Option<String>,
    /// The product's picture, when it is known.
    #[serde(default)]
    pub image: Option<String>,
}

/// A cart.
#[derive(Clone, Debug, Deserialize)]
pub struct Cart {
    /// Names it; for a guest, also the key to it.
    pub id: Option<CartId>,
    /// What is in it.
    pub lines: Vec<CartLine>,
    /// What it adds up to.
    #[serde(flatten)]
    pub totals: Totals,
}

impl Cart {
    /// A cart with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self { id: None, lines: Vec::new(), totals: Totals::nothing() }
    }

    /// How many units are in it.
    #[must_use]
    pub fn count(&self) -> u32 {
        let units = self.lines.iter().map(|line| line.quantity).sum::<i64>();
        u32::try_from(units).unwrap_or(u32::MAX)
    }
}
