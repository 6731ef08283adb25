//! A payment intent and the rules by which it changes. Pure: a request and the state before give the state after, or
//! the provider's error.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::answers::ApiError;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// A 128-bit number in base 62 has at most so many digits; ids are padded to it, so they sort as they were made.
const TOKEN_DIGITS: usize = 22;
/// So many digits of a token fit a machine word.
const PIECE_DIGITS: usize = 10;
const PIECE: u128 = 62u128.pow(PIECE_DIGITS as u32);
/// What each byte counts as a digit.
const VALUES: [Option<u8>; 256] = {
    let mut values = [None; 256];
    let mut value = 0;
    while value < DIGITS.len() {
        values[DIGITS[value] as usize] = Some(value as u8);
        value += 1;
    }
    values
};

/// The unique part of an id: a UUIDv7 in base 62.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Token(pub(super) u128);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [b'0'; TOKEN_DIGITS];
        let mut rest = self.0;
        // In pieces that fit a machine word: dividing the whole number for each digit takes longer than all the rest.
        for piece in text.rchunks_mut(PIECE_DIGITS) {
            let mut digits = u64::try_from(rest % PIECE).unwrap_or_default();
            rest /= PIECE;
            for place in piece.iter_mut().rev() {
                *place = DIGITS[(digits % 62) as usize];
                digits /= 62;
            }
        }
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Token {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        if text.len() != TOKEN_DIGITS {
            return Err(());
        }
        let digit = |byte: u8| VALUES[usize::from(byte)].map(u128::from);
        text.bytes()
            .try_fold(0u128, |sum, byte| sum.checked_mul(62)?.checked_add(digit(byte)?))
            .map(Self)
            .ok_or(())
    }
}

impl Serialize for Token {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not a token"))
    }
}

/// `pi_…` and the like: the token behind `prefix`.
pub(super) fn token_of(prefix: &str, id: &str) -> Option<Token> {
    id.strip_prefix(prefix)?.parse().ok()
}

/// Stripe's words for where an intent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresCapture,
    Succeeded,
    Canceled,
}

impl Status {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::RequiresPaymentMethod => "requires_payment_method",
            Self::RequiresConfirmation => "requires_confirmation",
            Self::RequiresCapture => "requires_capture",
            Self::Succeeded => "succeeded",
            Self::Canceled => "canceled",
        }
    }
}

/// Money given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Refund {
    pub(super) token: Token,
    pub(super) amount: i64,
    pub(super) created: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
}

/// One intent, as the journal keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Intent {
    pub(super) token: Token,
    pub(super) created: i64,
    pub(super) amount: i64,
    pub(super) currency: String,
    pub(super) manual_capture: bool,
    pub(super) status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment_method: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) metadata: BTreeMap<String, String>,
    /// What was ever held; stays after the capture.
    #[serde(default)]
    pub(super) authorized: i64,
    #[serde(default)]
    pub(super) captured: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) declined: Option<Decline>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) canceled_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) cancellation_reason: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) refunds: Vec<Refund>,
}

/// Why a bank said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Decline {
    #[serde(rename = "generic_decline")]
    Generic,
    InsufficientFunds,
    LostCard,
    StolenCard,
    ExpiredCard,
    IncorrectCvc,
    ProcessingError,
    CardVelocityExceeded,
    Fraudulent,
    AuthenticationRequired,
}

impl Decline {
    /// Stripe's `code`, `decline_code` and message.
    pub(super) const fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Generic => ("card_declined", "generic_decline", "Your card was declined."),
            Self::InsufficientFunds => {
                ("card_declined", "insufficient_funds", "Your card has insufficient funds.")
            }
            Self::LostCard => ("card_declined", "lost_card", "Your card was declined."),
            Self::StolenCard => ("card_declined", "stolen_card", "Your card was declined."),
            Self::ExpiredCard => ("expired_card", "expired_card", "Your card has expired."),
            Self::IncorrectCvc => {
                ("incorrect_cvc", "incorrect_cvc", "Your card's security code is incorrect.")
            }
            Self::ProcessingError => (
                "processing_error",
                "processing_error",
                "An error occurred while processing your card. Try again in a little bit.",
            ),
            Self::CardVelocityExceeded => (
                "card_declined",
                "card_velocity_exceeded",
                "Your card was declined for making repeated attempts too frequently or exceeding its amount limit.",
            ),
            Self::Fraudulent => ("card_declined", "fraudulent", "Your card was declined."),
            Self::AuthenticationRequired => (
                "authentication_required",
                "authentication_required",
                "Your card was declined. This transaction requires authentication.",
            ),
        }
    }
}

/// What a test name of a payment method does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Card {
    Good,
    Declines(Decline),
}

/// Stripe's test names, with and without the brand; anything else does not exist.
fn card(name: &str) -> Option<Card> {
    const BRANDS: [&str; 12] = [
        "visa",
        "visa_debit",
        "mastercard",
        "mastercard_debit",
        "mastercard_prepaid",
        "amex",
        "discover",
        "diners",
        "jcb",
        "unionpay",
        "us",
        "gb",
    ];
    let name = name.strip_prefix("pm_card_")?;
    if BRANDS.contains(&name) || name == "visa_captureDeclined" {
        return Some(Card::Good);
    }
    let decline = match name.strip_prefix("visa_").unwrap_or(name) {
        "chargeDeclined" => Decline::Generic,
        "chargeDeclinedInsufficientFunds" => Decline::InsufficientFunds,
        "chargeDeclinedLostCard" => Decline::LostCard,
        "chargeDeclinedStolenCard" => Decline::StolenCard,
        "chargeDeclinedExpiredCard" => Decline::ExpiredCard,
        "chargeDeclinedIncorrectCvc" => Decline::IncorrectCvc,
        "chargeDeclinedProcessingError" => Decline::ProcessingError,
        "chargeDeclinedVelocityLimitExceeded" => Decline::CardVelocityExceeded,
        "chargeDeclinedFraudulent" | "radarBlock" => Decline::Fraudulent,
        "authenticationRequired" => Decline::AuthenticationRequired,
        _ => return None,
    };
    Some(Card::Declines(decline))
}

/// Refuses the name of a payment method that does not exist.
pub(super) fn check_payment_method(name: &str) -> Result<(), ApiError> {
    card(name).map(drop).ok_or_else(|| {
        ApiError::invalid(
            Some("resource_missing"),
            Some("payment_method"),
            format!("No such PaymentMethod: '{name}'"),
        )
    })
}

impl Intent {
    /// How much may still be taken.
    pub(super) fn capturable(&self) -> i64 {
        if self.status == Status::RequiresCapture { self.authorized } else { 0 }
    }

    /// How much was given back.
    pub(super) fn refunded(&self) -> i64 {
        self.refunds.iter().map(|refund| refund.amount).sum()
    }

    /// Asks the bank. A decline is a change too: the intent waits for another payment method.
    pub(super) fn confirm(&mut self, forced: Option<Decline>) -> Result<(), ApiError> {
        if !matches!(self.status, Status::RequiresPaymentMethod | Status::RequiresConfirmation) {
            return Err(self.unexpected("confirm"));
        }
        let Some(name) = &self.payment_method else {
            return Err(ApiError::invalid(
                Some("payment_intent_unexpected_state"),
                None,
                "You cannot confirm this PaymentIntent because it's missing a payment method. Update the PaymentIntent with a payment method and then confirm it again.",
            ));
        };
        check_payment_method(name)?;
        let declines = match card(name) {
            Some(Card::Declines(decline)) => Some(decline),
            _ => forced,
        };
        match declines {
            Some(decline) => {
                self.declined = Some(decline);
                self.status = Status::RequiresPaymentMethod;
            }
            None => {
                self.declined = None;
                self.authorized = self.amount;
                if self.manual_capture {
                    self.status = Status::RequiresCapture;
                } else {
                    self.status = Status::Succeeded;
                    self.captured = self.amount;
                }
            }
        }
        Ok(())
    }

    /// Takes `amount` of what is held, all of it when none is named; the rest is let go.
    pub(super) fn capture(&mut self, amount: Option<i64>) -> Result<(), ApiError> {
        if self.status != Status::RequiresCapture {
            return Err(self.unexpected("capture"));
        }
        // Ours, not Stripe's: a card that is held and then refuses to be taken.
        if self.payment_method.as_deref() == Some("pm_card_visa_captureDeclined") {
            return Err(ApiError::card(Decline::Generic));
        }
        let amount = amount.unwrap_or(self.authorized);
        if !(1..=self.authorized).contains(&amount) {
            return Err(ApiError::invalid(
                Some("amount_too_large"),
                Some("amount_to_capture"),
                "The amount to capture must be from 1 to the amount that can be captured.",
            ));
        }
        self.captured = amount;
        self.status = Status::Succeeded;
        Ok(())
    }

    /// Lets go of what is held.
    pub(super) fn cancel(&mut self, reason: Option<String>, now: i64) -> Result<(), ApiError> {
        if matches!(self.status, Status::Succeeded | Status::Canceled) {
            return Err(self.unexpected("cancel"));
        }
        self.status = Status::Canceled;
        self.canceled_at = Some(now);
        self.cancellation_reason = reason;
        Ok(())
    }

    /// Gives back `amount`, all that is left when none is named.
    pub(super) fn refund(
        &mut self,
        token: Token,
        amount: Option<i64>,
        reason: Option<String>,
        metadata: BTreeMap<String, String>,
        now: i64,
    ) -> Result<Refund, ApiError> {
        if self.status != Status::Succeeded {
            return Err(ApiError::invalid(
                Some("payment_intent_unexpected_state"),
                None,
                format!("This PaymentIntent ({}) does not have a successful charge to refund.", self.id()),
            ));
        }
        let left = self.captured - self.refunded();
        if left == 0 {
            return Err(ApiError::invalid(
                Some("charge_already_refunded"),
                None,
                format!("Charge {} has already been refunded.", self.charge_id()),
            ));
        }
        let amount = amount.unwrap_or(left);
        if !(1..=left).contains(&amount) {
            return Err(ApiError::invalid(
                None,
                Some("amount"),
                format!("Refund amount ({amount}) is greater than unrefunded amount on charge ({left})"),
            ));
        }
        let refund = Refund { token, amount, created: now, reason, metadata };
        self.refunds.push(refund.clone());
        Ok(refund)
    }

    pub(super) fn id(&self) -> String {
        format!("pi_{}", self.token)
    }

    /// An intent has at most one successful charge, so the two share their token.
    pub(super) fn charge_id(&self) -> String {
        format!("ch_{}", self.token)
    }

    fn unexpected(&self, verb: &str) -> ApiError {
        let message = format!(
            "You cannot {verb} this PaymentIntent because it has a status of {}.",
            self.status.as_str()
        );
        ApiError::invalid(Some("payment_intent_unexpected_state"), None, message).about(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(super) fn intent(method: &str) -> Intent {
        Intent {
            token: Token(7),
            created: 0,
            amount: 1999,
            currency: "usd".to_owned(),
            manual_capture: true,
            status: Status::RequiresConfirmation,
            payment_method: Some(method.to_owned()),
            description: None,
            metadata: BTreeMap::new(),
            authorized: 0,
            captured: 0,
            declined: None,
            canceled_at: None,
            cancellation_reason: None,
            refunds: Vec::new(),
        }
    }

    #[test]
    fn a_declined_card_holds_nothing_and_may_be_replaced() {
        let mut intent = intent("pm_card_visa_chargeDeclinedInsufficientFunds");
        intent.confirm(None).unwrap();
        assert_eq!((intent.status, intent.authorized), (Status::RequiresPaymentMethod, 0));
        assert_eq!(intent.declined, Some(Decline::InsufficientFunds));
        intent.payment_method = Some("pm_card_visa".to_owned());
        intent.confirm(None).unwrap();
        assert_eq!((intent.status, intent.capturable()), (Status::RequiresCapture, 1999));
    }

    #[test]
    fn a_token_survives_its_text() {
        for number in [0, 1, 61, 62, u128::MAX] {
            assert_eq!(Token(number).to_string().parse(), Ok(Token(number)));
        }
        assert!(Token(9) < Token(62) && Token(9).to_string() < Token(62).to_string());
    }

    #[derive(Clone, Debug)]
    enum Step {
        Confirm,
        Capture(Option<i64>),
        Cancel,
        Refund(Option<i64>),
    }

    proptest! {
        #[test]
        fn money_is_never_taken_twice_or_given_back_twice(steps in prop::collection::vec(prop_oneof![
            Just(Step::Confirm),
            prop::option::of(0i64..3000).prop_map(Step::Capture),
            Just(Step::Cancel),
            prop::option::of(0i64..3000).prop_map(Step::Refund),
        ], 0..12)) {
            let mut intent = intent("pm_card_visa");
            for (at, step) in steps.into_iter().enumerate() {
                let before = intent.clone();
                let changed = match step {
                    Step::Confirm => intent.confirm(None).is_ok(),
                    Step::Capture(amount) => intent.capture(amount).is_ok(),
                    Step::Cancel => intent.cancel(None, 0).is_ok(),
                    Step::Refund(amount) => {
                        intent.refund(Token(at as u128), amount, None, BTreeMap::new(), 0).is_ok()
                    }
                };
                prop_assert_eq!(changed, before != intent);
                prop_assert!(intent.captured <= intent.authorized && intent.authorized <= intent.amount);
                prop_assert!((0..=intent.captured).contains(&intent.refunded()));
                prop_assert!(intent.status != Status::Canceled || intent.captured == 0);
            }
        }
    }
}
