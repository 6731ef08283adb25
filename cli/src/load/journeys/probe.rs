//! One page by its path.

use super::super::step::Step;
use super::super::worker::visitor::{BrokenOff, Journeyed, Visitor};

pub(super) async fn make(visitor: &mut Visitor) -> Journeyed {
    let hands = std::rc::Rc::clone(&visitor.hands);
    visitor.look(Step::Probe, hands.supplies.probe.as_ref().ok_or(BrokenOff)?).await?;
    Ok(())
}
