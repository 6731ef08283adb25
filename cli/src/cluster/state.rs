//! How far a rollout is, in the cluster itself: a ConfigMap that is only ever replaced when nobody else replaced it
//! meanwhile. Who dies leaves it for the next to go on from; who comes back too late is refused.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use super::api::{Api, ApiError};
use super::object::Object;

/// Its name.
const NAME: &str = "shopctl-state";
const CONFIG_MAP: (&str, &str) = ("v1", "ConfigMap");
/// The version of what is written in it.
const SCHEMA: &str = "shopctl/v1/state";

/// Why the state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody else wrote it since it was read.
    #[error("somebody else changed the state of the rollout meanwhile")]
    Overtaken,
    /// A newer shopctl wrote it, or somebody edited it.
    #[error("the state of the rollout in ConfigMap/{NAME} cannot be read")]
    Unreadable(#[source] anyhow::Error),
    /// The cluster refused it or did not answer.
    #[error(transparent)]
    Api(#[from] ApiError),
}

/// The state as it was read, with the version that the next write replaces.
#[derive(Clone, Debug)]
pub struct Stored<T> {
    namespace: String,
    version: Option<String>,
    /// What it says.
    pub value: T,
}

/// Takes the state of `namespace` away: there is nothing left that it could be of.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn forget(api: &Api, namespace: &str) -> Result<(), ApiError> {
    api.delete(CONFIG_MAP, namespace, NAME, None).await
}

impl<T: Serialize + DeserializeOwned + Default> Stored<T> {
    /// The state of `namespace`; the default where nothing was ever rolled out.
    ///
    /// # Errors
    /// When it cannot be understood; when the cluster refuses or does not answer.
    pub async fn load(api: &Api, namespace: &str) -> Result<Self, StateError> {
        let namespace = namespace.to_owned();
        let Some(map) = api.get(CONFIG_MAP, &namespace, NAME).await? else {
            return Ok(Self { namespace, version: None, value: T::default() });
        };
        let schema = map.text("/data/schema").unwrap_or_default();
        if schema != SCHEMA {
            return Err(StateError::Unreadable(anyhow::anyhow!(
                "it is written as `{schema}`, this shopctl reads `{SCHEMA}`"
            )));
        }
        let text = map.text("/data/state").unwrap_or_default();
        let value = serde_json::from_str(text).map_err(|error| StateError::Unreadable(error.into()))?;
        let version = map.text("/metadata/resourceVersion").map(str::to_owned);
        Ok(Self { namespace, version, value })
    }

    /// Writes it down.
    ///
    /// # Errors
    /// [`StateError::Overtaken`] when somebody else wrote it since; when the cluster refuses or does not answer.
    pub async fn save(&mut self, api: &Api) -> Result<(), StateError> {
        let map = self.map()?;
        let written = match self.version {
            None => api.create(&map).await,
            Some(_) => api.replace(&map).await,
        };
        match written {
            Ok(now) => {
                self.version = now.text("/metadata/resourceVersion").map(str::to_owned);
                Ok(())
            }
            // A write whose answer got lost is made again, and finds itself written.
            Err(error) if error.is_conflict() => {
                let now = Self::load(api, &self.namespace).await?;
                let is_mine = serde_json::to_value(&now.value).ok() == serde_json::to_value(&self.value).ok();
                if !is_mine {
                    return Err(StateError::Overtaken);
                }
                self.version = now.version;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn map(&self) -> Result<Object, StateError> {
        let state =
            serde_json::to_string(&self.value).map_err(|error| StateError::Unreadable(error.into()))?;
        let mut value = json!({
            "apiVersion": CONFIG_MAP.0,
            "kind": CONFIG_MAP.1,
            "metadata": {
                "name": NAME,
                "namespace": self.namespace,
                "labels": {"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/managed-by": "shopctl"},
            },
            "data": {"schema": SCHEMA, "state": state},
        });
        if let Some(version) = &self.version {
            value["metadata"]["resourceVersion"] = version.clone().into();
        }
        Object::new(value).map_err(|error| StateError::Unreadable(error.into()))
    }
}
