//! `shopd health`: what an image without a shell asks itself with.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn shopd(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shopd"));
    command.args(words).stdin(Stdio::null()).env_remove("SHOPD_LISTEN");
    command
}

fn health(words: &[&str]) -> Output {
    shopd(&[&["health"], words].concat()).output().expect("shopd runs")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A process that ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_shop_is_well_while_it_runs_and_not_afterwards() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().to_str().expect("a readable path");
    let mut serve = shopd(&["serve", "all", "--listen", "127.0.0.1:0", "--data-dir", data]);
    let mut running =
        Running(serve.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("shopd starts"));
    let stdout = running.0.stdout.take().expect("a pipe");
    let ready = BufReader::new(stdout)
        .lines()
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
        .find(|event| event["event"] == "ready")
        .expect("it gets ready");
    let url = ready["roles"][0]["url"].as_str().expect("an address").to_owned();

    let well = health(&["--url", &url]);
    assert_eq!(well.status.code(), Some(0), "{}", said(&well));
    assert_eq!(health(&["--url", &format!("{url}/healthz")]).status.code(), Some(0));
    // As in the image: it finds the process by where that was told to listen, on whatever host.
    let listen = url.trim_start_matches("http://127.0.0.1").to_owned();
    let own =
        shopd(&["health"]).env("SHOPD_LISTEN", format!("0.0.0.0{listen}")).output().expect("shopd runs");
    assert_eq!(own.status.code(), Some(0), "{}", said(&own));
    let lost = health(&["--url", &format!("{url}/no-such-page")]);
    assert_eq!(lost.status.code(), Some(1));
    assert!(said(&lost).contains("404"), "{}", said(&lost));

    drop(running);
    let gone = health(&["--url", &url]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(said(&gone).starts_with(&format!("error: nobody is well at {url}/readyz")), "{}", said(&gone));
}

/// Reads a request from the next connection and answers `answer`; nothing for an empty one.
fn answering(answer: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a connection");
        let mut request = [0; 4096];
        assert!(stream.read(&mut request).expect("a request") > 0);
        stream.write_all(answer.as_bytes()).expect("an answer");
        if answer.is_empty() {
            // Until the other side gives up.
            while stream.read(&mut request).is_ok_and(|length| length > 0) {}
        }
    });
    url
}

#[test]
fn what_is_missing_is_named() {
    let url = answering(concat!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 103\r\nconnection: close\r\n\r\n",
        r#"{"status":"not_ready","checks":[{"name":"up","ok":true},{"name":"storage","ok":false,"reason":"gone"}]}"#,
    ));
    let output = health(&["--url", &url]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("503 Service Unavailable: storage (gone)"), "{}", said(&output));
}

#[test]
fn a_process_that_hangs_is_not_well() {
    let began = Instant::now();
    let output = health(&["--url", &answering("")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("no answer within 2000 ms"), "{}", said(&output));
    assert!(began.elapsed() >= Duration::from_secs(2), "it did not wait");
}

#[test]
fn an_address_that_is_none_is_told() {
    let output = health(&["--url", "127.0.0.1:8080"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(said(&output).contains("write http://HOST:PORT"), "{}", said(&output));
}
