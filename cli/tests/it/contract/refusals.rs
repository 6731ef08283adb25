//! What is refused, always with its code; and what every process tells of itself.

use hyper::Method;
use serde_json::json;

use super::world::World;

pub(super) async fn every_refusal_has_its_code(world: &World) {
    let url = world.url_of("/v1/carts");
    let typed = [("content-type", "application/json")];
    let post = Method::POST;
    world.raw(post.clone(), &url, "{".into(), &typed).await.refuses(400, "malformed");
    let unknown = json!({"colour": "red"});
    let refused = world.post("/v1/auth/login", unknown).await;
    assert!(refused.status.is_client_error(), "{}", refused.body);
    let large = format!("{{\"email\": \"{}\"}}", "x".repeat(70_000));
    let login = world.url_of("/v1/auth/login");
    world.raw(post.clone(), &login, large, &typed).await.refuses(413, "body_too_large");
    let plain = [("content-type", "text/plain")];
    world.raw(post, &login, "hello".into(), &plain).await.refuses(415, "unsupported_media_type");
    world.get("/v1/nothing/here").await.refuses(404, "not_found");
    world.get("/v2/products").await.refuses(404, "not_found");
    for path in ["/internal/v1/revocations", "/v1/../internal/v1/revocations", "/%69nternal/v1/revocations"] {
        let answer = world.get(path).await;
        assert!(answer.status.is_client_error(), "{path}: {}", answer.status);
    }
    let invalid = json!({"email": "no address", "password": "short"});
    let refused = world.post("/v1/auth/register", invalid).await.refuses(422, "validation_failed");
    let pointers: Vec<_> = refused.body["errors"].as_array().expect("errors").iter().collect();
    assert!(pointers.iter().all(|error| error["pointer"].is_string() && error["message"].is_string()));
    let forged = [("stripe-signature", "t=1,v1=00"), ("content-type", "application/json")];
    let webhook = world.url_of("/v1/payments/webhooks/stripe");
    let answer = world.raw(Method::POST, &webhook, "{}".into(), &forged).await;
    assert_eq!(answer.status.as_u16(), 400, "{}", answer.body);
}

pub(super) async fn every_process_tells_of_itself(world: &World) {
    world.get("/healthz").await.is(200);
    assert_eq!(world.get("/readyz").await.is(200).body["status"], "ready");
    assert!(world.get("/version").await.is(200).body["version"].is_string());
    let described = world.get("/openapi.json").await.is(200);
    for path in ["/v1/orders", "/v1/products", "/v1/auth/login"] {
        assert!(described.body["paths"][path].is_object(), "{path} is not described");
    }
    let keys = world.get("/.well-known/jwks.json").await;
    assert!(keys.status.is_success() || keys.status.as_u16() == 404, "{}", keys.status);
    for page in ["/", "/admin", "/operations"] {
        let answer = world.get(page).await;
        assert!(answer.status.as_u16() < 400, "{page}: {}", answer.status);
    }
}

/// The last: it uses up what an address may try.
pub(super) async fn guessing_passwords_is_held_up(world: &World) {
    let guess =
        || world.post("/v1/auth/login", json!({"email": "nobody@example.com", "password": "a guess at it"}));
    let first = guess().await;
    if first.status.as_u16() != 429 {
        first.refuses(401, "bad_credentials");
    }
    for _ in 0..10 {
        let answer = guess().await;
        if answer.status.as_u16() == 429 {
            let limited = answer.refuses(429, "rate_limited");
            assert!(limited.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0));
            return;
        }
    }
    panic!("nobody was held up");
}
