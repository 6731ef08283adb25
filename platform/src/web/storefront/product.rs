//! One product.

use askama::Template;
use axum::response::Response;

use crate::http::{Path, Problem};
use crate::web::page::Page;
use crate::web::shop::segment;
use crate::web::view::ProductDetail;
use crate::web::visit::Visit;

#[derive(Template)]
#[template(path = "storefront/product.html")]
struct Product {
    page: Page,
    product: ProductDetail,
    category_title: String,
}

/// `GET /products/{slug}`
pub(super) async fn product(visit: Visit, Path(slug): Path<String>) -> Result<Response, Problem> {
    let path = format!("/v1/products/{}", segment(&slug));
    let product: ProductDetail = visit.web.shop.get(&visit.context, "product", &path).await?;
    let categories = visit.web.categories(&visit.context).await;
    let category = categories.iter().find(|category| category.slug == product.category);
    let category_title = category.map_or_else(|| product.category.clone(), |category| category.title.clone());
    let page = visit.shop_page(&product.title).await;
    Ok(visit.show(&Product { page, product, category_title }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Currency, Money};
    use crate::web::view::Variant;

    #[test]
    fn the_first_variant_in_stock_is_chosen_and_a_sold_out_one_cannot_be() {
        let variant = |sku: &str, available| Variant {
            sku: sku.into(),
            title: sku.into(),
            price: Money::new(4900, Currency::USD),
            available,
        };
        let product = ProductDetail {
            slug: "lamp".into(),
            title: "Lamp".into(),
            description: "It shines.".into(),
            category: "lamps".into(),
            price: Money::new(4900, Currency::USD),
            available: 3,
            image: "/lamp.svg".into(),
            variants: vec![variant("LAMP-OAK", 0), variant("LAMP-ASH", 3)],
            related: vec![],
        };
        let page = crate::web::page::tests::page("/products/lamp");
        let html = Product { page, product, category_title: "Lamps".into() }.render().unwrap();
        assert!(html.contains("value=\"LAMP-OAK\" required disabled"));
        assert!(html.contains("value=\"LAMP-ASH\" required checked"));
        assert!(html.contains("Only 3 left"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
