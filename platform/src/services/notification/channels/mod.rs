//! The ways to a recipient.
//!
//! # Adding one
//! A channel is one file that implements [`Channel`] and one line in [`CHANNELS`]. Senders, retries, deliveries, the
//! admin pages and the metrics follow from the list; which recipients it takes and in which words is the event's and
//! the template's business.

mod log;
mod smtp;

use futures_util::future::BoxFuture;
use tokio_util::sync::CancellationToken;

use crate::capabilities::Capabilities;
use crate::config::NotificationConfig;
use crate::vocabulary::DeliveryId;

/// A message in its final words.
#[derive(Clone, Debug)]
pub(super) struct Letter {
    /// The delivery; the same for every try.
    pub(super) id: DeliveryId,
    /// What goes into `Message-ID` before the `@`: the delivery's id, and a number when staff asked for it again.
    /// A recipient who gets a mail twice (the shop died between the hand-over and the note of it) can tell by it.
    pub(super) message_id: String,
    pub(super) to: String,
    pub(super) subject: String,
    pub(super) body: String,
    /// Which text it is: `order_confirmed.en.1`.
    pub(super) template: String,
}

/// What a channel did with a letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was handed over.
    Sent,
    /// This letter was refused for now.
    Deferred { code: Option<i64>, reason: String },
    /// This letter will never be taken.
    Refused { code: Option<i64>, reason: String },
    /// The channel itself does not work; no letter is to blame.
    Away { reason: String },
    /// There was no time left for it.
    Untried,
}

impl Outcome {
    /// Why the channel does not work, when it does not.
    pub(super) fn away(&self) -> Option<&str> {
        match self {
            Self::Away { reason } => Some(reason),
            _ => None,
        }
    }
}

/// A way to hand letters over.
pub(super) trait Channel: Send + Sync {
    /// Hands over `letters` and answers for each, in their order. Begins no further letter after `stop`.
    fn deliver<'call>(
        &'call self,
        letters: &'call [Letter],
        stop: &'call CancellationToken,
    ) -> BoxFuture<'call, Vec<Outcome>>;
}

/// A channel of the list.
#[derive(Clone, Copy)]
pub(super) struct ChannelSpec {
    /// Its name in deliveries and metrics.
    pub(super) name: &'static str,
    /// How many letters it takes at once. All of them must be done well within a claim's lease.
    pub(super) letters_max: usize,
    /// Whether this shop uses it.
    pub(super) is_active: fn(&NotificationConfig) -> bool,
    /// Makes it ready.
    pub(super) open: fn(&Capabilities) -> anyhow::Result<Box<dyn Channel>>,
}

/// Every channel.
pub(super) const CHANNELS: &[ChannelSpec] = &[log::CHANNEL, smtp::CHANNEL];
