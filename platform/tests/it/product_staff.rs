//! What staff does to the catalogue and the shelf, on every engine: edits, conflicts, roles, deliveries.

use axum::http::Method;
use platform::http::{Code, PageQuery};
use platform::services::product::client::{
    NewProduct, NewVariant, ProductPatch, ProductQuery, ProductStatus,
};
use platform::vocabulary::{Currency, Money, Role};

use crate::product::{new_product, on_every_engine, problem, to_lines, variant};

#[tokio::test]
async fn staff_adds_and_changes_products_and_leaves_a_trace() {
    on_every_engine(async |world| {
        let staff = world.staff(Role::Merchandiser);
        let draft = NewProduct {
            status: ProductStatus::Draft,
            ..new_product("tee", "Tee", "clothing", vec![variant("TEE-M", 2000), variant("TEE-L", 2200)])
        };
        let created = world.client.create(&staff, &draft).await.unwrap();
        assert_eq!((created.version, created.price.amount, created.variants.len()), (1, 2000, 2));
        // A draft is nowhere to be seen, and cannot be bought.
        assert!(world.slugs(ProductQuery::default()).await.is_empty());
        assert_eq!(
            problem(world.client.get(&world.anybody(), "tee").await.unwrap_err()).code,
            Code::NotFound
        );
        let quoted = world.client.quote(&world.order(), &to_lines(&[("TEE-M", 1)])).await;
        assert_eq!(problem(quoted.unwrap_err()).code, Code::UnknownSku);

        let patch = ProductPatch {
            slug: Some("tee-shirt".into()),
            status: Some(ProductStatus::Active),
            category: Some("shirts".into()),
            variants: vec![
                NewVariant { price: Money::new(1500, Currency::USD), ..variant("TEE-L", 0) },
                variant("TEE-XL", 2500),
            ],
            ..ProductPatch::default()
        };
        let changed = world.client.update(&staff, "tee", &patch).await.unwrap();
        assert_eq!((changed.slug.as_str(), changed.version, changed.price.amount), ("tee-shirt", 2, 1500));
        let prices: Vec<_> = changed.variants.iter().map(|v| (v.sku.as_str(), v.price.amount)).collect();
        assert_eq!(prices, [("TEE-M", 2000), ("TEE-L", 1500), ("TEE-XL", 2500)]);
        let quote = world
            .client
            .quote(&world.order(), &to_lines(&[("TEE-XL", 1), ("TEE-M", 2), ("TEE-XL", 4)]))
            .await
            .unwrap();
        let lines: Vec<_> = quote
            .lines
            .iter()
            .map(|l| (l.sku.as_str(), l.title.as_str(), l.unit_price.amount, l.available))
            .collect();
        assert_eq!(lines, [("TEE-XL", "Tee, TEE-XL", 2500, 0), ("TEE-M", "Tee, TEE-M", 2000, 0)]);
        let counts = world.numbers("SELECT products AS n FROM product_categories ORDER BY slug").await;
        assert_eq!(counts, [0, 1]);
        // The same again changes nothing.
        let same = world.client.update(&staff, "tee-shirt", &patch).await.unwrap();
        assert_eq!(same.version, 2);

        let audit =
            "SELECT action, actor, subject, before, after, request_id FROM product_audit ORDER BY action";
        let rows = world.capabilities.db.read(audit, vec![]).await.unwrap();
        let actions: Vec<String> = rows.iter().map(|row| row.get("action").unwrap()).collect();
        assert_eq!(actions, ["product.created", "product.updated"]);
        assert_eq!(rows[1].get::<serde_json::Value>("before").unwrap()["slug"], "tee");
        assert_eq!(rows[1].get::<serde_json::Value>("after").unwrap()["slug"], "tee-shirt");
        assert!(rows[1].get::<String>("request_id").unwrap().starts_with("req_"));
        let events = world
            .capabilities
            .db
            .read("SELECT kind, aggregate_seq FROM product_outbox ORDER BY aggregate_seq", vec![])
            .await
            .unwrap();
        let kinds: Vec<(String, i64)> =
            events.iter().map(|row| (row.get("kind").unwrap(), row.get("aggregate_seq").unwrap())).collect();
        assert_eq!(kinds, [("product_created".to_owned(), 1), ("product_updated".to_owned(), 2)]);
    })
    .await;
}

#[tokio::test]
async fn what_is_taken_or_changed_meanwhile_is_a_conflict() {
    on_every_engine(async |world| {
        let staff = world.staff(Role::Merchandiser);
        world.add(&new_product("a", "A", "x", vec![variant("A-1", 1)])).await;
        world.add(&new_product("b", "B", "x", vec![variant("B-1", 1)])).await;
        let conflict =
            async |product: NewProduct| problem(world.client.create(&staff, &product).await.unwrap_err());
        let slug = conflict(new_product("a", "A", "x", vec![variant("C-1", 1)])).await;
        assert_eq!((slug.code, slug.errors[0].pointer.as_str()), (Code::Conflict, "/slug"));
        let sku = conflict(new_product("c", "C", "x", vec![variant("C-1", 1), variant("A-1", 1)])).await;
        assert_eq!((sku.code, sku.errors[0].pointer.as_str()), (Code::Conflict, "/variants/1/sku"));
        let steal = ProductPatch { variants: vec![variant("A-1", 5)], ..ProductPatch::default() };
        let stolen = problem(world.client.update(&staff, "b", &steal).await.unwrap_err());
        assert_eq!(stolen.code, Code::Conflict);
        let rename = ProductPatch { slug: Some("a".into()), ..ProductPatch::default() };
        assert_eq!(
            problem(world.client.update(&staff, "b", &rename).await.unwrap_err()).code,
            Code::Conflict
        );
        assert_eq!(world.numbers("SELECT COUNT(*) AS n FROM product_variants").await, [2]);

        let endpoint = world.capabilities.endpoint("product");
        let patch = |title: &str, version: &str| {
            let (body, version) = (serde_json::json!({ "title": title }), version.to_owned());
            let (endpoint, staff) = (endpoint.clone(), staff.clone());
            async move {
                let headers = [("if-match", version.as_str())];
                endpoint
                    .call_with::<_, serde_json::Value>(
                        &staff,
                        Method::PATCH,
                        "/v1/admin/products/a",
                        Some(&body),
                        &headers,
                    )
                    .await
            }
        };
        patch("Alpha", "\"1\"").await.unwrap();
        let late = problem(patch("Beta", "\"1\"").await.unwrap_err());
        assert_eq!((late.code, late.extra["reason"].as_str()), (Code::Conflict, Some("changed_meanwhile")));
        // Edits at once all arrive: each is tried again on what the other left.
        let (one, two) = (
            ProductPatch { title: Some("Gamma".into()), ..ProductPatch::default() },
            ProductPatch { description: Some("Letters.".into()), ..ProductPatch::default() },
        );
        let (one, two) =
            tokio::join!(world.client.update(&staff, "a", &one), world.client.update(&staff, "a", &two));
        one.unwrap();
        two.unwrap();
        let last = world.client.admin_get(&staff, "a").await.unwrap();
        assert_eq!((last.title.as_str(), last.description.as_str(), last.version), ("Gamma", "Letters.", 4));
    })
    .await;
}

#[tokio::test]
async fn only_staff_may_edit_and_only_with_the_right_role() {
    on_every_engine(async |world| {
        let product = new_product("a", "A", "x", vec![variant("A-1", 1)]);
        let nobody = problem(world.client.create(&world.anybody(), &product).await.unwrap_err());
        assert_eq!(nobody.code, Code::Unauthenticated);
        for role in [Role::Customer, Role::Support, Role::Ops] {
            let refused = problem(world.client.create(&world.staff(role), &product).await.unwrap_err());
            assert_eq!(refused.code, Code::Forbidden);
            let refused =
                problem(world.client.receive(&world.staff(role), "A-1", 1, "x", None).await.unwrap_err());
            assert_eq!(refused.code, Code::Forbidden);
        }
        let peek = world.client.admin_list(&world.staff(Role::Customer), &ProductQuery::default()).await;
        assert_eq!(problem(peek.unwrap_err()).code, Code::Forbidden);
        world.client.create(&world.staff(Role::Admin), &product).await.unwrap();
        let drafts = ProductQuery { status: Some("draft".into()), ..ProductQuery::default() };
        assert!(
            world.client.admin_list(&world.staff(Role::Support), &drafts).await.unwrap().items.is_empty()
        );
        assert_eq!(
            world
                .client
                .admin_list(&world.staff(Role::Support), &ProductQuery::default())
                .await
                .unwrap()
                .items
                .len(),
            1
        );
    })
    .await;
}

#[tokio::test]
async fn the_shelf_takes_what_is_true_and_once_per_key() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5), ("B-2", 0)]).await;
        let staff = world.staff(Role::Merchandiser);
        world.reserve(world.env.id(), &[("A-1", 3)]).await.unwrap();
        let below = problem(world.client.adjust(&staff, "A-1", -3, "stolen", None).await.unwrap_err());
        assert_eq!((below.code, below.extra["reason"].as_str()), (Code::Conflict, Some("below_reserved")));
        let level = world.client.adjust(&staff, "A-1", -2, "stolen", None).await.unwrap();
        assert_eq!((level.on_hand, level.reserved, level.available), (3, 3, 0));
        for (quantity, reason) in [(0, "x"), (-1, "x"), (1_000_001, "x"), (i64::MAX, "x"), (1, " ")] {
            let refused =
                problem(world.client.receive(&staff, "A-1", quantity, reason, None).await.unwrap_err());
            assert_eq!(refused.code, Code::ValidationFailed);
        }
        for delta in [0, i64::MIN, i64::MAX] {
            let refused = problem(world.client.adjust(&staff, "A-1", delta, "x", None).await.unwrap_err());
            assert_eq!(refused.code, Code::ValidationFailed);
        }
        let unknown = problem(world.client.receive(&staff, "NO-SUCH", 1, "x", None).await.unwrap_err());
        assert_eq!((unknown.code, unknown.extra["sku"].as_str()), (Code::UnknownSku, Some("NO-SUCH")));

        // Twins under one key are one delivery, and hear the same.
        let context = &staff;
        let twins = (0..8).map(|_| world.client.receive(context, "B-2", 4, "truck 7", Some("truck-7")));
        let levels: Vec<_> =
            futures_util::future::join_all(twins).await.into_iter().map(Result::unwrap).collect();
        assert!(levels.iter().all(|level| level.on_hand == 4));
        world.receive("B-2", 1).await;
        let replay = world.client.receive(&staff, "B-2", 4, "truck 7", Some("truck-7")).await.unwrap();
        assert_eq!(replay.on_hand, 4);
        let other =
            problem(world.client.receive(&staff, "B-2", 5, "truck 7", Some("truck-7")).await.unwrap_err());
        assert_eq!(other.code, Code::IdempotencyKeyReused);
        assert_eq!(world.level("B-2").await, (5, 0));

        let page = PageQuery { limit: Some(2), cursor: None };
        let newest = world.client.movements(&staff, "A-1", &page).await.unwrap();
        let kinds: Vec<_> = newest.items.iter().map(|line| (line.seq, line.kind.as_str())).collect();
        assert_eq!(kinds, [(3, "adjust"), (2, "reserve")]);
        let rest = PageQuery { limit: Some(2), cursor: newest.next_cursor };
        let rest = world.client.movements(&staff, "A-1", &rest).await.unwrap();
        assert_eq!((rest.items[0].seq, rest.next_cursor), (1, None));
        assert_eq!(
            problem(world.client.movements(&staff, "NO-SUCH", &page).await.unwrap_err()).code,
            Code::UnknownSku
        );
        let low = world.client.stock_list(&staff, Some(5), &PageQuery::default()).await.unwrap();
        assert_eq!(low.items.iter().map(|item| item.level.sku.as_str()).collect::<Vec<_>>(), ["A-1"]);
        world.assert_stock_adds_up().await;
    })
    .await;
}
