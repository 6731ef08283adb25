//! Every way a process can die: at each step of each saga and each of its compensations, at each call between services
//! and to the provider, and in the relay, the consumers, the senders and the sweeper: before the act, after it, and after
//! it was written down. And: the act is done, and its answer never comes.
//!
//! The table of cases is made, not kept: each story is first told on a whole shop that takes notes of the points it
//! passes ([`platform::vocabulary::Fate`]), and every point becomes a case. A new step, call or worker is so covered by
//! itself, and a step of the sagas' own list that no story passes fails the test.
//!
//! A story's cases are told at once: as many orders as there are points, each of which holds up one, and more while a
//! point was passed by: a webhook that overtakes an answer leads an order around some. When all stand where they shall,
//! their process dies with them, and the next one takes over. Then everything must add up.

#![expect(clippy::print_stdout, reason = "the matrix tells how many cases it ran, and tests have no printer")]

mod doomed;
mod stories;

use std::collections::BTreeSet;

use platform::services::order::saga_steps;
use platform::vocabulary::Verdict;

use doomed::{Ground, Shop};
use stories::{Case, Ending, Provider, STORIES, Story, is_background};

/// Steps that no story passes, and why.
const NOT_TOLD: &[(&str, &str, &str)] = &[
    (
        "checkout",
        "request_payment",
        "only an order that an older binary placed is reserved without having asked",
    ),
    ("checkout", "finish", "it makes no call and writes what the step before would have written"),
    ("late_payment", "settle_payment", "the provider must act on its own; order_reactions.rs makes it"),
];
/// The ways a background worker dies; one worker of a kind in each of them.
const PHASES: [&str; 4] = ["received", "before", "after", "recorded"];

/// How often a story is told at most until its order is led around no point.
const TELLINGS: usize = 10;

/// What a story passes, in the order in which it first did.
struct Told {
    story: &'static Story,
    points: Vec<String>,
}

/// Tells every story on a shop that takes notes.
fn listen(ground: &Ground) -> Vec<Told> {
    let mut all = Vec::new();
    for provider in Provider::ALL {
        let shop = Shop::open(ground, provider);
        for story in STORIES.iter().filter(|story| story.provider == provider) {
            let mut tellings = (0..TELLINGS).filter_map(|number| shop.tell(story, number));
            let points = tellings.next().expect("an order that passes all points");
            all.push(Told { story, points });
        }
        shop.close();
    }
    all
}

fn covered(told: &[Told]) {
    let points: BTreeSet<&str> = told.iter().flat_map(|told| &told.points).map(String::as_str).collect();
    for (kind, step) in saga_steps() {
        if NOT_TOLD.iter().any(|(no_kind, no_step, _)| (*no_kind, *no_step) == (kind, step)) {
            continue;
        }
        for phase in ["before", "after", "recorded"] {
            let point = format!("saga.{kind}.{step}.{phase}");
            assert!(points.contains(point.as_str()), "no story passes {point}: tell one, or say why not");
        }
    }
}

/// The cases of a story: the process dies at each point, and each answer that can get lost does.
fn cases(told: &Told, known: &BTreeSet<String>) -> Vec<Case> {
    // A story that begins with something lost is told for what only it passes.
    let is_new = |point: &&String| told.story.loses.is_none() || !known.contains(*point);
    let mine = told.points.iter().filter(|point| !is_background(point)).filter(is_new);
    let dies = mine.clone().map(|point| Case { point: point.clone(), verdict: Verdict::Never });
    let lost = mine
        .filter(|point| point.ends_with(".after"))
        .filter(|point| point.starts_with("call.") || point.starts_with("provider."))
        .map(|point| Case { point: point.clone(), verdict: Verdict::Lost });
    dies.chain(lost).collect()
}

/// The background workers' points that end in `phase`, each with a story that passes it; those at the end of the line
/// first, since who stands still gets nothing to those behind.
fn background(told: &[Told], phase: &str) -> Vec<(&'static Story, String)> {
    let mut found: Vec<(&'static Story, String)> = Vec::new();
    for told in told.iter().filter(|told| told.story.provider == Provider::Well) {
        for point in told.points.iter().filter(|point| is_background(point)) {
            if point.ends_with(&format!(".{phase}")) && !found.iter().any(|(_, known)| known == point) {
                found.push((told.story, point.clone()));
            }
        }
    }
    found.sort_by_key(|(_, point)| {
        ["sender", "consumer", "outbox"].iter().position(|room| point.starts_with(room))
    });
    found
}

fn every_way_to_die(ground: &Ground) {
    let told = listen(ground);
    covered(&told);
    let mut count = 0;
    let mut violations = Vec::new();

    for provider in Provider::ALL {
        let shop = Shop::open(ground, provider);
        let mut endings: Vec<Ending> = Vec::new();
        let mut known = BTreeSet::new();
        for told in told.iter().filter(|told| told.story.provider == provider) {
            let cases = cases(told, &known);
            known.extend(told.points.iter().cloned());
            count += cases.len();
            for case in &cases {
                println!("{}: {:?} at {}", told.story.name, case.verdict, case.point);
            }
            endings.extend(shop.stand_at(told.story, &cases));
        }
        violations.extend(shop.die().take_over(&endings));
    }
    for phase in PHASES {
        let points = background(&told, phase);
        if points.is_empty() {
            continue;
        }
        let shop = Shop::open(ground, Provider::Well);
        // Also the order that nobody stood still for was bought, and its unit is gone.
        let (endings, came): (Vec<Ending>, Vec<bool>) =
            points.iter().map(|(story, point)| shop.stand_still(story, point)).unzip();
        count += came.into_iter().filter(|came| *came).count();
        violations.extend(shop.die().take_over(&endings));
    }
    let (swept, sweeping) = doomed::die_sweeping(ground);
    count += swept;
    violations.extend(sweeping);

    println!("crash matrix on {}: {count} cases, {} violations", ground.name(), violations.len());
    assert!(violations.is_empty(), "{}", violations.join("\n"));
    assert!(count > 100, "only {count} cases: the stories have lost their points");
}

#[test]
fn every_way_to_die_on_sqlite() {
    every_way_to_die(&Ground::sqlite());
}

#[test]
fn every_way_to_die_on_postgres() {
    if let Some(ground) = Ground::postgres() {
        every_way_to_die(&ground);
    }
}
