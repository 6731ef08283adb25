//! What the cluster reported of the shop's objects: its Events, sorted by when they were last seen. Pure.

use platform::vocabulary::Timestamp;
use serde::Serialize;

use super::object::Object;
use super::readiness::Event;

/// Something that was reported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Happening {
    /// When it was last seen; absent when it does not say.
    pub at: Option<Timestamp>,
    /// When it was first seen.
    pub first_at: Option<Timestamp>,
    /// How often.
    pub count: u64,
    /// Whether it tells of something that should not be.
    pub is_warning: bool,
    /// `Pod/order-a-7d9f-x2x`.
    pub object: String,
    /// In one word.
    pub reason: String,
    /// In words.
    pub message: String,
}

/// The events among `objects` that are about the shop, or about `service` and its pods alone; the newest last.
///
/// What an event is about may be gone by now, so it is known by its name: those of the shop's objects begin with the name
/// of a workload.
#[must_use]
pub fn happenings<'a>(
    objects: impl Iterator<Item = &'a Object> + Clone,
    service: Option<&str>,
) -> Vec<Happening> {
    let is_of_shop = |object: &&Object| object.label("app.kubernetes.io/part-of") == Some("shop");
    let mut names: Vec<&str> = match service {
        Some(service) => vec![service],
        None => objects.clone().filter(is_of_shop).map(named).collect(),
    };
    names.sort_unstable();
    names.dedup();
    let mut found: Vec<Happening> = objects
        .filter_map(Event::of)
        .filter(|event| names.iter().any(|name| belongs(event.named().1, name)))
        .map(|event| Happening {
            at: event.last_seen(),
            first_at: event.first_seen(),
            count: event.count(),
            is_warning: event.is_warning(),
            object: format!("{}/{}", event.named().0, event.named().1),
            reason: event.reason().to_owned(),
            message: event.message().split_whitespace().collect::<Vec<_>>().join(" "),
        })
        .collect();
    found.sort_by(|one, other| {
        (one.at, &one.object, &one.reason).cmp(&(other.at, &other.object, &other.reason))
    });
    found
}

/// What its service is called; an object that is of no service goes by its own name.
fn named(object: &Object) -> &str {
    object.label("app.kubernetes.io/name").unwrap_or_else(|| object.name())
}

/// Whether an object of the name `about` belongs to `service`: itself, its slots and their pods, and its volume's claim.
fn belongs(about: &str, service: &str) -> bool {
    let rest = about.strip_prefix("data-").unwrap_or(about).strip_prefix(service);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(about: &str, at: &str) -> Object {
        Object::new(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": format!("{about}.{at}")},
            "involvedObject": {"kind": "Pod", "name": about}, "reason": "Started", "message": "it\n started",
            "type": "Normal", "lastTimestamp": format!("2026-11-30T10:00:{at}Z"), "count": 3,
        }))
        .unwrap()
    }

    fn deployment(service: &str) -> Object {
        let labels = json!({"app.kubernetes.io/part-of": "shop", "app.kubernetes.io/name": service});
        let metadata = json!({"name": format!("{service}-a"), "labels": labels});
        Object::new(json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata})).unwrap()
    }

    #[test]
    fn the_newest_is_last_and_strangers_are_left_out() {
        let all = [
            event("order-a-1-x", "09"),
            event("orderly-1", "08"),
            event("data-postgresql-0", "07"),
            deployment("order"),
            deployment("postgresql"),
        ];
        let told: Vec<String> = happenings(all.iter(), None).into_iter().map(|one| one.object).collect();
        assert_eq!(told, ["Pod/data-postgresql-0", "Pod/order-a-1-x"]);
        let of_order = happenings(all.iter(), Some("order"));
        assert_eq!((of_order.len(), of_order[0].count, of_order[0].message.as_str()), (1, 3, "it started"));
    }
}
