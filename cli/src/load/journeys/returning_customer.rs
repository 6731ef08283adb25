//! Somebody with an account comes back: looks at what they bought before, and every third buys again.

use hyper::Uri;

use super::super::step::Step;
use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};
use super::buying::{self, Scarcity};

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let supplies = &hands.supplies;
    visitor.come_back()?;
    let buys = visitor.chance.place(3) == 0 && visitor.take_account();
    visitor.look_signed_in(Step::Account, &Uri::from_static("/v1/me")).await?;
    visitor.look_signed_in(Step::Orders, &Uri::from_static("/v1/orders?limit=10")).await?;
    buying::product(visitor).await?;
    if !buys {
        return Ok(());
    }
    let cart = buying::new_cart(visitor).await?;
    let sku = visitor.chance.popular_place(supplies.skus.len());
    buying::add(visitor, &cart, supplies.skus.get(sku).ok_or(BrokenOff)?, 1).await?;
    if let Some(order) = buying::order(visitor, &cart, Scarcity::Plenty).await? {
        let uri: Uri = format!("/v1/orders/{order}").parse().map_err(|_| BrokenOff)?;
        visitor.look_signed_in(Step::Order, &uri).await?;
    }
    Ok(())
}
