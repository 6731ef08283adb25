//! One product.

use askama::Template;
use axum::response::Response;

use crate::http::{Path, Problem};
use crate::services::product::client::ProductDetail;
use crate::web::page::Page;
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
    let product = visit.web.products.get(&visit.context, &slug).await?;
    visit.web.remember(std::slice::from_ref(&product.card)).await;
    let categories = visit.web.categories(&visit.context).await;
    let category = categories.iter().find(|category| category.slug == product.card.category);
    let category_title =
        category.map_or_else(|| product.card.category.clone(), |category| category.title.clone());
    let page = visit.shop_page(&product.card.title).await;
    Ok(visit.show(&Product { page, product, category_title }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::product::client::{ProductCard, VariantCard};
    use crate::vocabulary::{Currency, Money};
    use crate::web::storefront::catalogue::tests::card;

    #[test]
    fn the_first_variant_in_stock_is_chosen_and_a_sold_out_one_cannot_be() {
        let variant = |sku: &str, available| VariantCard {
            sku: sku.into(),
            title: sku.into(),
            price: Money::new(4900, Currency::USD),
            available,
        };
        let variants = vec![variant("LAMP-OAK", 0), variant("LAMP-ASH", 3)];
        let card = ProductCard { variants, ..card("lamp", 3) };
        let description = "It shines.\n\nIt dims.".into();
        let product = ProductDetail { card, description, related: vec![] };
        let page = crate::web::page::tests::page("/products/lamp");
        let html = Product { page, product, category_title: "Lamps".into() }.render().unwrap();
        assert!(html.contains("value=\"LAMP-OAK\" required disabled"));
        assert!(html.contains("value=\"LAMP-ASH\" required checked"));
        assert!(html.contains("Only 3 left"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
