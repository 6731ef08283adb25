//! The shop's own metrics. Each method is one thing that can happen; labels are `&'static str`, enums, or a route's
//! template, so that nobody can put an id, an e-mail or a path into one: the number of series is bounded by the code.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// A gauge of seconds.
type Seconds = Gauge<f64, AtomicU64>;
/// Histograms that are made alike.
type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// Upper bounds of durations: 1 ms to 30 s, with the 200 ms of the objective among them.
const DURATION_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// What a circuit breaker lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Everything.
    Closed,
    /// A few probes.
    HalfOpen,
    /// Nothing.
    Open,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    service: &'static str,
    route: Arc<str>,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    service: &'static str,
    route: Arc<str>,
    method: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StatusLabel {
    status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StepLabels {
    step: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AttemptLabels {
    op: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeliveryLabels {
    channel: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    cache: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct QueueLabel {
    queue: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ServiceLabel {
    service: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BreakerLabel {
    breaker: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

/// How often one cache is asked.
#[derive(Clone, Debug)]
pub struct CacheMeter {
    hits: Counter,
    misses: Counter,
}

impl CacheMeter {
    /// It had it.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// It had not.
    pub fn miss(&self) {
        self.misses.inc();
    }
}

/// What the shop counts and measures.
#[derive(Debug)]
pub struct Meters {
    http_requests: Family<RequestLabels, Counter>,
    http_request_duration: Histograms<RouteLabels>,
    orders: Family<StatusLabel, Counter>,
    saga_step: Histograms<StepLabels>,
    saga_inflight: Gauge,
    saga_stuck: Gauge,
    outbox_lag: Family<ServiceLabel, Seconds>,
    queue_depth: Family<QueueLabel, Gauge>,
    queue_oldest: Family<QueueLabel, Seconds>,
    dlq_depth: Family<QueueLabel, Gauge>,
    breaker_state: Family<BreakerLabel, Gauge>,
    payment_attempts: Family<AttemptLabels, Counter>,
    notification_deliveries: Family<DeliveryLabels, Counter>,
    stock_reservation_conflicts: Counter,
    cache_hits: Family<CacheLabels, Counter>,
    rate_limited: Family<ClassLabel, Counter>,
    requests_shed: Counter,
    db_pool_open: Gauge,
    db_pool_in_use: Gauge,
    db_pool_waiting: Gauge,
    bcrypt_queue: Histogram,
}

fn durations() -> Histogram {
    Histogram::new(DURATION_BUCKETS)
}

fn families<L: Clone + std::hash::Hash + Eq>() -> Histograms<L> {
    Family::new_with_constructor(durations)
}

impl Meters {
    pub(super) fn new(registry: &mut Registry) -> Self {
        let meters = Self {
            http_requests: Family::default(),
            http_request_duration: families(),
            orders: Family::default(),
            saga_step: families(),
            saga_inflight: Gauge::default(),
            saga_stuck: Gauge::default(),
            outbox_lag: Family::default(),
            queue_depth: Family::default(),
            queue_oldest: Family::default(),
            dlq_depth: Family::default(),
            breaker_state: Family::default(),
            payment_attempts: Family::default(),
            notification_deliveries: Family::default(),
            stock_reservation_conflicts: Counter::default(),
            cache_hits: Family::default(),
            rate_limited: Family::default(),
            requests_shed: Counter::default(),
            db_pool_open: Gauge::default(),
            db_pool_in_use: Gauge::default(),
            db_pool_waiting: Gauge::default(),
            bcrypt_queue: durations(),
        };
        meters.register(registry);
        meters
    }

    /// Counters get `_total` and units their name behind the name given here.
    fn register(&self, registry: &mut Registry) {
        registry.register("http_requests", "Requests answered", self.http_requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "Time from the request's head to the answer's head",
            Unit::Seconds,
            self.http_request_duration.clone(),
        );
        registry.register("orders", "Orders that reached a status", self.orders.clone());
        registry.register_with_unit(
            "saga_step",
            "Time a step of the checkout saga took",
            Unit::Seconds,
            self.saga_step.clone(),
        );
        registry.register("saga_inflight", "Sagas that have not ended", self.saga_inflight.clone());
        registry.register("saga_stuck", "Sagas that wait for a person", self.saga_stuck.clone());
        registry.register_with_unit(
            "outbox_lag",
            "Age of the oldest event that was not published yet",
            Unit::Seconds,
            self.outbox_lag.clone(),
        );
        registry.register("queue_depth", "Messages that wait in a queue", self.queue_depth.clone());
        registry.register_with_unit(
            "queue_oldest",
            "Age of the oldest message in a queue",
            Unit::Seconds,
            self.queue_oldest.clone(),
        );
        registry.register("dlq_depth", "Dead letters of a queue", self.dlq_depth.clone());
        registry.register("breaker_state", "0 closed, 1 half open, 2 open", self.breaker_state.clone());
        registry.register("payment_attempts", "Calls to the payment provider", self.payment_attempts.clone());
        registry.register(
            "notification_deliveries",
            "Tries to deliver a notification",
            self.notification_deliveries.clone(),
        );
        registry.register(
            "stock_reservation_conflicts",
            "Reservations refused for want of stock",
            self.stock_reservation_conflicts.clone(),
        );
        registry.register("cache_hits", "Cache look-ups, by hit or miss", self.cache_hits.clone());
        registry.register("rate_limited", "Requests answered 429", self.rate_limited.clone());
        registry.register(
            "requests_shed",
            "Requests answered 503 to protect the rest",
            self.requests_shed.clone(),
        );
        registry.register("db_pool_open", "Database connections open", self.db_pool_open.clone());
        registry.register("db_pool_in_use", "Database connections at work", self.db_pool_in_use.clone());
        registry.register("db_pool_waiting", "Batches that wait for a writer", self.db_pool_waiting.clone());
        registry.register_with_unit(
            "bcrypt_queue",
            "Time a password waited for a hashing thread",
            Unit::Seconds,
            self.bcrypt_queue.clone(),
        );
    }

    /// A request of `service` was answered. `route` is the template: `/v1/orders/{id}`.
    pub(super) fn request(
        &self,
        service: &'static str,
        route: &Arc<str>,
        method: &'static str,
        status: u16,
        took: Duration,
    ) {
        let route = || Arc::clone(route);
        self.http_requests.get_or_create(&RequestLabels { service, route: route(), method, status }).inc();
        self.http_request_duration
            .get_or_create(&RouteLabels { service, route: route(), method })
            .observe(took.as_secs_f64());
    }

    /// The same meters, for a caller that asks for them so often that it keeps them.
    pub(super) fn request_counter(
        &self,
        service: &'static str,
        route: &Arc<str>,
        method: &'static str,
        status: u16,
    ) -> Counter {
        let labels = RequestLabels { service, route: Arc::clone(route), method, status };
        self.http_requests.get_or_create_owned(&labels)
    }

    /// See [`Meters::request_counter`].
    pub(super) fn request_duration(
        &self,
        service: &'static str,
        route: &Arc<str>,
        method: &'static str,
    ) -> Histogram {
        self.http_request_duration.get_or_create_owned(&RouteLabels {
            service,
            route: Arc::clone(route),
            method,
        })
    }

    /// An order reached `status`. Use [`super::Telemetry::order_reached`], which feeds the live chart too.
    pub(super) fn order_reached(&self, status: &'static str) {
        self.orders.get_or_create(&StatusLabel { status }).inc();
    }

    /// A step of a saga ended: `saga_step_seconds{step,outcome}`.
    pub fn saga_step(&self, step: &'static str, outcome: &'static str, took: Duration) {
        self.saga_step.get_or_create(&StepLabels { step, outcome }).observe(took.as_secs_f64());
    }

    /// Sagas that have not ended, and those that wait for a person: `saga_inflight`, `saga_stuck`.
    pub fn sagas(&self, inflight: u64, stuck: u64) {
        self.saga_inflight.set(whole(inflight));
        self.saga_stuck.set(whole(stuck));
    }

    /// Sagas that have not ended, as last told.
    #[must_use]
    pub fn sagas_inflight(&self) -> i64 {
        self.saga_inflight.get()
    }

    /// How old the oldest unpublished event of `service` is; zero when all are published.
    pub fn outbox_lag(&self, service: &'static str, lag: Duration) {
        self.outbox_lag.get_or_create(&ServiceLabel { service }).set(lag.as_secs_f64());
    }

    /// What waits in `queue`, how old the oldest of it is, and how many dead letters it has.
    pub fn queue(&self, queue: &'static str, depth: u64, oldest: Duration, dead: u64) {
        let label = QueueLabel { queue };
        self.queue_depth.get_or_create(&label).set(whole(depth));
        self.queue_oldest.get_or_create(&label).set(oldest.as_secs_f64());
        self.dlq_depth.get_or_create(&label).set(whole(dead));
    }

    /// The state of `breaker`.
    pub fn breaker(&self, breaker: &'static str, state: BreakerState) {
        let value = match state {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        };
        self.breaker_state.get_or_create(&BreakerLabel { breaker }).set(value);
    }

    /// The provider was called: `payment_attempts_total{op,outcome}`.
    pub fn payment_attempt(&self, op: &'static str, outcome: &'static str) {
        self.payment_attempts.get_or_create(&AttemptLabels { op, outcome }).inc();
    }

    /// A delivery was tried `count` times with the same outcome: `notification_deliveries_total{channel,outcome}`.
    pub fn deliveries(&self, channel: &'static str, outcome: &'static str, count: u64) {
        self.notification_deliveries.get_or_create(&DeliveryLabels { channel, outcome }).inc_by(count);
    }

    /// A reservation was refused for want of stock.
    pub fn stock_reservation_conflict(&self) {
        self.stock_reservation_conflicts.inc();
    }

    /// Counts how often `cache` is asked and has it, or has not: `cache_hits_total{cache,outcome="hit"|"miss"}`.
    #[must_use]
    pub fn cache(&self, cache: &'static str) -> CacheMeter {
        let of = |outcome| self.cache_hits.get_or_create_owned(&CacheLabels { cache, outcome });
        CacheMeter { hits: of("hit"), misses: of("miss") }
    }

    /// A request of route class `class` was answered 429.
    pub fn rate_limited(&self, class: &'static str) {
        self.rate_limited.get_or_create(&ClassLabel { class }).inc();
    }

    /// A request was answered 503 before it was begun.
    pub fn request_shed(&self) {
        self.requests_shed.inc();
    }

    /// The database's connections and the batches that wait.
    pub fn db_pool(&self, open: u64, in_use: u64, waiting: u64) {
        self.db_pool_open.set(whole(open));
        self.db_pool_in_use.set(whole(in_use));
        self.db_pool_waiting.set(whole(waiting));
    }

    /// A password waited `waited` for a thread to hash it.
    pub fn bcrypt_queue(&self, waited: Duration) {
        self.bcrypt_queue.observe(waited.as_secs_f64());
    }
}

fn whole(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_its_published_name() {
        let mut registry = Registry::default();
        let meters = Meters::new(&mut registry);
        meters.request("order", &"/v1/orders/{id}".into(), "GET", 200, Duration::from_millis(3));
        meters.order_reached("confirmed");
        meters.saga_step("authorize", "ok", Duration::from_millis(3));
        meters.sagas(3, 1);
        meters.outbox_lag("order", Duration::from_millis(1500));
        meters.queue("notification", 7, Duration::from_secs(2), 1);
        meters.breaker("authorize", BreakerState::Open);
        meters.payment_attempt("capture", "ok");
        meters.deliveries("log", "sent", 2);
        meters.stock_reservation_conflict();
        meters.cache("catalogue").hit();
        meters.rate_limited("login");
        meters.request_shed();
        meters.db_pool(4, 1, 0);
        meters.bcrypt_queue(Duration::from_millis(1));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).expect("encoded");
        for line in [
            "http_requests_total{service=\"order\",route=\"/v1/orders/{id}\",method=\"GET\",status=\"200\"} 1",
            "http_request_duration_seconds_count{service=\"order\",route=\"/v1/orders/{id}\",method=\"GET\"} 1",
            "orders_total{status=\"confirmed\"} 1",
            "saga_step_seconds_count{step=\"authorize\",outcome=\"ok\"} 1",
            "saga_inflight 3",
            "saga_stuck 1",
            "outbox_lag_seconds{service=\"order\"} 1.5",
            "queue_depth{queue=\"notification\"} 7",
            "queue_oldest_seconds{queue=\"notification\"} 2.0",
            "dlq_depth{queue=\"notification\"} 1",
            "breaker_state{breaker=\"authorize\"} 2",
            "payment_attempts_total{op=\"capture\",outcome=\"ok\"} 1",
            "notification_deliveries_total{channel=\"log\",outcome=\"sent\"} 2",
            "stock_reservation_conflicts_total 1",
            "cache_hits_total{cache=\"catalogue\",outcome=\"hit\"} 1",
            "rate_limited_total{class=\"login\"} 1",
            "requests_shed_total 1",
            "db_pool_open 4",
            "bcrypt_queue_seconds_count 1",
        ] {
            assert!(text.lines().any(|known| known == line), "`{line}` is missing in\n{text}");
        }
    }
}
