//! The demo catalogue: what an empty shop is filled with, so that there is something to buy.

use std::collections::HashMap;

use serde::Deserialize;

use super::editing::keywords;
use super::store::LOCATION;
use crate::capabilities::Capabilities;
use crate::storage::{Batch, StorageError, Value};
use crate::vocabulary::{Id, ProductId, ids::kind};

const DEMO: &str = include_str!("demo_catalogue.json");
const REASON: &str = "opening stock";

#[derive(Deserialize)]
struct Demo {
    categories: Vec<DemoCategory>,
    products: Vec<DemoProduct>,
}

#[derive(Deserialize)]
struct DemoCategory {
    slug: String,
    title: String,
}

#[derive(Deserialize)]
struct DemoProduct {
    slug: String,
    title: String,
    category: String,
    description: String,
    facts: serde_json::Map<String, serde_json::Value>,
    motif: String,
    palette: String,
    weight_g: i64,
    #[serde(default = "standard")]
    tax_class: String,
    variants: Vec<DemoVariant>,
}

#[derive(Deserialize)]
struct DemoVariant {
    sku: String,
    title: String,
    price_minor: i64,
    units: i64,
}

fn standard() -> String {
    "standard".to_owned()
}

/// Fills a catalogue that has no product yet, in one batch. Answers how many products that were.
pub async fn seed_catalogue(capabilities: &Capabilities) -> Result<usize, StorageError> {
    let first = capabilities.db.read_one("SELECT id FROM product_products LIMIT 1", vec![]).await?;
    if first.is_some() {
        return Ok(0);
    }
    let demo: Demo = serde_json::from_str(DEMO)
        .map_err(|error| StorageError::Invalid(format!("the demo catalogue does not parse: {error}")))?;
    match capabilities.db.write(batch(capabilities, &demo)).await {
        Ok(_) => Ok(demo.products.len()),
        // Another process filled it meanwhile.
        Err(StorageError::Conflict { .. }) => Ok(0),
        Err(error) => Err(error),
    }
}

fn batch(capabilities: &Capabilities, demo: &Demo) -> Batch {
    let (env, now) = (&capabilities.env, capabilities.env.now());
    let currency = capabilities.config.order.currency;
    let mut counts: HashMap<&str, i64> = HashMap::new();
    let (mut products, mut variants, mut stock, mut movements) = (vec![], vec![], vec![], vec![]);
    for (number, product) in (1i64..).zip(&demo.products) {
        *counts.entry(&product.category).or_default() += 1;
        let id: ProductId = env.id::<kind::Product>();
        let price_minor = product.variants.iter().map(|variant| variant.price_minor).min().unwrap_or(0);
        let facts = product.facts.values().filter_map(serde_json::Value::as_str);
        let named = product.variants.iter().map(|variant| (&*variant.title, &*variant.sku));
        let mut attrs = product.facts.clone();
        let picture = serde_json::json!({ "motif": product.motif, "palette": product.palette });
        attrs.insert("picture".to_owned(), picture);
        products.push(vec![
            Value::from(id),
            number.into(),
            product.slug.as_str().into(),
            product.title.as_str().into(),
            product.description.as_str().into(),
            keywords(&product.category, named, facts).into(),
            "active".into(),
            product.category.as_str().into(),
            price_minor.into(),
            currency.into(),
            serde_json::Value::Object(attrs).into(),
            // No event tells of it, so the first that does will be the first change.
            0i64.into(),
            now.into(),
            now.into(),
        ]);
        for (position, variant) in (0i64..).zip(&product.variants) {
            let sku = || Value::from(variant.sku.as_str());
            variants.push(variant_row(product, variant, id, position, currency.into()));
            let has_units = i64::from(variant.units > 0);
            stock.push(vec![sku(), LOCATION.into(), variant.units.into(), 0i64.into(), has_units.into()]);
            if variant.units > 0 {
                movements.push(vec![
                    sku(),
                    LOCATION.into(),
                    1i64.into(),
                    "receipt".into(),
                    variant.units.into(),
                    0i64.into(),
                    variant.units.into(),
                    0i64.into(),
                    REASON.into(),
                    REASON.into(),
                    now.into(),
                ]);
            }
        }
    }
    let categories = (1i64..).zip(&demo.categories).map(|(position, category)| {
        let count = counts.get(&*category.slug).copied().unwrap_or(0);
        vec![category.slug.as_str().into(), category.title.as_str().into(), position.into(), count.into()]
    });
    let mut batch = Batch::new();
    batch.insert_many(
        "INSERT INTO product_categories (slug, title, position, products)",
        categories.collect(),
        "",
    );
    batch.insert_many(
        "INSERT INTO product_products (id, number, slug, title, description, keywords, status, category,
           price_minor, currency, attrs, version, created_at, updated_at)",
        products,
        "",
    );
    batch.insert_many(
        "INSERT INTO product_variants (sku, product_id, position, title, price_minor, currency, tax_class,
           weight_g, active)",
        variants,
        "",
    );
    batch.insert_many("INSERT INTO product_stock (sku, location, on_hand, reserved, movements)", stock, "");
    batch.insert_many(
        "INSERT INTO product_movements (sku, location, seq, kind, on_hand_delta, reserved_delta, on_hand_after,
           reserved_after, act, reason, at)",
        movements,
        "",
    );
    batch.run("UPDATE product_catalogue SET version = version + 1 WHERE id = 1", vec![]);
    batch
}

fn variant_row(
    product: &DemoProduct,
    variant: &DemoVariant,
    id: Id<kind::Product>,
    position: i64,
    currency: Value,
) -> Vec<Value> {
    vec![
        variant.sku.as_str().into(),
        id.into(),
        position.into(),
        variant.title.as_str().into(),
        variant.price_minor.into(),
        currency,
        product.tax_class.as_str().into(),
        product.weight_g.into(),
        true.into(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::product::SERVICE;
    use crate::testing;
    use crate::vocabulary::Env;

    #[test]
    fn the_demo_is_a_shop_worth_looking_at() {
        let demo: Demo = serde_json::from_str(DEMO).unwrap();
        assert!(demo.products.len() >= 60 && demo.categories.len() >= 8);
        for category in &demo.categories {
            let count = demo.products.iter().filter(|product| product.category == category.slug).count();
            assert!(count >= 6, "{}: {count}", category.slug);
        }
        let units = |product: &DemoProduct| product.variants.iter().map(|variant| variant.units).sum::<i64>();
        assert_eq!(demo.products.iter().filter(|product| units(product) == 0).count(), 1);
        assert!(demo.products.iter().any(|product| (1..=3).contains(&units(product))));
        assert!(demo.products.iter().all(|product| product.description.len() >= 50));
    }

    #[tokio::test]
    async fn an_empty_shop_is_filled_once() {
        let test = testing::capabilities(Env::system(), &[SERVICE]).await;
        assert!(seed_catalogue(&test.capabilities).await.unwrap() >= 60);
        assert_eq!(seed_catalogue(&test.capabilities).await.unwrap(), 0);
    }
}
