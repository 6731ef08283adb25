//! The cart: what is in it, adding, changing, a promotion.

use askama::Template;
use axum::http::Method;
use axum::response::Response;
use serde_json::json;

use crate::http::{Code, Path, Problem};
use crate::vocabulary::CartId;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::shop::segment;
use crate::web::view::Cart;
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "storefront/cart.html")]
struct CartPage {
    page: Page,
    cart: Cart,
    fields: Fields,
}

/// The cart of this browser. One that is gone, or was bought, is forgotten and an empty one shown.
pub(super) async fn read(visit: &Visit) -> Result<Cart, Problem> {
    let Some(id) = visit.cart_id() else { return Ok(Cart::empty()) };
    match visit.web.shop.get::<Cart>(&visit.context, "order", &format!("/v1/carts/{id}")).await {
        Ok(cart) => {
            visit.keep_cart(id, cart.count());
            Ok(cart)
        }
        Err(problem) if problem.code == Code::NotFound => {
            visit.forget_cart();
            Ok(Cart::empty())
        }
        Err(problem) => Err(problem),
    }
}

/// `GET /cart`
pub(super) async fn cart(visit: Visit) -> Result<Response, Problem> {
    let cart = read(&visit).await?;
    Ok(visit.show(&CartPage { page: visit.shop_page("Your cart").await, cart, fields: Fields::default() }))
}

/// `POST /cart/lines`: adds to what is in the cart already.
pub(super) async fn add(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let sku = fields.value("sku").to_owned();
    let Some(more) = fields.whole("quantity", 1).filter(|_| !sku.is_empty()) else {
        visit.say(Tone::Bad, "Choose what and how many before you add it to the cart.");
        return Ok(redirect("/cart"));
    };
    let held = read(&visit).await?;
    let id = match visit.cart_id() {
        Some(id) => id,
        None => open(&visit).await?,
    };
    let line = held.lines.iter().find(|line| line.sku == sku);
    let quantity = line.map_or(0, |line| line.quantity).saturating_add(more);
    match set(&visit, id, &sku, quantity).await {
        Ok(cart) => {
            let title = cart.lines.iter().find(|line| line.sku == sku).map_or(&*sku, |line| &*line.title);
            visit.say(Tone::Good, &format!("{title} is in your cart."));
        }
        Err(problem) => complain(&visit, problem)?,
    }
    Ok(redirect("/cart"))
}

/// `POST /cart/lines/{sku}`: sets a quantity, or takes the line out.
pub(super) async fn change(
    visit: Visit,
    Path(sku): Path<String>,
    Form(mut fields): Form,
) -> Result<Response, Problem> {
    let quantity = if fields.is_ticked("remove") { Some(0) } else { fields.whole("quantity", 0) };
    match (visit.cart_id(), quantity) {
        (Some(id), Some(quantity)) => {
            if let Err(problem) = set(&visit, id, &sku, quantity).await {
                complain(&visit, problem)?;
            }
        }
        (_, None) => visit.say(Tone::Bad, "A quantity is a whole number from 0 to 999."),
        (None, _) => {}
    }
    Ok(redirect("/cart"))
}

/// `POST /cart/promotion`
pub(super) async fn promotion(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let Some(id) = visit.cart_id() else { return Ok(redirect("/cart")) };
    let body = json!({ "code": fields.value("code") });
    let path = format!("/v1/carts/{id}/promotion");
    match visit.web.shop.send::<_, Cart>(&visit.context, "order", Method::POST, &path, &body).await {
        Ok(_) => {
            visit.say(Tone::Good, "The promotion is applied.");
            Ok(redirect("/cart"))
        }
        Err(problem) if (400..500).contains(&problem.status) => {
            fields.reject("code", crate::web::failure::full_sentence(&problem.detail));
            let cart = read(&visit).await?;
            Ok(visit.show_again(&CartPage { page: visit.shop_page("Your cart").await, cart, fields }))
        }
        Err(problem) => Err(problem),
    }
}

async fn open(visit: &Visit) -> Result<CartId, Problem> {
    let cart: Cart =
        visit.web.shop.send(&visit.context, "order", Method::POST, "/v1/carts", &json!({})).await?;
    let id = cart.id.ok_or_else(|| Problem::new(Code::BadGateway, "a new cart came without its id"))?;
    visit.keep_cart(id, 0);
    Ok(id)
}

async fn set(visit: &Visit, id: CartId, sku: &str, quantity: i64) -> Result<Cart, Problem> {
    let path = format!("/v1/carts/{id}/lines/{}", segment(sku));
    let body = json!({ "quantity": quantity });
    let cart: Cart = visit.web.shop.send(&visit.context, "order", Method::PUT, &path, &body).await?;
    visit.keep_cart(id, cart.count());
    Ok(cart)
}

/// What the buyer can mend is said on the cart; everything else is a failure.
fn complain(visit: &Visit, problem: Problem) -> Result<(), Problem> {
    if problem.status >= 500 || problem.code == Code::RateLimited {
        return Err(problem);
    }
    visit.say(Tone::Bad, &crate::web::failure::full_sentence(&problem.detail));
    Ok(())
}

/// Brings a guest's cart along after a sign-in. A cart that cannot be merged is not worth failing a sign-in for.
pub(super) async fn merge(visit: &Visit) {
    let Some(id) = visit.cart_id() else { return };
    let path = format!("/v1/carts/{id}/merge");
    match visit.web.shop.send::<_, Cart>(&visit.context, "order", Method::POST, &path, &json!({})).await {
        Ok(cart) => visit.keep_cart(cart.id.unwrap_or(id), cart.count()),
        Err(problem) => tracing::info!(detail = problem.detail, "a guest's cart was not merged"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cart_leads_back_to_the_shelves() {
        let page = crate::web::page::tests::page("/cart");
        let html = CartPage { page, cart: Cart::empty(), fields: Fields::default() }.render().unwrap();
        assert!(html.contains("Nothing in it yet"));
        assert!(!html.contains("Go to checkout"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
