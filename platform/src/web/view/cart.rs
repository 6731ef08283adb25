//! A cart and its sums.

use crate::services::order::client::{Cart, Order, OrderLine};
use crate::vocabulary::{Currency, Money};
use crate::web::visit::Picture;

/// What a cart or an order adds up to.
#[derive(Clone, Debug)]
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
    pub promotion: Option<String>,
}

impl Totals {
    fn nothing() -> Self {
        let zero = Money::zero(Currency::USD);
        Self { subtotal: zero, discount: zero, tax: zero, shipping: zero, total: zero, promotion: None }
    }
}

impl From<&Cart> for Totals {
    fn from(cart: &Cart) -> Self {
        let Cart { subtotal, discount, tax, shipping, total, .. } = *cart;
        Self { subtotal, discount, tax, shipping, total, promotion: cart.promotion.clone() }
    }
}

impl From<&Order> for Totals {
    fn from(order: &Order) -> Self {
        let Order { subtotal, discount, tax, shipping, total, .. } = *order;
        Self { subtotal, discount, tax, shipping, total, promotion: order.promotion.clone() }
    }
}

/// One line of a cart.
#[derive(Clone, Debug)]
pub struct CartRow {
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
    /// What keeps the line from being bought as it is.
    pub shortage: Option<String>,
    /// How it looks, when that is known.
    pub picture: Option<Picture>,
}

/// A cart.
#[derive(Clone, Debug)]
pub struct CartView {
    /// What is in it.
    pub lines: Vec<CartRow>,
    /// What it adds up to.
    pub totals: Totals,
}

impl CartView {
    /// A cart with nothing in it.
    #[must_use]
    pub fn empty() -> Self {
        Self { lines: Vec::new(), totals: Totals::nothing() }
    }
}

impl From<&Cart> for CartView {
    fn from(cart: &Cart) -> Self {
        let lines = cart.lines.iter().map(|line| CartRow {
            sku: line.sku.clone(),
            title: line.title.clone(),
            quantity: line.quantity,
            unit_price: line.unit_price,
            line_total: line.line_total,
            shortage: shortage(line.quantity, line.available),
            picture: None,
        });
        Self { lines: lines.collect(), totals: Totals::from(cart) }
    }
}

fn shortage(quantity: i64, available: i64) -> Option<String> {
    match available {
        left if left >= quantity => None,
        ..=0 => Some("Sold out for now".to_owned()),
        left => Some(format!("Only {left} left")),
    }
}

/// What an order's line came to before discount and tax, so that the lines add up to the subtotal below them.
#[must_use]
pub fn gross(line: &OrderLine) -> Money {
    line.unit_price.checked_mul(line.quantity).unwrap_or(line.line_total)
}

/// How many units are in a cart.
#[must_use]
pub fn units(cart: &Cart) -> u32 {
    let units = cart.lines.iter().map(|line| line.quantity).sum::<i64>();
    u32::try_from(units).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_keeps_it_from_being_bought() {
        assert_eq!(shortage(2, 2), None);
        assert_eq!(shortage(3, 2).as_deref(), Some("Only 2 left"));
        assert_eq!(shortage(1, 0).as_deref(), Some("Sold out for now"));
    }
}
