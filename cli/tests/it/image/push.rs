//! A push arrives whole or not at all, whatever happens on the way.

use std::net::TcpListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::project;
use super::registry::{Fault, Login, PASSWORD, Registry, USER};
use crate::shopctl::{PATIENCE, Project, Ran};

/// A project with an image in `shop.tar`.
fn built() -> Project {
    let project = project().variable("HOME", "/nowhere");
    let ran = project.run("image build --binary shopd --tag shop:1");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    project
}

fn push(project: &Project, registry: &Registry) -> Ran {
    project.run(&format!("image push shop.tar {}/acme/shop:1 -o json", registry.address))
}

fn counts(ran: &Ran) -> (u64, u64) {
    assert_eq!(ran.code, 0, "{}", ran.picture());
    let data = &ran.json()["data"];
    (data["sent"].as_u64().expect("a number"), data["there"].as_u64().expect("a number"))
}

fn is_tagged(registry: &Registry) -> bool {
    registry.kept.lock().expect("nobody panicked with it").tags.contains_key("1")
}

#[test]
fn what_is_there_is_not_sent_again() {
    let project = built();
    let registry = Registry::start(Login::Nobody);
    let first = push(&project, &registry);
    assert_eq!(counts(&first), (3, 0));
    assert!(registry.is_whole() && is_tagged(&registry));
    let again = push(&project, &registry);
    assert_eq!(again.json()["data"]["was_there"], true, "{}", again.picture());
    assert_eq!(registry.kept.lock().unwrap().uploads, 3);
    assert_eq!(first.json()["data"]["by_digest"], again.json()["data"]["by_digest"]);

    // A new program travels, and what it stands on does not.
    super::write_program(&project, "shopd", Some("x"));
    let mut other = std::fs::read(project.path().join("shopd")).unwrap();
    other[64] = 0;
    std::fs::write(project.path().join("shopd"), other).unwrap();
    assert_eq!(project.run("image build --binary shopd --tag shop:1").code, 0);
    assert_eq!(counts(&push(&project, &registry)), (2, 1));
}

#[test]
fn the_login_is_found_and_used_in_both_ways() {
    for login in [Login::Basic, Login::Token] {
        let project = built();
        project.write("password", &format!("{PASSWORD}\n"));
        let registry = Registry::start(login);
        let without = push(&project, &registry);
        assert_eq!(without.code, 5, "{}", without.picture());
        assert!(without.stderr.contains("docker login"), "{}", without.picture());

        let project = project
            .variable("SHOPCTL_REGISTRY_USERNAME", USER)
            .variable("SHOPCTL_REGISTRY_PASSWORD_FILE", "password");
        assert_eq!(counts(&push(&project, &registry)), (3, 0));

        project.write("password", "wrong");
        let other = Registry::start(login);
        let wrong = push(&project, &other);
        assert_eq!(wrong.code, 5, "{}", wrong.picture());
        assert!(wrong.stderr.contains("the login of anna was not accepted"), "{}", wrong.picture());
    }
}

#[test]
fn a_login_of_docker_is_taken() {
    let project = built();
    let registry = Registry::start(Login::Basic);
    // printf 'anna:s3cret' | base64
    let config = format!(r#"{{"auths": {{"{}": {{"auth": "YW5uYTpzM2NyZXQ="}}}}}}"#, registry.address);
    project.write("config.json", &config);
    let project = project.variable("DOCKER_CONFIG", ".");
    assert_eq!(counts(&push(&project, &registry)), (3, 0));
}

#[test]
fn what_breaks_on_the_way_is_tried_again() {
    let faults = [
        Fault::CutInTheMiddle,
        Fault::CutBeforeTheAnswer,
        Fault::Answer(500),
        Fault::Answer(429),
        Fault::Answer(503),
    ];
    for fault in faults {
        let project = built();
        let registry = Registry::start(Login::Nobody);
        registry.fault(fault);
        let ran = push(&project, &registry);
        let (sent, there) = counts(&ran);
        // A blob that arrived without its answer is found, and counts as there.
        let expected = if fault == Fault::CutBeforeTheAnswer { (2, 1) } else { (3, 0) };
        assert_eq!((sent, there), expected, "{fault:?}");
        assert_eq!(registry.kept.lock().unwrap().uploads, 3, "{fault:?}");
        assert!(registry.is_whole() && is_tagged(&registry), "{fault:?}");
    }
}

#[test]
fn a_registry_that_stays_broken_is_given_up_and_nothing_is_tagged() {
    let project = built();
    let registry = Registry::start(Login::Nobody);
    for _ in 0..50 {
        registry.fault(Fault::Answer(503));
    }
    let ran = push(&project, &registry);
    assert_eq!(ran.code, 6, "{}", ran.picture());
    assert!(!is_tagged(&registry));
    registry.kept.lock().unwrap().faults.clear();
    assert_eq!(counts(&push(&project, &registry)), (3, 0));
}

#[test]
fn a_push_that_was_killed_goes_on_where_it_was() {
    let project = built();
    let registry = Registry::start(Login::Nobody);
    // The first blob arrives, the second stands still in the middle.
    registry.fault(Fault::Nothing);
    registry.fault(Fault::Hang);
    let reference = format!("{}/acme/shop:1", registry.address);
    let mut child = project
        .command(&["image", "push", "shop.tar", &reference])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    while registry.kept.lock().unwrap().hanging == 0 {
        assert!(Instant::now() < deadline, "it never came to the upload that hangs");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!is_tagged(&registry), "a tag names something that is not whole");
    let before = registry.kept.lock().unwrap().blobs.len() as u64;
    let (sent, there) = counts(&push(&project, &registry));
    assert_eq!((before, sent, there), (1, 2, 1));
    assert!(registry.is_whole() && is_tagged(&registry));
}

#[test]
fn every_refusal_has_its_exit_code_and_its_reason() {
    let project = built();
    let forbidding = Registry::start(Login::Nobody);
    forbidding.kept.lock().unwrap().may_push = false;
    let ran = push(&project, &forbidding);
    assert_eq!(ran.code, 5, "{}", ran.picture());
    assert!(ran.stderr.contains("403") && ran.stderr.contains("DENIED: no"), "{}", ran.picture());

    let empty = Registry::start(Login::Nobody);
    empty.kept.lock().unwrap().has_repository = false;
    let ran = push(&project, &empty);
    assert_eq!(ran.code, 4, "{}", ran.picture());
    assert!(ran.stderr.contains("create the repository"), "{}", ran.picture());

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = listener.local_addr().unwrap();
    drop(listener);
    let ran = project.run(&format!("image push shop.tar {gone}/acme/shop:1 -o json"));
    assert_eq!(ran.code, 6, "{}", ran.picture());
    assert_eq!(ran.json()["errors"][0]["code"], "E-UNREACHABLE");
}

/// A listener that is no registry and speaks no TLS, under a name that is not this machine's by its looks.
#[test]
fn plain_http_is_spoken_with_this_machine_only_unless_it_is_allowed() {
    let project = built();
    let registry = Registry::start(Login::Nobody);
    let port = registry.address.rsplit(':').next().unwrap();
    // 0.0.0.0 leads here, and is not taken for this machine.
    let elsewhere = format!("0.0.0.0:{port}/acme/shop:1");
    let ran = project.run(&format!("image push shop.tar {elsewhere} -o json"));
    assert_eq!(ran.code, 6, "{}", ran.picture());
    assert_eq!(ran.json()["errors"][0]["code"], "E-REGISTRY-TLS", "{}", ran.picture());
    assert_eq!(registry.kept.lock().unwrap().uploads, 0);
    let ran = project.run(&format!("image push shop.tar {elsewhere} --insecure-registry"));
    assert_eq!(ran.code, 0, "{}", ran.picture());
}

#[test]
fn an_image_that_was_damaged_is_not_tagged() {
    let project = built();
    let path = project.path().join("shop.tar");
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&path, bytes).unwrap();
    let registry = Registry::start(Login::Nobody);
    let ran = push(&project, &registry);
    assert_eq!(ran.code, 4, "{}", ran.picture());
    assert!(!is_tagged(&registry));
}
