//! Promotions: what staff offers, whether one applies to a cart, and the counting of its uses.
//!
//! Uses are counted in the batch that places an order, each under its limit, so that two buyers who race for the last
//! use cannot both have it; an order that comes to nothing gives its use back.

use super::pricing;
use super::wire::{Benefit, Promotion, SavePromotion};
use crate::http::{Code, FieldError, Problem};
use crate::services::product::client::QuotedLine;
use crate::storage::{Batch, Db, Row, StorageError, Value};
use crate::vocabulary::{Currency, Timestamp};

/// The name of the statement that fails when a promotion was used up, or ended, meanwhile.
pub(super) const USED_UP: &str = "promotion";

const COLUMNS: &str =
    "code, title, benefit, min_subtotal, uses_max, uses_per_customer_max, uses, starts_at, ends_at, active";

/// A code as it is kept.
pub(super) fn normal(code: &str) -> String {
    code.trim().to_uppercase()
}

fn from_row(row: &Row) -> Result<Promotion, StorageError> {
    let benefit: serde_json::Value = row.get("benefit")?;
    Ok(Promotion {
        code: row.get("code")?,
        title: row.get("title")?,
        benefit: serde_json::from_value(benefit)
            .map_err(|error| StorageError::Invalid(format!("a stored benefit cannot be read: {error}")))?,
        min_subtotal: row.get("min_subtotal")?,
        uses_max: row.get("uses_max")?,
        uses_per_customer_max: row.get("uses_per_customer_max")?,
        uses: row.get("uses")?,
        starts_at: row.get("starts_at")?,
        ends_at: row.get("ends_at")?,
        active: row.get("active")?,
    })
}

/// The promotion of `code`.
pub(super) async fn find(db: &Db, code: &str) -> Result<Option<Promotion>, StorageError> {
    let sql = format!("SELECT {COLUMNS} FROM order_promotions WHERE code = $1");
    db.read_one(&sql, vec![normal(code).into()]).await?.as_ref().map(from_row).transpose()
}

/// All promotions, by code.
pub(super) async fn all(db: &Db) -> Result<Vec<Promotion>, StorageError> {
    let sql = format!("SELECT {COLUMNS} FROM order_promotions ORDER BY code");
    db.read(&sql, vec![]).await?.iter().map(from_row).collect()
}

/// Why a promotion does not apply now, if so.
pub(super) fn objection(
    promotion: &Promotion,
    lines: &[(QuotedLine, i64)],
    currency: Currency,
    now: Timestamp,
) -> Option<String> {
    let not_yet = promotion.starts_at.is_some_and(|starts| now < starts);
    let over = promotion.ends_at.is_some_and(|ends| now >= ends);
    if !promotion.active || not_yet || over {
        return Some("the promotion is not on offer now".to_owned());
    }
    if promotion.uses_max.is_some_and(|most| promotion.uses >= most) {
        return Some("the promotion was used up".to_owned());
    }
    let subtotal = pricing::subtotal(lines, currency).ok()?;
    if subtotal < promotion.min_subtotal {
        let least = crate::vocabulary::Money::new(promotion.min_subtotal, currency);
        return Some(format!("the promotion applies from a subtotal of {least} on"));
    }
    match pricing::applies(lines, &promotion.benefit, currency) {
        Ok(true) => None,
        _ => Some("the promotion does not apply to what is in the cart".to_owned()),
    }
}

/// The problem for a promotion that does not apply.
pub(super) fn invalid(code: &str, why: impl Into<String>) -> Problem {
    Problem::new(Code::PromotionInvalid, why).with("promotion", code)
}

/// Adds one use of `promotion` by `customer`, under its limits.
pub(super) fn count(batch: &mut Batch, promotion: &Promotion, customer: &str, now: Timestamp) {
    batch.one(
        USED_UP,
        "UPDATE order_promotions SET uses = uses + 1 WHERE code = $1 AND active AND (uses_max IS NULL OR uses < uses_max) \
         AND (ends_at IS NULL OR ends_at > $2)",
        vec![promotion.code.as_str().into(), now.into()],
    );
    let most = promotion.uses_per_customer_max.unwrap_or(i64::MAX);
    batch.one(
        USED_UP,
        "INSERT INTO order_promotion_uses (code, customer, uses) VALUES ($1, $2, 1) ON CONFLICT (code, customer) \
         DO UPDATE SET uses = order_promotion_uses.uses + 1 WHERE order_promotion_uses.uses < $3",
        vec![promotion.code.as_str().into(), customer.into(), most.into()],
    );
}

/// Checks what staff wants to save.
pub(super) fn check(save: &SavePromotion) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let mut refuse = |pointer: &str, message: &str| {
        errors.push(FieldError { pointer: pointer.to_owned(), message: message.to_owned() });
    };
    let code = normal(&save.code);
    let letters = code.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_'));
    if !(3..=32).contains(&code.len()) || !letters {
        refuse("/code", "the code must be 3 to 32 letters, digits, `-` or `_`");
    }
    if save.title.trim().is_empty() || save.title.len() > 200 {
        refuse("/title", "the title must have 1 to 200 characters");
    }
    if save.min_subtotal < 0 {
        refuse("/min_subtotal", "the least subtotal must not be negative");
    }
    if save.uses_max.is_some_and(|most| most < 1) {
        refuse("/uses_max", "the limit must be at least 1; leave it out for none");
    }
    if save.uses_per_customer_max.is_some_and(|most| most < 1) {
        refuse("/uses_per_customer_max", "the limit must be at least 1; leave it out for none");
    }
    if let (Some(starts), Some(ends)) = (save.starts_at, save.ends_at)
        && ends <= starts
    {
        refuse("/ends_at", "the end must be after the start");
    }
    match &save.benefit {
        Benefit::Percent { basis_points } if !(1..=10_000).contains(basis_points) => {
            refuse("/benefit/basis_points", "a percentage is 1 to 10000 hundredths of a percent");
        }
        Benefit::Fixed { amount } if *amount < 1 => {
            refuse("/benefit/amount", "the amount must be at least 1 minor unit");
        }
        Benefit::BuyXGetY { sku, buy, free }
            if sku.is_empty() || !(1..=999).contains(buy) || !(1..=999).contains(free) =>
        {
            refuse("/benefit", "name a SKU, and 1 to 999 units to buy and to get");
        }
        _ => {}
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

fn values(save: &SavePromotion, now: Timestamp) -> Vec<Value> {
    vec![
        normal(&save.code).into(),
        save.title.trim().into(),
        serde_json::to_value(&save.benefit).unwrap_or_default().into(),
        save.min_subtotal.into(),
        save.uses_max.into(),
        save.uses_per_customer_max.into(),
        save.starts_at.into(),
        save.ends_at.into(),
        save.active.into(),
        now.into(),
    ]
}

/// Adds a new promotion; conflicts as [`USED_UP`] when the code is taken.
pub(super) fn insert(batch: &mut Batch, save: &SavePromotion, now: Timestamp, tail: &str) {
    batch.push(
        USED_UP,
        crate::storage::Expect::Any,
        format!(
            "INSERT INTO order_promotions (code, title, benefit, min_subtotal, uses_max, uses_per_customer_max, \
             starts_at, ends_at, active, created_at, updated_at, uses) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, 0) {tail}"
        ),
        values(save, now),
    );
}

/// Adds a change of a promotion; fails as [`USED_UP`] when there is none of that code.
pub(super) fn update(batch: &mut Batch, save: &SavePromotion, now: Timestamp) {
    batch.one(
        USED_UP,
        "UPDATE order_promotions SET title = $2, benefit = $3, min_subtotal = $4, uses_max = $5, \
         uses_per_customer_max = $6, starts_at = $7, ends_at = $8, active = $9, updated_at = $10 WHERE code = $1",
        values(save, now),
    );
}

/// The demo shop's promotions: code and what it gives.
pub const DEMO_PROMOTIONS: [(&str, &str); 4] = [
    ("WELCOME10", "10 % off, once per customer"),
    ("FREESHIP", "free shipping"),
    ("TAKE5", "$5 off from $30 on"),
    ("GIFT100", "everything for free, 100 times in all"),
];

/// The batch that fills an empty shop with [`DEMO_PROMOTIONS`]; what is there already stays.
pub(super) fn demo(now: Timestamp) -> Batch {
    let offer = |at: usize, benefit: Benefit| SavePromotion {
        code: DEMO_PROMOTIONS[at].0.to_owned(),
        title: DEMO_PROMOTIONS[at].1.to_owned(),
        benefit,
        min_subtotal: 0,
        uses_max: None,
        uses_per_customer_max: None,
        starts_at: None,
        ends_at: None,
        active: true,
    };
    let offers = [
        SavePromotion {
            uses_per_customer_max: Some(1),
            ..offer(0, Benefit::Percent { basis_points: 1_000 })
        },
        offer(1, Benefit::FreeShipping {}),
        SavePromotion { min_subtotal: 3_000, ..offer(2, Benefit::Fixed { amount: 500 }) },
        SavePromotion { uses_max: Some(100), ..offer(3, Benefit::Percent { basis_points: 10_000 }) },
    ];
    let mut batch = Batch::new();
    for offer in offers {
        insert(&mut batch, &offer, now, "ON CONFLICT (code) DO NOTHING");
    }
    batch
}
