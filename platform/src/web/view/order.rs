//! An order as its buyer and the merchant see it.

use serde::Deserialize;

use super::cart::Totals;
use super::time::{clock_words, moment_words};
use crate::vocabulary::{Money, OrderId, Timestamp};
use crate::web::page::Tone;

/// A state in a few words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Badge {
    /// How it is meant.
    pub tone: Tone,
    /// The words.
    pub words: String,
}

impl Badge {
    /// The badge of an order's `status`.
    #[must_use]
    pub fn of_status(status: &str) -> Self {
        let tone = match status {
            "confirmed" | "fulfilling" | "shipped" | "delivered" | "closed" => Tone::Good,
            "payment_queued" | "cancelling" => Tone::Warn,
            "cancelled" | "rejected" | "expired" => Tone::Bad,
            _ => Tone::Info,
        };
        Self { tone, words: sentence(status) }
    }

    /// The badge of a `payment_status`.
    #[must_use]
    pub fn of_payment(status: &str) -> Self {
        let tone = match status {
            "captured" => Tone::Good,
            "unknown" | "queued" => Tone::Warn,
            "failed" => Tone::Bad,
            "authorized" | "refunded" | "partially_refunded" | "voided" => Tone::Info,
            _ => Tone::Plain,
        };
        Self { tone, words: sentence(status) }
    }

    /// The badge of a `fulfilment_status`.
    #[must_use]
    pub fn of_fulfilment(status: &str) -> Self {
        let tone = match status {
            "delivered" => Tone::Good,
            "packed" | "shipped" => Tone::Info,
            "return_requested" => Tone::Warn,
            _ => Tone::Plain,
        };
        Self { tone, words: sentence(status) }
    }
}

/// `payment_queued` as `Payment queued`.
pub(crate) fn sentence(word: &str) -> String {
    let mut text = word.replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}

/// One line of an order.
#[derive(Clone, Debug, Deserialize)]
pub struct OrderLine {
    /// What.
    pub sku: String,
    /// Its name when it was bought.
    pub title: String,
    /// How many.
    pub quantity: i64,
    /// What one cost.
    pub unit_price: Money,
    /// What they cost together.
    pub line_total: Money,
}

/// Where an order goes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Address {
    /// To whom.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Flat, floor, company.
    #[serde(default)]
    pub line2: Option<String>,
    /// The city.
    pub city: String,
    /// The postal code.
    pub postal_code: String,
    /// ISO 3166 alpha-2.
    pub country: String,
}

/// An order in a list.
#[derive(Clone, Debug, Deserialize)]
pub struct OrderRow {
    /// Names it.
    pub id: OrderId,
    /// What people call it.
    pub number: String,
    /// Where it stands.
    pub status: String,
    /// Where its payment stands.
    pub payment_status: String,
    /// Who bought it.
    pub email: String,
    /// What was paid.
    pub total: Money,
    /// When it was placed.
    pub placed_at: Timestamp,
}

impl OrderRow {
    /// Where it stands, as a badge.
    #[must_use]
    pub fn badge(&self) -> Badge {
        Badge::of_status(&self.status)
    }

    /// Where its payment stands, as a badge.
    #[must_use]
    pub fn payment_badge(&self) -> Badge {
        Badge::of_payment(&self.payment_status)
    }

    /// When it was placed, in words.
    #[must_use]
    pub fn placed(&self) -> String {
        moment_words(self.placed_at)
    }
}

/// An order on its own page.
#[derive(Clone, Debug, Deserialize)]
pub struct Order {
    /// Names it.
    pub id: OrderId,
    /// What people call it.
    pub number: String,
    /// Where it stands.
    pub status: String,
    /// Where its payment stands.
    pub payment_status: String,
    /// Where its goods stand.
    pub fulfilment_status: String,
    /// What was bought.
    pub lines: Vec<OrderLine>,
    /// What it adds up to.
    #[serde(flatten)]
    pub totals: Totals,
    /// Who bought it.
    pub email: String,
    /// Where it goes.
    #[serde(rename = "shipping_address")]
    pub address: Address,
    /// When it was placed.
    pub placed_at: Timestamp,
    /// Until when the items are held, while payment waits.
    #[serde(default)]
    pub held_until: Option<Timestamp>,
    /// The carrier's tracking number.
    #[serde(default)]
    pub tracking: Option<String>,
}

/// What the top of an order's page says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// How it is meant.
    pub tone: Tone,
    /// The short of it.
    pub heading: String,
    /// What it means for the buyer.
    pub words: String,
}

/// How far a step of the way is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepState {
    /// Behind us.
    Done,
    /// Where we are.
    Now,
    /// Ahead.
    Next,
    /// It ended here.
    Failed,
}

impl StepState {
    /// The word that stylesheet classes end with.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Now => "now",
            Self::Next => "next",
            Self::Failed => "failed",
        }
    }

    /// The word for those who cannot see the picture.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Now => "in progress",
            Self::Next => "not yet",
            Self::Failed => "ended here",
        }
    }
}

/// A step of an order's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its name.
    pub title: &'static str,
    /// How far it is.
    pub state: StepState,
}

const STEPS: [&str; 5] = ["Ordered", "Held", "Paid", "Shipped", "Delivered"];

impl Order {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self.status.as_str(), "closed" | "cancelled" | "rejected" | "expired")
    }

    /// Whether a buyer may still cancel it.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        !self.is_final() && !matches!(self.status.as_str(), "cancelling" | "shipped" | "delivered")
    }

    /// Where it stands, as a badge.
    #[must_use]
    pub fn badge(&self) -> Badge {
        Badge::of_status(&self.status)
    }

    /// Where its payment stands, as a badge.
    #[must_use]
    pub fn payment_badge(&self) -> Badge {
        Badge::of_payment(&self.payment_status)
    }

    /// Where its goods stand, as a badge.
    #[must_use]
    pub fn fulfilment_badge(&self) -> Badge {
        Badge::of_fulfilment(&self.fulfilment_status)
    }

    /// When it was placed, in words.
    #[must_use]
    pub fn placed(&self) -> String {
        moment_words(self.placed_at)
    }

    /// The address, line by line.
    #[must_use]
    pub fn address_lines(&self) -> Vec<String> {
        let a = &self.address;
        let city = format!("{} {}", a.postal_code, a.city);
        [a.name.clone(), a.line1.clone(), a.line2.clone().unwrap_or_default(), city, a.country.clone()]
            .into_iter()
            .filter(|line| !line.trim().is_empty())
            .collect()
    }

    /// The steps of the way, and where it is on it.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        // How many steps are behind, whether the next one is under way, and whether it ended there.
        let (done, failed) = match self.status.as_str() {
            "pending" => (1, false),
            "rejected" => (1, true),
            "reserved" | "authorizing" | "payment_queued" | "authorized" => (2, false),
            "expired" | "cancelled" | "cancelling" => (2, true),
            "confirmed" | "fulfilling" => (3, false),
            "shipped" => (4, false),
            _ => (STEPS.len(), false),
        };
        let state = |at: usize| match at {
            at if at < done => StepState::Done,
            at if at == done && failed => StepState::Failed,
            at if at == done => StepState::Now,
            _ => StepState::Next,
        };
        STEPS.into_iter().enumerate().map(|(at, title)| Step { title, state: state(at) }).collect()
    }

    /// What the top of the page says: the truth, and what it means for the buyer.
    #[must_use]
    pub fn notice(&self) -> Notice {
        let say = |tone, heading: &str, words: String| Notice { tone, heading: heading.to_owned(), words };
        let total = self.totals.total;
        match self.status.as_str() {
            "pending" | "reserved" => say(
                Tone::Info,
                "We have your order",
                "Your items are being set aside. Nothing has been charged so far.".into(),
            ),
            "authorizing" if self.payment_status == "unknown" => say(
                Tone::Warn,
                "Waiting for the payment provider's answer",
                "We asked once and keep asking for that one answer. You cannot be charged twice.".into(),
            ),
            "authorizing" | "authorized" => say(
                Tone::Info,
                "Your payment is under way",
                "Your items are held. This page says when the payment is done.".into(),
            ),
            "payment_queued" => say(Tone::Warn, "The payment provider is down", self.queued_words()),
            "confirmed" => say(
                Tone::Good,
                "Confirmed",
                format!("{total} is paid and your items are yours. We pack them next."),
            ),
            "fulfilling" => say(Tone::Good, "Packed", "Your items wait for the carrier.".into()),
            "shipped" => say(Tone::Good, "On its way", self.shipped_words()),
            "delivered" | "closed" => say(Tone::Good, "Delivered", "Enjoy it.".into()),
            "cancelling" => say(
                Tone::Warn,
                "Being cancelled",
                "Your items go back on the shelf, and what you paid comes back to you.".into(),
            ),
            "cancelled" if self.payment_status == "failed" => say(
                Tone::Bad,
                "The payment was declined",
                "Nothing was charged and the items went back. Your cart is as it was: try another card."
                    .into(),
            ),
            "cancelled" => say(
                Tone::Plain,
                "Cancelled",
                "Nothing is owed: what was held was let go, what was paid was given back.".into(),
            ),
            "rejected" => say(
                Tone::Bad,
                "Somebody was faster",
                "Not all of it is in stock any more, so nothing was held or charged.".into(),
            ),
            "expired" => say(
                Tone::Bad,
                "We waited as long as we could",
                "The payment did not come through in time. Nothing was charged, and the items went back."
                    .into(),
            ),
            other => say(Tone::Info, &sentence(other), String::new()),
        }
    }

    fn queued_words(&self) -> String {
        let held = match self.held_until {
            Some(until) => format!("We hold your items until {}", clock_words(until)),
            None => "We hold your items".to_owned(),
        };
        format!("{held} and pay as soon as it is back. You need not do anything.")
    }

    fn shipped_words(&self) -> String {
        match &self.tracking {
            Some(tracking) => format!("The carrier has it. Tracking number {tracking}."),
            None => "The carrier has it.".to_owned(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::vocabulary::{Currency, Id};

    const STATUSES: [&str; 14] = [
        "pending",
        "reserved",
        "authorizing",
        "payment_queued",
        "authorized",
        "confirmed",
        "fulfilling",
        "shipped",
        "delivered",
        "closed",
        "cancelling",
        "cancelled",
        "rejected",
        "expired",
    ];

    pub(crate) fn order(status: &str) -> Order {
        let usd = |amount| Money::new(amount, Currency::USD);
        Order {
            id: Id::from_uuid(uuid::Uuid::from_u128(7)),
            number: "L-1042".into(),
            status: status.into(),
            payment_status: "captured".into(),
            fulfilment_status: "none".into(),
            lines: vec![OrderLine {
                sku: "LAMP-1".into(),
                title: "Desk lamp".into(),
                quantity: 2,
                unit_price: usd(4900),
                line_total: usd(9800),
            }],
            totals: Totals {
                subtotal: usd(9800),
                discount: usd(980),
                tax: usd(705),
                shipping: usd(500),
                total: usd(10_025),
                promotion: Some("WELCOME10".into()),
            },
            email: "ada@example.com".into(),
            address: Address {
                name: "Ada Lovelace".into(),
                line1: "12 St James's Square".into(),
                line2: None,
                city: "London".into(),
                postal_code: "SW1Y 4JH".into(),
                country: "GB".into(),
            },
            placed_at: "2026-11-14T14:02:00Z".parse().unwrap(),
            held_until: Some("2026-11-14T14:32:00Z".parse().unwrap()),
            tracking: None,
        }
    }

    #[test]
    fn every_status_has_its_own_words_and_five_steps() {
        for status in STATUSES {
            let order = order(status);
            assert_ne!(order.notice().words, "", "{status}");
            assert_eq!(order.steps().len(), 5, "{status}");
            assert!(order.steps().iter().filter(|step| step.state == StepState::Now).count() <= 1);
        }
    }

    #[test]
    fn a_queued_payment_says_until_when_the_items_are_held() {
        assert_eq!(
            order("payment_queued").notice().words,
            "We hold your items until 14:32 UTC and pay as soon as it is back. You need not do anything."
        );
    }

    #[test]
    fn what_is_shipped_or_over_cannot_be_cancelled() {
        let able: Vec<_> = STATUSES.into_iter().filter(|status| order(status).can_cancel()).collect();
        assert_eq!(
            able,
            ["pending", "reserved", "authorizing", "payment_queued", "authorized", "confirmed", "fulfilling"]
        );
    }
}
