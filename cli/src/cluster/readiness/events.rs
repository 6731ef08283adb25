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
            "lastTimestamp": "2026-11-30T10:00:00Z",
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
                event.last_seen(),
            )
        };
        assert_eq!(read(&old.unwrap()), read(&new.unwrap()));
    }
}
