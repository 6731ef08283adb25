//! Rate limits and load shedding.

use axum::http::StatusCode;
use platform::resilience::limiter::Quota;
use serde_json::json;

use super::*;

fn from(address: [u8; 4], path: &str) -> Request<Body> {
    let mut request = Request::post(path)
        .header("content-type", "application/json")
        .body(Body::from(json!({ "email": "a@b.c", "password": "wrong password" }).to_string()))
        .unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from((address, 1))));
    request
}

#[tokio::test]
async fn five_sign_ins_a_minute_from_one_address() {
    let front = Front::new().await;
    for left in (0..5).rev() {
        let answer = front.send(from([192, 0, 2, 7], "/v1/auth/login")).await;
        assert_eq!(answer.code(), "bad_credentials");
        let told = (answer.header("ratelimit-limit"), answer.header("ratelimit-remaining"));
        assert_eq!(told, ("5", left.to_string().as_str()));
    }
    let refused = front.send(from([192, 0, 2, 7], "/v1/auth/login")).await;
    assert_eq!((refused.status, refused.code()), (StatusCode::TOO_MANY_REQUESTS, "rate_limited".to_owned()));
    assert_eq!((refused.header("retry-after"), refused.header("ratelimit-remaining")), ("12", "0"));
    assert_eq!((refused.header("ratelimit-reset"), &refused.json()["retry_after"]), ("12", &json!(12)));
    let page = front.send(from([192, 0, 2, 7], "/sign-in")).await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS, "the form counts like the call");
    assert_eq!(front.send(from([192, 0, 2, 8], "/v1/auth/login")).await.code(), "bad_credentials");
    front.clock.advance(Duration::from_secs(12));
    assert_eq!(front.send(from([192, 0, 2, 7], "/v1/auth/login")).await.code(), "bad_credentials");
    let metrics = front.capabilities.telemetry.metrics_text();
    assert!(metrics.contains("rate_limited_total{class=\"login\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_browser_that_is_held_up_sees_a_page() {
    let front = Front::with(|config| config.gateway.quotas.read = Quota::per_minute(1)).await;
    let ask = || Request::get("/").header("accept", "text/html").body(Body::empty()).unwrap();
    assert_eq!(front.send(ask()).await.status, StatusCode::OK);
    let refused = front.send(ask()).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(refused.header("content-type").starts_with("text/html"));
    assert_eq!(refused.header("retry-after"), "60");
    let page = String::from_utf8(refused.body.to_vec()).unwrap();
    assert!(page.contains("A little slower, please") && page.contains("rel=\"stylesheet\""), "{page}");
    assert!(refused.header("content-security-policy").contains("style-src"), "the stylesheet may be loaded");
}

#[tokio::test]
async fn each_class_and_each_user_has_a_bucket() {
    let front = Front::with(|config| {
        config.gateway.quotas.checkout = Quota::per_minute(2);
        config.gateway.quotas.admin = Quota::per_minute(1);
    })
    .await;
    let (ada, bob) = (front.register("ada@example.com").await, front.register("bob@example.com").await);
    let order = async |token: &str| {
        let request = Request::post("/v1/orders").header("authorization", format!("Bearer {token}"));
        front.send(request.body(Body::empty()).unwrap()).await.status.as_u16()
    };
    assert_eq!([order(&ada.access_token).await, order(&ada.access_token).await], [200, 200]);
    assert_eq!([order(&ada.access_token).await, order(&bob.access_token).await], [429, 200]);
    assert_eq!(
        front.get_as(&ada.access_token, "/v1/orders").await.status,
        StatusCode::OK,
        "looking is not buying"
    );
    assert_eq!(front.get_as(&ada.access_token, "/v1/admin/echo").await.status, StatusCode::OK);
    assert_eq!(front.get_as(&ada.access_token, "/v1/admin/echo").await.code(), "rate_limited");
}

#[tokio::test]
async fn without_limits_nothing_is_held_up_and_nothing_is_told() {
    let front = Front::with(|config| config.gateway.limits = false).await;
    for _ in 0..8 {
        let answer = front.send(from([192, 0, 2, 7], "/v1/auth/login")).await;
        assert_eq!((answer.code().as_str(), answer.header("ratelimit-limit")), ("bad_credentials", ""));
    }
}

#[tokio::test]
async fn what_is_over_the_cap_is_shed_at_once_and_the_cap_is_given_back() {
    let front = Arc::new(Front::with(|config| config.gateway.in_flight_max = 2).await);
    let held: Vec<_> = (0..2)
        .map(|_| {
            let front = Arc::clone(&front);
            tokio::spawn(async move { front.get("/v1/echo/held/0").await.status })
        })
        .collect();
    until("two requests are in flight", async || ARRIVED[0].load(Ordering::SeqCst) == 2).await;
    let shed = front.get("/v1/echo").await;
    assert_eq!(
        (shed.status.as_u16(), shed.code().as_str(), shed.header("retry-after")),
        (503, "overloaded", "1")
    );
    assert_eq!(front.get("/").await.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(front.get("/healthz").await.status, StatusCode::OK);
    HELD[0].add_permits(2);
    for one in held {
        assert_eq!(one.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(front.get("/v1/echo").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_request_whose_client_went_away_stops_counting() {
    let front = Arc::new(Front::with(|config| config.gateway.in_flight_max = 1).await);
    let gone = {
        let front = Arc::clone(&front);
        tokio::spawn(async move { front.get("/v1/echo/never").await.status })
    };
    until("it is in flight", async || front.get("/v1/echo").await.status != StatusCode::OK).await;
    gone.abort();
    until("it counts no more", async || front.get("/v1/echo").await.status == StatusCode::OK).await;
}
