//! Events, as either of the two APIs writes them (`v1` and `events.k8s.io/v1`).

use platform::vocabulary::Timestamp;

use crate::cluster::object::Object;

/// Something that was reported about an object.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Event<'a> {
    object: &'a Object,
}

impl<'a> Event<'a> {
    /// `object` as an event; none when it is something else.
    pub(in crate::cluster) fn of(object: &'a Object) -> Option<Self> {
        (object.kind() == "Event").then_some(Self { object })
    }

    fn either(self, pointers: [&str; 2]) -> &'a str {
        pointers.into_iter().find_map(|pointer| self.object.text(pointer)).unwrap_or_default()
    }

    /// The id of what it is about.
    pub(in crate::cluster) fn about(self) -> &'a str {
        self.either(["/involvedObject/uid", "/regarding/uid"])
    }

    pub(in crate::cluster) fn reason(self) -> &'a str {
        self.either(["/reason", "/reason"])
    }

    pub(in crate::cluster) fn message(self) -> &'a str {
        self.either(["/message", "/note"])
    }

    /// What it is about: the kind and the name.
    pub(in crate::cluster) fn named(self) -> (&'a str, &'a str) {
        (
            self.either(["/involvedObject/kind", "/regarding/kind"]),
            self.either(["/involvedObject/name", "/regarding/name"]),
        )
    }

    /// Whether it tells of something that should not be.
    pub(in crate::cluster) fn is_warning(self) -> bool {
        self.either(["/type", "/type"]) == "Warning"
    }

    /// How often it was seen.
    pub(in crate::cluster) fn count(self) -> u64 {
        let pointers = ["/series/count", "/count", "/deprecatedCount"];
        let counts = pointers.into_iter().filter_map(|pointer| self.object.at(pointer)?.as_u64());
        counts.max().unwrap_or(1)
    }

    /// When it was first seen.
    pub(in crate::cluster) fn first_seen(self) -> Option<Timestamp> {
        let pointers = ["/firstTimestamp", "/deprecatedFirstTimestamp", "/eventTime"];
        pointers.into_iter().find_map(|pointer| self.object.text(pointer)?.parse().ok())
    }

    /// When it was last seen.
    pub(in crate::cluster) fn last_seen(self) -> Option<Timestamp> {
        let pointers =
            ["/series/lastObservedTime", "/lastTimestamp", "/deprecatedLastTimestamp", "/eventTime"];
        pointers.into_iter().find_map(|pointer| self.object.text(pointer)?.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn both_ways_of_writing_an_event_are_read() {
        let old = Object::new(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "a"},
            "involvedObject": {"kind": "Pod", "uid": "p1"},
            "reason": "Unhealthy", "message": "Readiness probe failed", "type": "Warning", "eventTime": null,
            "firstTimestamp": "2026-11-30T09:00:00Z", "lastTimestamp": "2026-11-30T10:00:00Z", "count": 7,
        }));
        let new = Object::new(json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "b"},
            "regarding": {"kind": "Pod", "uid": "p1"},
            "reason": "Unhealthy", "note": "Readiness probe failed", "type": "Warning",
            "eventTime": "2026-11-30T09:00:00.000000Z",
            "series": {"count": 7, "lastObservedTime": "2026-11-30T10:00:00.000000Z"},
        }));
        let read = |object: &Object| {
            let event = Event::of(object).unwrap();
            (
                event.about().to_owned(),
                event.reason().to_owned(),
                event.message().to_owned(),
                event.first_seen(),
                event.last_seen(),
                event.count(),
                event.is_warning(),
                event.named().0.to_owned(),
            )
        };
        assert_eq!(read(&old.unwrap()), read(&new.unwrap()));
    }
}
