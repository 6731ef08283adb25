//! A shop's life as its owner sees it: up, looked at, held, stopped, brought back.

use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use rustix::process::Signal;

use crate::running::Running;
use crate::shopctl::{PATIENCE, Project};

#[test]
fn ready_tells_what_scripts_wait_for() {
    let project = Project::new();
    let shop = Running::up(&project, &[]);
    let ready = shop.ready();
    assert!(shop.url().starts_with("http://127.0.0.1:"), "{ready}");
    assert_eq!(ready["pid"], shop.pid());
    let data_dir = ready["data_dir"].as_str().expect("a folder");
    assert!(data_dir.ends_with(".shopctl/local"), "{ready}");
    for field in ["email", "password"] {
        assert!(ready["admin"][field].is_string(), "{field} of the admin in {ready}");
    }
    for field in ["url", "api_key", "webhook_secret", "control_token"] {
        assert!(ready["fakepay"][field].is_string(), "{field} of fakepay in {ready}");
    }
    assert!(shop.told.iter().any(|event| event["event"] == "progress"), "progress comes before");
}

#[test]
fn the_first_signal_drains_and_the_exit_code_names_it() {
    let project = Project::new();
    for (signal, name, code) in [(Signal::INT, "SIGINT", 130), (Signal::TERM, "SIGTERM", 143)] {
        let shop = Running::up(&project, &["--empty"]);
        shop.signal(signal);
        let (exit, lines) = shop.end();
        assert_eq!(exit, code);
        assert!(lines.iter().any(|line| line.contains("\"stopping\"") && line.contains(name)), "{lines:?}");
        assert!(lines.iter().any(|line| line.contains("\"clean\":true")), "{lines:?}");
    }
}

/// A request whose body never ends keeps a drain waiting.
#[test]
fn the_second_signal_stops_at_once() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let address = shop.url().trim_start_matches("http://").to_owned();
    let mut request = TcpStream::connect(&address).expect("a connection");
    let head =
        "POST /v1/carts HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{";
    request.write_all(head.as_bytes()).expect("half a request");
    let ready = project.run("status -o json");
    assert_eq!(ready.code, 0, "it has taken the request by now: {}", ready.picture());
    shop.signal(Signal::INT);
    assert!(shop.line().contains("stopping"));
    shop.signal(Signal::TERM);
    let (exit, lines) = shop.end();
    assert_eq!(
        exit, 143,
        "the second signal names the exit: a drain that came to its end would name the first"
    );
    assert!(lines.iter().any(|line| line.contains("\"clean\":false")), "{lines:?}");
}

#[test]
fn the_password_is_told_once_and_a_new_one_only_when_asked() {
    let project = Project::new();
    let up = |words: &[&str]| {
        let shop = Running::up(&project, words);
        let admin = shop.ready()["admin"].clone();
        shop.signal(Signal::TERM);
        assert_eq!(shop.end().0, 143);
        admin
    };
    let first = up(&["--empty"]);
    assert!(first["password"].is_string());
    assert!(up(&["--empty"]).is_null(), "an old password cannot be told");
    let reset = up(&["--empty", "--reset-admin"]);
    assert_eq!(reset["email"], first["email"]);
    assert_ne!(reset["password"], first["password"]);
}

#[test]
fn a_second_up_on_the_same_data_is_told_who_holds_it() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let ran = project.run("up --port 0");
    assert_eq!(ran.code, 7, "{}", ran.picture());
    assert!(ran.stderr.contains(&format!("process {}", shop.pid())), "{}", ran.picture());
    assert!(ran.stderr.contains(&shop.url()), "{}", ran.picture());
    let document = project.run("up --port 0 --detach -o json").json();
    assert_eq!(document["exit"], 7);
    let whole = project.run("up --port 0 --empty --detach --data-dir third -o json").json();
    assert_eq!(whole["schema"], "shopctl/v1/up");
    for field in ["url", "pid", "data_dir", "admin", "fakepay", "promotions"] {
        assert!(whole["data"].get(field).is_some(), "{field} in {whole}");
    }
    assert_eq!(project.run("down --data-dir third").code, 0);
    let elsewhere = Running::up(&project, &["--empty", "--data-dir", "elsewhere"]);
    assert_ne!(elsewhere.url(), shop.url());
}

#[test]
fn a_taken_port_names_its_next_free_neighbour() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let project = Project::new();
    for line in [format!("up --port {port}"), format!("up --port {port} --detach")] {
        let ran = project.run(&line);
        assert_eq!(ran.code, 4, "{}", ran.picture());
        assert!(ran.stderr.contains(&format!("port {port} is taken")), "{}", ran.picture());
        assert!(ran.stderr.contains("is free: `shopctl up --port "), "{}", ran.picture());
    }
}

#[test]
fn a_life_in_the_background() {
    let project = Project::new();
    let up = project.run("up --detach --port 0");
    assert_eq!(up.code, 0, "{}", up.picture());
    let (url, storefront) = {
        let line = up.stdout.lines().find(|line| line.starts_with("storefront")).expect("the storefront");
        let address = line.split_whitespace().last().expect("an address").to_owned();
        (address.trim_end_matches('/').to_owned(), address)
    };
    assert!(up.stdout.contains("the password "), "{}", up.picture());
    for secret in ["sk_test", "whsec", "control"] {
        assert!(!up.picture().contains(secret), "{secret} is shown in {}", up.picture());
    }

    let status = project.run("status -o json");
    assert_eq!(status.code, 0, "{}", status.picture());
    let data = &status.json()["data"];
    assert_eq!((&data["running"], &data["ready"]), (&true.into(), &true.into()));
    assert_eq!(data["url"], url.as_str());
    assert_eq!(data["engine"], "sqlite");
    assert!(data["figures"]["sagas_in_flight"].is_u64(), "{data}");

    assert_eq!(project.run("open storefront").stdout, format!("{storefront}\n"));
    assert_eq!(project.run("open admin").stdout, format!("{url}/admin\n"));

    let logs = project.run("logs -o json");
    assert_eq!(logs.code, 0, "{}", logs.picture());
    let items = logs.json()["data"].as_array().expect("lines").len();
    assert!(items > 0, "a shop that started has something to tell");
    assert_eq!(project.run("logs -n 1").stdout.lines().count(), 1);
    assert_eq!(project.run("logs --since 2099-01-01T00:00:00Z").stdout, "");

    let down = project.run("down -o json");
    assert_eq!(down.code, 0, "{}", down.picture());
    assert_eq!(down.json()["data"]["stopped"], true);
    assert_eq!(project.run("status").code, 6);
    assert_eq!(project.run("logs").code, 0, "the log outlives the shop");
}

#[test]
fn down_that_is_not_given_the_time_says_so() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    shop.signal(Signal::STOP);
    let ran = project.run("down --timeout 1ms");
    shop.signal(Signal::CONT);
    assert_eq!(ran.code, 13, "{}", ran.picture());
    assert_eq!(shop.end().0, 143);
}

#[test]
fn a_shop_in_one_process_has_no_pieces_to_restart_and_no_events() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let restart = project.run("restart order");
    assert_eq!(restart.code, 2, "{}", restart.picture());
    assert!(restart.stderr.contains("up --processes"), "{}", restart.picture());
    let events = project.run("events");
    assert_eq!(events.code, 2, "{}", events.picture());
    assert!(events.stderr.contains("shopctl logs"), "{}", events.picture());
    drop(shop);
}

#[test]
fn the_logs_are_followed_as_they_come() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let follower = Running::begin(&project, &["logs", "-f", "-o", "ndjson"]);
    assert!(follower.line().starts_with('{'));
    shop.signal(Signal::TERM);
    assert_eq!(shop.end().0, 143);
    follower.signal(Signal::INT);
    assert_eq!(follower.end().0, 130);
}

#[test]
fn a_watched_status_tells_when_the_shop_goes() {
    let project = Project::new();
    let shop = Running::up(&project, &["--empty"]);
    let watcher = Running::begin(&project, &["status", "-w"]);
    assert!(watcher.line().starts_with("ready · http://"));
    shop.signal(Signal::TERM);
    assert_eq!(shop.end().0, 143);
    let deadline = Instant::now() + PATIENCE;
    while !watcher.line().starts_with("no shop is running") {
        assert!(Instant::now() < deadline, "the watcher does not see it");
    }
    watcher.signal(Signal::INT);
    assert_eq!(watcher.end().0, 130);
}

#[test]
fn a_password_on_the_command_line_is_refused_before_anything_starts() {
    let project = Project::new();
    let ran = project.run("up --engine postgres --database-url postgres://shop:s3cret@127.0.0.1/shop");
    assert_eq!(ran.code, 2, "{}", ran.picture());
    assert!(!ran.picture().contains("s3cret"), "{}", ran.picture());
    assert!(!project.path().join(".shopctl").exists());
}

#[test]
fn a_database_that_does_not_answer_is_unreachable() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    drop(listener);
    let url = format!("postgres://shop:s3cret@127.0.0.1:{port}/shop");
    let project = Project::new().variable("SHOPCTL_DATABASE_URL", &url);
    let ran = project.run("up --port 0 --engine postgres");
    assert_eq!(ran.code, 6, "{}", ran.picture());
    assert!(!ran.picture().contains("s3cret"), "{}", ran.picture());
    let doctor = project.run("doctor --port 0 --engine postgres");
    assert_eq!(doctor.code, 4, "{}", doctor.picture());
    assert!(!doctor.picture().contains("s3cret"), "{}", doctor.picture());
}

#[test]
fn a_data_folder_that_cannot_be_used_stops_the_start() {
    let project = Project::new();
    project.write("file", "");
    let ran = project.run("up --port 0 --data-dir file/data");
    assert_eq!(ran.code, 4, "{}", ran.picture());
}
