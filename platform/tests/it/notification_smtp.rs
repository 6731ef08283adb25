//! Mails through a real SMTP server: aiosmtpd from PyPI, started here on a loopback port.
//!
//! Without Python and aiosmtpd the tests are skipped, loudly; `SHOPCTL_REQUIRE_SMTP=1` makes that a failure.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use platform::config::SmtpConfig;
use serde_json::Value;

use crate::notification::Mailroom;

/// Past the test harness, which keeps what a passing test prints.
fn skipped(why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

struct MailServer {
    process: Child,
    lines: Receiver<Value>,
    port: u16,
}

impl MailServer {
    /// Starts a server, or says loudly that there is none.
    fn start(arguments: &[&str]) -> Option<Self> {
        let python = std::env::var("SHOPCTL_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
        let probe = Command::new(&python).args(["-c", "import aiosmtpd"]).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            let required = std::env::var("SHOPCTL_REQUIRE_SMTP").is_ok_and(|value| value == "1");
            assert!(!required, "`{python}` has no aiosmtpd: run scripts/install-test-components");
            skipped(&format!("`{python}` has no aiosmtpd, so no mail was really sent"));
            return None;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/smtp/server.py");
        let mut process = Command::new(&python)
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let Ok(line) = serde_json::from_str(&line) else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let ready: Value = lines.recv_timeout(Duration::from_secs(30)).expect("the mail server starts");
        assert_eq!(ready["event"], "ready");
        let port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
        Some(Self { process, lines, port })
    }

    fn config(&self) -> SmtpConfig {
        SmtpConfig { host: "127.0.0.1".to_owned(), port: self.port, tls: false, credentials: None }
    }

    fn next(&self) -> Value {
        self.lines.recv_timeout(Duration::from_secs(20)).expect("the mail server hears something")
    }

    fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    fn stop(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for MailServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn mailroom(server: SmtpConfig) -> Mailroom {
    Mailroom::with(|config| {
        config.notification.sender = "Tea & Mugs <shop@shop.example>".to_owned();
        config.notification.smtp = Some(server);
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mail_arrives_once_although_the_server_refuses_first() {
    let Some(server) = MailServer::start(&["--refuse", "2", "--code", "451"]) else { return };
    let mailroom = mailroom(server.config()).await;
    let event = mailroom.confirmed("ada@example.com");
    mailroom.hear(&event).await;
    mailroom.hear(&event).await;
    for (attempt, pause) in [(1, 7), (2, 40)] {
        assert_eq!(server.next()["event"], "refused");
        let delivery = mailroom.put_off(&event).await;
        assert_eq!(delivery.attempts, attempt);
        assert!(delivery.last_error.as_deref().unwrap().contains("451"), "{delivery:?}");
        mailroom.clock.advance(Duration::from_secs(pause));
    }
    let mail = server.next();
    assert_eq!(mail["event"], "mail");
    let delivery = mailroom.ends(&event, "sent").await;
    assert_eq!((delivery.attempts, delivery.channel.as_str()), (3, "smtp"));
    assert_eq!(mail["from"], "shop@shop.example");
    assert_eq!(mail["to"], serde_json::json!(["ada@example.com"]));
    let headers = &mail["headers"];
    assert_eq!(headers["Message-ID"], format!("<{}@shop.example>", delivery.id));
    assert_eq!(headers["Subject"], "Your order K7-93QX is confirmed");
    assert!(headers["From"].as_str().unwrap().contains("Tea & Mugs"), "{headers}");
    assert!(mail["body"].as_str().unwrap().contains("https://shop.example/orders/"), "{mail}");
    mailroom.clock.advance(Duration::from_secs(24 * 3600));
    let other = mailroom.confirmed("bob@example.com");
    mailroom.hear(&other).await;
    assert_eq!(server.next()["to"], serde_json::json!(["bob@example.com"]));
    mailroom.ends(&other, "sent").await;
    assert!(server.is_silent(), "no mail came twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recipient_who_does_not_exist_is_not_tried_again() {
    let Some(server) = MailServer::start(&["--refuse", "1", "--code", "550"]) else { return };
    let mailroom = mailroom(server.config()).await;
    let event = mailroom.confirmed("nobody@example.com");
    mailroom.hear(&event).await;
    let failed = mailroom.ends(&event, "failed").await;
    assert_eq!(failed.attempts, 1);
    assert!(failed.last_error.unwrap().contains("550"));
    let other = mailroom.confirmed("ada@example.com");
    mailroom.hear(&other).await;
    mailroom.ends(&other, "sent").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_server_is_down_mails_wait_and_lose_no_try() {
    let Some(server) = MailServer::start(&[]) else { return };
    let (config, port) = (server.config(), server.port.to_string());
    server.stop();
    let mailroom = mailroom(config).await;
    let events = [mailroom.confirmed("ada@example.com"), mailroom.confirmed("bob@example.com")];
    for event in &events {
        mailroom.hear(event).await;
    }
    for event in &events {
        let delivery = mailroom.put_off(event).await;
        assert_eq!(delivery.attempts, 0, "{delivery:?}");
        assert!(delivery.last_error.as_deref().unwrap().starts_with("Connection error"), "{delivery:?}");
    }
    let server = MailServer::start(&["--port", &port]).unwrap();
    mailroom.clock.advance(Duration::from_secs(120));
    for event in &events {
        let delivery = mailroom.ends(event, "sent").await;
        assert_eq!(delivery.attempts, 1);
    }
    let mut told = [server.next()["to"][0].clone(), server.next()["to"][0].clone()];
    told.sort_by_key(ToString::to_string);
    assert_eq!(told, ["ada@example.com", "bob@example.com"]);
    assert!(server.is_silent());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_password_is_used_and_a_wrong_one_loses_no_mail() {
    let Some(server) = MailServer::start(&["--login", "shop", "s3cret-enough"]) else { return };
    let login = |password: &str| SmtpConfig {
        credentials: Some(("shop".to_owned(), password.to_owned())),
        ..server.config()
    };
    let wrong = mailroom(login("guess")).await;
    let event = wrong.confirmed("ada@example.com");
    wrong.hear(&event).await;
    let waiting = wrong.put_off(&event).await;
    assert!(waiting.last_error.unwrap().contains("535"));
    let right = mailroom(login("s3cret-enough")).await;
    let event = right.confirmed("bob@example.com");
    right.hear(&event).await;
    right.ends(&event, "sent").await;
    let mail = server.next();
    assert_eq!((&mail["to"][0], &mail["authenticated"]), (&"bob@example.com".into(), &true.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_certificate_nobody_vouches_for_gets_no_mail() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost", "-out"])
        .arg(&certificate)
        .arg("-keyout")
        .arg(&key)
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        skipped("there is no openssl to make a certificate with");
        return;
    }
    let arguments = ["--starttls", certificate.to_str().unwrap(), key.to_str().unwrap()];
    let Some(server) = MailServer::start(&arguments) else { return };
    let mailroom = mailroom(SmtpConfig { host: "localhost".to_owned(), tls: true, ..server.config() }).await;
    let event = mailroom.confirmed("ada@example.com");
    mailroom.hear(&event).await;
    let waiting = mailroom.put_off(&event).await;
    let reason = waiting.last_error.unwrap().to_lowercase();
    assert!(reason.contains("certificate"), "{reason}");
    assert!(server.is_silent());
}
