//! The product service on every engine: the catalogue, its search, its pages, its cache.

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use platform::http::{Code, Context, Endpoint, Problem};
use platform::services::Mounted;
use platform::services::product::SERVICE;
use platform::services::product::client::{NewProduct, ProductClient, ProductPatch, ProductQuery};
use platform::vocabulary::{OrderId, Role};

use crate::product::{World, new_product, on_every_engine, problem, variant};

impl World {
    async fn find(&self, q: &str) -> Vec<String> {
        self.slugs(ProductQuery { q: Some(q.to_owned()), ..ProductQuery::default() }).await
    }

    async fn get(&self, path: &str, known: Option<&str>) -> (StatusCode, axum::http::HeaderMap, String) {
        let mut request = Request::builder().uri(path);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        let request = request.body(Body::empty()).unwrap();
        let endpoint = self.capabilities.endpoint("product");
        let (parts, body) = endpoint.send(&self.anybody(), request).await.unwrap().into_parts();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, parts.headers, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn refused(&self, path: &str) -> Problem {
        let (_, _, body) = self.get(path, None).await;
        serde_json::from_str(&body).unwrap()
    }
}

fn described(slug: &str, title: &str, category: &str, description: &str) -> NewProduct {
    let sku = slug.to_uppercase();
    NewProduct {
        description: description.into(),
        ..new_product(slug, title, category, vec![variant(&sku, 1000)])
    }
}

#[tokio::test]
async fn a_search_finds_words_beginnings_and_accents_and_weighs_fields() {
    on_every_engine(async |world| {
        world.add(&described("a", "Green Tea", "tea", "From the first harvest.")).await;
        world.add(&described("b", "Porcelain Teapot", "kitchen", "Keeps a pot of green tea warm.")).await;
        world.add(&described("c", "Wool Scarf", "clothing", "Green, and soft as a teasel is not.")).await;
        world.add(&described("d", "Crème Brûlée Set", "kitchen", "Six ramekins and a torch, 500ml.")).await;
        // A whole word in the title before one that begins there; keywords (the category) count; then descriptions.
        assert_eq!(world.find("tea").await, ["a", "b", "c"]);
        assert_eq!(world.find("TEAP").await, ["b"]);
        // Every word must be found; where does not matter.
        assert_eq!(world.find("green tea").await, ["a", "b", "c"]);
        assert_eq!(world.find("tea pot warm").await, ["b"]);
        assert_eq!(world.find("creme brulee").await, ["d"]);
        assert_eq!(world.find("CRÈME-brûl").await, ["d"]);
        assert_eq!(world.find("500ml").await, ["d"]);
        assert_eq!(world.find("kitchen").await, ["d", "b"]);
        assert_eq!(world.find("tea\" OR title : *").await, Vec::<String>::new());
        assert_eq!(world.find("'); DROP TABLE product_products; --").await, Vec::<String>::new());
        assert_eq!(world.find("!!!").await, Vec::<String>::new());
        assert_eq!(world.find("  ").await.len(), 4);
        // A SKU is a keyword too.
        assert_eq!(world.find("D").await, ["d"]);

        let kitchen = ProductQuery {
            q: Some("tea".into()),
            category: Some("kitchen".into()),
            ..ProductQuery::default()
        };
        assert_eq!(world.slugs(kitchen).await, ["b"]);
        let patch = ProductPatch { title: Some("Silk Scarf".into()), ..ProductPatch::default() };
        world.client.update(&world.staff(Role::Merchandiser), "c", &patch).await.unwrap();
        assert_eq!((world.find("wool").await.len(), world.find("silk").await), (0, vec!["c".to_owned()]));
    })
    .await;
}

#[tokio::test]
async fn prices_stock_and_order_choose_what_is_listed() {
    on_every_engine(async |world| {
        for (slug, price_minor, units) in [("a", 300, 1), ("b", 100, 0), ("c", 200, 5), ("d", 200, 0)] {
            let sku = slug.to_uppercase();
            let mut variants =
                vec![variant(&sku, price_minor), variant(&format!("{sku}-XL"), price_minor + 50)];
            variants[1].active = Some(false);
            world.add(&new_product(slug, "Thing", "things", variants)).await;
            if units > 0 {
                world.receive(&sku, units).await;
            }
            // What is not on sale does not make a product available.
            world.receive(&format!("{sku}-XL"), 7).await;
        }
        let sorted = |sort: &str| ProductQuery { sort: Some(sort.into()), ..ProductQuery::default() };
        assert_eq!(world.slugs(sorted("price")).await, ["b", "c", "d", "a"]);
        assert_eq!(world.slugs(sorted("-price")).await, ["a", "d", "c", "b"]);
        assert_eq!(world.slugs(sorted("newest")).await, ["d", "c", "b", "a"]);
        assert_eq!(
            world.slugs(ProductQuery { min_price: Some(200), max_price: Some(299), ..sorted("price") }).await,
            ["c", "d"]
        );
        assert_eq!(world.slugs(ProductQuery { in_stock: Some(true), ..sorted("price") }).await, ["c", "a"]);
        assert_eq!(world.slugs(ProductQuery { in_stock: Some(false), ..sorted("price") }).await, ["b", "d"]);
        // Empty fields, as a form sends them, ask for nothing.
        let (status, _, _) = world
            .get("/v1/products?q=&category=&min_price=&max_price=&in_stock=&sort=&limit=&cursor=", None)
            .await;
        assert_eq!(status, StatusCode::OK);
        for (query, pointer) in [
            ("sort=title", "/sort"),
            ("limit=0", "/limit"),
            ("limit=101", "/limit"),
            ("min_price=-1", "/min_price"),
            ("min_price=x", "/"),
            ("color=red", "/"),
            ("cursor=x", "/cursor"),
            ("status=draft", "/status"),
        ] {
            let refused = world.refused(&format!("/v1/products?{query}")).await;
            assert_eq!(
                (refused.code, refused.errors[0].pointer.as_str()),
                (Code::ValidationFailed, pointer),
                "{query}"
            );
        }
    })
    .await;
}

/// Walks all pages of `query`, calling `between` after each.
async fn walk(world: &World, query: ProductQuery, between: impl AsyncFn(usize)) -> Vec<String> {
    let (mut seen, mut cursor) = (Vec::new(), None);
    for page in 1.. {
        let asked = ProductQuery { cursor, limit: Some(3), ..query.clone() };
        let answer = world.client.list(&world.anybody(), &asked).await.unwrap();
        seen.extend(answer.items.into_iter().map(|item| item.slug));
        cursor = answer.next_cursor;
        if cursor.is_none() {
            return seen;
        }
        between(page).await;
    }
    unreachable!("the pages end")
}

#[tokio::test]
async fn pages_stay_true_while_products_are_added() {
    on_every_engine(async |world| {
        for number in 0..10 {
            let price_minor = 1000 + 100 * (number % 4);
            let sku = format!("S{number}");
            let title = if number % 2 == 0 { "Lamp" } else { "A shade for a lamp" };
            world
                .add(&new_product(&format!("p{number}"), title, "light", vec![variant(&sku, price_minor)]))
                .await;
        }
        let mut added = 0;
        for sort in ["price", "-price", "newest", "relevance"] {
            for q in [None, Some("lamp".to_owned())] {
                let query = ProductQuery { q, sort: Some(sort.into()), ..ProductQuery::default() };
                let before = world.slugs(ProductQuery { limit: Some(100), ..query.clone() }).await;
                let base = added;
                let seen = walk(world, query.clone(), async |page| {
                    if page > 2 {
                        return;
                    }
                    for (place, price_minor) in [1, 1150, 9999].into_iter().enumerate() {
                        let name = format!("n{}-{page}-{place}", base);
                        let sku = name.to_uppercase();
                        world
                            .add(&new_product(&name, "Lamp", "light", vec![variant(&sku, price_minor)]))
                            .await;
                    }
                })
                .await;
                added += 1;
                // Nothing that was there is missed or seen twice, whatever came in between.
                let old: Vec<_> = seen.iter().filter(|slug| before.contains(slug)).cloned().collect();
                assert_eq!(old, before, "{query:?}");
                let mut once = seen.clone();
                once.sort();
                once.dedup();
                assert_eq!(once.len(), seen.len(), "{query:?}");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_cursor_belongs_to_its_question() {
    on_every_engine(async |world| {
        for number in 0..3 {
            world
                .add(&new_product(
                    &format!("p{number}"),
                    "Lamp",
                    "light",
                    vec![variant(&format!("S{number}"), 1)],
                ))
                .await;
        }
        let (_, _, body) = world.get("/v1/products?limit=1&sort=price", None).await;
        let page: serde_json::Value = serde_json::from_str(&body).unwrap();
        let cursor = page["next_cursor"].as_str().unwrap();
        let (status, _, _) =
            world.get(&format!("/v1/products?limit=2&sort=price&cursor={cursor}"), None).await;
        assert_eq!(status, StatusCode::OK);
        let refused = world.refused(&format!("/v1/products?limit=2&sort=-price&cursor={cursor}")).await;
        assert_eq!(refused.errors[0].pointer, "/cursor");
    })
    .await;
}

#[tokio::test]
async fn a_product_page_has_an_etag_and_follows_every_change_at_once() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5)]).await;
        let (status, headers, body) = world.get("/v1/products/a-1", None).await;
        assert_eq!(status, StatusCode::OK);
        let product: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(product["available"], 5);
        assert_eq!(product["price"], serde_json::json!({ "amount": 1999, "currency": "USD" }));
        assert_eq!(product["image"], "/v1/products/a-1/image.svg");
        assert_eq!(product["variants"][0]["sku"], "A-1");
        assert_eq!(product["related"], serde_json::json!([]));
        let etag = headers[header::ETAG].to_str().unwrap().to_owned();
        let (status, headers, body) = world.get("/v1/products/a-1", Some(&etag)).await;
        assert_eq!(
            (status, body.as_str(), headers[header::ETAG].to_str().unwrap()),
            (StatusCode::NOT_MODIFIED, "", &*etag)
        );

        let available = async |path: &str| {
            let (_, _, body) = world.get(path, None).await;
            let answer: serde_json::Value = serde_json::from_str(&body).unwrap();
            answer.pointer("/items/0").unwrap_or(&answer)["available"].as_i64()
        };
        let paths = ["/v1/products/a-1", "/v1/products", "/v1/products?in_stock=true"];
        let order: OrderId = world.env.id();
        world.reserve(order, &[("A-1", 2)]).await.unwrap();
        for path in paths {
            assert_eq!(available(path).await, Some(3), "{path}");
        }
        world.client.release(&world.order(), order).await.unwrap();
        for path in paths {
            assert_eq!(available(path).await, Some(5), "{path}");
        }
        world.client.adjust(&world.staff(Role::Admin), "A-1", -5, "broken", None).await.unwrap();
        assert_eq!(available("/v1/products/a-1").await, Some(0));
        assert_eq!(available("/v1/products?in_stock=true").await, None);
        let (status, _, _) = world.get("/v1/products/a-1", Some(&etag)).await;
        assert_eq!(status, StatusCode::OK);
        let patch = ProductPatch { title: Some("Another thing".into()), ..ProductPatch::default() };
        world.client.update(&world.staff(Role::Admin), "a-1", &patch).await.unwrap();
        let detail = world.client.get(&world.anybody(), "a-1").await.unwrap();
        assert_eq!(detail.card.title, "Another thing");
        assert_eq!(
            problem(world.client.get(&world.anybody(), "no-such").await.unwrap_err()).code,
            Code::NotFound
        );
    })
    .await;
}

#[tokio::test]
async fn lists_and_categories_have_an_etag_that_lives_as_long_as_what_they_show() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5)]).await;
        let paths =
            ["/v1/products", "/v1/products?in_stock=true", "/v1/categories", "/v1/products/a-1/image.svg"];
        let mut etags = Vec::new();
        for path in paths {
            let (_, asked, _) = world.get(path, None).await;
            let etag = asked[header::ETAG].to_str().unwrap().to_owned();
            assert!(etag.starts_with('"'), "{path}: {etag} is not a strong one");
            let (status, headers, body) = world.get(path, Some(&etag)).await;
            assert_eq!((status, body.as_str()), (StatusCode::NOT_MODIFIED, ""), "{path}");
            assert_eq!(headers[header::ETAG], *etag, "{path}");
            assert_eq!(headers[header::CACHE_CONTROL], asked[header::CACHE_CONTROL], "{path}");
            etags.push(etag);
        }
        let is_known = async |at: usize| {
            let (status, _, _) = world.get(paths[at], Some(&etags[at])).await;
            status == StatusCode::NOT_MODIFIED
        };
        let order: OrderId = world.env.id();
        world.reserve(order, &[("A-1", 2)]).await.unwrap();
        assert!(!is_known(0).await && !is_known(1).await, "a list shows the stock");
        assert!(is_known(2).await && is_known(3).await, "categories and pictures do not");
        world.client.release(&world.order(), order).await.unwrap();
        assert!(is_known(0).await && is_known(1).await, "what is shown is what was shown before");
        world.add(&described("b", "Green Tea", "tea", "")).await;
        assert!(!is_known(2).await, "there is a new category");
    })
    .await;
}

/// A request that changes nothing, as its status, its headers and its body.
async fn told(endpoint: &Endpoint, context: &Context, method: Method, path: &str) -> String {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    let (parts, body) = endpoint.send(context, request).await.unwrap().into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    let mut headers: Vec<String> = parts
        .headers
        .iter()
        .filter(|(name, _)| *name != header::CONTENT_LENGTH)
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    headers.sort_unstable();
    format!("{} {headers:?} {}", parts.status, String::from_utf8_lossy(&body))
}

#[tokio::test]
async fn what_lies_ready_is_what_the_router_answers() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5), ("B-1", 7)]).await;
        let endpoint = world.capabilities.endpoint("product");
        let Mounted { router, .. } = (SERVICE.mount)(&world.capabilities).await.unwrap();
        let twin = Endpoint::in_process("product");
        twin.bind(router);
        let (long_slug, long_query) = ("x".repeat(81), format!("/v1/products?q={}", "tea+".repeat(200)));
        let long_slug = format!("/v1/products/{long_slug}");
        let ready = [
            "/v1/products",
            "/v1/products?limit=1",
            "/v1/products?q=thing",
            "/v1/products/a-1",
            "/v1/products/a-1/image.svg",
            "/v1/categories",
            "/v1/categories?anything",
        ];
        let other = [
            "/v1/products/",
            "/v1/products/%61-1",
            "/v1/products/a-1/other",
            "/v1/products/no-such",
            "/v1/products/no-such/image.svg",
            "/v1/products?limit=no",
            "/v1/products/a-1/image.svg/",
            &long_slug,
            &long_query,
        ];
        for path in ready.into_iter().chain(other) {
            for method in [Method::GET, Method::HEAD, Method::POST] {
                let expected = told(&twin, &world.anybody(), method.clone(), path).await;
                for time in ["first", "second"] {
                    let told = told(&endpoint, &world.anybody(), method.clone(), path).await;
                    assert_eq!(told, expected, "{method} {path} for the {time} time");
                }
                let request = Request::builder().method(&method).uri(path).body(Body::empty()).unwrap();
                let at_once = endpoint.at_once(&request);
                assert_eq!(
                    at_once.is_some(),
                    method == Method::GET && ready.contains(&path),
                    "{method} {path}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_lay_ready_is_counted_like_any_other() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5)]).await;
        world.get("/v1/products/a-1", None).await;
        let telemetry = &world.capabilities.telemetry;
        let counted = || {
            let labels = r#"http_requests_total{service="product",route="/v1/products/{slug}",method="GET",status="200"}"#;
            let text = telemetry.metrics_text();
            text.lines().find_map(|line| line.strip_prefix(labels)?.trim().parse().ok()).unwrap_or(0)
        };
        let before: u64 = counted();
        let endpoint = world.capabilities.endpoint("product");
        told(&endpoint, &world.anybody(), Method::GET, "/v1/products/a-1").await;
        assert_eq!(counted(), before + 1);
    })
    .await;
}

#[tokio::test]
async fn another_process_hears_of_a_change_of_the_catalogue() {
    on_every_engine(async |world| {
        world.stocked(&[("A-1", 5)]).await;
        let Mounted { router, jobs, .. } = (SERVICE.mount)(&world.capabilities).await.unwrap();
        let endpoint = Endpoint::in_process("product");
        endpoint.bind(router);
        let twin = ProductClient::new(endpoint);
        let stop = tokio_util::sync::CancellationToken::new();
        let follow = jobs.into_iter().find(|job| job.name == "product.follow").unwrap();
        let following = tokio::spawn((follow.run)(stop.clone()));
        let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
        let mut title = String::new();
        for number in 1.. {
            assert_eq!(
                twin.get(&world.anybody(), "a-1").await.unwrap().card.title,
                if number == 1 { "A thing" } else { &title }
            );
            title = format!("Title {number}");
            let patch = ProductPatch { title: Some(title.clone()), ..ProductPatch::default() };
            world.client.update(&world.staff(Role::Admin), "a-1", &patch).await.unwrap();
            while twin.get(&world.anybody(), "a-1").await.unwrap().card.title != title {
                assert!(tokio::time::Instant::now() < deadline, "the other process never heard");
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            if number == 2 {
                break;
            }
        }
        stop.cancel();
        following.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn related_products_are_of_the_same_category_and_near_in_price() {
    on_every_engine(async |world| {
        for (slug, category, price) in [
            ("a", "x", 100),
            ("b", "x", 200),
            ("c", "x", 300),
            ("d", "x", 900),
            ("e", "x", 320),
            ("f", "x", 5000),
            ("g", "y", 300),
        ] {
            world.add(&new_product(slug, slug, category, vec![variant(&slug.to_uppercase(), price)])).await;
            world.receive(&slug.to_uppercase(), 1).await;
        }
        let detail = world.client.get(&world.anybody(), "c").await.unwrap();
        let related: Vec<_> = detail.related.iter().map(|card| card.slug.as_str()).collect();
        assert_eq!(related, ["e", "b", "a", "d"]);
        let categories = world.client.categories(&world.anybody()).await.unwrap().items;
        let counts: Vec<_> =
            categories.iter().map(|c| (c.slug.as_str(), c.title.as_str(), c.count)).collect();
        assert_eq!(counts, [("x", "X", 6), ("y", "Y", 1)]);
    })
    .await;
}

#[tokio::test]
async fn the_demo_catalogue_can_be_searched_seen_and_bought() {
    on_every_engine(async |world| {
        assert!(platform::services::product::seed_catalogue(&world.capabilities).await.unwrap() >= 60);
        assert_eq!(platform::services::product::seed_catalogue(&world.capabilities).await.unwrap(), 0);
        world.assert_stock_adds_up().await;
        assert_eq!(world.find("stonewar mug").await[0], "stoneware-mug");
        let categories = world.client.categories(&world.anybody()).await.unwrap().items;
        assert_eq!(categories[0].title, "Coffee & tea");
        let all = walk(world, ProductQuery::default(), async |_| {}).await;
        assert_eq!(all.len() as i64, categories.iter().map(|category| category.count).sum::<i64>());
        for slug in &all {
            let (status, headers, svg) = world.get(&format!("/v1/products/{slug}/image.svg"), None).await;
            assert_eq!(
                (status, headers[header::CONTENT_TYPE].to_str().unwrap()),
                (StatusCode::OK, "image/svg+xml")
            );
            assert!(
                svg.starts_with("<svg ") && svg.ends_with("</svg>") && svg.len() < 8_000,
                "{slug}: {}",
                svg.len()
            );
        }
        let detail = world.client.get(&world.anybody(), "heavyweight-tee").await.unwrap();
        assert_eq!((detail.card.variants.len(), detail.related.len()), (12, 4));
        world.reserve(world.env.id(), &[(&detail.card.variants[0].sku, 2)]).await.unwrap();
        world.receive(&detail.card.variants[0].sku, 1).await;
        world.assert_stock_adds_up().await;
        assert_eq!(world.get("/v1/products/no-such/image.svg", None).await.0, StatusCode::NOT_FOUND);
    })
    .await;
}
