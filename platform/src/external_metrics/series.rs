//! One series that the shop's processes tell of themselves, and how it stands in what they tell.

use std::collections::BTreeMap;

/// A series of a metric. It has the same name in `/metrics` and in the API; the label `service` is ours, so that a scaler
/// can say whose work it means, and `queue` is on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Series {
    /// The metric: `saga_inflight`.
    pub metric: &'static str,
    /// Whose work it measures.
    pub service: &'static str,
    /// The queue, where it is about one.
    pub queue: Option<&'static str>,
}

impl Series {
    /// The labels that a selector looks at.
    pub(super) fn labels(&self) -> BTreeMap<&'static str, &'static str> {
        let queue = self.queue.map(|queue| ("queue", queue));
        [("service", self.service)].into_iter().chain(queue).collect()
    }

    /// Whether the processes of `service` know it. Every process reads the queues; what has no queue is counted by the
    /// processes of its own service, and stands at 0 in all others.
    pub(super) fn is_told_by(&self, service: &str) -> bool {
        self.queue.is_some() || self.service == service
    }

    /// Its value in what a process tells (OpenMetrics' text format); none when it is not told there.
    pub(super) fn value_in(&self, exposition: &str) -> Option<f64> {
        exposition.lines().find_map(|line| {
            let (labels, rest) = labels(line.strip_prefix(self.metric)?)?;
            let is_it = |queue| labels.iter().any(|(name, value)| *name == "queue" && value == queue);
            if !self.queue.is_none_or(is_it) {
                return None;
            }
            rest.split_ascii_whitespace().next()?.parse().ok()
        })
    }
}

/// The labels that `text` begins with, which are none without a brace, and what follows them.
fn labels(text: &str) -> Option<(Vec<(&str, String)>, &str)> {
    let Some(mut rest) = text.strip_prefix('{') else {
        return text.starts_with(' ').then_some((Vec::new(), text));
    };
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(after) = rest.strip_prefix('}') {
            return Some((found, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let (value, after) = quoted(after)?;
        found.push((name, value));
        rest = after;
    }
}

/// What stands before the closing quote, with its escapes undone, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAGAS: Series = Series { metric: "saga_inflight", service: "order", queue: None };

    fn oldest(queue: &'static str) -> Series {
        Series { metric: "queue_oldest_seconds", service: "notification", queue: Some(queue) }
    }

    #[test]
    fn a_series_is_found_by_its_name_and_its_queue() {
        let text = concat!(
            "# HELP saga_inflight Sagas that have not ended.\n",
            "# TYPE saga_inflight gauge\n",
            "saga_inflight_more 9\n",
            "saga_inflight 3\n",
            "queue_oldest_seconds{queue=\"order\"} 0.0\n",
            "queue_oldest_seconds{pod=\"a, \\\"b\\\"\",queue=\"notification\"} 2.5 1700000000\n",
            "# EOF\n",
        );
        assert_eq!(SAGAS.value_in(text), Some(3.0));
        assert_eq!(oldest("order").value_in(text), Some(0.0));
        assert_eq!(oldest("notification").value_in(text), Some(2.5));
        assert_eq!(oldest("mail").value_in(text), None);
    }

    #[test]
    fn what_is_no_exposition_tells_nothing() {
        for text in
            ["", "<html>saga_inflight 3</html>", "saga_inflight", "saga_inflight ", "saga_inflight many"]
        {
            assert_eq!(SAGAS.value_in(text), None, "{text}");
        }
        for text in
            ["queue_oldest_seconds{queue=\"order", "queue_oldest_seconds{queue} 1", "queue_oldest_seconds 1"]
        {
            assert_eq!(oldest("order").value_in(text), None, "{text}");
        }
    }

    #[test]
    fn sagas_are_told_by_their_own_service_and_queues_by_all() {
        assert!(SAGAS.is_told_by("order") && !SAGAS.is_told_by("product"));
        assert!(oldest("notification").is_told_by("product"));
    }
}
