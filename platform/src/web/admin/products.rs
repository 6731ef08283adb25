//! The catalogue: find, add, change.

use std::sync::Arc;

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::STAFF;
use crate::http::address::{query, segment};
use crate::http::{CallError, Path, Problem, Query};
use crate::services::product::client::{
    AdminProduct, Category, NewProduct, NewVariant, ProductPatch, ProductQuery, ProductStatus,
};
use crate::vocabulary::{Money, Role};
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::storefront::explain;
use crate::web::view::Badge;
use crate::web::visit::{Form, Visit};

const STATUSES: [(&str, &str); 3] = [("active", "On sale"), ("draft", "Not yet"), ("archived", "No more")];

#[derive(Template)]
#[template(path = "admin/products.html")]
struct Products {
    page: Page,
    q: String,
    status: String,
    statuses: &'static [(&'static str, &'static str)],
    products: Vec<AdminProduct>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "admin/product.html")]
struct ProductPage {
    page: Page,
    action: String,
    product: Option<AdminProduct>,
    fields: Fields,
    categories: Arc<Vec<Category>>,
    statuses: &'static [(&'static str, &'static str)],
}

/// Whether a product is on sale, as a badge.
pub(crate) fn badge(status: ProductStatus) -> Badge {
    let words = STATUSES.iter().find(|(value, _)| *value == status.as_str()).map_or("", |(_, words)| words);
    let tone = if status == ProductStatus::Active { Tone::Good } else { Tone::Plain };
    Badge { tone, words: words.to_owned() }
}

/// What a browser may ask of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    q: String,
    #[serde(default)]
    status: String,
    cursor: Option<String>,
}

/// `GET /admin/products`
pub(super) async fn list(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let q = asked.q.trim().to_owned();
    let known = STATUSES.iter().any(|(value, _)| *value == asked.status);
    let status = if known { asked.status } else { String::new() };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let filter = ProductQuery {
        q: some(&q),
        status: some(&status),
        limit: Some(50),
        cursor: asked.cursor,
        ..ProductQuery::default()
    };
    let list = visit.web.products.admin_list(&visit.context, &filter).await?;
    let next = list.next_cursor.map(|cursor| {
        format!("/admin/products{}", query(&[("q", &q), ("status", &status), ("cursor", &cursor)]))
    });
    let page = visit.page("Products");
    Ok(visit.show(&Products { page, q, status, statuses: &STATUSES, products: list.items, next }))
}

/// `GET /admin/products/new`
pub(super) async fn new(visit: Visit) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    let page = draw(&visit, None, Fields::default()).await;
    Ok(visit.show(&page))
}

/// `GET /admin/products/{slug}`
pub(super) async fn product(visit: Visit, Path(slug): Path<String>) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let product = visit.web.products.admin_get(&visit.context, &slug).await?;
    let fields = Fields::default()
        .with("title", &*product.title)
        .with("slug", &*product.slug)
        .with("category", &*product.category)
        .with("description", &*product.description)
        .with("status", product.status.as_str());
    let page = draw(&visit, Some(product), fields).await;
    Ok(visit.show(&page))
}

async fn draw(visit: &Visit, product: Option<AdminProduct>, fields: Fields) -> ProductPage {
    let title = product.as_ref().map_or("Add a product", |product| &*product.title);
    let action = match &product {
        Some(product) => format!("/admin/products/{}", segment(&product.slug)),
        None => "/admin/products".to_owned(),
    };
    ProductPage {
        page: visit.page(title),
        action,
        product,
        fields,
        categories: visit.web.categories(&visit.context).await,
        statuses: &STATUSES,
    }
}

/// `POST /admin/products`
pub(super) async fn create(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    fields.require("sku", "Enter the SKU of the first variant.");
    let variant = variant(&visit, &mut fields);
    check(&mut fields);
    if fields.is_good() {
        let typed = |name: &str| fields.value(name).to_owned();
        let product = NewProduct {
            slug: typed("slug"),
            title: typed("title"),
            description: typed("description"),
            category: typed("category"),
            status: status(&fields),
            attrs: serde_json::Map::new(),
            variants: variant.into_iter().collect(),
        };
        let answer = visit.web.products.create(&visit.context, &product).await;
        if let Some(slug) = settle(&mut fields, answer)? {
            visit.say(Tone::Good, "The product is added. Receive its first units next.");
            return Ok(redirect(&format!("/admin/products/{}", segment(&slug))));
        }
    }
    let page = draw(&visit, None, fields).await;
    Ok(visit.show_again(&page))
}

/// `POST /admin/products/{slug}`
pub(super) async fn update(
    visit: Visit,
    Path(slug): Path<String>,
    Form(mut fields): Form,
) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    let variant = if fields.value("sku").is_empty() { None } else { variant(&visit, &mut fields) };
    check(&mut fields);
    if fields.is_good() {
        let typed = |name: &str| Some(fields.value(name).to_owned());
        let patch = ProductPatch {
            slug: typed("slug").filter(|new| *new != slug),
            title: typed("title"),
            description: typed("description"),
            category: typed("category"),
            status: Some(status(&fields)),
            attrs: None,
            variants: variant.into_iter().collect(),
        };
        let answer = visit.web.products.update(&visit.context, &slug, &patch).await;
        if let Some(slug) = settle(&mut fields, answer)? {
            visit.say(Tone::Good, "Saved.");
            return Ok(redirect(&format!("/admin/products/{}", segment(&slug))));
        }
    }
    let product = visit.web.products.admin_get(&visit.context, &slug).await?;
    let page = draw(&visit, Some(product), fields).await;
    Ok(visit.show_again(&page))
}

fn check(fields: &mut Fields) {
    fields.require("title", "Enter a title.");
    fields.require("slug", "Enter its name in addresses.");
    fields.require("category", "Enter a category.");
}

fn status(fields: &Fields) -> ProductStatus {
    match fields.value("status") {
        "draft" => ProductStatus::Draft,
        "archived" => ProductStatus::Archived,
        _ => ProductStatus::Active,
    }
}

fn variant(visit: &Visit, fields: &mut Fields) -> Option<NewVariant> {
    let price = Money::new(fields.minor("price")?, visit.web.capabilities.config.order.currency);
    let title = fields.optional("variant_title").unwrap_or_else(|| "Standard".to_owned());
    let sku = fields.value("sku").to_owned();
    Some(NewVariant { sku, title, price, tax_class: None, weight_g: None, active: None })
}

/// The slug of what was written; none when the form has to be looked at again.
fn settle(fields: &mut Fields, answer: Result<AdminProduct, CallError>) -> Result<Option<String>, Problem> {
    match answer {
        Ok(product) => Ok(Some(product.slug)),
        Err(error) => {
            explain(fields, error.into())?;
            Ok(None)
        }
    }
}
