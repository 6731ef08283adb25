//! The objects that belong to no slot, and what is no longer among any.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::{Event, ReleaseError, Talk};
use crate::cluster::api::Api;
use crate::cluster::apply::{self, Consent, Did};
use crate::cluster::applyset::{self, ApplySet};
use crate::cluster::object::Object;

/// Objects of one kind that are applied at the same time.
const AT_ONCE: usize = 8;

/// Applies `objects`, those of a kind that others need before them. Tells of each that was not so already.
///
/// # Errors
/// The first that cannot be applied; those before it stay.
pub async fn apply_all(
    api: &Api,
    namespace: &str,
    objects: &[Object],
    consent: Consent,
    talk: Talk<'_>,
) -> Result<Vec<(Object, Did)>, ReleaseError> {
    let mut all = Vec::with_capacity(objects.len());
    let mut from = 0;
    while from < objects.len() {
        let place = objects[from].place();
        let to = from + objects[from..].iter().take_while(|object| object.place() == place).count();
        let applied = stream::iter(&objects[from..to])
            .map(|object| apply_one(api, namespace, object, consent, false))
            .buffered(AT_ONCE);
        let applied: Vec<(Object, Did)> = applied.try_collect().await?;
        for (object, did) in applied {
            tell(&object, did, talk);
            all.push((object, did));
        }
        from = to;
    }
    Ok(all)
}

/// Applies one object as a member of the shop's set.
///
/// # Errors
/// When it belongs to somebody else, or the cluster refuses.
pub async fn apply_one(
    api: &Api,
    namespace: &str,
    object: &Object,
    consent: Consent,
    is_dry: bool,
) -> Result<(Object, Did), ReleaseError> {
    let mut object = object.clone();
    applyset::enrol(&mut object, namespace);
    let kind = (object.api_version(), object.kind());
    let live = api.get(kind, &object.key().namespace, object.name()).await?;
    Ok(apply::apply(api, &object, live.as_ref(), consent, is_dry).await?)
}

/// Takes away what `objects` no longer has.
///
/// # Errors
/// When the cluster refuses or does not answer; what went is gone.
pub async fn prune(
    api: &Api,
    set: &mut ApplySet,
    objects: &[Object],
    talk: Talk<'_>,
) -> Result<usize, ReleaseError> {
    let leftovers = set.leftovers(api, objects).await?;
    for object in &leftovers {
        let kind = (object.api_version(), object.kind());
        api.delete(kind, &object.key().namespace, object.name(), object.uid()).await?;
        talk(Event::Pruned { object: object.key().to_string() });
    }
    set.narrow(api, objects).await?;
    Ok(leftovers.len())
}

pub(super) fn tell(object: &Object, did: Did, talk: Talk<'_>) {
    if did != Did::Nothing {
        talk(Event::Applied { object: object.key().to_string(), did });
    }
}
