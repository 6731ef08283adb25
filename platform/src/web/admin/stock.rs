//! Stock: levels, the ledger of each SKU, deliveries and corrections.
//!
//! A form carries a key made when it was drawn, so that a delivery counts once however often the button is pressed.

use askama::Template;
use axum::response::Response;
use serde::Deserialize;

use super::STAFF;
use crate::http::address::{query, segment};
use crate::http::{CallError, PageQuery, Path, Problem, Query};
use crate::services::product::client::{Movement, StockItem, StockLevel};
use crate::vocabulary::Role;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::storefront::explain;
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "admin/stock.html")]
struct Stock {
    page: Page,
    below: String,
    items: Vec<StockItem>,
    next: Option<String>,
}

#[derive(Template)]
#[template(path = "admin/ledger.html")]
struct Ledger {
    page: Page,
    level: StockLevel,
    movements: Vec<Movement>,
    next: Option<String>,
    fields: Fields,
    key: String,
    may_change: bool,
}

/// `3` as `+3`, `0` as nothing.
pub(crate) fn signed(delta: i64) -> String {
    if delta == 0 { String::new() } else { format!("{delta:+}") }
}

/// What a browser may ask of the list.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    below: String,
    cursor: Option<String>,
}

/// `GET /admin/stock`
pub(super) async fn list(visit: Visit, Query(asked): Query<Asked>) -> Result<Response, Problem> {
    visit.staff(STAFF)?;
    let below = asked.below.trim().parse::<i64>().ok().filter(|below| *below > 0);
    let page = PageQuery { limit: Some(50), cursor: asked.cursor };
    let list = visit.web.products.stock_list(&visit.context, below, &page).await?;
    let below = below.map_or(String::new(), |below| below.to_string());
    let next = list
        .next_cursor
        .map(|cursor| format!("/admin/stock{}", query(&[("below", &below), ("cursor", &cursor)])));
    Ok(visit.show(&Stock { page: visit.page("Stock"), below, items: list.items, next }))
}

/// `GET /admin/stock/{sku}`
pub(super) async fn ledger(
    visit: Visit,
    Path(sku): Path<String>,
    Query(asked): Query<PageQuery>,
) -> Result<Response, Problem> {
    let page = draw(&visit, &sku, asked.cursor, Fields::default()).await?;
    Ok(visit.show(&page))
}

async fn draw(visit: &Visit, sku: &str, cursor: Option<String>, fields: Fields) -> Result<Ledger, Problem> {
    let identity = visit.staff(STAFF)?;
    let level = visit.web.products.stock(&visit.context, sku).await?;
    let page = PageQuery { limit: Some(50), cursor };
    let list = visit.web.products.movements(&visit.context, sku, &page).await?;
    let place = format!("/admin/stock/{}", segment(sku));
    Ok(Ledger {
        page: visit.page(sku),
        next: list.next_cursor.map(|cursor| format!("{place}{}", query(&[("cursor", &cursor)]))),
        level,
        movements: list.items,
        fields,
        key: visit.web.capabilities.env.uuid().to_string(),
        may_change: identity.is(Role::Merchandiser),
    })
}

/// `POST /admin/stock/{sku}/receive`
pub(super) async fn receive(
    visit: Visit,
    Path(sku): Path<String>,
    Form(mut fields): Form,
) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    let quantity = fields.whole("quantity", 1);
    fields.require("reason", "Say where the units come from.");
    let answer = match quantity.filter(|_| fields.is_good()) {
        Some(quantity) => {
            let (reason, key) = (fields.value("reason"), fields.optional("key"));
            Some(visit.web.products.receive(&visit.context, &sku, quantity, reason, key.as_deref()).await)
        }
        None => None,
    };
    settle(&visit, &sku, fields, answer).await
}

/// `POST /admin/stock/{sku}/adjust`
pub(super) async fn adjust(
    visit: Visit,
    Path(sku): Path<String>,
    Form(mut fields): Form,
) -> Result<Response, Problem> {
    visit.staff(&[Role::Merchandiser])?;
    let delta = fields.whole("delta", i64::MIN);
    fields.require("reason", "Say why the count was wrong.");
    let answer = match delta.filter(|_| fields.is_good()) {
        Some(delta) => {
            let (reason, key) = (fields.value("reason"), fields.optional("key"));
            Some(visit.web.products.adjust(&visit.context, &sku, delta, reason, key.as_deref()).await)
        }
        None => None,
    };
    settle(&visit, &sku, fields, answer).await
}

async fn settle(
    visit: &Visit,
    sku: &str,
    mut fields: Fields,
    answer: Option<Result<StockLevel, CallError>>,
) -> Result<Response, Problem> {
    match answer {
        Some(Ok(level)) => {
            let words = format!("{sku}: {} on the shelf, {} available.", level.on_hand, level.available);
            visit.say(Tone::Good, &words);
            return Ok(redirect(&format!("/admin/stock/{}", segment(sku))));
        }
        Some(Err(error)) => explain(&mut fields, error.into())?,
        None => {}
    }
    let page = draw(visit, sku, None, fields).await?;
    Ok(visit.show_again(&page))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Timestamp;

    #[test]
    fn the_ledger_shows_each_movement_with_its_sign() {
        let movement = Movement {
            sku: "MUG-1".into(),
            seq: 3,
            kind: "commit".into(),
            on_hand_delta: -2,
            reserved_delta: -2,
            on_hand_after: 8,
            reserved_after: 0,
            order_id: None,
            reason: "shipped".into(),
            at: Timestamp::UNIX_EPOCH,
        };
        let ledger = Ledger {
            page: crate::web::page::tests::page("/admin/stock/MUG-1"),
            level: StockLevel { sku: "MUG-1".into(), on_hand: 8, reserved: 0, available: 8 },
            movements: vec![movement],
            next: None,
            fields: Fields::default(),
            key: "k".into(),
            may_change: true,
        };
        let html = ledger.render().unwrap();
        assert!(html.contains(">-2<") && html.contains("name=\"key\" value=\"k\""));
        crate::web::page::tests::assert_is_well_made(&html);
        assert_eq!([signed(3), signed(0)], ["+3", ""]);
    }
}
