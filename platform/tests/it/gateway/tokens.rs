//! Who is believed, and who is not.

use axum::http::StatusCode;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use platform::http::operator::Operators;
use platform::secrets::Secrets;
use platform::vocabulary::Role;
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;

fn parts(token: &str) -> (Value, Value, String) {
    let mut parts = token.split('.');
    let mut decoded = || -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts.next().unwrap()).unwrap()).unwrap()
    };
    let (header, claims) = (decoded(), decoded());
    (header, claims, parts.next().unwrap().to_owned())
}

fn joined(header: &Value, claims: &Value, signature: &str) -> String {
    let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", encoded(header), encoded(claims))
}

#[tokio::test]
async fn a_good_token_is_its_user_and_no_token_is_nobody() {
    let front = Front::new().await;
    let ada = front.register("ada@example.com").await;
    for _ in 0..2 {
        let answer = front.get_as(&ada.access_token, "/v1/echo").await;
        assert_eq!(answer.json()["user"], "ada@example.com");
        assert!(!answer.json()["headers"].as_array().unwrap().contains(&json!("authorization")));
    }
    assert_eq!(front.get("/v1/echo").await.json()["user"], Value::Null);
    assert_eq!(front.get_as(&ada.access_token, "/v1/me").await.json()["email"], "ada@example.com");
    let nobody = front.get("/v1/me").await;
    assert_eq!((nobody.status, nobody.code()), (StatusCode::UNAUTHORIZED, "unauthenticated".to_owned()));
    let identity = (front.verify)(ada.access_token.clone()).await.unwrap();
    assert_eq!(identity.user_id, ada.user.id);
    assert!((front.verify)("nonsense".to_owned()).await.is_none());
}

#[tokio::test]
async fn a_token_ends_after_a_quarter_of_an_hour_also_when_it_was_believed_before() {
    let front = Front::new().await;
    let ada = front.register("ada@example.com").await;
    front.clock.advance(Duration::from_secs(899));
    assert_eq!(front.get_as(&ada.access_token, "/v1/echo").await.status, StatusCode::OK);
    front.clock.advance(Duration::from_secs(1));
    let expired = front.get_as(&ada.access_token, "/v1/echo").await;
    assert_eq!((expired.status, expired.code()), (StatusCode::UNAUTHORIZED, "unauthenticated".to_owned()));
    assert_eq!(expired.header("www-authenticate"), "Bearer");
}

#[tokio::test]
async fn no_forged_token_is_believed() {
    let front = Front::new().await;
    let (ada, bob) = (front.register("ada@example.com").await, front.register("bob@example.com").await);
    let (header, claims, signature) = parts(&ada.access_token);
    let (_, _, other_signature) = parts(&bob.access_token);
    let with = |value: &Value, key: &str, new: Value| {
        let mut value = value.clone();
        value[key] = new;
        value
    };
    let public =
        front.get("/.well-known/jwks.json").await.json()["keys"][0]["x"].as_str().unwrap().to_owned();
    let hs256 = |secret: &[u8], kid: Value| {
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": kid });
        let unsigned = joined(&header, &claims, "");
        let unsigned = unsigned.trim_end_matches('.');
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(unsigned.as_bytes());
        format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    };
    let kid = header["kid"].clone();
    let forged = [
        ("claims changed", joined(&header, &with(&claims, "roles", json!(["admin"])), &signature)),
        ("expiry moved", joined(&header, &with(&claims, "exp", json!(99_999_999_999_i64)), &signature)),
        ("signature of another token", joined(&header, &claims, &other_signature)),
        ("no signature", joined(&header, &claims, "")),
        ("alg none", joined(&with(&header, "alg", json!("none")), &claims, "")),
        ("alg None", joined(&with(&header, "alg", json!("None")), &claims, &signature)),
        ("HS256 under the public key", hs256(public.as_bytes(), kid.clone())),
        ("HS256 under the public key's bytes", hs256(&URL_SAFE_NO_PAD.decode(&public).unwrap(), kid.clone())),
        ("HS256 under nothing", hs256(b"", kid)),
        ("ES256", joined(&with(&header, "alg", json!("ES256")), &claims, &signature)),
        ("another key", joined(&with(&header, "kid", json!("mine")), &claims, &signature)),
        ("no key", joined(&json!({ "alg": "EdDSA" }), &claims, &signature)),
        ("a key that it brings along", {
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": public, "alg": "EdDSA" });
            joined(&with(&with(&header, "jwk", jwk), "kid", json!("mine")), &claims, &signature)
        }),
        ("nonsense", "a.b.c".to_owned()),
        ("dots", "..".to_owned()),
        ("too long", format!("{}.{}.{}", "x".repeat(5000), "x".repeat(5000), "x".repeat(86))),
    ];
    for (what, token) in forged {
        let answer = front.get_as(&token, "/v1/echo").await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (StatusCode::UNAUTHORIZED, "unauthenticated"),
            "{what}"
        );
        assert!((front.verify)(token).await.is_none(), "{what}");
    }
    assert_eq!(front.get_as(&ada.access_token, "/v1/echo").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_refresh_token_is_no_access_token_and_an_access_token_renews_nothing() {
    let front = Front::new().await;
    let ada = front.register("ada@example.com").await;
    let answer = front.get_as(&ada.refresh_token, "/v1/me").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    let swapped = front.post("/v1/auth/refresh", json!({ "refresh_token": ada.access_token })).await;
    assert_eq!(swapped.code(), "unauthenticated");
    let in_query = front.get(&format!("/v1/me?access_token={}", ada.access_token)).await;
    assert_eq!(in_query.status, StatusCode::UNAUTHORIZED, "a user's token is not taken from an address");
}

#[tokio::test]
async fn a_stale_token_does_not_stand_in_the_way_of_a_new_session() {
    let front = Front::new().await;
    let ada = front.register("ada@example.com").await;
    front.clock.advance(Duration::from_secs(3600));
    let request = Request::post("/v1/auth/refresh")
        .header("authorization", format!("Bearer {}", ada.access_token))
        .header("content-type", "application/json")
        .body(Body::from(json!({ "refresh_token": ada.refresh_token }).to_string()))
        .unwrap();
    let renewed = front.send(request).await;
    assert_eq!(renewed.status, StatusCode::OK);
    let again = front.post("/v1/auth/refresh", json!({ "refresh_token": ada.refresh_token })).await;
    assert_eq!((again.status, again.code()), (StatusCode::UNAUTHORIZED, "refresh_reused".to_owned()));
}

#[tokio::test]
async fn a_guests_token_reaches_the_service_as_it_is() {
    let front = Front::new().await;
    let header = front.get_as("oat_abc-DEF_123", "/v1/echo").await.json();
    assert_eq!((&header["bearer"], &header["user"]), (&json!("oat_abc-DEF_123"), &Value::Null));
    let query = front.get("/v1/echo?access_token=oat_abc").await.json();
    assert_eq!(query["bearer"], "oat_abc");
    let basic = Request::get("/v1/echo").header("authorization", "Basic YTpi").body(Body::empty()).unwrap();
    assert_eq!(front.send(basic).await.status, StatusCode::UNAUTHORIZED);
    let twice =
        Request::get("/v1/echo").header("authorization", "Bearer a").header("authorization", "Bearer b");
    assert_eq!(front.send(twice.body(Body::empty()).unwrap()).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_new_password_ends_the_tokens_of_before_within_seconds() {
    let front = Front::new().await;
    let ada = front.register("ada@example.com").await;
    assert_eq!(front.get_as(&ada.access_token, "/v1/echo").await.status, StatusCode::OK);
    let change = Request::post("/v1/me/password")
        .header("authorization", format!("Bearer {}", ada.access_token))
        .header("content-type", "application/json")
        .body(Body::from(
            json!({ "current_password": PASSWORD, "new_password": "another good one" }).to_string(),
        ))
        .unwrap();
    let changed = front.send(change).await;
    assert_eq!(changed.status, StatusCode::OK, "{:?}", changed.body);
    let renewed = changed.json()["access_token"].as_str().unwrap().to_owned();
    front.clock.advance(Duration::from_secs(2));
    until("the old token is void", async || {
        front.get_as(&ada.access_token, "/v1/echo").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
    assert_eq!(front.get_as(&renewed, "/v1/echo").await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_token_of_a_new_key_is_believed_at_once_and_unknown_keys_cannot_storm_the_user_service() {
    let front = Front::new().await;
    user::seed_admin(&front.capabilities, PASSWORD).await.unwrap();
    let login = json!({ "email": user::ADMIN_EMAIL, "password": PASSWORD });
    let admin =
        front.post("/v1/auth/login", login.clone()).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(front.get_as(&admin, "/v1/echo").await.status, StatusCode::OK);
    front.clock.advance(Duration::from_secs(5));
    let rotate =
        Request::post("/v1/admin/signing-keys/rotate").header("authorization", format!("Bearer {admin}"));
    assert_eq!(front.send(rotate.body(Body::empty()).unwrap()).await.status, StatusCode::NO_CONTENT);
    let new = front.post("/v1/auth/login", login).await.json()["access_token"].as_str().unwrap().to_owned();
    assert_ne!(parts(&new).0["kid"], parts(&admin).0["kid"]);
    for token in [&new, &admin] {
        assert_eq!(front.get_as(token, "/v1/echo").await.status, StatusCode::OK);
    }
    let (header, claims, signature) = parts(&new);
    for number in 0..100 {
        let mut header = header.clone();
        header["kid"] = json!(format!("kid{number}"));
        let answer = front.get_as(&joined(&header, &claims, &signature), "/v1/echo").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    }
    let metrics = front.capabilities.telemetry.metrics_text();
    assert!(!metrics.contains("kid"), "nothing from outside becomes a label");
}

#[tokio::test]
async fn roles_taken_away_are_gone_before_the_token_ends() {
    let front = Front::new().await;
    user::seed_admin(&front.capabilities, PASSWORD).await.unwrap();
    let login = json!({ "email": user::ADMIN_EMAIL, "password": PASSWORD });
    let admin = front.post("/v1/auth/login", login).await.json()["access_token"].as_str().unwrap().to_owned();
    let ada = front.register("ada@example.com").await;
    let give = async |roles: Value| {
        let request = Request::post(format!("/v1/admin/users/{}/roles", ada.user.id))
            .header("authorization", format!("Bearer {admin}"))
            .header("content-type", "application/json")
            .body(Body::from(json!({ "roles": roles }).to_string()))
            .unwrap();
        assert_eq!(front.send(request).await.status, StatusCode::OK);
    };
    assert_eq!(front.get_as(&ada.access_token, "/v1/admin/users").await.code(), "forbidden");
    give(json!(["support"])).await;
    let renewed = front.post("/v1/auth/refresh", json!({ "refresh_token": ada.refresh_token })).await.json();
    let token = renewed["access_token"].as_str().unwrap();
    assert_eq!(front.get_as(token, "/v1/admin/users").await.status, StatusCode::OK);
    give(json!([])).await;
    front.clock.advance(Duration::from_secs(2));
    until("the role is gone", async || {
        front.get_as(token, "/v1/admin/users").await.status == StatusCode::UNAUTHORIZED
    })
    .await;
}

#[tokio::test]
async fn an_operators_pass_runs_the_shop_for_a_minute_and_buys_nothing() {
    let front = Front::new().await;
    let operators = Operators::new(&front.capabilities.secrets.keyring().unwrap());
    let pass = operators.pass(&front.capabilities.env, "operator ada", &[Role::Ops, Role::Admin]);
    let seen = front.get_as(pass.expose(), "/v1/admin/echo").await.json();
    assert_eq!((&seen["user"], &seen["bearer"]), (&json!("operator ada"), &Value::Null));
    assert!(!seen["headers"].as_array().unwrap().contains(&json!("authorization")));
    let own = front.get_as(pass.expose(), "/v1/me").await;
    assert_eq!((own.status, own.code().as_str()), (StatusCode::FORBIDDEN, "forbidden"));
    assert_eq!(front.get_as(pass.expose(), "/v1/admin/users").await.code(), "forbidden", "not an admin");
    assert!((front.verify)(pass.expose().to_owned()).await.is_none(), "the pages take none");
    front.clock.advance(Duration::from_secs(60));
    let ended = front.get_as(pass.expose(), "/v1/admin/echo").await;
    assert_eq!((ended.status, ended.code().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
}

#[tokio::test]
async fn a_pass_of_another_shop_opens_nothing() {
    let (front, other) = (Front::new().await, Secrets::generate(&Env::system()));
    let operators = Operators::new(&other.keyring().unwrap());
    let pass = operators.pass(&front.capabilities.env, "operator", &[Role::Ops]);
    for token in [pass.expose(), "op_", "op_eyJ9.x"] {
        let answer = front.get_as(token, "/v1/admin/echo").await;
        assert_eq!((answer.status, answer.code().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    }
}
