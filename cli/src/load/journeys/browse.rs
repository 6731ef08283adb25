//! Somebody looks around: a page of the catalogue, sometimes a category, one to three products.

use super::super::step::Step;
use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    let supplies = &hands.supplies;
    let page = visitor.chance.popular_place(supplies.catalogue.len());
    visitor.look(Step::Catalogue, supplies.catalogue.get(page).ok_or(BrokenOff)?).await?;
    if visitor.chance.fraction() < 0.5
        && let Some(category) = visitor.chance.pick(&supplies.categories)
    {
        visitor.look(Step::Category, category).await?;
    }
    for _ in 0..=visitor.chance.place(3) {
        let product = visitor.chance.popular_place(supplies.products.len());
        visitor.look(Step::Product, supplies.products.get(product).ok_or(BrokenOff)?).await?;
    }
    Ok(())
}
