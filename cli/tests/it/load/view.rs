//! The live view in a real terminal: it shows the run, hears keys, and leaves the terminal as it was, come what may.

use std::time::Duration;

use rustix::process::Signal;

use super::probe;
use super::server::{Act, fine, serve};
use super::terminal::Seated;
use crate::shopctl::Project;

const LONG: &str = "rate = 40\narrivals = \"uniform\"\nduration = \"10m\"";

/// `shopctl load run` of a scenario of one page, with `words` after it, in a terminal.
fn seated(project: &Project, url: &str, load: &str, words: &[&str]) -> Seated {
    project.write("probe.toml", &probe(load));
    Seated::begin(project, &[&["load", "run", "--file", "probe.toml", "--url", url], words].concat())
}

/// A second has been counted.
fn is_running(picture: &str) -> bool {
    picture.contains("lag p99")
}

#[test]
fn a_run_is_seen_and_q_ends_it_with_a_verdict_and_the_terminal_as_it_was() {
    let project = Project::new();
    let mut seated = seated(&project, &serve(|_| fine()), LONG, &[]);
    let picture = seated.until("running view", is_running);
    assert!(picture.starts_with("probe  http://127.0.0.1:"), "{picture}");
    assert!(picture.contains("of 10:00") && picture.contains("met      errors<1%"), "{picture}");
    assert!(picture.ends_with("p pause   + more   - less   q stop   ? help"), "{picture}");
    seated.press("q");
    let left = seated.end();
    assert_eq!(left.code, 130, "a run that was cut short: {}", left.stdout);
    assert!(left.stdout.contains("verdict: pass"), "{}", left.stdout);
    assert!(left.is_as_it_was, "{}", left.screen);
    assert!(left.screen.contains("kept in") && !left.screen.contains("asked"), "{}", left.screen);
}

#[test]
fn control_c_as_a_key_is_the_signal() {
    let project = Project::new();
    let mut seated = seated(&project, &serve(|_| fine()), LONG, &[]);
    seated.until("running view", is_running);
    seated.press("\u{3}");
    let left = seated.end();
    assert_eq!((left.code, left.is_as_it_was), (130, true), "{}", left.screen);
    assert!(left.stdout.contains("verdict: pass"), "{}", left.stdout);
}

#[test]
fn a_second_control_c_does_not_wait_for_the_answers() {
    let hangs = serve(|seen| if seen.number < 20 { fine() } else { Act::Hang(Duration::from_secs(600)) });
    let project = Project::new();
    let mut seated = seated(&project, &hangs, LONG, &["--timeout", "1m"]);
    seated.until("answers that are owed", |picture| is_running(picture) && !picture.contains("in flight 0"));
    seated.press("\u{3}");
    seated.until("stop", |picture| picture.contains("stopping") && picture.contains("Ctrl-C do not wait"));
    seated.press("\u{3}");
    let left = seated.end();
    assert_eq!((left.code, left.is_as_it_was), (130, true), "{}", left.screen);
    assert!(left.stdout.contains("given up before its answers were in"), "{}", left.stdout);
}

#[test]
fn a_process_that_is_told_to_end_leaves_the_terminal_as_it_was() {
    let project = Project::new();
    let mut seated = seated(&project, &serve(|_| fine()), LONG, &[]);
    seated.until("running view", is_running);
    seated.signal(Signal::TERM);
    let left = seated.end();
    assert_eq!((left.code, left.is_as_it_was), (143, true), "{}", left.screen);
    assert!(left.stdout.contains("verdict: pass"), "{}", left.stdout);
}

#[test]
fn a_load_is_paused_and_goes_on_and_the_record_says_so() {
    let project = Project::new();
    let mut seated = seated(&project, &serve(|_| fine()), LONG, &[]);
    seated.until("running view", is_running);
    seated.press("p");
    seated.until("pause", |picture| picture.contains("paused") && picture.contains("asked 0/s"));
    seated.press("p+");
    seated.until("load", |picture| picture.contains("×1.25") && picture.contains("asked 50/s"));
    seated.press("q");
    let left = seated.end();
    assert!(left.stdout.contains("somebody paused the load"), "{}", left.stdout);
}

#[test]
fn a_terminal_that_is_made_smaller_is_drawn_anew() {
    let project = Project::new();
    let mut seated = seated(&project, &serve(|_| fine()), LONG, &[]);
    seated.until("running view", is_running);
    seated.resize(40, 10);
    let picture = seated.until("smaller view", |picture| picture.contains("p pause") && is_running(picture));
    assert_eq!(picture.lines().count(), 10, "{picture}");
    seated.press("q");
    assert!(seated.end().is_as_it_was);
}

#[test]
fn a_run_outlives_its_terminal() {
    let project = Project::new();
    let mut seated = seated(&project, &serve(|_| fine()), "rate = 40\nduration = \"4s\"", &[]);
    seated.until("running view", is_running);
    seated.hang_up();
    let left = seated.end();
    assert_eq!(left.code, 0, "{}", left.stdout);
    assert!(left.stdout.contains("verdict: pass"), "{}", left.stdout);
}

#[test]
fn a_run_that_cannot_begin_leaves_the_terminal_alone() {
    let project = Project::new();
    let url = "http://127.0.0.1:1";
    let left = seated(&project, url, LONG, &[]).end();
    assert_eq!((left.code, left.is_as_it_was), (6, true), "{}", left.screen);
    assert!(left.screen.contains("error:"), "{}", left.screen);
}

#[test]
fn where_a_view_is_not_wanted_there_are_lines() {
    let short = "rate = 40\nduration = \"1s\"";
    let url = serve(|_| fine());
    for (project, words) in [
        (Project::new().variable("TERM", "dumb"), &[] as &[&str]),
        (Project::new().variable("CI", "1"), &[]),
        (Project::new(), &["--no-progress"]),
    ] {
        let left = seated(&project, &url, short, words).end();
        assert!(left.screen.contains("1 s  asked"), "{words:?}: {}", left.screen);
        assert!(left.is_as_it_was);
    }
    let left = seated(&Project::new(), &url, short, &["--quiet"]).end();
    assert!(!left.screen.contains("asked") && left.is_as_it_was, "quiet is quiet: {}", left.screen);
    let left = seated(&Project::new(), &url, short, &["-o", "json"]).end();
    assert!(left.stdout.starts_with('{') && left.screen.contains("1 s  asked"), "{}", left.screen);
}
