//! What an operator wants of a release that goes on: written into the cluster by one process, heard by the one that drives.

use serde_json::json;

use crate::cluster::api::{Api, ApiError, Applying};
use crate::cluster::object::Object;
use crate::cluster::rollout::{Command, Verb};

const NAME: &str = "shopctl-command";
const CONFIG_MAP: (&str, &str) = ("v1", "ConfigMap");

/// Tells whoever drives `service` what is wanted; absent means every service.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn tell(
    api: &Api,
    namespace: &str,
    service: Option<&str>,
    command: &Command,
) -> Result<(), ApiError> {
    let value = json!({
        "apiVersion": CONFIG_MAP.0,
        "kind": CONFIG_MAP.1,
        "metadata": {
            "name": NAME,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "shopctl"},
        },
        "data": {
            "id": command.id,
            "by": command.by,
            "why": command.why.clone().unwrap_or_default(),
            "verb": word(command.verb),
            "service": service.unwrap_or_default(),
        },
    });
    let object = Object::new(value).expect("it has all that an object has");
    let how = Applying { manager: crate::cluster::MANAGER, is_dry: false, takes_over: true };
    api.apply(&object, how).await.map(drop)
}

/// What was told last, for whom; absent when nothing ever was. An empty name is every service.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn told(api: &Api, namespace: &str) -> Result<Option<(String, Command)>, ApiError> {
    let Some(map) = api.get(CONFIG_MAP, namespace, NAME).await? else { return Ok(None) };
    let text =
        |name: &str| map.at("/data").and_then(|data| data.get(name)?.as_str()).unwrap_or_default().to_owned();
    let Some(verb) = verb(&text("verb")) else { return Ok(None) };
    let why = Some(text("why")).filter(|why| !why.is_empty());
    Ok(Some((text("service"), Command { id: text("id"), by: text("by"), why, verb })))
}

/// Takes away what was told last.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn forget(api: &Api, namespace: &str) -> Result<(), ApiError> {
    api.delete(CONFIG_MAP, namespace, NAME, None).await
}

/// A verb as people type it.
#[must_use]
pub fn word(verb: Verb) -> &'static str {
    match verb {
        Verb::Pause => "pause",
        Verb::Promote => "promote",
        Verb::Abort => "abort",
        Verb::Undo => "undo",
    }
}

fn verb(word: &str) -> Option<Verb> {
    [Verb::Pause, Verb::Promote, Verb::Abort, Verb::Undo].into_iter().find(|verb| self::word(*verb) == word)
}
