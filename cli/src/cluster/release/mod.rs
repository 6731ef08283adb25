//! A release of the whole shop: what is to be there, brought onto the cluster service by service, with what is seen told as
//! it happens.
//!
//! ```text
//! desired   what was rendered, sorted by whose it is: everybody's, the preparing Job's, each service's slots
//! shared    everybody's objects applied, what is no longer among them taken away
//! observe   what is to be seen of a service, as the pure machine in `rollout` wants it
//! record    what the last deploy made of what is everybody's
//! drive     the machine's actions carried out, until each service has ended, waits for a person, or is stuck
//! figures   what the gates ask for, from the pods' own metrics
//! ```

pub mod causes;
pub mod command;
pub mod desired;
pub mod drive;
pub mod figures;
mod observe;
pub mod prepare;
pub mod record;
pub mod shared;
pub mod shop;

use super::api::ApiError;
use super::apply::ApplyError;
use super::revision::RevisionError;
use super::state::StateError;

/// What happens while a release goes on, for whoever watches.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// An object was made or changed.
    Applied {
        /// `Deployment/order-a`.
        object: String,
        /// What that did.
        did: super::apply::Did,
    },
    /// An object that the release no longer has was taken away.
    Pruned {
        /// The object.
        object: String,
    },
    /// A field that somebody else had added was removed.
    Removed {
        /// The object.
        object: String,
        /// The field.
        path: String,
        /// Who had added it.
        manager: String,
    },
    /// A service has come to another phase.
    Phase {
        /// The service.
        service: String,
        /// The phase.
        phase: String,
    },
    /// Something was done for a service.
    Did {
        /// The service.
        service: String,
        /// What, in words.
        action: String,
    },
    /// A service keeps the number of pods that it was scaled to: the values have not changed theirs since.
    Keeps {
        /// The service.
        service: String,
        /// How many run.
        pods: u32,
        /// How many the values say.
        rendered: u32,
    },
    /// What a service waits for.
    Waits {
        /// The service.
        service: String,
        /// What for, in words.
        waits_for: String,
    },
    /// A service goes back: what kept its new pods from being well.
    Causes {
        /// The service.
        service: String,
        /// The causes, the likeliest first.
        causes: Vec<crate::cluster::why::Cause>,
    },
    /// An operator's command could not be followed.
    RefusedCommand {
        /// The service.
        service: String,
        /// Why not.
        why: String,
    },
}

/// Hears what happens.
pub type Talk<'a> = &'a dyn Fn(Event);

/// Why a release could not go on. What was begun stays where it is and can be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// An object could not be applied.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The cluster refused or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The state could not be read or written.
    #[error(transparent)]
    State(#[from] StateError),
    /// A record could not be read or written.
    #[error(transparent)]
    Revision(#[from] RevisionError),
    /// What the last deploy made could not be read or written.
    #[error(transparent)]
    Record(#[from] record::RecordError),
    /// What was rendered lacks something that a service needs.
    #[error("the chart renders no {what} for the service {service}")]
    NotRendered {
        /// The service.
        service: String,
        /// What.
        what: &'static str,
    },
    /// Tables could not be brought up to date. Nothing that serves was changed.
    #[error("the tables could not be brought up to date: {why}")]
    Prepare {
        /// What is held against the Job.
        why: String,
    },
    /// Something did not get ready in time.
    #[error("{object} is not ready after {seconds} s: {why}")]
    NotReady {
        /// The object.
        object: String,
        /// How long was waited.
        seconds: u64,
        /// How far it is.
        why: String,
    },
    /// Somebody asked to stop.
    #[error("stopped")]
    Interrupted,
    /// Somebody else may hold the lock by now.
    #[error("the deploy lock could not be renewed: somebody else may hold it")]
    LockLost,
}
