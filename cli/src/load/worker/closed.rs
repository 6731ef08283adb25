//! The closed model: users, each of whom thinks, acts, waits for the answer and thinks again.

use std::rc::Rc;
use std::time::Duration;

use super::super::chance::{Chance, Stream};
use super::Brief;
use super::hands::Hands;
use super::visitor::Visitor;

/// Somebody who was turned away without a time to think waits this long: a target that is down would be asked as
/// fast as the machine can otherwise.
const AFTER_A_FAILURE: Duration = Duration::from_millis(100);
/// Journeys of one user that are told apart in the numbers of a run.
const JOURNEYS_OF_A_USER: u64 = 1 << 24;
/// How often users look whether a pause is over.
const PAUSE: Duration = Duration::from_millis(100);

/// Lets the users of worker number `worker` in.
pub(super) fn begin(brief: &Rc<Brief>, hands: &Rc<Hands>, worker: usize, users: u64) {
    for user in (worker as u64..users).step_by(brief.workers) {
        tokio::task::spawn_local(visit(Rc::clone(brief), Rc::clone(hands), user));
    }
}

/// One user, from the moment the level of the schedule rises over their number.
async fn visit(brief: Rc<Brief>, hands: Rc<Hands>, user: u64) {
    let mut chance = Chance::new(brief.seed, Stream::User, user);
    #[expect(clippy::cast_precision_loss, reason = "at most a million users")]
    let number = user as f64;
    let plan = brief.control.plan();
    let called = |at: f64| plan.borrow().schedule.rises_over(at, number);
    let Some(first) = called(0.0) else { return };
    // Users are in the middle of their thoughts when the load begins, each somewhere else.
    let intended = brief.moment(first) + hands.rest_of_a_thought(&mut chance);
    let keeps_connection = brief.connections_max >= hands_for(brief.model);
    let mut visitor = Visitor::new(Rc::clone(&hands), chance, intended, keeps_connection);
    for journey in 0.. {
        let at = brief.now().max(0.0);
        match called(at) {
            None => return,
            Some(then) if then > at => tokio::time::sleep_until(brief.moment(then).into()).await,
            Some(_) => {}
        }
        while brief.control.is_paused() && !visitor.is_over() {
            tokio::time::sleep(PAUSE).await;
            visitor.back_off(Duration::ZERO);
        }
        if visitor.is_over() {
            return;
        }
        visitor.set_out(user * JOURNEYS_OF_A_USER + journey % JOURNEYS_OF_A_USER);
        let next = brief.choice.next(&mut visitor.chance);
        {
            let journeys = &mut hands.tally.borrow_mut().journeys;
            journeys.asked += 1;
            journeys.started += 1;
        }
        let journeyed = next.make(&mut visitor).await;
        hands.ended(journeyed.is_ok());
        if journeyed.is_err() && hands.think.mean.0.is_zero() {
            visitor.back_off(AFTER_A_FAILURE);
        }
    }
}

fn hands_for(model: super::Model) -> usize {
    match model {
        super::Model::Closed { users } => usize::try_from(users).unwrap_or(usize::MAX),
        super::Model::Open { .. } => usize::MAX,
    }
}
