//! The closed model: users, each of whom thinks, acts, waits for the answer and thinks again.

use std::rc::Rc;
use std::time::Duration;

use super::super::chance::{Chance, Stream};
use super::hands::{Hands, Watched};
use super::visitor::Visitor;
use super::{Brief, Model};

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
    let _watched = Watched(Rc::clone(&hands));
    let mut chance = Chance::new(brief.seed, Stream::User, user);
    #[expect(clippy::cast_precision_loss, reason = "at most a million users")]
    let number = user as f64;
    let plan = brief.control.plan();
    let called = |at: f64| plan.borrow().schedule.rises_over(at, number);
    let Some(first) = called(0.0) else { return };
    // Users are in the middle of their thoughts when the load begins, each somewhere else.
    let intended = brief.moment(first) + hands.rest_of_a_thought(&mut chance);
    let keeps_connection = match brief.model {
        Model::Closed { users } => brief.connections_max as u64 >= users,
        Model::Open { .. } => false,
    };
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

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::time::Instant;

    use hyper::header::HeaderValue;
    use platform::vocabulary::Env;

    use super::super::super::control::Control;
    use super::super::super::journeys::{Choice, Journey};
    use super::super::super::scenario::Think;
    use super::super::super::schedule::Schedule;
    use super::super::super::supplies::Supplies;
    use super::super::JournalState;
    use super::super::hands::Setup;
    use super::*;

    fn brief_and_hands() -> (Rc<Brief>, Rc<Hands>) {
        let (target, host) = (SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), HeaderValue::from_static("x"));
        let brief = Rc::new(Brief {
            target,
            host: host.clone(),
            sources: Vec::new(),
            supplies: Supplies::default(),
            choice: Choice::new(&[(Journey::Browse, 1.0)]),
            think: Think::default(),
            timeout: Duration::from_secs(1),
            declined: 0.0,
            run: String::new(),
            seed: 1,
            model: Model::Closed { users: 1 },
            sign_ins_per_s: 0.0,
            connections_max: 1,
            workers: 1,
            origin: Instant::now(),
            env: Env::system(),
            control: Control::new(Schedule::default(), false),
            journal_state: Arc::new(JournalState::default()),
        });
        let hands = Rc::new(Hands::new(Setup {
            target,
            host,
            sources: Vec::new(),
            supplies: Supplies::default(),
            timeout: brief.timeout,
            think: brief.think.clone(),
            declined: 0.0,
            run: String::new(),
            origin: brief.origin,
            env: brief.env.clone(),
            connections_max: 1,
            journal: None,
            journal_state: Arc::clone(&brief.journal_state),
        }));
        (brief, hands)
    }

    /// Ten thousand users are ten thousand of these, beside their connections.
    #[test]
    fn a_user_takes_little_memory() {
        let (brief, hands) = brief_and_hands();
        let bytes = size_of_val(&visit(brief, hands, 0));
        assert!(bytes < 4608, "a user takes {bytes} bytes");
    }

    #[tokio::test]
    async fn a_task_that_panics_is_noticed_and_one_that_ends_or_is_given_up_is_not() {
        let (_, hands) = brief_and_hands();
        let locals = tokio::task::LocalSet::new();
        for is_sound in [true, false] {
            let watched = Watched(Rc::clone(&hands));
            let task = locals.spawn_local(async move {
                let _watched = watched;
                tokio::task::yield_now().await;
                assert!(is_sound, "a user who does not come back");
            });
            assert_eq!(locals.run_until(task).await.is_ok(), is_sound);
        }
        let watched = Watched(Rc::clone(&hands));
        let given_up = locals.spawn_local(async move {
            let _watched = watched;
            std::future::pending::<()>().await;
        });
        locals.run_until(tokio::task::yield_now()).await;
        given_up.abort();
        assert!(locals.run_until(given_up).await.is_err());
        assert_eq!(hands.panicked.get(), 1);
    }
}
