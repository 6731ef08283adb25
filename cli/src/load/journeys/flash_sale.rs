//! Everybody wants the same thing, of which there is not enough. Hearing that it is sold out is a good answer.

use super::super::step::Step;
use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};
use super::buying::{self, Scarcity};

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let sale = hands.supplies.sale.as_ref().ok_or(BrokenOff)?;
    visitor.look(Step::Product, &sale.product).await?;
    let cart = buying::new_cart(visitor).await?;
    buying::add(visitor, &cart, &sale.sku, 1).await?;
    buying::order(visitor, &cart, Scarcity::Scarce).await.map(drop)
}
