//! An order as its buyer and the merchant see it.

use super::cart::Totals;
use super::time::{clock_words, date_words, moment_words};
use crate::services::order::client::{FulfilmentStatus, Order, PaymentStatus, Status};
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
    /// The badge of an order's status.
    #[must_use]
    pub fn of_status(status: Status) -> Self {
        use Status as S;
        let tone = match status {
            S::Confirmed | S::Fulfilling | S::Shipped | S::Delivered | S::Closed => Tone::Good,
            S::PaymentQueued | S::Cancelling => Tone::Warn,
            S::Cancelled | S::Rejected | S::Expired => Tone::Bad,
            S::Pending | S::Reserved | S::Authorizing | S::Authorized => Tone::Info,
        };
        Self { tone, words: sentence(status.as_str()) }
    }

    /// The badge of where the money stands.
    #[must_use]
    pub fn of_payment(status: PaymentStatus) -> Self {
        use PaymentStatus as P;
        let tone = match status {
            P::Captured => Tone::Good,
            P::Unknown | P::Queued => Tone::Warn,
            P::Failed => Tone::Bad,
            P::Authorized | P::Refunded | P::PartiallyRefunded | P::Voided => Tone::Info,
            P::None => Tone::Plain,
        };
        Self { tone, words: sentence(status.as_str()) }
    }

    /// The badge of where the parcel stands.
    #[must_use]
    pub fn of_fulfilment(status: FulfilmentStatus) -> Self {
        use FulfilmentStatus as F;
        let tone = match status {
            F::Delivered => Tone::Good,
            F::Packed | F::Shipped => Tone::Info,
            F::ReturnRequested => Tone::Warn,
            F::None | F::PartiallyReturned | F::Returned => Tone::Plain,
        };
        Self { tone, words: sentence(status.as_str()) }
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

/// An order on a page: what the order service tells, and the words for it.
#[derive(Clone, Debug)]
pub struct OrderView(pub Order);

impl std::ops::Deref for OrderView {
    type Target = Order;
    fn deref(&self) -> &Order {
        &self.0
    }
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

impl OrderView {
    /// Whether nothing more will happen to it.
    #[must_use]
    pub fn is_final(&self) -> bool {
        self.status.is_terminal()
    }

    /// Whether it may still be cancelled.
    #[must_use]
    pub fn can_cancel(&self) -> bool {
        use Status as S;
        !self.is_final() && !matches!(self.status, S::Cancelling | S::Shipped | S::Delivered)
    }

    /// What it adds up to.
    #[must_use]
    pub fn totals(&self) -> Totals {
        Totals::from(&self.0)
    }

    /// Where it stands, as a badge.
    #[must_use]
    pub fn badge(&self) -> Badge {
        Badge::of_status(self.status)
    }

    /// Where its payment stands, as a badge.
    #[must_use]
    pub fn payment_badge(&self) -> Badge {
        Badge::of_payment(self.payment_status)
    }

    /// Where its goods stand, as a badge.
    #[must_use]
    pub fn fulfilment_badge(&self) -> Badge {
        Badge::of_fulfilment(self.fulfilment_status)
    }

    /// When it was placed, in words.
    #[must_use]
    pub fn placed(&self) -> String {
        moment_words(self.placed_at)
    }

    /// The day it was placed.
    #[must_use]
    pub fn placed_on(&self) -> String {
        date_words(self.placed_at)
    }

    /// The address, line by line.
    #[must_use]
    pub fn address_lines(&self) -> Vec<String> {
        let a = &self.shipping_address;
        let city = format!("{} {}", a.postal_code, a.city);
        [a.name.clone(), a.line1.clone(), a.line2.clone().unwrap_or_default(), city, a.country.clone()]
            .into_iter()
            .filter(|line| !line.trim().is_empty())
            .collect()
    }

    /// The steps of the way, and where it is on it.
    #[must_use]
    pub fn steps(&self) -> Vec<Step> {
        use Status as S;
        // How many steps are behind, whether the next one is under way, and whether it ended there.
        let (done, failed) = match self.status {
            S::Pending => (1, false),
            S::Rejected => (1, true),
            S::Reserved | S::Authorizing | S::PaymentQueued | S::Authorized => (2, false),
            S::Expired | S::Cancelled | S::Cancelling => (2, true),
            S::Confirmed | S::Fulfilling => (3, false),
            S::Shipped => (4, false),
            S::Delivered | S::Closed => (STEPS.len(), false),
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
        use Status as S;
        let total = self.total;
        match self.status {
            S::Pending | S::Reserved => say(
                Tone::Info,
                "We have your order",
                "Your items are being set aside. Nothing has been charged so far.".into(),
            ),
            S::Authorizing | S::Authorized if self.payment_status == PaymentStatus::Unknown => say(
                Tone::Warn,
                "Waiting for the payment provider's answer",
                format!(
                    "{}. We keep asking for that one answer: you cannot be charged twice.",
                    self.held_words()
                ),
            ),
            S::Authorizing | S::Authorized => say(
                Tone::Info,
                "Your payment is under way",
                "Your items are held. This page says when the payment is done.".into(),
            ),
            S::PaymentQueued => say(Tone::Warn, "The payment provider is down", self.queued_words()),
            S::Confirmed => say(
                Tone::Good,
                "Confirmed",
                format!("{total} is paid and your items are yours. We pack them next."),
            ),
            S::Fulfilling => say(Tone::Good, "Packed", "Your items wait for the carrier.".into()),
            S::Shipped => say(Tone::Good, "On its way", self.shipped_words()),
            S::Delivered | S::Closed => say(Tone::Good, "Delivered", "Enjoy it.".into()),
            S::Cancelling => say(
                Tone::Warn,
                "Being cancelled",
                "Your items go back on the shelf, and what you paid comes back to you.".into(),
            ),
            S::Cancelled if self.payment_status == PaymentStatus::Failed => say(
                Tone::Bad,
                "The payment was declined",
                "Nothing was charged and the items went back. Your cart is as it was: try another card."
                    .into(),
            ),
            S::Cancelled => say(
                Tone::Plain,
                "Cancelled",
                "Nothing is owed: what was held was let go, what was paid was given back.".into(),
            ),
            S::Rejected => say(
                Tone::Bad,
                "Somebody was faster",
                "Not all of it is in stock any more, so nothing was held or charged.".into(),
            ),
            S::Expired => say(
                Tone::Bad,
                "We waited as long as we could",
                "The payment did not come through in time. Nothing was charged, and the items went back."
                    .into(),
            ),
        }
    }

    fn held_words(&self) -> String {
        match self.held_until {
            Some(until) => format!("We hold your items until {}", clock_words(until)),
            None => "We hold your items".to_owned(),
        }
    }

    fn queued_words(&self) -> String {
        format!("{} and pay as soon as it is back. You need not do anything.", self.held_words())
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
    use crate::services::order::client::{Address, OrderLine};
    use crate::vocabulary::{Currency, Id, Money};

    pub(crate) fn order(status: Status) -> OrderView {
        let usd = |amount| Money::new(amount, Currency::USD);
        OrderView(Order {
            id: Id::from_uuid(uuid::Uuid::from_u128(7)),
            number: "K7-93QX-2M4D".into(),
            status,
            payment_status: PaymentStatus::Captured,
            fulfilment_status: FulfilmentStatus::None,
            lines: vec![OrderLine {
                sku: "LAMP-1".into(),
                title: "Desk lamp".into(),
                quantity: 2,
                unit_price: usd(4900),
                discount: usd(980),
                tax: usd(705),
                line_total: usd(9525),
            }],
            subtotal: usd(9800),
            discount: usd(980),
            tax: usd(705),
            shipping: usd(500),
            total: usd(10_025),
            refunded: usd(0),
            email: "ada@example.com".into(),
            shipping_address: Address {
                name: "Ada Lovelace".into(),
                line1: "12 St James's Square".into(),
                line2: None,
                city: "London".into(),
                postal_code: "SW1Y 4JH".into(),
                country: "GB".into(),
            },
            placed_at: "2026-11-14T14:02:00Z".parse().unwrap(),
            updated_at: "2026-11-14T14:02:01Z".parse().unwrap(),
            promotion: Some("WELCOME10".into()),
            tracking: None,
            held_until: Some("2026-11-14T14:32:00Z".parse().unwrap()),
            reason: None,
            access_token: None,
        })
    }

    #[test]
    fn every_status_has_its_own_words_and_five_steps() {
        for status in Status::ALL {
            let order = order(*status);
            assert_ne!(order.notice().words, "", "{status}");
            assert_eq!(order.steps().len(), 5, "{status}");
            assert!(order.steps().iter().filter(|step| step.state == StepState::Now).count() <= 1);
        }
    }

    #[test]
    fn a_queued_payment_says_until_when_the_items_are_held() {
        assert_eq!(
            order(Status::PaymentQueued).notice().words,
            "We hold your items until 14:32 UTC and pay as soon as it is back. You need not do anything."
        );
    }

    #[test]
    fn what_is_shipped_or_over_cannot_be_cancelled() {
        use Status as S;
        let able: Vec<_> = S::ALL.iter().copied().filter(|status| order(*status).can_cancel()).collect();
        let expected = [
            S::Pending,
            S::Reserved,
            S::Authorizing,
            S::PaymentQueued,
            S::Authorized,
            S::Confirmed,
            S::Fulfilling,
        ];
        assert_eq!(able, expected);
    }
}
