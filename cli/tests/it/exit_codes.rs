//! Each exit code that a command of today can end with, produced. 7, 13, 130 and 143 are in `up.rs`, beside
//! what else happens then.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use crate::shopctl::Project;

#[test]
fn ok_0() {
    assert_eq!(Project::new().run("version").code, 0);
}

/// A shop that breaks while it answers is nobody's mistake.
#[test]
fn internal_1_is_a_bug_and_names_the_request() {
    let problem = r#"{"type":"about:blank#internal","title":"Something went wrong on our side","status":500,"detail":"look into the logs","code":"internal","request_id":"req_77"}"#;
    let url = answering(move |_| ("500 Internal Server Error", problem));
    let ran = Project::new().variable("SHOPCTL_TOKEN", "x").run(&format!("breaker list --url {url}"));
    assert_eq!(ran.code, 1, "{}", ran.picture());
    assert!(ran.stderr.contains("look into the logs") && ran.stderr.contains("req_77"), "{}", ran.picture());
}

#[test]
fn auth_5_is_a_token_that_is_not_there_or_not_good() {
    let problem = r#"{"type":"about:blank#unauthenticated","title":"Sign in first","status":401,"detail":"the access token has expired","code":"unauthenticated","request_id":"req_77"}"#;
    let url = answering(move |_| ("401 Unauthorized", problem));
    let without = Project::new().run(&format!("breaker list --url {url}"));
    let expired = Project::new().variable("SHOPCTL_TOKEN", "x").run(&format!("breaker list --url {url}"));
    assert_eq!((without.code, expired.code), (5, 5), "{}{}", without.picture(), expired.picture());
    assert!(expired.stderr.contains("the access token has expired"), "{}", expired.picture());
}

/// Answers every request on a listener of its own as `answer` says: (status line, body).
fn answering(answer: impl Fn(&[u8]) -> (&'static str, &'static str) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a caller");
            let mut request = [0; 1024];
            let length = stream.read(&mut request).expect("a request");
            let (status, body) = answer(&request[..length]);
            let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}", body.len());
            write!(stream, "{head}\r\n\r\n{body}").ok();
        }
    });
    url
}

#[test]
fn usage_2() {
    assert_eq!(Project::new().run("version --nope").code, 2);
}

#[test]
fn config_3() {
    assert_eq!(Project::with_config("nope = 1").run("config explain").code, 3);
}

#[test]
fn preflight_4_names_what_is_in_the_way() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let ran = Project::new().run(&format!("doctor --port {port}"));
    assert_eq!(ran.code, 4, "{}", ran.picture());
    assert!(ran.stdout.contains(&format!("port {port} is taken")), "{}", ran.picture());
    assert!(ran.stdout.contains("is free: `shopctl up --port"), "{}", ran.picture());
}

#[test]
fn unreachable_6() {
    assert_eq!(Project::new().run("status").code, 6);
}

/// A process that holds the data folder, answers, and says that it is not ready: this test.
#[test]
fn degraded_12_is_a_shop_that_lives_and_is_not_ready() {
    let url = answering(|request| {
        if request.starts_with(b"GET /metrics") {
            ("200 OK", "# TYPE orders counter\n")
        } else {
            (
                "503 Service Unavailable",
                r#"{"status":"not_ready","checks":[{"name":"storage","ok":false,"reason":"no answer"}]}"#,
            )
        }
    });
    let project = Project::new();
    let folder = project.path().join(".shopctl/local");
    std::fs::create_dir_all(&folder).expect("a folder");
    let facts = serde_json::json!({
        "pid": std::process::id(),
        "url": url,
        "fakepay_url": null,
        "started_at": "2026-11-23T12:00:00Z",
        "version": "0",
        "engine": "sqlite",
        "log": "shop.log",
    });
    std::fs::write(folder.join("up.lock"), facts.to_string()).expect("a file");
    let lock = File::open(folder.join("up.lock")).expect("a file");
    lock.lock().expect("a lock");
    let ran = project.run("status");
    assert_eq!(ran.code, 12, "{}", ran.picture());
    assert!(ran.stdout.contains("storage: no answer"), "{}", ran.picture());
}

#[test]
fn threshold_14_is_an_objective_that_was_missed() {
    let line = "bench checkout --buyers 2 --orders 4 --warm-up 0 --at-least 1000000000 -o json";
    let ran = Project::new().run(line);
    assert_eq!(ran.code, 14, "{}", ran.picture());
    let data = &ran.json()["data"];
    assert_eq!((&data["confirmed"], &data["failed"]), (&4.into(), &0.into()), "{data}");
}

/// A shop without products makes the story miss its second step.
#[test]
fn partial_15_is_a_story_that_missed_a_step() {
    let ran = Project::new().variable("SHOPCTL_EMPTY", "true").run("walkthrough check first-order");
    assert_eq!(ran.code, 15, "{}", ran.picture());
    assert!(ran.stdout.contains("step 2: expected something at /items/0"), "{}", ran.picture());
}

#[test]
fn unknown_17_is_a_claim_that_could_not_be_measured() {
    let ran = Project::new().variable("SHOPCTL_ENGINE", "postgres").run("claims check memory");
    assert_eq!(ran.code, 17, "{}", ran.picture());
    assert!(ran.stdout.contains("there is no database address"), "{}", ran.picture());
}

#[test]
fn the_table_of_exit_codes_has_every_number_once() {
    let table = Project::new().run("help exit-codes -o json").json();
    let codes: Vec<u64> = table["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["code"].as_u64().expect("a number"))
        .collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 130, 143]);
}
