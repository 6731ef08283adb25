//! Checkout: address, card, and one button that buys once.
//!
//! The form carries an order key made when it was drawn. Pressing twice, or again after a time-out, sends the same
//! key, so that the order service answers with the same order. A form that is changed after an answer gets a new key.

use askama::Template;
use axum::response::Response;
use serde_json::Value;

use super::cart;
use super::sign_in::explain;
use crate::http::{Code, Problem};
use crate::services::order::client::{Address, PlaceOrder, Placed};
use crate::vocabulary::CartId;
use crate::web::failure::full_sentence;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::CartView;
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
    cart: CartView,
    fields: Fields,
    order_key: String,
    countries: &'static [(&'static str, &'static str)],
    cards: &'static [(&'static str, &'static str, &'static str)],
}

/// `GET /checkout`
pub(super) async fn form(visit: Visit) -> Result<Response, Problem> {
    let fields = prefilled(&visit).await.with("payment_method", CARDS[0].0);
    match draw(&visit, fields).await? {
        Some(page) => Ok(visit.show(&page)),
        None => Ok(to_cart(&visit)),
    }
}

/// The form, with a new order key; none when there is nothing to buy.
async fn draw(visit: &Visit, fields: Fields) -> Result<Option<Checkout>, Problem> {
    let Some(cart) = cart::read(visit).await?.filter(|cart| !cart.lines.is_empty()) else { return Ok(None) };
    let cart = cart::view(visit, Some(&cart)).await;
    let order_key = visit.web.capabilities.env.uuid().to_string();
    let page = visit.shop_page("Checkout").await;
    Ok(Some(Checkout { page, cart, fields, order_key, countries: &COUNTRIES, cards: &CARDS }))
}

fn to_cart(visit: &Visit) -> Response {
    visit.say(Tone::Info, "Put something into your cart first.");
    redirect("/cart")
}

/// The first address of the user's book, when there is one. A book that does not answer costs typing, no more.
async fn prefilled(visit: &Visit) -> Fields {
    let fields = Fields::default().with("country", COUNTRIES[0].0);
    if visit.identity().is_none() {
        return fields;
    }
    let book = visit.web.users.addresses(&visit.context).await;
    let Some(address) = book.ok().and_then(|book| book.items.into_iter().next()) else { return fields };
    fields
        .with("name", address.name)
        .with("line1", address.line1)
        .with("line2", address.line2.unwrap_or_default())
        .with("city", address.city)
        .with("postal_code", address.postal_code)
        .with("country", address.country)
}

/// `POST /checkout`
pub(super) async fn place(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let Some(cart_id) = visit.cart_id() else { return Ok(to_cart(&visit)) };
    let is_guest = visit.identity().is_none();
    check(&mut fields, is_guest);
    if fields.is_good() {
        let request = request(&fields, cart_id, is_guest);
        let key = fields.value("order_key").to_owned();
        match visit.web.orders.place(&visit.context, &request, &key, false).await.map_err(Problem::from) {
            Ok(placed) => return Ok(bought(&visit, &placed)),
            Err(problem) => mend(&mut fields, problem)?,
        }
    }
    // The answer for this key is settled, so the form gets a new one: what is sent next is another try.
    match draw(&visit, fields).await? {
        Some(page) => Ok(visit.show_again(&page)),
        None => Ok(to_cart(&visit)),
    }
}

fn bought(visit: &Visit, placed: &Placed) -> Response {
    let id = placed.order.id;
    if let Some(key) = &placed.order.access_token {
        visit.keep_order_key(&id.to_string(), key);
    }
    visit.forget_cart();
    redirect(&format!("/orders/{id}"))
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

fn request(fields: &Fields, cart_id: CartId, is_guest: bool) -> PlaceOrder {
    let typed = |name: &str| fields.value(name).to_owned();
    PlaceOrder {
        cart_id,
        email: is_guest.then(|| typed("email")),
        shipping_address: Address {
            name: typed("name"),
            line1: typed("line1"),
            line2: fields.optional("line2"),
            city: typed("city"),
            postal_code: typed("postal_code"),
            country: typed("country"),
        },
        payment_method: typed("payment_method"),
    }
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
        _ => explain(fields, problem),
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
    use crate::vocabulary::Id;
    use serde_json::json;

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
        let request = request(&fields, Id::from_uuid(uuid::Uuid::from_u128(1)), false);
        assert_eq!((request.email, request.shipping_address.line2), (None, None));
    }
}
