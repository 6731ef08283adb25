//! Ports of this machine that lead to the shop's pods, through the API server: whoever may open ports of pods needs no
//! other way into the cluster.
//!
//! A connection is carried to one pod, chosen when it is made among those that the Service selects then. A pod that goes
//! takes its own connections with it, and the next ones go to others. Nothing is kept open by a port that is dropped.
//!
//! What it cannot do: Kubernetes' protocol has no word for "I have no more to send", so whoever closes their half ends
//! the connection. And all of it goes through the API server, so it is for looking and for acting, not for speed.

mod choice;
mod trouble;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::api::Portforwarder;
use tokio::io::{AsyncWriteExt as _, DuplexStream, copy, split};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::choice::Door;
pub use self::trouble::Trouble;
use super::api::Api;
use super::connect::{Cluster, Place};
use super::mirror::Mirror;
use super::object::Object;
use crate::failure::{Exit, Failure};

/// What has to be known to choose a pod.
const KINDS: &[(&str, &str)] = &[("v1", "Service"), ("v1", "Pod")];
/// How long the way to a pod may take to be made: a node that is lost takes for ever.
const OPEN: Duration = Duration::from_secs(10);
/// How long what was sent last may take on its way.
const FLUSH: Duration = Duration::from_secs(5);
/// The pause after a connection that could not be taken, for want of descriptors most likely.
const PAUSE: Duration = Duration::from_millis(100);

/// The ways into a shop's namespace. Cheap to clone; clones look through the same watches.
#[derive(Clone)]
pub struct Ways {
    api: Arc<Api>,
    place: Place,
    mirror: Arc<Mirror>,
}

impl Ways {
    /// Those into the namespace of `cluster`.
    ///
    /// # Errors
    /// When its Services and pods may not be seen, or the cluster does not answer.
    pub async fn of(cluster: &Cluster) -> Result<Self, Failure> {
        let mirror = Mirror::of(&cluster.api, cluster.namespace(), KINDS).await;
        let mirror = mirror.map_err(|error| cluster.refused(error, "look for the shop's pods"))?;
        Ok(Self { api: Arc::clone(&cluster.api), place: cluster.place.clone(), mirror: Arc::new(mirror) })
    }

    /// A port that leads to the ready pods of `service`. The way was tried once when this answers.
    ///
    /// # Errors
    /// When there is no such Service or no pod of it is ready, and when the account may not open ports of pods.
    pub async fn to_service(&self, service: &str, port: &str) -> Result<Forward, Failure> {
        let way = self.way(Toward::Service { service: service.to_owned(), port: port.to_owned() });
        let tried = format!("reach {service}");
        way.open().await.map_err(|trouble| trouble.failure(&tried, &self.place))?;
        Forward::begin(way, &self.place).await
    }

    /// A port that leads to one pod. Whether it can be reached is found out by the first connection.
    ///
    /// # Errors
    /// When this machine has no port.
    pub async fn to_pod(&self, pod: &str, port: u16) -> Result<Forward, Failure> {
        let door = Door { pod: pod.to_owned(), port };
        Forward::begin(self.way(Toward::Pod(door)), &self.place).await
    }

    /// Whether the namespace has a Service of this name.
    #[must_use]
    pub fn has_service(&self, name: &str) -> bool {
        self.mirror.look(|all| all.keys().any(|key| key.kind == "Service" && key.name == name))
    }

    /// The pods that have all of `labels`, as they are now.
    #[must_use]
    pub fn pods(&self, labels: &[(&str, &str)]) -> Vec<Object> {
        let is_meant = |object: &&Object| {
            object.kind() == "Pod" && labels.iter().all(|(name, value)| object.label(name) == Some(*value))
        };
        self.mirror.look(|all| all.values().filter(is_meant).cloned().collect())
    }

    /// Those of them that take requests.
    #[must_use]
    pub fn ready_pods(&self, labels: &[(&str, &str)]) -> Vec<Object> {
        let mut pods = self.pods(labels);
        pods.retain(choice::is_ready);
        pods
    }

    fn way(&self, toward: Toward) -> Way {
        let (trouble, _) = watch::channel(None);
        Way { ways: self.clone(), toward, turn: AtomicUsize::new(0), trouble }
    }
}

/// The number of the port that `pod` gives this name.
#[must_use]
pub fn named_port(pod: &Object, name: &str) -> Option<u16> {
    choice::named_port(pod, name)
}

/// The port that a pod tells its figures at: one of its own where customers reach the other.
#[must_use]
pub fn metrics_port(pod: &Object) -> Option<u16> {
    named_port(pod, "metrics").or_else(|| named_port(pod, "http"))
}

/// A port of this machine. It closes, and cuts what it carries, when this is dropped.
pub struct Forward {
    address: SocketAddr,
    place: Place,
    troubles: watch::Receiver<Option<Trouble>>,
    /// Ends with this.
    _serving: JoinSet<()>,
}

impl std::fmt::Debug for Forward {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Forward({})", self.address)
    }
}

impl Forward {
    async fn begin(way: Way, place: &Place) -> Result<Self, Failure> {
        let no_port = |error: std::io::Error| {
            Failure::new(Exit::Preflight, "E-PORT", "this machine has no port for a way into the cluster")
                .because(error)
        };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(no_port)?;
        let address = listener.local_addr().map_err(no_port)?;
        let troubles = way.trouble.subscribe();
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, Arc::new(way)));
        Ok(Self { address, place: place.clone(), troubles, _serving: serving })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, for HTTP.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What went wrong with a connection last, as the end of a command that `tried` something by this way.
    #[must_use]
    pub fn failure(&self, tried: &str) -> Option<Failure> {
        self.troubles.borrow().as_ref().map(|trouble| trouble.failure(tried, &self.place))
    }

    /// The next thing that goes wrong with a connection. One that repeats the last is not told again.
    pub async fn next_trouble(&mut self) -> Trouble {
        while self.troubles.changed().await.is_ok() {
            if let Some(trouble) = self.troubles.borrow_and_update().clone() {
                return trouble;
            }
        }
        std::future::pending().await
    }
}

/// Takes connections for ever. What it carries ends with it.
async fn serve(listener: TcpListener, way: Arc<Way>) {
    let mut carried = JoinSet::new();
    loop {
        tokio::select! {
            taken = listener.accept() => match taken {
                Ok((mut local, _)) => {
                    let way = Arc::clone(&way);
                    carried.spawn(async move {
                        if let Err(trouble) = way.carry(&mut local).await {
                            way.note(trouble);
                        }
                        // Whoever sees their connection closed may ask why at once.
                        drop(local);
                    });
                }
                Err(_) => tokio::time::sleep(PAUSE).await,
            },
            // Those that ended leave nothing behind.
            Some(_) = carried.join_next() => {}
        }
    }
}

/// Where a port leads.
enum Toward {
    Service { service: String, port: String },
    Pod(Door),
}

/// How connections are carried there.
struct Way {
    ways: Ways,
    toward: Toward,
    /// Whose turn it is.
    turn: AtomicUsize,
    trouble: watch::Sender<Option<Trouble>>,
}

/// A connection to a pod.
struct Opened {
    door: Door,
    forwarder: Portforwarder,
    stream: DuplexStream,
}

impl Way {
    /// Those that may be connected to.
    fn doors(&self) -> Result<Vec<Door>, Trouble> {
        match &self.toward {
            Toward::Pod(door) => Ok(vec![door.clone()]),
            Toward::Service { service, port } => {
                self.ways.mirror.look(|objects| choice::behind(objects, service, port))
            }
        }
    }

    /// The way to the pod whose turn it is, or to the next one that can be reached.
    async fn open(&self) -> Result<Opened, Trouble> {
        let doors = self.doors()?;
        let first = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = None;
        for step in 0..doors.len() {
            match self.open_one(&doors[first.wrapping_add(step) % doors.len()]).await {
                Err(trouble) if trouble.is_of_one_pod() => last = Some(trouble),
                outcome => return outcome,
            }
        }
        Err(last.expect("there is a door, or there was a trouble before"))
    }

    async fn open_one(&self, door: &Door) -> Result<Opened, Trouble> {
        let Door { pod, port } = door;
        let no_way = |why: &str| Trouble::NoWay { pod: pod.clone(), why: why.to_owned() };
        let opening = self.ways.api.way_to(&self.ways.place.namespace, pod, *port);
        let opened = timeout(OPEN, opening).await.map_err(|_| no_way("it took too long"))?;
        let mut forwarder = opened.map_err(|error| Trouble::of(&error, pod))?;
        let stream = forwarder.take_stream(*port).ok_or_else(|| no_way("it has no stream"))?;
        Ok(Opened { door: door.clone(), forwarder, stream })
    }

    /// Carries `local` to a pod and back until either side ends.
    async fn carry(&self, local: &mut TcpStream) -> Result<(), Trouble> {
        local.set_nodelay(true).ok();
        let Opened { door, mut forwarder, stream } = self.open().await?;
        let told = forwarder.take_error(door.port);
        let refusal = async {
            match told {
                Some(told) => told.await,
                None => None,
            }
        };
        let (mut from_local, mut to_local) = local.split();
        let (mut from_pod, mut to_pod) = split(stream);
        let is_of_pod = tokio::select! {
            // Why a pod closes is told before it does.
            biased;
            Some(why) = refusal => return Err(Trouble::Closed { pod: door.pod, why: why.trim().to_owned() }),
            answered = copy(&mut from_pod, &mut to_local) => answered.is_ok(),
            _ = copy(&mut from_local, &mut to_pod) => false,
        };
        to_local.shutdown().await.ok();
        drop((from_pod, to_pod));
        // What the pod was sent last is on its way until then.
        let end = timeout(FLUSH, forwarder.join()).await;
        if !is_of_pod {
            return Ok(());
        }
        let is_there = self.ways.mirror.look(|objects| {
            objects.values().any(|one| one.kind() == "Pod" && one.name() == door.pod && choice::is_ready(one))
        });
        match end {
            _ if !is_there => Err(Trouble::Went(door.pod)),
            // Anything else that may go wrong does so on the way out of a connection that was closed in order.
            Ok(Err(error)) if error.to_string().starts_with(RECEIVING) => {
                Err(Trouble::Broke { pod: door.pod, why: error.to_string() })
            }
            _ => Ok(()),
        }
    }

    fn note(&self, trouble: Trouble) {
        self.trouble.send_if_modified(|last| {
            let is_new = last.as_ref() != Some(&trouble);
            *last = Some(trouble);
            is_new
        });
    }
}

/// How the client's library begins when a connection ended without a word; the kind of its error has no name.
const RECEIVING: &str = "failed to receive";
