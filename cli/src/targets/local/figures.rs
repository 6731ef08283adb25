//! The few figures of a running shop that fit in a line, read from its metrics.

use std::time::Duration;

use serde::Serialize;

use crate::wire;

/// What a glance wants to know. A figure that the metrics do not have is absent, not zero.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Orders confirmed since the process started.
    pub orders: Option<u64>,
    /// Sagas that run or wait.
    pub sagas_in_flight: Option<u64>,
    /// Requests that the gateway answered with a 5xx.
    pub errors: Option<u64>,
}

impl Figures {
    /// Out of metrics in Prometheus' text format.
    #[must_use]
    pub fn from_metrics(text: &str) -> Self {
        Self {
            orders: sum(text, "orders_total", |labels| labels.contains("status=\"confirmed\"")),
            sagas_in_flight: sum(text, "saga_inflight", |_| true),
            errors: sum(text, "http_requests_total", |labels| {
                labels.contains("service=\"gateway\"") && labels.contains("status=\"5")
            }),
        }
    }

    /// Asks the shop on `url`.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn of(url: &str, timeout: Duration) -> anyhow::Result<Self> {
        let reply = wire::get(url, "/metrics", timeout).await?;
        Ok(if reply.status.is_success() { Self::from_metrics(&reply.text()) } else { Self::default() })
    }

    /// These and those of another process of the same shop.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let sum = |one: Option<u64>, two: Option<u64>| one.zip(two).map_or(one.or(two), |(a, b)| Some(a + b));
        Self {
            orders: sum(self.orders, other.orders),
            sagas_in_flight: sum(self.sagas_in_flight, other.sagas_in_flight),
            errors: sum(self.errors, other.errors),
        }
    }

    /// The living line.
    #[must_use]
    pub fn line(&self) -> String {
        let show = |figure: Option<u64>| figure.map_or_else(|| "–".to_owned(), |figure| figure.to_string());
        format!(
            "orders {} · sagas in flight {} · errors {}",
            show(self.orders),
            show(self.sagas_in_flight),
            show(self.errors)
        )
    }
}

/// The sum of the series of `name` whose labels are `wanted`. A metric that nothing has happened to yet has no
/// series and is not listed, so it is zero; `None` only when these are no metrics at all.
#[must_use]
pub fn sum(text: &str, name: &str, wanted: impl Fn(&str) -> bool) -> Option<u64> {
    let is_known = text.lines().any(|line| line.starts_with("# TYPE "));
    let mut total = is_known.then_some(0.0);
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some(rest) = line.strip_prefix(name) else { continue };
        let (labels, value) = match rest.as_bytes().first() {
            Some(b'{') => rest.split_once("} ").unwrap_or((rest, "")),
            Some(b' ') => ("", rest),
            _ => continue,
        };
        let value: f64 = value.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or(0.0);
        *total.get_or_insert(0.0) += if wanted(labels) { value } else { 0.0 };
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are whole and positive"
    )]
    total.map(|total| total.max(0.0) as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "\
# TYPE orders counter
orders_total{status=\"confirmed\"} 7
orders_total{status=\"cancelled\"} 1
orders_total_created 9
# TYPE saga_inflight gauge
saga_inflight 3
# TYPE http_requests counter
http_requests_total{service=\"gateway\",route=\"/v1/orders\",status=\"201\"} 8
http_requests_total{service=\"gateway\",route=\"/v1/orders\",status=\"503\"} 2
http_requests_total{service=\"order\",route=\"/v1/orders\",status=\"503\"} 2
";

    #[test]
    fn figures_are_sums_over_labels() {
        let figures = Figures::from_metrics(METRICS);
        assert_eq!(figures.line(), "orders 7 · sagas in flight 3 · errors 2");
    }

    #[test]
    fn processes_add_up_and_one_that_does_not_count_takes_nothing_away() {
        let figures = Figures::from_metrics(METRICS);
        let both = figures.plus(&figures).plus(&Figures::default());
        assert_eq!(both.line(), "orders 14 · sagas in flight 6 · errors 4");
    }

    #[test]
    fn what_has_not_happened_is_zero_and_what_nobody_measures_is_absent() {
        let figures = Figures::from_metrics("# TYPE saga_inflight gauge\nsaga_inflight 0\n");
        assert_eq!(figures.line(), "orders 0 · sagas in flight 0 · errors 0");
        assert_eq!(Figures::from_metrics("not found").line(), "orders – · sagas in flight – · errors –");
    }
}
