//! The steps of buying, from the empty cart to the order that is written down.

use bytes::Bytes;
use hyper::{Method, Uri};
use serde::Deserialize;

use super::super::record::Outcome;
use super::super::step::Step;
use super::super::worker::visitor::{BrokenOff, Visitor};

const EMPTY: Bytes = Bytes::from_static(b"{}");
const QUANTITIES: [Bytes; 3] = [
    Bytes::from_static(b"{\"quantity\":1}"),
    Bytes::from_static(b"{\"quantity\":2}"),
    Bytes::from_static(b"{\"quantity\":3}"),
];
const PEOPLE: [&str; 4] = ["Ada Osei", "Mio Tanaka", "Lea Brandt", "Noor Haddad"];
const CITIES: [(&str, &str, &str); 4] = [
    ("Springfield", "12345", "US"),
    ("London", "N1 9GU", "GB"),
    ("Hamburg", "20095", "DE"),
    ("Lyon", "69001", "FR"),
];

#[derive(Deserialize)]
struct Named<'a> {
    id: &'a str,
}

/// How the shop may refuse an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scarcity {
    /// There is enough for everybody: a refusal is an error.
    Plenty,
    /// There is not: hearing so is right.
    Scarce,
}

/// A look at a product, the popular ones more often.
pub(super) async fn product(visitor: &mut Visitor) -> Result<(), BrokenOff> {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let products = &hands.supplies.products;
    let place = visitor.chance.popular_place(products.len());
    visitor.look(Step::Product, products.get(place).ok_or(BrokenOff)?).await.map(drop)
}

/// A new cart: its id.
pub(super) async fn new_cart(visitor: &mut Visitor) -> Result<String, BrokenOff> {
    let answer = visitor.act(Step::Cart, Method::POST, Uri::from_static("/v1/carts"), EMPTY).await?;
    let cart: Named<'_> = serde_json::from_slice(&answer).map_err(|_| BrokenOff)?;
    Ok(cart.id.to_owned())
}

/// `quantity` (1 to 3) of `sku` go into the cart.
pub(super) async fn add(
    visitor: &mut Visitor,
    cart: &str,
    sku: &str,
    quantity: usize,
) -> Result<(), BrokenOff> {
    let uri = path(format!("/v1/carts/{cart}/lines/{sku}"))?;
    let body = QUANTITIES[quantity.clamp(1, QUANTITIES.len()) - 1].clone();
    visitor.act(Step::AddToCart, Method::PUT, uri, body).await.map(drop)
}

/// A look into the cart.
pub(super) async fn view(visitor: &mut Visitor, cart: &str) -> Result<(), BrokenOff> {
    let uri = path(format!("/v1/carts/{cart}"))?;
    visitor.look_signed_in(Step::ViewCart, &uri).await.map(drop)
}

/// The cart becomes an order, which is written down before it is counted: its id, unless it was rightly refused.
pub(super) async fn order(
    visitor: &mut Visitor,
    cart: &str,
    scarcity: Scarcity,
) -> Result<Option<String>, BrokenOff> {
    let body = order_body(visitor, cart);
    let key = format!("{}-{}", visitor.hands.run, visitor.journey);
    let came = visitor.place(Uri::from_static("/v1/orders"), &key, body).await?;
    let mut outcome = came.outcome();
    let mut id = None;
    match came.status() {
        Some(status @ (201 | 202)) => match serde_json::from_slice::<Named<'_>>(came.body()) {
            Ok(order) => {
                let scope = visitor.scope().map_or_else(|| format!("cart:{cart}"), str::to_owned);
                visitor.hands.write_down(order.id, &scope, &key, status);
                id = Some(order.id.to_owned());
            }
            Err(_) => outcome = Outcome::CheckFailed,
        },
        Some(409) if scarcity == Scarcity::Scarce && is_sold_out(came.body()) => outcome = Outcome::Expected,
        _ => {}
    }
    visitor.count(came, outcome)?;
    Ok(id)
}

fn is_sold_out(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Refusal<'a> {
        code: &'a str,
    }
    serde_json::from_slice::<Refusal<'_>>(body).is_ok_and(|refusal| refusal.code == "out_of_stock")
}

/// A path made of what the shop gave us.
fn path(path: String) -> Result<Uri, BrokenOff> {
    path.parse().map_err(|_| BrokenOff)
}

fn order_body(visitor: &mut Visitor, cart: &str) -> Bytes {
    let chance = &mut visitor.chance;
    let name = PEOPLE[chance.place(PEOPLE.len())];
    let (city, postal_code, country) = CITIES[chance.place(CITIES.len())];
    let house = chance.place(200) + 1;
    let card = if chance.fraction() < visitor.hands.declined {
        "pm_card_visa_chargeDeclined"
    } else {
        "pm_card_visa"
    };
    // Written by hand: nothing in it needs an escape, and a tree of values would be built for each order.
    let email = if visitor.is_signed_in() {
        String::new()
    } else {
        format!(r#""email":"buyer-{}@example.com","#, visitor.journey % 100_000)
    };
    Bytes::from(format!(
        r#"{{"cart_id":"{cart}",{email}"payment_method":"{card}","shipping_address":{{"name":"{name}","line1":"{house} Main Street","city":"{city}","postal_code":"{postal_code}","country":"{country}"}}}}"#
    ))
}
