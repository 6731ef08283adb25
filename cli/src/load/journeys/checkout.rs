//! A guest buys: a product, a cart, an order.

use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};
use super::buying::{self, Scarcity};

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let supplies = &hands.supplies;
    buying::product(visitor).await?;
    let cart = buying::new_cart(visitor).await?;
    let sku = visitor.chance.popular_place(supplies.skus.len());
    buying::add(visitor, &cart, supplies.skus.get(sku).ok_or(BrokenOff)?, 1).await?;
    buying::view(visitor, &cart).await?;
    buying::order(visitor, &cart, Scarcity::Plenty).await.map(drop)
}
