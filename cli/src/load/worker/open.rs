//! The open model: journeys arrive by the clock, whether or not earlier ones were answered.

use std::rc::Rc;
use std::time::Instant;

use super::super::chance::{Chance, Stream};
use super::super::record::Outcome;
use super::super::scenario::Arrivals;
use super::super::tally::End;
use super::Brief;
use super::hands::{Hands, Watched};
use super::visitor::Visitor;

/// Arrivals that are handled without letting a journey do anything, when many are due.
const AT_ONCE_MAX: u32 = 32;

/// Starts the journeys of worker number `worker` at their moments, and drops those over `in_flight_max`.
pub(super) async fn arrive(
    brief: Rc<Brief>,
    hands: Rc<Hands>,
    worker: usize,
    arrivals: Arrivals,
    in_flight_max: u64,
) {
    let _watched = Watched(Rc::clone(&hands));
    let mut stream = ArrivalStream::new(brief.seed, arrivals);
    let mut plan = brief.control.plan();
    let (mut at, mut at_once) = (0.0, 0);
    for number in 0_u64.. {
        let area = stream.next() / brief.control.factor();
        // The next moment, once the schedule is long enough to tell.
        let next = loop {
            let (after, may_grow, end, is_stopped) = {
                let plan = plan.borrow_and_update();
                (plan.schedule.after(at, area), plan.may_grow, plan.schedule.seconds(), plan.is_stopped)
            };
            match after {
                _ if is_stopped => return,
                Some(next) => break next,
                None if may_grow => {
                    at = end;
                    if plan.changed().await.is_err() {
                        return;
                    }
                }
                None => return,
            }
        };
        at = next;
        if number % brief.workers as u64 != worker as u64 {
            continue;
        }
        let intended = brief.moment(at);
        if intended > Instant::now() {
            at_once = 0;
            tokio::time::sleep_until(intended.into()).await;
        } else {
            at_once += 1;
            if at_once % AT_ONCE_MAX == 0 {
                tokio::task::yield_now().await;
            }
        }
        if hands.is_over.get() {
            return;
        }
        if brief.control.is_paused() {
            continue;
        }
        hands.woke(intended);
        set_out(&brief, &hands, number, intended, in_flight_max);
    }
}

/// Starts journey `number`, or drops it.
fn set_out(brief: &Rc<Brief>, hands: &Rc<Hands>, number: u64, intended: Instant, in_flight_max: u64) {
    let mut chance = Chance::new(brief.seed, Stream::Journey, number);
    let journey = brief.choice.next(&mut chance);
    let is_dropped = hands.in_flight.get() >= in_flight_max;
    {
        let journeys = &mut hands.tally.borrow_mut().journeys;
        journeys.asked += 1;
        if is_dropped {
            journeys.dropped += 1;
        } else {
            journeys.started += 1;
        }
    }
    if is_dropped {
        let lag = intended.elapsed();
        let step = journey.first_step();
        hands.count(End { step, outcome: Outcome::Dropped, service: None, response: hands.timeout, lag });
        return;
    }
    hands.in_flight.set(hands.in_flight.get() + 1);
    let hands = Rc::clone(hands);
    tokio::task::spawn_local(async move {
        let _watched = Watched(Rc::clone(&hands));
        let mut visitor = Visitor::new(Rc::clone(&hands), chance, intended, false);
        visitor.set_out(number);
        let journeyed = journey.make(&mut visitor).await;
        hands.ended(journeyed.is_ok());
        hands.in_flight.set(hands.in_flight.get() - 1);
    });
}

/// How much of the level adds up between one arrival and the next.
struct ArrivalStream {
    chance: Chance,
    arrivals: Arrivals,
    is_first: bool,
}

impl ArrivalStream {
    fn new(seed: u64, arrivals: Arrivals) -> Self {
        Self { chance: Chance::new(seed, Stream::Arrivals, 0), arrivals, is_first: true }
    }

    fn next(&mut self) -> f64 {
        let is_first = std::mem::take(&mut self.is_first);
        match self.arrivals {
            Arrivals::Poisson => self.chance.exponential(),
            // The first comes half a distance in, so that the count over any whole time is the nearest whole number.
            Arrivals::Uniform if is_first => 0.5,
            Arrivals::Uniform => 1.0,
        }
    }
}
