//! What is answered, and what is not.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{
    APIGroup, APIGroupList, APIResourceList, ListMeta, Status, Time,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::shop::{
    FakeProcess, PATIENCE, ask, beside, get, get_from, nobody, options, peers, started, until, values_of,
};

const GROUP: &str = "/apis/external.metrics.k8s.io";
const ORDER: &str = "# TYPE saga_inflight gauge\nsaga_inflight 3\n";
const QUEUES: &str = concat!(
    "queue_oldest_seconds{queue=\"order\"} 0.25\n",
    "queue_oldest_seconds{queue=\"notification\"} 1.5\n",
);

/// `ExternalMetricValueList` as `k8s.io/metrics` has it, and nothing else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ValueList {
    kind: String,
    api_version: String,
    metadata: ListMeta,
    items: Vec<MetricValue>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MetricValue {
    metric_name: String,
    metric_labels: std::collections::BTreeMap<String, String>,
    timestamp: Time,
    #[serde(default, rename = "window", skip_serializing_if = "Option::is_none")]
    window_seconds: Option<i64>,
    value: Quantity,
}

/// Reads `value` as Kubernetes' own type, which must hold all of it.
fn conforming<T: DeserializeOwned + Serialize>(value: &Value) -> T {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error} in {value}"));
    assert_eq!(&serde_json::to_value(&read).unwrap(), value, "something of it is not in the type");
    read
}

/// The labels and the value of each item.
fn items(answered: &(StatusCode, Value)) -> Vec<(Value, String)> {
    let (status, value) = answered;
    assert_eq!(*status, StatusCode::OK, "{value}");
    let list: ValueList = conforming(value);
    assert_eq!(
        (list.kind.as_str(), list.api_version.as_str()),
        ("ExternalMetricValueList", "external.metrics.k8s.io/v1beta1")
    );
    list.items.into_iter().map(|item| (json!(item.metric_labels), item.value.0)).collect()
}

/// The message of a `Status` that says `reason`.
fn refused(answered: &(StatusCode, Value), expected: StatusCode, reason: &str) -> String {
    let (status, value) = answered;
    assert_eq!(*status, expected, "{value}");
    let told: Status = conforming(value);
    assert_eq!(told.code, Some(i32::from(status.as_u16())));
    assert_eq!((told.status.as_deref(), told.reason.as_deref()), (Some("Failure"), Some(reason)));
    told.message.unwrap()
}

#[tokio::test]
async fn the_api_server_discovers_the_metrics() {
    let role = beside(&[]).await;
    let (status, groups) = get(&role, "/apis").await;
    assert_eq!(status, StatusCode::OK);
    let groups: APIGroupList = conforming(&groups);
    assert_eq!(groups.groups.len(), 1);
    let (_, group) = get(&role, GROUP).await;
    let group: APIGroup = conforming(&group);
    assert_eq!(group.name, "external.metrics.k8s.io");
    assert_eq!(group.versions, groups.groups[0].versions);
    assert_eq!(group.preferred_version.unwrap().group_version, "external.metrics.k8s.io/v1beta1");
    let (_, resources) = get(&role, &format!("{GROUP}/v1beta1")).await;
    let resources: APIResourceList = conforming(&resources);
    assert_eq!(resources.group_version, "external.metrics.k8s.io/v1beta1");
    let (status, document) = get(&role, "/openapi/v2").await;
    assert_eq!(
        (status, &document["swagger"], &document["paths"]),
        (StatusCode::OK, &"2.0".into(), &json!({}))
    );
    let names: Vec<_> = resources.resources.iter().map(|resource| resource.name.as_str()).collect();
    assert_eq!(names, ["queue_oldest_seconds", "saga_inflight"]);
    for resource in &resources.resources {
        assert!(
            resource.namespaced && resource.verbs == ["get"] && resource.kind == "ExternalMetricValueList"
        );
    }
    role.drain().await;
}

#[tokio::test]
async fn a_metric_is_told_with_whose_it_is() {
    let process = FakeProcess::telling(&format!("{ORDER}{QUEUES}# EOF\n")).await;
    let role = beside(&[("order", &[&process.url])]).await;
    let sagas = get(&role, &values_of("saga_inflight", "service=order")).await;
    assert_eq!(items(&sagas), [(json!({"service": "order"}), "3".to_owned())]);
    let oldest = get(&role, &values_of("queue_oldest_seconds", "service=notification")).await;
    let labels = json!({"service": "notification", "queue": "notification"});
    assert_eq!(items(&oldest), [(labels, "1500m".to_owned())]);
    assert_eq!(oldest.1["items"][0]["metricName"], "queue_oldest_seconds");
}

#[tokio::test]
async fn of_several_queues_the_oldest_counts_as_one_value() {
    let process = FakeProcess::telling(QUEUES).await;
    let role = beside(&[("notification", &[&process.url])]).await;
    let all = get(&role, &values_of("queue_oldest_seconds", "")).await;
    assert_eq!(items(&all), [(json!({}), "1500m".to_owned())]);
    let both = get(&role, &values_of("queue_oldest_seconds", "queue in (order, notification)")).await;
    assert_eq!(items(&both), items(&all));
    let order = get(&role, &values_of("queue_oldest_seconds", "queue!=notification")).await;
    assert_eq!(items(&order), [(json!({"service": "order", "queue": "order"}), "250m".to_owned())]);
}

#[tokio::test]
async fn a_selector_that_selects_nothing_gets_nothing() {
    let process = FakeProcess::telling(ORDER).await;
    let role = beside(&[("order", &[&process.url])]).await;
    let none = get(&role, &values_of("saga_inflight", "service=payment")).await;
    assert_eq!(items(&none), []);
    let wrong = get(&role, &values_of("saga_inflight", "service>1")).await;
    let why = refused(&wrong, StatusCode::BAD_REQUEST, "BadRequest");
    assert!(why.contains("service>1"), "{why}");
}

#[tokio::test]
async fn of_several_replicas_the_one_that_has_looked_counts() {
    let (fresh, other) = (FakeProcess::telling("saga_inflight 0\n").await, FakeProcess::telling(ORDER).await);
    let role = beside(&[("order", &[&fresh.url, &other.url])]).await;
    let sagas = get(&role, &values_of("saga_inflight", "service=order")).await;
    assert_eq!(items(&sagas)[0].1, "3");
}

#[tokio::test]
async fn every_address_behind_a_name_is_asked() {
    // Names that the system knows anywhere are few, and where this one has one address the others cannot be told apart.
    let (other, fresh) = (FakeProcess::telling(ORDER).await, FakeProcess::telling("saga_inflight 0\n").await);
    let (_, port) = other.url.rsplit_once(':').unwrap();
    let second = FakeProcess::telling_at(&format!("[::1]:{port}"), "saga_inflight 70\n").await;
    let named = format!("http://localhost:{port}");
    let addresses: Vec<_> =
        tokio::net::lookup_host(named.trim_start_matches("http://")).await.unwrap().collect();
    let is_second_known = second.is_some() && addresses.iter().any(std::net::SocketAddr::is_ipv6);
    let role = beside(&[("order", &[&named, &fresh.url])]).await;
    let sagas = get(&role, &values_of("saga_inflight", "service=order")).await;
    assert_eq!(items(&sagas)[0].1, if is_second_known { "70" } else { "3" });
}

#[tokio::test]
async fn one_replica_is_enough_when_the_others_are_away() {
    let (broken, other) = (FakeProcess::telling("").await, FakeProcess::telling(ORDER).await);
    broken.now_fails();
    let role = beside(&[("order", &[&nobody().await, &broken.url, &other.url])]).await;
    let sagas = get(&role, &values_of("saga_inflight", "service=order")).await;
    assert_eq!(items(&sagas)[0].1, "3");
}

#[tokio::test]
async fn sagas_are_believed_only_of_their_own_service() {
    let order = FakeProcess::telling(ORDER).await;
    let product = FakeProcess::telling("saga_inflight 0\n").await;
    let role = beside(&[("order", &[&order.url]), ("product", &[&product.url])]).await;
    let sagas = get(&role, &values_of("saga_inflight", "")).await;
    assert_eq!(items(&sagas)[0].1, "3");
    drop(order);
    let why = until(
        async || get(&role, &values_of("saga_inflight", "")).await,
        |status, _| status == StatusCode::SERVICE_UNAVAILABLE,
    );
    let why = why.await;
    assert!(why["message"].as_str().unwrap().contains("order at http://127.0.0.1"), "{why}");
}

#[tokio::test]
async fn a_queues_age_is_told_by_the_others_when_its_own_service_is_away() {
    let user = FakeProcess::telling(QUEUES).await;
    let role = beside(&[("user", &[&user.url])]).await;
    let oldest = get(&role, &values_of("queue_oldest_seconds", "service=notification")).await;
    assert_eq!(items(&oldest)[0].1, "1500m");
}

#[tokio::test]
async fn what_cannot_be_read_is_an_error_and_not_zero() {
    let process =
        FakeProcess::telling("http_requests_total 1\nqueue_oldest_seconds{queue=\"order\"} 1\n").await;
    let role = beside(&[("order", &[&process.url])]).await;
    let sagas = values_of("saga_inflight", "service=order");
    let why = refused(&get(&role, &sagas).await, StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    assert_eq!(why, "`saga_inflight` could not be read: the processes of order answer and do not tell it");
    let half = get(&role, &values_of("queue_oldest_seconds", "")).await;
    refused(&half, StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");

    process.now_fails();
    let failing = |status: StatusCode, value: &Value| {
        status == StatusCode::SERVICE_UNAVAILABLE
            && value["message"].as_str().unwrap().contains("answers 500")
    };
    until(async || get(&role, &sagas).await, failing).await;
    process.now_hangs();
    let hanging = |status: StatusCode, value: &Value| {
        status == StatusCode::SERVICE_UNAVAILABLE
            && value["message"].as_str().unwrap().contains("no answer within")
    };
    until(async || get(&role, &sagas).await, hanging).await;
    process.now_tells("saga_inflight NaN\n");
    until(
        async || get(&role, &sagas).await,
        |_, value| value["message"].to_string().contains("do not tell it"),
    )
    .await;
    process.now_tells("saga_inflight +Inf\n");
    let (_, why) = until_status(&role, &sagas, StatusCode::INTERNAL_SERVER_ERROR).await;
    assert_eq!(why["reason"], "InternalError");
    process.now_tells(ORDER);
    let (_, told) = until_status(&role, &sagas, StatusCode::OK).await;
    assert_eq!(told["items"][0]["value"], "3");
}

async fn until_status(
    role: &platform::app::RunningMetrics,
    path: &str,
    wanted: StatusCode,
) -> (StatusCode, Value) {
    (wanted, until(async || get(role, path).await, |status, _| status == wanted).await)
}

#[tokio::test]
async fn who_asked_before_the_end_is_answered() {
    let process = FakeProcess::telling(ORDER).await;
    process.now_hangs();
    let role = beside(&[("order", &[&process.url])]).await;
    let url = role.url.clone();
    let asking = tokio::spawn(async move { get_from(&url, &values_of("saga_inflight", "")).await });
    let began = Instant::now();
    while process.asked() == 0 {
        assert!(began.elapsed() < PATIENCE, "nobody asks the process");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let address = role.url.trim_start_matches("http://").to_owned();
    role.drain().await;
    let answer = asking.await.unwrap();
    refused(&answer, StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable");
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens afterwards");
}

#[tokio::test]
async fn many_who_ask_at_once_share_one_look() {
    let process = FakeProcess::telling(ORDER).await;
    let role = beside(&[("order", &[&process.url])]).await;
    let sagas = values_of("saga_inflight", "service=order");
    let began = Instant::now();
    let answers = futures_util::future::join_all((0..50).map(|_| get(&role, &sagas))).await;
    for answer in &answers {
        assert_eq!(items(answer)[0].1, "3");
    }
    // A look is good for three seconds.
    let looks_max = 1 + began.elapsed().as_secs() / 3;
    assert!(process.asked() as u64 <= looks_max, "it was asked {} times", process.asked());
    process.now_tells("saga_inflight 12000\n");
    until(async || get(&role, &sagas).await, |_, value| value["items"][0]["value"] == "12k").await;
}

#[tokio::test]
async fn what_is_not_there_is_refused_as_kubernetes_refuses_it() {
    let process = FakeProcess::telling(ORDER).await;
    let options = platform::app::MetricsOptions {
        namespace: Some("shop".to_owned()),
        ..options(peers(&[("order", &[&process.url])]).await)
    };
    let role = started(options).await;
    assert_eq!(items(&get(&role, &values_of("saga_inflight", "")).await)[0].1, "3");
    for path in [
        values_of("orders_per_second", ""),
        values_of("saga_inflight", "").replace("/namespaces/shop/", "/namespaces/another/"),
        values_of("saga_inflight", "").replace("v1beta1", "v1"),
        "/apis/metrics.k8s.io".to_owned(),
        "/openapi/v3".to_owned(),
        "/metrics".to_owned(),
        "/".to_owned(),
    ] {
        refused(&get(&role, &path).await, StatusCode::NOT_FOUND, "NotFound");
    }
    let post = ask(&role, "POST", &values_of("saga_inflight", "")).await;
    refused(&post, StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed");
    let twice = format!("{}&labelSelector=a", values_of("saga_inflight", ""));
    refused(&get(&role, &twice).await, StatusCode::BAD_REQUEST, "BadRequest");
    let broken = values_of("saga_inflight", "").replace("/shop/", "/%ff/");
    refused(&get(&role, &broken).await, StatusCode::BAD_REQUEST, "BadRequest");
    let words = format!("{}&limit=500&resourceVersion=0", values_of("saga_inflight", ""));
    assert_eq!(items(&get(&role, &words).await)[0].1, "3", "clients add words of their own");
}
