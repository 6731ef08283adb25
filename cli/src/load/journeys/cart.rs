//! A cart that is filled and left, as most are.

use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};
use super::buying;

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let supplies = &hands.supplies;
    buying::product(visitor).await?;
    let cart = buying::new_cart(visitor).await?;
    for _ in 0..=visitor.chance.place(2) {
        let sku = visitor.chance.popular_place(supplies.skus.len());
        let quantity = visitor.chance.place(3) + 1;
        buying::add(visitor, &cart, supplies.skus.get(sku).ok_or(BrokenOff)?, quantity).await?;
    }
    buying::view(visitor, &cart).await
}
