//! Somebody knows what they want: a search, and one of the products.

use super::super::step::Step;
use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let supplies = &hands.supplies;
    let search = visitor.chance.pick(&supplies.searches).ok_or(BrokenOff)?;
    visitor.look(Step::Search, search).await?;
    let product = visitor.chance.popular_place(supplies.products.len());
    visitor.look(Step::Product, supplies.products.get(product).ok_or(BrokenOff)?).await?;
    Ok(())
}
