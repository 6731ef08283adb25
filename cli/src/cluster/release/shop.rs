//! What is kept of a shop between runs: which slot of each service is live, and how far its release is.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cluster::rollout::{Slot, State};

/// A shop's state.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ShopState {
    /// By the service's name.
    pub services: BTreeMap<String, ServiceState>,
    /// The run that wrote it last.
    pub run: String,
}

/// A service's state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ServiceState {
    /// The slot that is live.
    pub live: Slot,
    /// The revision that is live; absent before the first release.
    pub revision: Option<u64>,
    /// The release that is going on, or was the last.
    pub release: Option<State>,
}

impl Default for ServiceState {
    fn default() -> Self {
        Self { live: Slot::A, revision: None, release: None }
    }
}

impl ServiceState {
    /// The release that has not come to its end.
    #[must_use]
    pub fn unfinished(&self) -> Option<&State> {
        let is_ended = |state: &State| matches!(state.phase(), crate::cluster::rollout::Phase::Ended(_));
        self.release.as_ref().filter(|state| !is_ended(state))
    }
}

impl ShopState {
    /// The state of `service`.
    #[must_use]
    pub fn service(&self, service: &str) -> ServiceState {
        self.services.get(service).cloned().unwrap_or_default()
    }

    /// The state of `service`, to be changed.
    pub fn service_mut(&mut self, service: &str) -> &mut ServiceState {
        self.services.entry(service.to_owned()).or_default()
    }
}
