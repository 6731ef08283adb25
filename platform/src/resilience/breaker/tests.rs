use std::sync::Barrier;

use super::*;
use crate::vocabulary::Clock;
use proptest::prelude::*;

fn config() -> BreakerConfig {
    BreakerConfig::payment_provider(Duration::from_secs(5))
}

fn breaker() -> (Clock, Breaker) {
    let clock = Clock::manual(Timestamp::from_second(1_000_000).unwrap());
    (clock.clone(), Breaker::new("test", config(), Env::seeded(clock, 7)))
}

fn call(breaker: &Breaker, health: CallHealth) -> bool {
    breaker.try_acquire().map(|permit| permit.end(health)).is_ok()
}

fn open(breaker: &Breaker) {
    while call(breaker, CallHealth::Unreachable) {}
}

#[test]
fn it_opens_when_half_of_twenty_calls_fail_and_not_before() {
    let (_, breaker) = breaker();
    for number in 0..19 {
        let health = if number % 2 == 0 { CallHealth::Failed } else { CallHealth::Answered };
        assert!(call(&breaker, health));
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
    assert!(call(&breaker, CallHealth::Failed));
    assert_eq!(breaker.snapshot().state, BreakerState::Open);
    assert!(!call(&breaker, CallHealth::Answered));
}

#[test]
fn what_is_older_than_ten_seconds_is_forgotten() {
    let (clock, breaker) = breaker();
    for _ in 0..19 {
        call(&breaker, CallHealth::Failed);
    }
    clock.advance(Duration::from_secs(10));
    call(&breaker, CallHealth::Failed);
    assert_eq!((breaker.snapshot().calls, breaker.snapshot().state), (1, BreakerState::Closed));
}

#[test]
fn five_that_reach_nobody_open_it_and_one_answer_between_them_does_not() {
    let (_, breaker) = breaker();
    for _ in 0..4 {
        call(&breaker, CallHealth::Unreachable);
    }
    call(&breaker, CallHealth::Answered);
    for _ in 0..4 {
        call(&breaker, CallHealth::Unreachable);
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
    call(&breaker, CallHealth::Unreachable);
    assert_eq!(breaker.snapshot().state, BreakerState::Open);
}

#[test]
fn the_time_open_doubles_up_to_its_cap_and_starts_anew_after_it_closed() {
    let (clock, breaker) = breaker();
    open(&breaker);
    for (least, most) in [(800, 1200), (1600, 2400), (2400, 3600), (2400, 3600)] {
        let wait = breaker.try_acquire().unwrap_err().retry_after;
        assert!((least..=most).contains(&wait.as_millis()), "{wait:?}");
        clock.advance(wait);
        call(&breaker, CallHealth::Failed);
    }
    clock.advance(Duration::from_secs(4));
    for _ in 0..3 {
        assert!(call(&breaker, CallHealth::Answered));
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
    open(&breaker);
    assert!(breaker.try_acquire().unwrap_err().retry_after <= Duration::from_millis(1200));
}

#[test]
fn a_probe_that_is_dropped_gives_its_place_back_and_one_that_hangs_loses_it() {
    let (clock, breaker) = breaker();
    open(&breaker);
    clock.advance(Duration::from_secs(4));
    let probes: Vec<Permit> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    assert!(breaker.try_acquire().is_err());
    drop(probes);
    let hangs: Vec<Permit> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    clock.advance(Duration::from_secs(10));
    let fresh: Vec<Permit> = (0..3).map(|_| breaker.try_acquire().unwrap()).collect();
    for late in hangs {
        late.end(CallHealth::Failed);
    }
    assert_eq!(breaker.snapshot().state, BreakerState::HalfOpen, "what lost its place has no say");
    for probe in fresh {
        probe.end(CallHealth::Answered);
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Closed);
}

#[test]
fn a_clock_that_is_set_back_keeps_nobody_waiting() {
    let (clock, breaker) = breaker();
    open(&breaker);
    clock.skew(-3_600_000_000);
    let wait = breaker.try_acquire().unwrap_err().retry_after;
    assert!(wait <= Duration::from_millis(1200), "{wait:?}");
    clock.advance(Duration::from_secs(2));
    clock.skew(-3_600_000_000);
    assert!(call(&breaker, CallHealth::Answered));
}

#[test]
fn held_open_by_a_person_it_stays_open_until_a_person_closes_it() {
    let (clock, breaker) = breaker();
    breaker.hold_open("the provider asked for it");
    clock.advance(Duration::from_secs(60));
    assert!(!call(&breaker, CallHealth::Answered));
    assert_eq!(breaker.snapshot().held.as_deref(), Some("the provider asked for it"));
    breaker.close();
    assert!(call(&breaker, CallHealth::Answered));
}

#[test]
fn a_slow_call_counts_at_once_and_once() {
    let (_, breaker) = breaker();
    let mut permits: Vec<Permit> = (0..20).map(|_| breaker.try_acquire().unwrap()).collect();
    for permit in &mut permits {
        permit.is_slow();
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Open);
    for permit in permits {
        permit.end(CallHealth::Answered);
    }
    assert_eq!(breaker.snapshot().state, BreakerState::Open);
}

#[test]
fn of_many_threads_exactly_three_probe() {
    for round in 0..200 {
        let (clock, breaker) = breaker();
        open(&breaker);
        clock.advance(Duration::from_secs(4));
        let start = Barrier::new(8);
        let permits: Vec<Permit> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        breaker.try_acquire().ok()
                    })
                })
                .collect();
            threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(permits.len(), 3, "round {round}");
    }
}

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    End(usize, CallHealth),
    Drop(usize),
    Advance(u64),
    SetBack(i64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let health = prop_oneof![
        3 => Just(CallHealth::Answered),
        2 => Just(CallHealth::Failed),
        2 => Just(CallHealth::Unreachable)
    ];
    let step = prop_oneof![
        6 => Just(Step::Acquire),
        6 => (any::<prop::sample::Index>(), health).prop_map(|(at, health)| Step::End(at.index(64), health)),
        1 => any::<prop::sample::Index>().prop_map(|at| Step::Drop(at.index(64))),
        2 => (0u64..4_000).prop_map(Step::Advance),
        1 => (0i64..100_000_000).prop_map(Step::SetBack),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Any interleaving of calls, answers, drops and clocks.
    #[test]
    fn it_never_lets_more_than_three_probe_and_always_comes_back(steps in steps()) {
        let mut now = Timestamp::from_second(2_000_000).unwrap();
        let mut core = Core::new(config(), now);
        let mut under_way: Vec<Ticket> = Vec::new();
        for step in steps {
            let before = core.shown();
            match step {
                Step::Acquire => match core.admit(now) {
                    Ok(ticket) => {
                        prop_assert!(ticket.probe.is_some() == (core.shown() == BreakerState::HalfOpen));
                        under_way.push(ticket);
                    }
                    Err(wait) => {
                        prop_assert!(before != BreakerState::Closed);
                        prop_assert!(wait <= config().open_cap.mul_f64(1.2));
                    }
                },
                Step::End(at, health) if !under_way.is_empty() => {
                    let ticket = under_way.swap_remove(at % under_way.len());
                    core.record(ticket, health, now, 0.5);
                    if before == BreakerState::HalfOpen && core.shown() == BreakerState::Closed {
                        prop_assert_eq!(health, CallHealth::Answered);
                    }
                }
                Step::Drop(at) if !under_way.is_empty() => {
                    let ticket = under_way.swap_remove(at % under_way.len());
                    core.give_back(ticket);
                }
                Step::Advance(ms) => now = clock::add(now, Duration::from_millis(ms)),
                Step::SetBack(us) => now = Timestamp::from_microsecond(now.as_microsecond() - us).unwrap(),
                _ => {}
            }
            if let State::HalfOpen { probes, successes } = &core.state {
                prop_assert!(probes.len() + successes <= config().probes);
            }
        }
        // From wherever it ended: the other side is well again, and three answers later it is closed.
        let mut tries = 0;
        while core.shown() != BreakerState::Closed {
            prop_assert!(tries < 20, "it never came back: {core:?}");
            tries += 1;
            match core.admit(now) {
                Ok(ticket) => core.record(ticket, CallHealth::Answered, now, 0.5),
                Err(_) => now = clock::add(now, config().probe_lease),
            }
        }
    }
}
