//! A forwarded port, against an API server that carries it over WebSockets.

use std::net::SocketAddr;
use std::time::Instant;

use platform::vocabulary::Env;
use serde_json::{Value, json};
use shopctl::cluster::connect::{Cluster, Place};
use shopctl::cluster::forward::{Forward, Trouble, Ways};
use shopctl::failure::Diagnosis;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::fake::{Door, Fake, NAMESPACE};
use crate::shopctl::PATIENCE;

fn service(slot: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "gateway"},
        "spec": {"selector": {"app": "gateway", "slot": slot}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}

fn pod(name: &str, slot: &str, is_ready: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "gateway", "slot": slot}},
        "spec": {"containers": [{"name": "shopd", "ports": [{"name": "http", "containerPort": 8080}]}]},
        "status": {"conditions": [{"type": "Ready", "status": if is_ready { "True" } else { "False" }}]},
    })
}

/// A pod's process: greets with its name, then gives everything back. Tells each connection that it saw end.
async fn echo(name: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (ended, endings) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let ended = ended.clone();
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(name.as_bytes()).await.ok();
                tokio::io::copy(&mut read, &mut write).await.ok();
                ended.send(()).ok();
            });
        }
    });
    (address, endings)
}

/// The way into a namespace with these objects.
struct Land {
    fake: Fake,
    ways: Ways,
}

impl Land {
    async fn with(objects: impl IntoIterator<Item = Value>) -> Self {
        let fake = Fake::new("");
        fake.make_namespace(NAMESPACE);
        objects.into_iter().for_each(|object| fake.place(object));
        let place = Place {
            environment: "lab".to_owned(),
            kubeconfig: Some(fake.project.path().join("kubeconfig")),
            context: "fake".to_owned(),
            namespace: NAMESPACE.to_owned(),
            cluster_uid: Some("uid-of-kube-system".to_owned()),
        };
        let cluster = Cluster::connect(&place, &Env::system()).await.expect("it answers");
        let ways = Ways::of(&cluster).await.expect("pods may be seen");
        Self { fake, ways }
    }

    async fn forward(&self) -> Forward {
        self.ways.to_service("gateway", "http").await.expect("a way")
    }

    /// Why there is no way to the gateway.
    async fn refused(&self) -> Diagnosis {
        let failure = self.ways.to_service("gateway", "http").await.expect_err("there is none");
        Diagnosis::of(&failure.into())
    }
}

/// Connects, and answers the name of the pod that greets; empty when the connection was cut.
async fn greeted(forward: &Forward) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(forward.address()).await.expect("it listens");
    let mut name = [0; 3];
    let length = tokio::time::timeout(PATIENCE, stream.read(&mut name)).await.expect("in time").unwrap_or(0);
    (stream, String::from_utf8_lossy(&name[..length]).into_owned())
}

/// Connects until a pod called `name` greets.
async fn until_greeted_by(forward: &Forward, name: &str) -> TcpStream {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (stream, greeted) = greeted(forward).await;
        if greeted == name {
            return stream;
        }
        assert!(Instant::now() < deadline, "{name} never greets");
    }
}

async fn echoes(stream: &mut TcpStream) -> bool {
    let mut back = [0; 5];
    let asked = async {
        stream.write_all(b"hello").await?;
        stream.read_exact(&mut back).await
    };
    tokio::time::timeout(PATIENCE, asked).await.expect("in time").is_ok() && &back == b"hello"
}

async fn trouble(forward: &mut Forward) -> Trouble {
    tokio::time::timeout(PATIENCE, forward.next_trouble()).await.expect("a trouble in time")
}

#[tokio::test]
async fn what_is_sent_arrives_in_both_directions_and_so_does_the_end() {
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    let (address, mut endings) = echo("one").await;
    land.fake.door("one", Door::Tcp(address));
    let forward = land.forward().await;
    endings.recv().await.expect("the way was tried, and let go");
    let (stream, name) = greeted(&forward).await;
    assert_eq!(name, "one");
    // More than all buffers on the way hold.
    let sent: Vec<u8> = (0..6_u32 << 20).map(|at| (at % 251) as u8).collect();
    let (mut read, mut write) = stream.into_split();
    let sending = sent.clone();
    let writing = tokio::spawn(async move {
        write.write_all(&sending).await.expect("it is taken");
        write
    });
    let mut back = vec![0; sent.len()];
    read.read_exact(&mut back).await.expect("it comes back");
    assert!(back == sent, "it came back changed");
    drop((read, writing.await.expect("it was written")));
    endings.recv().await.expect("the pod hears that the client went");
    assert!(forward.failure("look").is_none());
}

#[tokio::test]
async fn what_was_sent_last_arrives_although_the_sender_is_gone() {
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    land.fake.door("one", Door::Tcp(listener.local_addr().expect("an address")));
    let forward = land.ways.to_pod("one", 8080).await.expect("a port");
    let mut stream = TcpStream::connect(forward.address()).await.expect("it listens");
    let sent = vec![7; 3 << 20];
    stream.write_all(&sent).await.expect("it is taken");
    drop(stream);
    let (mut taken, _) = listener.accept().await.expect("a connection");
    let mut arrived = Vec::new();
    taken.read_to_end(&mut arrived).await.expect("it arrives");
    assert_eq!(arrived.len(), sent.len());
}

#[tokio::test]
async fn a_pod_that_goes_takes_its_own_connections_and_no_other() {
    let land = Land::with([service("a"), pod("one", "a", true), pod("two", "a", true)]).await;
    let ((one, _one), (two, _two)) = (echo("one").await, echo("two").await);
    land.fake.door("one", Door::Tcp(one));
    land.fake.door("two", Door::Tcp(two));
    let mut forward = land.forward().await;
    let mut with_one = until_greeted_by(&forward, "one").await;
    let mut with_two = until_greeted_by(&forward, "two").await;
    assert!(echoes(&mut with_one).await && echoes(&mut with_two).await);

    land.fake.take("pods/one");
    let deadline = Instant::now() + PATIENCE;
    while !land.ways.pods(&[("app", "gateway")]).iter().all(|pod| pod.name() == "two") {
        assert!(Instant::now() < deadline, "the watch never tells");
        tokio::task::yield_now().await;
    }
    assert!(echoes(&mut with_one).await, "it is served until it is gone");
    land.fake.cut("one");
    assert_eq!(trouble(&mut forward).await, Trouble::Went("one".to_owned()));
    assert!(!echoes(&mut with_one).await);
    assert!(echoes(&mut with_two).await);
    for _ in 0..3 {
        assert_eq!(greeted(&forward).await.1, "two");
    }
}

#[tokio::test]
async fn a_way_that_breaks_is_told_from_a_pod_that_went() {
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    let (one, _endings) = echo("one").await;
    land.fake.door("one", Door::Tcp(one));
    let mut forward = land.forward().await;
    let mut stream = until_greeted_by(&forward, "one").await;
    land.fake.cut("one");
    let told = trouble(&mut forward).await;
    assert!(matches!(&told, Trouble::Broke { pod, .. } if pod == "one"), "{told}");
    assert!(!echoes(&mut stream).await);
    assert!(echoes(&mut until_greeted_by(&forward, "one").await).await, "the next one is carried");
}

#[tokio::test]
async fn new_connections_follow_the_services_selector() {
    let land = Land::with([service("a"), pod("one", "a", true), pod("two", "b", true)]).await;
    let ((one, _one), (two, _two)) = (echo("one").await, echo("two").await);
    land.fake.door("one", Door::Tcp(one));
    land.fake.door("two", Door::Tcp(two));
    let forward = land.forward().await;
    let mut before = until_greeted_by(&forward, "one").await;
    land.fake.place(service("b"));
    let mut after = until_greeted_by(&forward, "two").await;
    assert!(echoes(&mut before).await && echoes(&mut after).await, "a switch cuts nothing");
    assert_eq!(greeted(&forward).await.1, "two");
}

#[tokio::test]
async fn a_pod_that_cannot_be_reached_is_passed_over() {
    let land = Land::with([service("a"), pod("one", "a", true), pod("two", "a", true)]).await;
    let (two, _endings) = echo("two").await;
    land.fake.door("two", Door::Tcp(two));
    let forward = land.forward().await;
    for _ in 0..4 {
        assert_eq!(greeted(&forward).await.1, "two");
    }
    assert!(land.fake.ways().contains(&"one".to_owned()), "it was tried");
    assert!(forward.failure("look").is_none(), "nobody was kept waiting by it");
}

#[tokio::test]
async fn what_the_node_says_on_the_channel_for_errors_is_told() {
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    land.fake.door("one", Door::Closed("failed to connect to localhost:8080: connection refused"));
    let mut forward = land.forward().await;
    assert_eq!(greeted(&forward).await.1, "");
    let found = Diagnosis::of(&forward.failure("look").expect("it is known").into());
    assert_eq!((found.code, found.message.as_str()), ("E-KUBE-NO-WAY", "could not look"));
    let why = "failed to connect to localhost:8080: connection refused".to_owned();
    assert_eq!(trouble(&mut forward).await, Trouble::Closed { pod: "one".to_owned(), why });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn why_a_connection_closed_is_known_by_whoever_sees_it_closed() {
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    land.fake.door("one", Door::Closed("connection refused"));
    for round in 0..50 {
        let forward = land.ways.to_pod("one", 8080).await.expect("a port");
        assert_eq!(greeted(&forward).await.1, "");
        assert!(forward.failure("look").is_some(), "round {round}");
    }
}

#[tokio::test]
async fn without_a_ready_pod_there_is_no_way_and_later_connections_are_cut() {
    let land = Land::with([service("a"), pod("one", "a", false)]).await;
    let found = land.refused().await;
    assert_eq!((found.code, found.causes[0].as_str()), ("E-KUBE-NO-POD", "no pod of `gateway` is ready"));
    assert_eq!(land.fake.ways(), Vec::<String>::new());

    let (one, _endings) = echo("one").await;
    land.fake.door("one", Door::Tcp(one));
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    land.fake.door("one", Door::Tcp(one));
    let mut forward = land.forward().await;
    land.fake.place(pod("one", "a", false));
    until_greeted_by(&forward, "").await;
    assert_eq!(trouble(&mut forward).await, Trouble::NoneReady("gateway".to_owned()));
}

#[tokio::test]
async fn a_shop_that_is_not_there_and_a_right_that_is_missing_are_told_apart() {
    let land = Land::with([]).await;
    assert_eq!(land.refused().await.code, "E-KUBE-NO-SHOP");
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    land.fake.deny("portforward");
    let found = land.refused().await;
    assert_eq!((found.code, found.exit.code()), ("E-KUBE-FORBIDDEN", 5));
    assert!(found.causes[0].contains("cannot get resource \"portforward\""), "{:?}", found.causes);
    assert!(found.hint.is_some_and(|hint| hint.contains("`pods/portforward` in the namespace shop")));
}

#[tokio::test]
async fn a_port_that_is_let_go_closes_and_cuts_what_it_carries() {
    let land = Land::with([service("a"), pod("one", "a", true)]).await;
    let (one, mut endings) = echo("one").await;
    land.fake.door("one", Door::Tcp(one));
    let forward = land.forward().await;
    endings.recv().await.expect("the way was tried");
    let mut stream = until_greeted_by(&forward, "one").await;
    let address = forward.address();
    drop(forward);
    endings.recv().await.expect("the pod hears of it");
    assert!(!echoes(&mut stream).await);
    assert!(TcpStream::connect(address).await.is_err());
}
