//! The front door.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;

use crate::http::Problem;
use crate::services::product::client::{Category, ProductCard, ProductQuery};
use crate::web::page::Page;
use crate::web::visit::Visit;

#[derive(Template)]
#[template(path = "storefront/home.html")]
struct Home {
    page: Page,
    featured: Vec<ProductCard>,
    products: Vec<ProductCard>,
    categories: Arc<Vec<Category>>,
}

/// `GET /`
pub(super) async fn home(visit: Visit) -> Result<Response, Problem> {
    let newest = ProductQuery { sort: Some("newest".into()), limit: Some(12), ..ProductQuery::default() };
    let list = visit.web.products.list(&visit.context, &newest).await?;
    visit.web.remember(&list.items).await;
    let featured = list.items.iter().filter(|product| product.available > 0).take(4).cloned().collect();
    let categories = visit.web.categories(&visit.context).await;
    let page = visit.shop_page("Good things for every day").await;
    Ok(visit.show(&Home { page, featured, products: list.items, categories }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::storefront::catalogue::tests::card;

    #[test]
    fn the_home_page_shows_what_is_new_and_where_to_go() {
        let page = crate::web::page::tests::page("/");
        let products = vec![card("desk-lamp", 12), card("mug", 0)];
        let categories = Arc::new(vec![Category { slug: "lamps".into(), title: "Lamps".into(), count: 7 }]);
        let home = Home { page, featured: products.clone(), products, categories };
        let html = home.render().unwrap();
        assert!(html.contains("href=\"/products/desk-lamp\""));
        assert!(html.contains("Sold out"));
        assert!(html.contains("href=\"/categories/lamps\""));
        crate::web::page::tests::assert_is_well_made(&html);
    }

    #[test]
    fn an_empty_shop_says_so() {
        let page = crate::web::page::tests::page("/");
        let home = Home { page, featured: vec![], products: vec![], categories: Arc::default() };
        assert!(home.render().unwrap().contains("The shelves are still empty"));
    }
}
