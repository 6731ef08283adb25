//! Lists of products: a category, a search, with what narrows them.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use crate::http::{Path, Problem, Query};
use crate::services::product::client::{Category, ProductCard, ProductQuery};
use crate::web::fields::minor_units;
use crate::web::page::Page;
use crate::web::view::Filter;
use crate::web::visit::Visit;

#[derive(Template)]
#[template(path = "storefront/catalogue.html")]
struct Catalogue {
    page: Page,
    heading: String,
    filter: Filter,
    categories: Arc<Vec<Category>>,
    products: Vec<ProductCard>,
    next: Option<String>,
    is_first: bool,
}

/// What a browser may ask of a list. A form sends its empty fields too.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    category: String,
    #[serde(default)]
    min: String,
    #[serde(default)]
    max: String,
    #[serde(default)]
    in_stock: String,
    #[serde(default)]
    sort: String,
    #[serde(default)]
    cursor: String,
}

/// `GET /categories/{slug}`
pub(super) async fn category(
    visit: Visit,
    Path(slug): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Problem> {
    let categories = visit.web.categories(&visit.context).await;
    let category = categories.iter().find(|category| category.slug == slug);
    let title =
        category.map(|category| category.title.clone()).ok_or_else(|| Problem::not_found("category"))?;
    list(visit, title, Asked { category: slug, q: String::new(), ..asked }).await
}

/// `GET /search`
pub(super) async fn search(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    let words = asked.q.trim();
    let heading =
        if words.is_empty() { "All products".to_owned() } else { format!("Results for “{words}”") };
    list(visit, heading, asked).await
}

async fn list(visit: Visit, heading: String, asked: Asked) -> Result<Response, Problem> {
    let filter = filter(&asked);
    let list = visit.web.products.list(&visit.context, &wire_query(&filter, &asked.cursor)).await?;
    visit.web.remember(&list.items).await;
    let mut page = visit.shop_page(&heading).await;
    page.query.clone_from(&filter.query);
    let next = list.next_cursor.map(|cursor| filter.link(Some(&cursor)));
    let categories = visit.web.categories(&visit.context).await;
    let is_first = asked.cursor.is_empty();
    let products = list.items;
    Ok(visit.show(&Catalogue { page, heading, filter, categories, products, next, is_first }))
}

/// Keeps what makes sense; a price that is no price is dropped, as a shop assistant would.
fn filter(asked: &Asked) -> Filter {
    let price = |text: &str| if minor_units(text).is_some() { text.trim().to_owned() } else { String::new() };
    let mut filter = Filter {
        category: Some(asked.category.clone()).filter(|category| !category.is_empty()),
        query: asked.q.trim().to_owned(),
        min: price(&asked.min),
        max: price(&asked.max),
        in_stock: asked.in_stock == "true",
        sort: String::new(),
    };
    let known = filter.sorts().iter().find(|(value, _)| *value == asked.sort);
    filter.sort = known.map_or(String::new(), |(value, _)| (*value).to_owned());
    filter
}

/// The list in the words of the product service, whose own default is the best sort for what was asked.
fn wire_query(filter: &Filter, cursor: &str) -> ProductQuery {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    ProductQuery {
        q: some(&filter.query),
        category: filter.category.clone(),
        min_price: minor_units(&filter.min),
        max_price: minor_units(&filter.max),
        in_stock: filter.in_stock.then_some(true),
        sort: some(&filter.sort),
        limit: Some(24),
        cursor: some(cursor),
        ..ProductQuery::default()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::vocabulary::{Currency, Id, Money};

    pub(crate) fn card(slug: &str, available: i64) -> ProductCard {
        ProductCard {
            id: Id::from_uuid(uuid::Uuid::from_u128(1)),
            category: "lamps".into(),
            slug: slug.into(),
            title: slug.replace('-', " "),
            price: Money::new(4900, Currency::USD),
            available,
            image: format!("/v1/products/{slug}/image.svg"),
            variants: vec![],
        }
    }

    #[test]
    fn prices_go_out_in_minor_units_and_nonsense_is_dropped() {
        let asked = Asked { min: "19.99".into(), max: "cheap".into(), sort: "rm".into(), ..Asked::default() };
        let filter = filter(&asked);
        let query = wire_query(&filter, "");
        assert_eq!((query.min_price, query.max_price, query.sort), (Some(1999), None, None));
        assert_eq!(filter.max, "");
    }

    #[test]
    fn an_empty_list_offers_a_way_out() {
        let asked = Asked { q: "<b>".into(), in_stock: "true".into(), ..Asked::default() };
        let catalogue = Catalogue {
            page: crate::web::page::tests::page("/search"),
            heading: "Results".into(),
            filter: filter(&asked),
            categories: Arc::default(),
            products: vec![],
            next: None,
            is_first: true,
        };
        let html = catalogue.render().unwrap();
        assert!(html.contains("Clear the filters"));
        assert!(!html.contains("<b>"), "what was typed is escaped");
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
