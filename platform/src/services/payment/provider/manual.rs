//! No provider at all: the shop's staff take the money (by invoice, by transfer, over the counter) and the shop keeps
//! the books. Every act is done at once; there is nobody to ask and nobody to time out.

use futures_util::future::BoxFuture;

use super::{
    Disbelief, Found, Notice, Provider, ProviderAnswer, ProviderRequest, Snapshot, Stage, StatementPage,
    Unreadable,
};
use crate::services::payment::model::Operation;
use crate::vocabulary::{Env, Timestamp};

/// The staff.
#[derive(Debug)]
pub struct Manual {
    env: Env,
}

impl Manual {
    /// The staff, who need no more than names for their slips.
    #[must_use]
    pub const fn new(env: Env) -> Self {
        Self { env }
    }

    fn done(&self, request: &ProviderRequest) -> Snapshot {
        let reference =
            request.reference.clone().unwrap_or_else(|| format!("manual_{}", self.env.uuid().simple()));
        let (stage, held, captured) = match request.operation {
            Operation::Authorize => (Stage::Held, request.amount, 0),
            Operation::Capture => (Stage::Taken, 0, request.amount),
            Operation::Void => (Stage::Canceled, 0, 0),
            Operation::Refund => (Stage::Taken, 0, request.amount),
        };
        Snapshot {
            reference,
            order_id: Some(request.order_id),
            stage,
            held,
            captured,
            currency: request.currency,
            declined: None,
        }
    }
}

impl Provider for Manual {
    fn name(&self) -> &'static str {
        "manual"
    }

    fn is_remote(&self) -> bool {
        false
    }

    fn execute<'a>(&'a self, request: &'a ProviderRequest) -> BoxFuture<'a, ProviderAnswer> {
        Box::pin(async move { ProviderAnswer::Done(self.done(request)) })
    }

    fn find<'a>(
        &'a self,
        requests: &'a [ProviderRequest],
        _: Timestamp,
    ) -> BoxFuture<'a, Result<Vec<Found>, Unreadable>> {
        Box::pin(async move { Ok(requests.iter().map(|_| Found::Nothing).collect()) })
    }

    fn statement<'a>(
        &'a self,
        _: Timestamp,
        _: Option<&'a str>,
    ) -> BoxFuture<'a, Result<StatementPage, Unreadable>> {
        Box::pin(async {
            Err(Unreadable(
                "money is taken by hand here: there is no provider's statement to compare with".to_owned(),
            ))
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), Unreadable>> {
        Box::pin(async { Ok(()) })
    }

    fn believe(&self, _: Option<&str>, _: &[u8], _: Timestamp) -> Result<Notice, Disbelief> {
        Err(Disbelief::None)
    }

    fn read(&self, _: &[u8]) -> Result<Notice, Disbelief> {
        Err(Disbelief::None)
    }
}
