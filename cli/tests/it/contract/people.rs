//! Accounts, sessions, and who is who.

use hyper::Method;
use serde_json::json;

use super::world::World;

pub(super) async fn accounts_open_and_close(world: &World) {
    let email = format!("{}@example.com", world.fresh("ada"));
    let account = json!({"email": email, "password": "correct horse battery", "name": "Ada"});
    let session = world.post("/v1/auth/register", account.clone()).await.is(201);
    assert_eq!(session.body["user"]["email"], json!(email));
    assert_eq!(session.body["user"]["roles"], json!(["customer"]));
    assert!(session.body["expires_in"].as_i64() > Some(0) && session.body["refresh_token"].is_string());
    world.post("/v1/auth/register", account).await.refuses(409, "email_taken");

    let ada = format!("Bearer {}", session.text("access_token"));
    let me = world.get_as(&ada, "/v1/me").await.is(200);
    assert_eq!((&me.body["id"], &me.body["name"]), (&session.body["user"]["id"], &json!("Ada")));
    let address =
        json!({"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"});
    let kept = world.post_as(&ada, "/v1/me/addresses", address).await.is(201);
    let path = format!("/v1/me/addresses/{}", kept.text("id"));
    assert_eq!(world.get_as(&ada, "/v1/me/addresses").await.is(200).items().len(), 1);
    world.ask(Method::DELETE, &path, None, &[("authorization", &ada)]).await.is(204);
    world.get_as(&ada, "/v1/admin/users").await.refuses(403, "forbidden");
    world.get("/v1/me").await.refuses(401, "unauthenticated");
    world.get_as("Bearer nonsense", "/v1/me").await.refuses(401, "unauthenticated");
}

pub(super) async fn refresh_tokens_work_once(world: &World) {
    let email = format!("{}@example.com", world.fresh("bob"));
    let account = json!({"email": email, "password": "correct horse battery"});
    let first = world.post("/v1/auth/register", account).await.is(201).text("refresh_token");
    let second = world.post("/v1/auth/refresh", json!({"refresh_token": first})).await.is(200);
    world.post("/v1/auth/refresh", json!({"refresh_token": first})).await.refuses(401, "refresh_reused");
    // Somebody has a copy: the whole family ends.
    let next = json!({"refresh_token": second.text("refresh_token")});
    assert_eq!(world.post("/v1/auth/refresh", next).await.status.as_u16(), 401);

    let email = format!("{}@example.com", world.fresh("eve"));
    let account = json!({"email": email, "password": "correct horse battery"});
    let token = json!({"refresh_token": world.post("/v1/auth/register", account).await.is(201).text("refresh_token")});
    world.post("/v1/auth/logout", token.clone()).await.is(204);
    assert_eq!(world.post("/v1/auth/refresh", token).await.status.as_u16(), 401);
}
