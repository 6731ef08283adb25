//! From lines and a promotion to a total, to the minor unit: the total is the sum of the lines' totals and shipping,
//! and the lines' discounts and taxes add up to the order's.
//!
//! Discounts are shared over the lines by largest remainder; tax is computed per line, half-up, on what is left of it.
//! Shipping is not taxed. Goods that come to nothing are shipped for nothing, so that a gift needs no payment.

use crate::config::PricingConfig;
use crate::services::product::client::QuotedLine;
use crate::vocabulary::money::allocate;
use crate::vocabulary::{Currency, Money, MoneyError};

use super::wire::{Benefit, OrderLine};

/// What a cart comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Priced {
    /// The lines, as an order keeps them.
    pub lines: Vec<OrderLine>,
    /// The sum of price × quantity.
    pub subtotal: Money,
    /// The sum of the lines' discounts.
    pub discount: Money,
    /// The sum of the lines' taxes.
    pub tax: Money,
    /// Shipping.
    pub shipping: Money,
    /// What is to be paid.
    pub total: Money,
}

/// Prices `lines` (what the catalogue says, how many) under `benefit`.
pub fn price(
    lines: &[(QuotedLine, i64)],
    benefit: Option<&Benefit>,
    rules: &PricingConfig,
    currency: Currency,
) -> Result<Priced, MoneyError> {
    let gross = gross(lines, currency)?;
    let subtotal = sum(&gross)?;
    let discounts = discounts(lines, &gross, subtotal, benefit)?;
    let mut priced = Vec::with_capacity(lines.len());
    let (mut taxes, mut totals) = (Vec::with_capacity(lines.len()), Vec::with_capacity(lines.len()));
    for (((quoted, quantity), gross), discount) in lines.iter().zip(&gross).zip(&discounts) {
        let net = gross.checked_sub(*discount).ok_or(MoneyError::Overflow)?;
        let tax = tax(net, rate(rules, &quoted.tax_class), rules.tax_included)?;
        let line_total = if rules.tax_included { net } else { add(net, tax)? };
        taxes.push(tax);
        totals.push(line_total);
        priced.push(OrderLine {
            sku: quoted.sku.clone(),
            title: quoted.title.clone(),
            quantity: *quantity,
            unit_price: quoted.unit_price,
            discount: Money::new(*discount, currency),
            tax: Money::new(tax, currency),
            line_total: Money::new(line_total, currency),
        });
    }
    let goods = sum(&totals)?;
    let shipping = shipping(rules, subtotal, goods, benefit);
    Ok(Priced {
        lines: priced,
        subtotal: Money::new(subtotal, currency),
        discount: Money::new(sum(&discounts)?, currency),
        tax: Money::new(sum(&taxes)?, currency),
        shipping: Money::new(shipping, currency),
        total: Money::new(add(goods, shipping)?, currency),
    })
}

/// Whether `benefit` gives anything to these lines.
pub fn applies(
    lines: &[(QuotedLine, i64)],
    benefit: &Benefit,
    currency: Currency,
) -> Result<bool, MoneyError> {
    let gross = gross(lines, currency)?;
    let subtotal = sum(&gross)?;
    let gives = sum(&discounts(lines, &gross, subtotal, Some(benefit))?)? > 0;
    Ok(gives || matches!(benefit, Benefit::FreeShipping {}))
}

/// The sum of price × quantity.
pub fn subtotal(lines: &[(QuotedLine, i64)], currency: Currency) -> Result<i64, MoneyError> {
    sum(&gross(lines, currency)?)
}

fn gross(lines: &[(QuotedLine, i64)], currency: Currency) -> Result<Vec<i64>, MoneyError> {
    let one = |(quoted, quantity): &(QuotedLine, i64)| {
        if quoted.unit_price.currency != currency {
            return Err(MoneyError::CurrencyMismatch(quoted.unit_price.currency, currency));
        }
        quoted.unit_price.checked_mul(*quantity).map(|money| money.amount)
    };
    lines.iter().map(one).collect()
}

/// Each line's share of the discount; never more than the line.
fn discounts(
    lines: &[(QuotedLine, i64)],
    gross: &[i64],
    subtotal: i64,
    benefit: Option<&Benefit>,
) -> Result<Vec<i64>, MoneyError> {
    let whole = match benefit {
        None | Some(Benefit::FreeShipping {}) => 0,
        Some(Benefit::Percent { basis_points }) => {
            half_up(i128::from(subtotal) * i128::from((*basis_points).clamp(0, 10_000)), 10_000)?
        }
        Some(Benefit::Fixed { amount }) => (*amount).clamp(0, subtotal.max(0)),
        Some(Benefit::BuyXGetY { sku, buy, free }) => {
            let of_line = |(quoted, quantity): &(QuotedLine, i64)| {
                let group = buy.checked_add(*free).filter(|group| *group > 0 && *free > 0 && *buy >= 0);
                match group {
                    Some(group) if quoted.sku == *sku => {
                        quoted.unit_price.checked_mul(quantity / group * free).map(|money| money.amount)
                    }
                    _ => Ok(0),
                }
            };
            return lines.iter().map(of_line).collect();
        }
    };
    if whole == 0 { Ok(vec![0; lines.len()]) } else { allocate(whole, gross) }
}

fn rate(rules: &PricingConfig, class: &str) -> i64 {
    let named = rules.tax_rates_bp.iter().find(|(name, _)| name == class);
    named.or(rules.tax_rates_bp.first()).map_or(0, |(_, rate)| *rate)
}

fn tax(net: i64, rate_bp: i64, included: bool) -> Result<i64, MoneyError> {
    let base = if included { 10_000 + rate_bp } else { 10_000 };
    half_up(i128::from(net) * i128::from(rate_bp), i128::from(base))
}

/// `numerator / denominator`, halves upwards; neither is negative.
fn half_up(numerator: i128, denominator: i128) -> Result<i64, MoneyError> {
    i64::try_from((2 * numerator + denominator).div_euclid(2 * denominator)).map_err(|_| MoneyError::Overflow)
}

fn shipping(rules: &PricingConfig, subtotal: i64, goods: i64, benefit: Option<&Benefit>) -> i64 {
    let free = goods == 0
        || matches!(benefit, Some(Benefit::FreeShipping {}))
        || rules.shipping_free_from.is_some_and(|from| subtotal >= from);
    if free { 0 } else { rules.shipping }
}

fn add(one: i64, other: i64) -> Result<i64, MoneyError> {
    one.checked_add(other).ok_or(MoneyError::Overflow)
}

fn sum(amounts: &[i64]) -> Result<i64, MoneyError> {
    amounts.iter().try_fold(0, |sum, amount| add(sum, *amount))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rules(tax_included: bool) -> PricingConfig {
        PricingConfig {
            tax_included,
            tax_rates_bp: vec![("standard".to_owned(), 825), ("zero".to_owned(), 0)],
            shipping: 499,
            shipping_free_from: Some(10_000),
        }
    }

    fn line(sku: &str, unit_price: i64, class: &str) -> QuotedLine {
        QuotedLine {
            sku: sku.to_owned(),
            title: sku.to_owned(),
            unit_price: Money::new(unit_price, Currency::USD),
            tax_class: class.to_owned(),
            weight_g: 100,
            available: 9,
        }
    }

    fn totals(lines: &[(QuotedLine, i64)], benefit: Option<Benefit>) -> [i64; 5] {
        let priced = price(lines, benefit.as_ref(), &rules(false), Currency::USD).expect("it fits");
        [priced.subtotal, priced.discount, priced.tax, priced.shipping, priced.total]
            .map(|money| money.amount)
    }

    #[test]
    fn tax_is_added_per_line_and_shipping_after_it() {
        let cart = [(line("A", 1_999, "standard"), 1), (line("B", 500, "zero"), 2)];
        assert_eq!(totals(&cart, None), [2_999, 0, 165, 499, 3_663]);
    }

    #[test]
    fn each_kind_of_promotion_takes_off_what_it_says() {
        let cart = [(line("A", 333, "zero"), 3), (line("B", 1, "zero"), 1)];
        assert_eq!(totals(&cart, Some(Benefit::Percent { basis_points: 1_000 }))[1], 100);
        assert_eq!(totals(&cart, Some(Benefit::Fixed { amount: 250 }))[1], 250);
        assert_eq!(totals(&cart, Some(Benefit::Fixed { amount: 9_999 })), [1_000, 1_000, 0, 0, 0]);
        assert_eq!(totals(&cart, Some(Benefit::FreeShipping {})), [1_000, 0, 0, 0, 1_000]);
        let three_for_two = Benefit::BuyXGetY { sku: "A".to_owned(), buy: 2, free: 1 };
        assert_eq!(totals(&cart, Some(three_for_two))[1], 333);
    }

    #[test]
    fn a_whole_discount_leaves_nothing_to_pay() {
        let cart = [(line("A", 1_999, "standard"), 3)];
        assert_eq!(totals(&cart, Some(Benefit::Percent { basis_points: 10_000 })), [5_997, 5_997, 0, 0, 0]);
    }

    #[test]
    fn an_overflow_is_an_error() {
        let cart = [(line("A", i64::MAX / 2, "zero"), 3)];
        assert_eq!(price(&cart, None, &rules(false), Currency::USD), Err(MoneyError::Overflow));
        let cart = [(line("A", i64::MAX, "standard"), 1)];
        assert_eq!(price(&cart, None, &rules(false), Currency::USD), Err(MoneyError::Overflow));
    }

    fn benefits() -> impl Strategy<Value = Option<Benefit>> {
        prop_oneof![
            Just(None),
            (0i64..=10_000).prop_map(|basis_points| Some(Benefit::Percent { basis_points })),
            (0i64..2_000_000).prop_map(|amount| Some(Benefit::Fixed { amount })),
            Just(Some(Benefit::FreeShipping {})),
            (0i64..4, 1i64..4).prop_map(|(buy, free)| Some(Benefit::BuyXGetY {
                sku: "S0".to_owned(),
                buy,
                free
            })),
        ]
    }

    proptest! {
        #[test]
        fn every_order_adds_up_to_the_minor_unit(
            prices in prop::collection::vec((0i64..200_000, 1i64..30, prop::bool::ANY), 1..9),
            benefit in benefits(),
            included in prop::bool::ANY,
        ) {
            let cart: Vec<_> = prices
                .iter()
                .enumerate()
                .map(|(n, (unit, quantity, taxed))| {
                    (line(&format!("S{n}"), *unit, if *taxed { "standard" } else { "zero" }), *quantity)
                })
                .collect();
            let priced = price(&cart, benefit.as_ref(), &rules(included), Currency::USD).expect("it fits");
            let sum = |of: fn(&OrderLine) -> Money| priced.lines.iter().map(|line| of(line).amount).sum::<i64>();
            prop_assert_eq!(priced.total.amount, sum(|line| line.line_total) + priced.shipping.amount);
            prop_assert_eq!(priced.discount.amount, sum(|line| line.discount));
            prop_assert_eq!(priced.tax.amount, sum(|line| line.tax));
            let added = if included { 0 } else { priced.tax.amount };
            prop_assert_eq!(
                priced.total.amount,
                priced.subtotal.amount - priced.discount.amount + added + priced.shipping.amount
            );
            for line in &priced.lines {
                let gross = line.unit_price.amount * line.quantity;
                prop_assert!(line.discount.amount >= 0 && line.discount.amount <= gross);
                prop_assert!(line.tax.amount >= 0 && line.line_total.amount >= 0);
            }
        }
    }
}
