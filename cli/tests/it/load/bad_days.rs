//! Targets that misbehave, machines that are too small, people who interrupt: each has an answer.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::{Value, json};

use super::server::{Act, fine, serve, serve_closing};
use super::{number, probe, record, run};
use crate::running::Running;
use crate::shopctl::{Project, Ran, steady};

const STEADY: &str = "rate = 40\narrivals = \"uniform\"\nduration = \"2s\"";

/// The first request asks whether it is there; what comes after is `act`'s.
fn after_the_first(act: impl Fn() -> Act + Send + Sync + 'static) -> String {
    serve(move |seen| if seen.number == 0 { fine() } else { act() })
}

fn outcomes(ran: &Ran) -> Value {
    record(ran)["outcomes"].clone()
}

#[test]
fn a_target_that_is_down_is_never_healthy() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let project = Project::new();
    project.write("probe.toml", &probe(STEADY));
    let ran = project.run_words(&["load", "run", "--file", "probe.toml", "--url", &url]);
    assert_eq!(ran.code, 6, "{}", ran.picture());
    steady(|| insta::assert_snapshot!("load_never_healthy", ran.picture()));
}

#[test]
fn a_target_that_never_answers_counts_at_the_time_out() {
    let url = after_the_first(|| Act::Hang(Duration::from_secs(30)));
    let ran = run(&Project::new(), &url, STEADY, &["--timeout", "300ms", "--objective", "errors<1%"]);
    assert_eq!(ran.code, 14, "{}", ran.picture());
    assert_eq!(outcomes(&ran), serde_json::json!({"timeout": 80}));
    let record = record(&ran);
    assert!(number(&record, "/steps/0/response/p50_us") >= 300_000.0, "{record:#}");
    assert!(record["verdict"]["reasons"][0].as_str().expect("a reason").starts_with("errors<1% was 100 %"));
}

#[test]
fn an_answer_that_ends_half_way_is_broken() {
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nhalf of it";
    let url = after_the_first(move || Act::WriteAndClose(half));
    let ran = run(&Project::new(), &url, STEADY, &["--objective", "errors<1%"]);
    assert_eq!((ran.code, outcomes(&ran)), (14, serde_json::json!({"broken": 80})), "{}", ran.picture());
}

#[test]
fn an_answer_that_is_garbage_is_broken() {
    let url = after_the_first(|| Act::WriteAndClose("\u{1}\u{2}ceci n'est pas une réponse\r\n\r\n"));
    let ran = run(&Project::new(), &url, STEADY, &["--objective", "availability>=99.9%"]);
    assert_eq!((ran.code, outcomes(&ran)), (14, serde_json::json!({"broken": 80})), "{}", ran.picture());
}

#[test]
fn a_target_that_closes_after_every_answer_is_asked_again_on_another_connection() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    let ran = run(&Project::new(), &serve(move |_| Act::WriteAndClose(answer)), STEADY, &[]);
    assert_eq!((ran.code, outcomes(&ran)), (0, serde_json::json!({"ok": 80})), "{}", ran.picture());
}

/// A stall makes many connections, of which the quiet time after it needs one; the second stall finds the others closed.
#[test]
fn connections_that_were_closed_while_nobody_needed_them_cost_no_request() {
    let began: OnceLock<Instant> = OnceLock::new();
    let url = serve_closing(Some(Duration::from_millis(400)), move |seen| {
        if seen.number > 0 {
            let since_ms = began.get_or_init(Instant::now).elapsed().as_millis();
            if matches!(since_ms, 1000..1300 | 3000..3300) {
                std::thread::sleep(Duration::from_millis(300));
            }
        }
        fine()
    });
    let ran = run(&Project::new(), &url, "rate = 50\narrivals = \"uniform\"\nduration = \"4s\"", &[]);
    assert_eq!(outcomes(&ran), json!({"ok": 200}), "{}", ran.stderr);
    let opened = number(&record(&ran), "/seconds/1/connections");
    assert!(opened > 4.0, "the first stall took {opened} connections");
}

/// Errors are fast: no objective about times may be all that a run is judged by, and none at all judges nothing.
#[test]
fn fast_errors_are_no_pass_whatever_was_asked() {
    let project = Project::new();
    let file = probe(STEADY);
    let judged = |objectives: &str, words: &[&str]| {
        let url = after_the_first(|| Act::Answer(500, "{}".into()));
        project.write("mine.toml", &file.replace("objectives = [\"errors<1%\"]\n", objectives));
        let words = [&["load", "run", "--file", "mine.toml", "--url", &url, "-o", "json"], words].concat();
        let ran = project.run_words(&words);
        (ran.code, record(&ran)["verdict"]["reasons"].clone())
    };
    let fast = ["--objective", "p99<1m"];
    let missed = |reason: &str| (14, serde_json::json!([reason]));
    assert_eq!(judged("objectives = [\"errors<1%\"]\n", &fast), missed("errors<1% was 100 %"));
    assert_eq!(judged("", &fast), missed("availability>=99% was 0 %"));
    let (code, reasons) = judged("", &[]);
    assert_eq!((code, &reasons[0]), (17, &"nothing was asked of it: there is no objective".into()));
}

#[test]
fn a_target_that_turns_most_away_is_told_what_to_do() {
    let url = after_the_first(|| Act::Answer(429, "{\"code\":\"rate_limited\"}".into()));
    let ran = run(&Project::new(), &url, STEADY, &["--objective", "errors<1%"]);
    assert_eq!(ran.code, 14, "{}", ran.picture());
    let hint = record(&ran)["verdict"]["hints"][0].clone();
    assert!(hint.as_str().expect("a hint").contains("shopctl up --limits none"), "{hint}");
}

#[test]
fn a_rate_that_cannot_be_made_is_unknown_and_not_a_pass() {
    let load = "rate = 5000000\narrivals = \"uniform\"\nduration = \"1s\"";
    let words =
        ["--objective", "p99<60s", "--workers", "1", "--connections", "8", "--timeout", "1s", "--seed", "1"];
    let ran = run(&Project::new(), &serve(|_| fine()), load, &words);
    assert_eq!(ran.code, 17, "{}", ran.stderr);
    let reason = record(&ran)["verdict"]["reasons"][0].clone();
    assert!(reason.as_str().expect("a reason").starts_with("the generator was saturated"), "{reason}");
}

#[test]
fn a_target_elsewhere_is_refused() {
    let ran = run(&Project::new(), "http://192.0.2.1:80", STEADY, &[]);
    assert_eq!(ran.code, 18, "{}", ran.picture());
    assert!(ran.json()["errors"][0]["hint"].as_str().expect("a hint").contains("--i-own-this-target"));
}

/// `shopctl WORDS` from a shell that did `first` before.
fn from_shell(project: &Project, first: &str, words: &[&str]) -> Ran {
    let mut command = Command::new("sh");
    let line = format!("{first}; exec \"$0\" \"$@\"");
    command.args(["-c", &line, env!("CARGO_BIN_EXE_shopctl")]).args(words).current_dir(project.path());
    let output = command.stdin(Stdio::null()).output().expect("a shell");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ran { code: output.status.code().unwrap_or(-1), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn too_few_descriptors_are_told_with_the_numbers() {
    let project = Project::new();
    project.write("probe.toml", &probe("users = 1000\nduration = \"1s\""));
    let url = serve(|_| fine());
    let ran = from_shell(&project, "ulimit -n 200", &["load", "run", "--file", "probe.toml", "--url", &url]);
    assert_eq!(ran.code, 4, "{}", ran.picture());
    assert!(ran.stderr.contains("1064 descriptors are needed and the limit is 200"), "{}", ran.picture());
    assert!(ran.stderr.contains("at most 136 connections"), "{}", ran.picture());
}

/// A limit on the size of files is as near to a full disk as a test can come without owning one.
#[test]
fn a_disk_that_is_full_costs_the_record_and_not_the_figures() {
    let project = Project::new();
    project.write("probe.toml", &probe(STEADY));
    let url = serve(|_| fine());
    let words = ["load", "run", "--file", "probe.toml", "--url", &url];
    let ran = from_shell(&project, "trap '' XFSZ; ulimit -f 1", &words);
    assert_eq!(ran.code, 0, "{}", ran.picture());
    assert!(ran.stderr.contains("the run could not be kept"), "{}", ran.picture());
    assert!(ran.stdout.contains("verdict: pass") && ran.stdout.contains("probe"), "{}", ran.picture());
}

#[test]
fn two_runs_at_once_are_kept_apart() {
    let project = Project::new();
    project.write("probe.toml", &probe(STEADY));
    let url = serve(|_| fine());
    let words = ["load", "run", "--file", "probe.toml", "--url", &url, "-o", "ndjson"];
    let runs = [Running::begin(&project, &words), Running::begin(&project, &words)];
    for run in runs {
        let (code, lines) = run.end();
        assert_eq!(code, 0, "{lines:?}");
    }
    let kept = std::fs::read_dir(project.path().join(".shopctl/local/runs")).expect("runs");
    let records = kept.flatten().filter(|run| run.path().join("run.json").is_file()).count();
    assert_eq!(records, 2);
}

#[test]
fn an_interrupted_run_is_judged_and_kept() {
    let project = Project::new();
    project.write("probe.toml", &probe("rate = 40\nduration = \"10m\""));
    // Slow, so that answers are still owed when the load ends: waiting for them is not part of it.
    let url = after_the_first(|| {
        std::thread::sleep(Duration::from_millis(1500));
        fine()
    });
    let running =
        Running::begin(&project, &["load", "run", "--file", "probe.toml", "--url", &url, "-o", "ndjson"]);
    let first: Value = serde_json::from_str(&running.line()).expect("an event");
    assert_eq!((&first["event"], &first["second"]["at_s"]), (&"second".into(), &0.into()), "{first}");
    for _ in 0..2 {
        running.line();
    }
    running.signal(Signal::INT);
    let (code, lines) = running.end();
    assert_eq!(code, 130, "{lines:?}");
    let record: Value = serde_json::from_str(lines.last().expect("a record")).expect("json");
    assert_eq!(record["ended"], "interrupted");
    assert_eq!(record["verdict"]["word"], "pass");
    let path = project.path().join(".shopctl/local/runs").join(record["id"].as_str().expect("an id"));
    assert!(path.join("run.json").is_file());
}

/// Whoever sees a shop hang and stops the load has seen no pass: what nobody answered is in no histogram.
#[test]
fn a_load_that_is_stopped_while_the_shop_hangs_is_no_pass() {
    let project = Project::new();
    project.write("probe.toml", &probe("rate = 40\nduration = \"10m\""));
    let began = OnceLock::new();
    let url = after_the_first(move || {
        let since = began.get_or_init(Instant::now).elapsed();
        if since < Duration::from_secs(3) { fine() } else { Act::Hang(Duration::from_secs(60)) }
    });
    let running =
        Running::begin(&project, &["load", "run", "--file", "probe.toml", "--url", &url, "-o", "ndjson"]);
    for _ in 0..6 {
        running.line();
    }
    running.signal(Signal::INT);
    let (code, lines) = running.end();
    assert_eq!(code, 130, "{lines:?}");
    let record: Value = serde_json::from_str(lines.last().expect("a record")).expect("json");
    assert_eq!(record["verdict"]["word"], "unknown");
    let reason = record["verdict"]["reasons"][0].as_str().expect("a reason");
    assert!(reason.ends_with("steps had no answer yet when the load was cut off"), "{reason}");
}

#[test]
fn mistakes_in_a_scenario_are_shown_where_they_stand() {
    let project = Project::new();
    project
        .write("mine.toml", "schema = 1\nabout = \"x\"\n[load]\nrate = 5\n[mix]\nbrowse = 1\nchekout = 2\n");
    let ran = project.run("load run --file mine.toml");
    assert_eq!(ran.code, 3, "{}", ran.picture());
    steady(|| insta::assert_snapshot!("load_unknown_key", ran.picture()));
}

#[test]
fn every_scenario_can_be_copied_and_taken_back() {
    let project = Project::new();
    let copied = project.run("load show browse").stdout;
    project.write("mine.toml", &copied.replace("rate = 50", "rate = -5"));
    let ran = project.run("load run --file mine.toml");
    assert!(ran.code == 3 && ran.stderr.contains("`load.rate` is -5"), "{}", ran.picture());
}
