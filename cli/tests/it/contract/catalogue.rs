//! The catalogue as customers read it and staff changes it.

use hyper::Method;
use serde_json::{Value, json};

use super::world::World;

pub(super) async fn products_are_found_and_described(world: &World) {
    let page = world.get("/v1/products?limit=2").await.is(200);
    assert_eq!(page.items().len(), 2);
    let cursor = page.text("next_cursor");
    let next = world.get(&format!("/v1/products?limit=2&cursor={cursor}")).await.is(200);
    assert_ne!(page.items()[0]["id"], next.items()[0]["id"]);
    for item in page.items() {
        assert!(item["price"]["amount"].is_i64() && item["price"]["currency"] == "USD", "{item}");
        assert!(item["available"].is_i64() && item["image"].is_string(), "{item}");
        assert!(
            item["variants"][0]["sku"].is_string() && item["variants"][0]["available"].is_i64(),
            "{item}"
        );
    }
    let cheap = world.get("/v1/products?sort=price&limit=3").await.is(200);
    let prices: Vec<i64> = cheap.items().iter().filter_map(|item| item["price"]["amount"].as_i64()).collect();
    assert!(prices.is_sorted(), "{prices:?}");
    let categories = world.get("/v1/categories").await.is(200);
    assert!(categories.items().iter().all(|category| category["count"].is_i64()));

    let (slug, _) = world.product(1_999, 7).await;
    let path = format!("/v1/products/{slug}");
    let detail = world.until("", &path, |answer| answer.body["available"] == 7).await;
    assert_eq!(detail.body["description"], "of the contract");
    assert!(detail.body["related"].is_array());
    let etag = detail.header("etag").to_owned();
    assert!(!etag.is_empty(), "{:?}", detail.headers);
    let same = world.ask(Method::GET, &path, None, &[("if-none-match", &etag)]).await;
    assert_eq!(same.status.as_u16(), 304);
    let found = world.until("", &format!("/v1/products?q={slug}"), |answer| !answer.items().is_empty()).await;
    assert_eq!(found.items()[0]["slug"], json!(slug));
    world.get("/v1/products/no-such-thing").await.refuses(404, "not_found");
    world.get("/v1/products?limit=0").await.refuses(422, "validation_failed");
    world.get("/v1/products?sort=colour").await.refuses(422, "validation_failed");
}

pub(super) async fn staff_changes_the_catalogue(world: &World) {
    let (slug, sku) = world.product(1_000, 1).await;
    let change: Value = json!({"title": "Renamed"});
    let path = format!("/v1/admin/products/{slug}");
    let staff = [("authorization", world.staff.as_str())];
    let changed = world.ask(Method::PATCH, &path, Some(&change), &staff).await.is(200);
    assert_eq!(changed.body["title"], "Renamed");
    world.until("", &format!("/v1/products/{slug}"), |answer| answer.body["title"] == "Renamed").await;
    let all = world.get_as(&world.staff, "/v1/admin/products?limit=100").await.is(200);
    assert!(!all.items().is_empty());
    let again = json!({"slug": slug, "title": "Twice", "category": "kitchen", "variants": [
        {"sku": format!("{sku}-2"), "title": "one size", "price": {"amount": 1, "currency": "USD"}}]});
    let refused = world.post_as(&world.staff, "/v1/admin/products", again).await;
    assert!(refused.status.is_client_error(), "{}", refused.body);
    world.ask(Method::PATCH, &path, Some(&change), &[]).await.refuses(401, "unauthenticated");
}
