//! The certificates that are shown and asked for, also while they change.

use std::time::{Duration, Instant};

use axum::http::StatusCode;
use platform::app::{Callers, MetricsOptions, RunningMetrics};
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;

use super::certificates::{Answer, Authority, Identity, Line, ask, config};
use super::shop::{FakeProcess, PATIENCE, options, peers, started, values_of};

const PROXY: &str = "front-proxy-client";

/// A role behind TLS that lets in whom `callers` vouches for.
struct World {
    folder: TempDir,
    servers: Authority,
    callers: Authority,
    role: RunningMetrics,
    _process: FakeProcess,
}

impl World {
    async fn new(names: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (servers, callers) = (Authority::new("servers"), Authority::new("callers"));
        let authority = folder.path().join("authority.crt");
        std::fs::write(&authority, &callers.pem).unwrap();
        let process = FakeProcess::telling("saga_inflight 3\n").await;
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let role = started(MetricsOptions {
            certificate: Some(servers.server().write(folder.path())),
            callers: Callers::File { authority, names },
            ..options(peers(&[("order", &[&process.url])]).await)
        });
        Self { role: role.await, folder, servers, callers, _process: process }
    }

    async fn ask(&self, path: &str, identity: Option<&Identity>) -> Result<Answer, std::io::Error> {
        ask(&self.role.url, path, &self.servers.pem, identity).await
    }

    async fn sagas(&self, identity: Option<&Identity>) -> Result<Answer, std::io::Error> {
        self.ask(&values_of("saga_inflight", "service=order"), identity).await
    }

    /// What the server shows to a connection that is made now.
    async fn shown(&self) -> CertificateDer<'static> {
        self.ask("/readyz", None).await.unwrap().shown
    }

    /// Writes a new authority for callers.
    fn trust(&self, pem: &str) {
        std::fs::write(self.folder.path().join("authority.crt"), pem).unwrap();
    }
}

#[tokio::test]
async fn the_api_server_is_known_by_its_certificate() {
    let world = World::new(&[PROXY]).await;
    let answer = world.sagas(Some(&world.callers.caller(PROXY))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body["items"][0]["value"], "3");
}

#[tokio::test]
async fn whoever_shows_nothing_is_told_only_how_the_process_is() {
    let world = World::new(&[PROXY]).await;
    let answer = world.sagas(None).await.unwrap();
    assert_eq!((answer.status, &answer.body["kind"]), (StatusCode::UNAUTHORIZED, &"Status".into()));
    assert_eq!(answer.body["reason"], "Unauthorized");
    for path in ["/apis", "/openapi/v2", "/", "/readyz/../apis"] {
        let answer = world.ask(path, None).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(world.ask(path, None).await.unwrap().status, StatusCode::OK, "{path}");
    }
}

#[tokio::test]
async fn another_name_of_the_same_authority_is_refused() {
    let world = World::new(&[PROXY]).await;
    for name in ["node-1", "front-proxy-client2", ""] {
        let answer = world.sagas(Some(&world.callers.caller(name))).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}");
    }
    let any = World::new(&[]).await;
    let answer = any.sagas(Some(&any.callers.caller("node-1"))).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK, "without names the authority decides");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_no_way_in() {
    let world = World::new(&[PROXY]).await;
    let stranger = Authority::new("callers").caller(PROXY);
    assert!(world.sagas(Some(&stranger)).await.is_err());
    assert!(world.ask("/readyz", Some(&stranger)).await.is_err());
    let server = world.callers.server();
    assert!(world.sagas(Some(&server)).await.is_err(), "a server's certificate is not a caller's");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not() {
    let world = World::new(&[PROXY]).await;
    let first = world.shown().await;
    let second = world.servers.server();
    second.write(world.folder.path());
    until_shown(&world, &second).await;
    assert_ne!(world.shown().await, first);

    // A key that is not the certificate's, and no certificate at all: the old pair stays.
    let third = world.servers.server();
    std::fs::write(world.folder.path().join("tls.crt"), &third.certificate).unwrap();
    stays(&world, &second).await;
    std::fs::remove_file(world.folder.path().join("tls.crt")).unwrap();
    stays(&world, &second).await;
    third.write(world.folder.path());
    until_shown(&world, &third).await;
}

/// Asks until `identity` is shown.
async fn until_shown(world: &World, identity: &Identity) {
    let began = Instant::now();
    while world.shown().await != identity.chain()[0] {
        assert!(began.elapsed() < PATIENCE, "the certificate was not renewed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Asks for longer than it takes until the files are looked at, and each time `identity` is shown.
async fn stays(world: &World, identity: &Identity) {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(1500) {
        assert_eq!(world.shown().await, identity.chain()[0]);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_renewed_authority_lets_in_its_own_and_no_longer_the_olds() {
    let world = World::new(&[PROXY]).await;
    let old = world.callers.caller(PROXY);
    assert_eq!(world.sagas(Some(&old)).await.unwrap().status, StatusCode::OK);
    let renewed = Authority::new("callers, renewed");
    let new = renewed.caller(PROXY);
    // Both for a while, as an authority is changed.
    world.trust(&format!("{}{}", world.callers.pem, renewed.pem));
    until_let_in(&world, &new).await;
    assert_eq!(world.sagas(Some(&old)).await.unwrap().status, StatusCode::OK);
    world.trust(&renewed.pem);
    let began = Instant::now();
    while world.sagas(Some(&old)).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the old authority still counts");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(world.sagas(Some(&new)).await.unwrap().status, StatusCode::OK);
}

async fn until_let_in(world: &World, identity: &Identity) {
    let began = Instant::now();
    while !world.sagas(Some(identity)).await.is_ok_and(|answer| answer.status == StatusCode::OK) {
        assert!(began.elapsed() < PATIENCE, "the new authority does not count");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_connection_that_an_older_authority_vouched_for_does_not_go_on() {
    let world = World::new(&[PROXY]).await;
    let config = config(&world.servers.pem, Some(&world.callers.caller(PROXY)));
    let mut line = Line::open(config, &world.role.url).await.unwrap();
    for _ in 0..3 {
        let answer = line.ask(&values_of("saga_inflight", "")).await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "one connection is good for many questions");
    }
    world.trust(&Authority::new("callers, renewed").pem);
    let began = Instant::now();
    while line.ask(&values_of("saga_inflight", "")).await.is_ok() {
        assert!(began.elapsed() < PATIENCE, "the connection goes on");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
