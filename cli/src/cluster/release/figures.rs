//! What the gates ask for, counted by the new pods themselves between one round and the next.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::cluster::api::Api;
use crate::cluster::forward::metrics_port;
use crate::cluster::object::Object;
use crate::cluster::rollout::{Gate, Place, Reading, Readings, Slot, State};

/// How long a round counts requests.
const COUNTED: Duration = Duration::from_secs(5);

/// The counts of one pod or of many: requests, those that failed, and how long they took.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counts {
    requests: f64,
    failed: f64,
    /// Requests by the upper bound of their bucket, in seconds, as text, since it names them.
    buckets: BTreeMap<String, f64>,
}

/// Reads the figures of `slot` twice, and answers what came of the requests in between.
pub async fn read(
    api: &Api,
    namespace: &str,
    state: &State,
    slot: Slot,
    round: u32,
    place: Place,
) -> Readings {
    let plan = state.plan();
    let gates = match (place, &plan.strategy) {
        (Place::Preview, crate::cluster::rollout::Strategy::BlueGreen(how)) => &how.preview.gates,
        _ => &plan.bake.gates,
    };
    let before = counts(api, namespace, &plan.service, slot).await;
    tokio::time::sleep(COUNTED).await;
    let after = counts(api, namespace, &plan.service, slot).await;
    let counted = before.and_then(|before| Ok(after?.since(&before)));
    let readings = gates.iter().map(|gate| reading(gate, counted.as_ref())).collect();
    Readings { round, readings }
}

fn reading(gate: &Gate, counted: Result<&Counts, &String>) -> Reading {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of requests")]
    let samples = counted.as_ref().map_or(0, |counts| counts.requests as u64);
    let value = counted.map_err(Clone::clone).and_then(|counts| {
        let figure = match gate.query.as_str() {
            "success_rate" => counts.success_rate(),
            "p99_ms" => counts.quantile_ms(0.99),
            other => return Err(format!("no figure is called {other}")),
        };
        figure.ok_or_else(|| "no request came".to_owned())
    });
    Reading { gate: gate.name.clone(), value, samples }
}

/// The counts of all pods of `slot` together, or why one of them could not be asked.
async fn counts(api: &Api, namespace: &str, service: &str, slot: Slot) -> Result<Counts, String> {
    let selector = format!("app.kubernetes.io/name={service},shopctl.dev/slot={slot}");
    let pods: Vec<Object> =
        api.list(("v1", "Pod"), namespace, &selector).await.map_err(|error| error.to_string())?;
    let mut all = Counts::default();
    for pod in pods.iter().filter(|pod| pod.at("/metadata/deletionTimestamp").is_none()) {
        let name = pod.name();
        // By number: the API server knows pods' ports by no other name.
        let port =
            metrics_port(pod).ok_or_else(|| format!("the pod {name} names no port for its figures"))?;
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/metrics");
        let text = api.read(&path).await.map_err(|error| format!("the pod {name} was asked: {error}"))?;
        all.add(&parse(&text));
    }
    Ok(all)
}

/// Reads what a service tells at `/metrics`.
fn parse(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        match name {
            "http_requests_total" => {
                counts.requests += value;
                if label(labels, "status").is_some_and(|status| status.starts_with('5')) {
                    counts.failed += value;
                }
            }
            "http_request_duration_seconds_bucket" => {
                if let Some(bound) = label(labels, "le") {
                    *counts.buckets.entry(bound.to_owned()).or_default() += value;
                }
            }
            _ => {}
        }
    }
    counts
}

fn label<'a>(labels: &'a str, name: &str) -> Option<&'a str> {
    let start = labels.find(&format!("{name}=\""))? + name.len() + 2;
    labels[start..].split('"').next()
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.failed += other.failed;
        for (bound, count) in &other.buckets {
            *self.buckets.entry(bound.clone()).or_default() += count;
        }
    }

    /// What was counted since `before`. A pod that is new since then makes it more than it was, and one that went less:
    /// never less than nothing.
    fn since(&self, before: &Self) -> Self {
        let buckets = self.buckets.iter().map(|(bound, count)| {
            (bound.clone(), (count - before.buckets.get(bound).unwrap_or(&0.0)).max(0.0))
        });
        Self {
            requests: (self.requests - before.requests).max(0.0),
            failed: (self.failed - before.failed).max(0.0),
            buckets: buckets.collect(),
        }
    }

    fn success_rate(&self) -> Option<f64> {
        (self.requests > 0.0).then(|| 100.0 * (self.requests - self.failed) / self.requests)
    }

    /// The upper bound of the bucket that the quantile lies in: never less than the true value.
    fn quantile_ms(&self, quantile: f64) -> Option<f64> {
        let bound =
            |text: &str| if text == "+Inf" { f64::INFINITY } else { text.parse().unwrap_or(f64::NAN) };
        let mut buckets: Vec<(f64, f64)> =
            self.buckets.iter().map(|(text, count)| (bound(text), *count)).collect();
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
        buckets.iter().find(|(_, count)| *count >= quantile * all).map(|(bound, _)| bound * 1000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "# HELP http_requests_total …\n\
        http_requests_total{service=\"order\",route=\"/v1/orders\",method=\"POST\",status=\"201\"} 100\n\
        http_requests_total{service=\"order\",route=\"/v1/orders\",method=\"POST\",status=\"503\"} 1\n\
        http_request_duration_seconds_bucket{le=\"0.1\",service=\"order\"} 100\n\
        http_request_duration_seconds_bucket{le=\"+Inf\",service=\"order\"} 101\n";
    const AFTER: &str = "http_requests_total{status=\"201\"} 198\n\
        http_requests_total{status=\"503\"} 3\n\
        http_request_duration_seconds_bucket{le=\"0.1\"} 198\n\
        http_request_duration_seconds_bucket{le=\"+Inf\"} 201\n";

    #[test]
    fn figures_are_those_of_the_requests_in_between() {
        let counted = parse(AFTER).since(&parse(BEFORE));
        assert_eq!((counted.requests, counted.failed), (100.0, 2.0));
        assert_eq!(counted.success_rate(), Some(98.0));
        assert_eq!(counted.quantile_ms(0.5), Some(100.0));
        assert_eq!(
            counted.quantile_ms(0.99),
            Some(f64::INFINITY),
            "two of a hundred took longer than any bound"
        );
    }

    #[test]
    fn figures_are_asked_for_where_customers_do_not_come() {
        let pod = |ports: serde_json::Value| {
            let spec = serde_json::json!({"containers": [{"name": "shopd", "ports": ports}]});
            Object::new(serde_json::json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}))
                .unwrap()
        };
        let http = serde_json::json!({"name": "http", "containerPort": 8080});
        let metrics = serde_json::json!({"name": "metrics", "containerPort": 9100});
        assert_eq!(metrics_port(&pod(serde_json::json!([http, metrics]))), Some(9100));
        assert_eq!(metrics_port(&pod(serde_json::json!([http]))), Some(8080));
        assert_eq!(metrics_port(&pod(serde_json::json!([]))), None);
    }

    #[test]
    fn without_requests_there_is_no_figure() {
        let counted = parse(AFTER).since(&parse(AFTER));
        assert_eq!((counted.success_rate(), counted.quantile_ms(0.99)), (None, None));
    }
}
