//! The cart: what is in it, adding, changing, a promotion.

use askama::Template;
use axum::response::Response;

use crate::http::{CallError, Code, Path, Problem};
use crate::services::order::client::Cart;
use crate::vocabulary::CartId;
use crate::web::failure::full_sentence;
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::{CartView, units};
use crate::web::visit::{Form, Visit};

#[derive(Template)]
#[template(path = "storefront/cart.html")]
struct CartPage {
    page: Page,
    cart: CartView,
    fields: Fields,
}

/// The cart of this browser, or of this user. One that is gone, or was bought, is forgotten.
pub(super) async fn read(visit: &Visit) -> Result<Option<Cart>, Problem> {
    let Some(id) = visit.cart_id() else { return Ok(None) };
    match visit.web.orders.cart(&visit.context, id).await {
        Ok(cart) => {
            visit.keep_cart(id, units(&cart));
            Ok(Some(cart))
        }
        Err(error) if error.problem().is_some_and(|problem| problem.code == Code::NotFound) => {
            visit.forget_cart();
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

/// A cart as its page shows it, with the pictures that are known.
pub(super) async fn view(visit: &Visit, cart: Option<&Cart>) -> CartView {
    let mut view = cart.map_or_else(CartView::empty, CartView::from);
    for line in &mut view.lines {
        line.picture = visit.web.picture(&line.sku).await;
    }
    view
}

/// `GET /cart`
pub(super) async fn cart(visit: Visit) -> Result<Response, Problem> {
    let page = draw(&visit, Fields::default()).await?;
    Ok(visit.show(&page))
}

async fn draw(visit: &Visit, fields: Fields) -> Result<CartPage, Problem> {
    let cart = read(visit).await?;
    let cart = view(visit, cart.as_ref()).await;
    Ok(CartPage { page: visit.shop_page("Your cart").await, cart, fields })
}

/// `POST /cart/lines`: adds to what is in the cart already.
pub(super) async fn add(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let sku = fields.value("sku").to_owned();
    let Some(more) = fields.whole("quantity", 1).filter(|_| !sku.is_empty()) else {
        visit.say(Tone::Bad, "Choose what and how many before you add it to the cart.");
        return Ok(redirect("/cart"));
    };
    let cart = match read(&visit).await? {
        Some(cart) => cart,
        None => visit.web.orders.create_cart(&visit.context).await?,
    };
    let held = cart.lines.iter().find(|line| line.sku == sku).map_or(0, |line| line.quantity);
    match set(&visit, cart.id, &sku, held.saturating_add(more)).await {
        Ok(cart) => {
            let title = cart.lines.iter().find(|line| line.sku == sku).map_or(&*sku, |line| &*line.title);
            visit.say(Tone::Good, &format!("{title} is in your cart."));
        }
        Err(error) => complain(&visit, error)?,
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
            if let Err(error) = set(&visit, id, &sku, quantity).await {
                complain(&visit, error)?;
            }
        }
        (_, None) => visit.say(Tone::Bad, "A quantity is a whole number from 0 to 999."),
        (None, _) => {}
    }
    Ok(redirect("/cart"))
}

/// `POST /cart/promotion`: an empty code takes the promotion off.
pub(super) async fn promotion(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    let Some(id) = visit.cart_id() else { return Ok(redirect("/cart")) };
    let code = fields.value("code");
    let orders = &visit.web.orders;
    let (answer, done) = if code.is_empty() {
        (orders.remove_promotion(&visit.context, id).await, "The promotion is taken off.")
    } else {
        (orders.apply_promotion(&visit.context, id, code).await, "The promotion is applied.")
    };
    match answer {
        Ok(_) => {
            visit.say(Tone::Good, done);
            Ok(redirect("/cart"))
        }
        Err(CallError::Problem(problem)) if (400..500).contains(&problem.status) => {
            fields.reject("code", full_sentence(&problem.detail));
            let page = draw(&visit, fields).await?;
            Ok(visit.show_again(&page))
        }
        Err(error) => Err(error.into()),
    }
}

async fn set(visit: &Visit, id: CartId, sku: &str, quantity: i64) -> Result<Cart, CallError> {
    let cart = visit.web.orders.set_line(&visit.context, id, sku, quantity).await?;
    visit.keep_cart(id, units(&cart));
    Ok(cart)
}

/// What the buyer can mend is said on the cart; everything else is a failure.
fn complain(visit: &Visit, error: CallError) -> Result<(), Problem> {
    let problem = Problem::from(error);
    if problem.status >= 500 || problem.code == Code::RateLimited {
        return Err(problem);
    }
    visit.say(Tone::Bad, &full_sentence(&problem.detail));
    Ok(())
}

/// After a sign-in: brings the guest's cart along, or finds the one that the user left. Neither is worth failing a
/// sign-in for.
pub(super) async fn merge(visit: &Visit) {
    let answer = match visit.cart_id() {
        Some(id) => visit.web.orders.merge_cart(&visit.context, id).await,
        None => visit.web.orders.create_cart(&visit.context).await,
    };
    match answer {
        Ok(cart) => visit.keep_cart(cart.id, units(&cart)),
        Err(error) => tracing::info!(%error, "a cart did not come along with a sign-in"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_cart_leads_back_to_the_shelves() {
        let page = crate::web::page::tests::page("/cart");
        let html = CartPage { page, cart: CartView::empty(), fields: Fields::default() }.render().unwrap();
        assert!(html.contains("Nothing in it yet"));
        assert!(!html.contains("Go to checkout"));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
