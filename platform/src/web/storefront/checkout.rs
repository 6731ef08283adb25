//! Checkout: address, card, and one button that buys once.
//!
//! The form carries an order key made when it was drawn. Pressing twice, or again after a time-out, sends the same
//! key, so that the order service answers with the same order. A form that is changed after an answer gets a new key.

use askama::Template;
use axum::http::Method;
use axum::response::Response;
use serde::Deserialize;
use serde_json::{Value, json};

use super::cart;
use crate::http::{Code, Page as List, Problem};
use crate::vocabulary::OrderId;
use crate::web::failure::full_sentence;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::{Address, Cart};
use crate::web::visit::{Form, Visit};

/// Where this shop ships to: ISO code and name.
pub(super) const COUNTRIES: [(&str, &str); 14] = [
    ("US", "United States"),
    ("CA", "Canada"),
    ("GB", "United Kingdom"),
    ("IE", "Ireland"),
    ("DE", "Germany"),
    ("AT", "Austria"),
    ("CH", "Switzerland"),
    ("FR", "France"),
    ("NL", "Netherlands"),
    ("ES", "Spain"),
    ("IT", "Italy"),
    ("SE", "Sweden"),
    ("JP", "Japan"),
    ("AU", "Australia"),
];

/// The provider's test cards: token, name, what it does.
const CARDS: [(&str, &str, &str); 3] = [
    ("pm_card_visa", "Visa ending 4242", "Pays"),
    ("pm_card_visa_chargeDeclined", "Visa ending 0002", "Is declined, to see what happens"),
    ("pm_card_visa_chargeDeclinedInsufficientFunds", "Visa ending 9995", "Has not enough on it"),
];

#[derive(Template)]
#[template(path = "storefront/checkout.html")]
struct Checkout {
    page: Page,
    cart: Cart,
    fields: Fields,
    order_key: String,
    countries: &'static [(&'static str, &'static str)],
    cards: &'static [(&'static str, &'static str, &'static str)],
}

#[derive(Deserialize)]
struct Placed {
    id: OrderId,
    #[serde(default)]
    access_token: Option<String>,
}

/// `GET /checkout`
pub(super) async fn form(visit: Visit) -> Result<Response, Problem> {
    let cart = cart::read(&visit).await?;
    if cart.lines.is_empty() {
        visit.say(Tone::Info, "Put something into your cart first.");
        return Ok(redirect("/cart"));
    }
    let fields = prefilled(&visit).await.with("payment_method", CARDS[0].0);
    let order_key = visit.web.capabilities.env.uuid().to_string();
    Ok(visit.show(&page(&visit, cart, fields, order_key).await))
}

async fn page(visit: &Visit, cart: Cart, fields: Fields, order_key: String) -> Checkout {
    let page = visit.shop_page("Checkout").await;
    Checkout { page, cart, fields, order_key, countries: &COUNTRIES, cards: &CARDS }
}

/// The first address of the user's book, when there is one. An address book that does not answer costs typing, no more.
async fn prefilled(visit: &Visit) -> Fields {
    let mut fields = Fields::default().with("country", COUNTRIES[0].0);
    if visit.identity().is_none() {
        return fields;
    }
    let book = visit.web.shop.get::<List<Address>>(&visit.context, "user", "/v1/me/addresses").await;
    if let Some(address) = book.ok().and_then(|book| book.items.into_iter().next()) {
        fields = fields
            .with("name", address.name)
            .with("line1", address.line1)
            .with("line2", address.line2.unwrap_or_default())
            .with("city", address.city)
            .with("postal_code", address.postal_code)
            .with("country", address.country);
    }
    fields
}

/// `POST /checkout`
pub(super) async fn place(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let Some(cart_id) = visit.cart_id() else { return Ok(redirect("/cart")) };
    check(&mut fields, visit.identity().is_none());
    let order_key = fields.value("order_key").to_owned();
    if fields.is_good() {
        let body = body(&fields, &cart_id.to_string(), visit.identity().is_none());
        let headers = [("idempotency-key", order_key.as_str())];
        let shop = &visit.web.shop;
        let answer =
            shop.send_with(&visit.context, "order", Method::POST, "/v1/orders", &body, &headers).await;
        match answer {
            Ok((_, placed)) => return Ok(bought(&visit, &placed)),
            Err(problem) => mend(&mut fields, problem)?,
        }
    }
    let cart = cart::read(&visit).await?;
    // The answer for this key is settled; what is sent next is another try.
    let order_key = visit.web.capabilities.env.uuid().to_string();
    Ok(visit.show_again(&page(&visit, cart, fields, order_key).await))
}

fn bought(visit: &Visit, placed: &Placed) -> Response {
    if let Some(key) = &placed.access_token {
        visit.keep_order_key(&placed.id.to_string(), key);
    }
    visit.forget_cart();
    redirect(&format!("/orders/{}", placed.id))
}

fn check(fields: &mut Fields, is_guest: bool) {
    if is_guest {
        fields.require("email", "Enter an e-mail, so that you find back to your order.");
    }
    fields.require("name", "Enter the name on the door.");
    fields.require("line1", "Enter street and number.");
    fields.require("postal_code", "Enter the postal code.");
    fields.require("city", "Enter the city.");
    fields.require("country", "Choose a country.");
    fields.require("payment_method", "Choose a card.");
    if fields.value("order_key").is_empty() {
        fields.reject("", "The form was incomplete. Please send it again.");
    }
}

fn body(fields: &Fields, cart_id: &str, is_guest: bool) -> Value {
    let mut address = json!({
        "name": fields.value("name"),
        "line1": fields.value("line1"),
        "city": fields.value("city"),
        "postal_code": fields.value("postal_code"),
        "country": fields.value("country"),
    });
    if let Some(line2) = fields.optional("line2") {
        address["line2"] = Value::String(line2);
    }
    let mut body = json!({
        "cart_id": cart_id,
        "shipping_address": address,
        "payment_method": fields.value("payment_method"),
    });
    if is_guest {
        body["email"] = Value::String(fields.value("email").to_owned());
    }
    body
}

/// What the buyer can mend goes beside the form; an unknown answer is a failure page, and sending the same form
/// again is safe.
fn mend(fields: &mut Fields, problem: Problem) -> Result<(), Problem> {
    match problem.code {
        Code::PaymentDeclined => {
            let words =
                "The card was declined. Nothing was charged, and your cart is as it was: try another card.";
            fields.reject("payment_method", words);
            Ok(())
        }
        Code::OutOfStock => {
            for words in shortages(&problem) {
                fields.reject("", words);
            }
            Ok(())
        }
        Code::PromotionInvalid => {
            fields.reject("", full_sentence(&problem.detail));
            Ok(())
        }
        _ => super::sign_in::explain(fields, problem),
    }
}

fn shortages(problem: &Problem) -> Vec<String> {
    let items = problem.extra.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
    let words = items.iter().filter_map(|item| {
        let sku = item.get("sku")?.as_str()?;
        let requested = item.get("requested")?.as_i64()?;
        Some(match item.get("available")?.as_i64()? {
            ..=0 => format!("{sku} was sold out meanwhile. Take it out of your cart to go on."),
            left => format!(
                "Only {left} of {sku} are left, and your cart has {requested}. Lower the quantity to go on."
            ),
        })
    });
    let words: Vec<String> = words.collect();
    if words.is_empty() { vec!["Something in your cart was sold out meanwhile.".to_owned()] } else { words }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_names_what_is_left() {
        let problem = Problem::new(Code::OutOfStock, "not enough").with(
            "items",
            json!([{"sku": "LAMP-1", "requested": 3, "available": 1}, {"sku": "MUG-2", "requested": 1, "available": 0}]),
        );
        let mut fields = Fields::default();
        assert!(mend(&mut fields, problem).is_ok());
        let words: Vec<_> = fields.errors().iter().map(|(_, words)| words.as_str()).collect();
        assert_eq!(
            words,
            [
                "Only 1 of LAMP-1 are left, and your cart has 3. Lower the quantity to go on.",
                "MUG-2 was sold out meanwhile. Take it out of your cart to go on.",
            ]
        );
    }

    #[test]
    fn an_answer_that_never_came_is_not_shown_as_a_mistake_of_the_buyer() {
        let mut fields = Fields::default();
        assert!(mend(&mut fields, Problem::new(Code::Unavailable, "no answer")).is_err());
        assert!(fields.is_good());
    }

    #[test]
    fn a_guest_says_where_to_write_and_a_user_is_not_asked() {
        let mut fields =
            Fields::parse(b"name=A&line1=B&postal_code=1&city=C&country=US&payment_method=p&order_key=k");
        check(&mut fields, false);
        assert!(fields.is_good());
        check(&mut fields, true);
        assert!(fields.error("email").is_some());
        assert!(body(&fields, "c", false).get("email").is_none());
        assert!(body(&fields, "c", false)["shipping_address"].get("line2").is_none());
    }
}
