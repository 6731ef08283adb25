//! Who carries the money: the contract, and those who fulfil it.
//!
//! # Adding one
//! A provider is one file that implements [`Provider`] and one arm in `choose`.

pub mod manual;
pub mod stripe;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::client::Standing;
use super::model::Operation;
use crate::capabilities::Capabilities;
use crate::vocabulary::{Currency, OrderId, Timestamp};

/// All that a call to a provider is made of. The same request is the same call, also after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderRequest {
    /// What to do.
    pub operation: Operation,
    /// The order; the provider keeps it with the payment.
    pub order_id: OrderId,
    /// Minor units.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
    /// The token of how the buyer pays (authorise).
    pub payment_method: Option<String>,
    /// The provider's name for the payment (all but authorise).
    pub reference: Option<String>,
    /// Makes replays harmless.
    pub idem_key: String,
}

/// A payment as the provider has it at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The provider's name for it.
    pub reference: String,
    /// The order that it was made for.
    pub order_id: Option<OrderId>,
    /// Where it stands.
    pub stage: Stage,
    /// Minor units that are held.
    pub held: i64,
    /// Minor units that were taken.
    pub captured: i64,
    /// The currency.
    pub currency: Currency,
    /// Why the bank said no, if it did.
    pub declined: Option<(String, String)>,
}

/// Where a payment stands at the provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Nothing is held.
    Waiting,
    /// Held.
    Held,
    /// Taken.
    Taken,
    /// Let go.
    Canceled,
}

/// What a call brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderAnswer {
    /// It is done; this is how the payment stands now.
    Done(Snapshot),
    /// Refused for good; nothing happened.
    Declined {
        /// The provider's code.
        code: String,
        /// Words for the buyer.
        message: String,
        /// The provider's name for the payment, when there is one.
        reference: Option<String>,
    },
    /// Nothing happened, and it may be tried again.
    NotBegun {
        /// Why.
        reason: String,
        /// Whether anybody was there at all.
        reached: bool,
    },
    /// It may have happened.
    Unknown {
        /// Why it is not known.
        reason: String,
        /// Whether anybody was there at all.
        reached: bool,
    },
    /// The provider replays a failure of its own under this key for ever: whether it happened must be looked up.
    /// `at` is the provider's own time of the failure.
    FailedForGood {
        /// What it said.
        reason: String,
        /// The provider's clock.
        at: Option<Timestamp>,
    },
}

/// What a look at the provider's books brought for one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It happened.
    Happened(ProviderAnswer),
    /// It did not, and no longer can under its key.
    Nothing,
}

/// The provider's books could not be read.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// A page of the provider's books, newest first.
#[derive(Clone, Debug)]
pub struct StatementPage {
    /// The payments, each with its order when the provider knows it.
    pub items: Vec<(Option<OrderId>, Standing)>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// A webhook, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Names the event; the same over every redelivery.
    pub event_id: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// The order that it is about.
    pub order_id: Option<OrderId>,
    /// The payment as it was then.
    pub snapshot: Option<Snapshot>,
    /// Minor units given back so far, when that is what it is about.
    pub refunded: Option<i64>,
}

/// Why a webhook is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Disbelief {
    /// This provider sends none.
    #[error("this provider sends no webhooks")]
    None,
    /// There is no signature, or not ours.
    #[error("the signature is not genuine")]
    Forged,
    /// Too old, or from the future.
    #[error("the signature is too old")]
    Stale,
    /// Signed, but not an event.
    #[error("the body is not an event")]
    Malformed,
}

/// What every provider does.
pub trait Provider: Send + Sync + 'static {
    /// Its name in tables and metrics.
    fn name(&self) -> &'static str;

    /// Whether calls go over the network, and so need a breaker.
    fn is_remote(&self) -> bool;

    /// Does what `request` asks, or replays the answer when it was done before.
    fn execute<'a>(&'a self, request: &'a ProviderRequest) -> BoxFuture<'a, ProviderAnswer>;

    /// Looks up what came of `requests`, all of whose keys failed for good, in the order of `requests`. `since` is a
    /// time, on the provider's clock, before which none of them was begun.
    fn find<'a>(
        &'a self,
        requests: &'a [ProviderRequest],
        since: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Found>, Unreadable>>;

    /// A page of the books since `since`, newest first; `cursor` is what the page before said.
    fn statement<'a>(
        &'a self,
        since: Timestamp,
        cursor: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StatementPage, Unreadable>>;

    /// Whether it answers at all: a cheap call without an effect.
    fn ping(&self) -> BoxFuture<'_, Result<(), Unreadable>>;

    /// Checks the signature of a webhook that came at `now`, and reads it.
    fn believe(&self, signature: Option<&str>, body: &[u8], now: Timestamp) -> Result<Notice, Disbelief>;

    /// Reads a webhook that was believed before.
    fn read(&self, body: &[u8]) -> Result<Notice, Disbelief>;
}

/// The provider that the configuration names: `manual:` is nobody but the shop's own staff; everything else is an
/// address that speaks Stripe's API, the sandbox by default.
pub(super) fn choose(capabilities: &Capabilities) -> Arc<dyn Provider> {
    let configured = capabilities.config.payment.provider_url.as_str();
    let url = if configured.is_empty() { &*capabilities.provider_url } else { configured };
    if url == "manual:" {
        return Arc::new(manual::Manual::new(capabilities.env.clone()));
    }
    Arc::new(stripe::Stripe::new(stripe::StripeConfig {
        url: url.trim_end_matches('/').to_owned(),
        api_key: capabilities.secrets.provider_api_key.clone(),
        webhook_secret: capabilities.secrets.provider_webhook.clone(),
        timeout: capabilities.config.payment.provider_timeout.max(Duration::from_millis(1)),
        http: capabilities.http.clone(),
    }))
}
