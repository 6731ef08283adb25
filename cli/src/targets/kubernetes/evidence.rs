//! What there is to judge a shop on a cluster by: its database through a forwarded port, the sandbox's statement through
//! another, the last lines of its pods, the metrics of its services. It is live, always: pods come and go meanwhile.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _};
use hyper::Uri;
use platform::app::EngineConfig;
use platform::client::escaped;
use platform::verify::{Beside, StatementSource};
use serde_json::Value;

use super::reach::{Kept, Reach};
use super::told::Told;
use crate::cluster::api::{Api, ApiError};
use crate::cluster::forward::{Forward, metrics_port};
use crate::cluster::object::Object;
use crate::config::DatabaseUrl;
use crate::failure::{Exit, Failure};
use crate::targets::evidence::{
    CONNECTIONS_MAX, Evidence, Held, PATIENCE, add_journals, ask_provider, control_token,
};
use crate::wire;

/// The last lines of a container that are read, at most.
const LINES: u32 = 2_000;
/// What is read of one container at most, and of all of them.
const LOG_BYTES: [usize; 2] = [2 << 20, 64 << 20];
/// Pods that are asked at the same time.
const AT_ONCE: usize = 4;

/// What the caller says of the look.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The address of the database from here, when somebody said one.
    pub database: Option<DatabaseUrl>,
    /// Whether that address goes before a database that the chart brought.
    pub insists: bool,
    /// The folder of this machine that load runs against the shop are kept in.
    pub data_dir: PathBuf,
}

/// What there is of the shop that `reach` leads to. `journals` are added to those of runs against it.
///
/// # Errors
/// When its database cannot be reached from here, or its password is not for this account to read.
pub async fn gather(reach: &Reach, asked: &Asked, journals: &[PathBuf]) -> anyhow::Result<Evidence> {
    let told = Told::of(&reach.cluster, "payment").await?;
    let (url, database) = database(reach, &told, asked).await?;
    let mut beside =
        Beside { statement: statement(reach, &told).await, journals: journals.to_vec(), ..Beside::default() };
    add_journals(&mut beside, &asked.data_dir, &reach.name().await?, journals);
    logs(reach, &mut beside).await;
    metrics(reach, &mut beside).await;
    let place = format!("context {}, namespace {}", reach.cluster.place.context, reach.cluster.namespace());
    Ok(Evidence {
        engine: EngineConfig::Postgres { url, connections_max: CONNECTIONS_MAX },
        live: true,
        data_dir: asked.data_dir.clone(),
        beside,
        held: Held::Way { place, database },
    })
}

/// The address of the shop's data from here, and the way there when it is on the cluster.
async fn database(reach: &Reach, told: &Told, asked: &Asked) -> Result<(String, Option<Forward>), Failure> {
    let said = || asked.database.as_ref().map(|url| (url.reveal().to_owned(), None));
    if let Some(insisted) = said().filter(|_| asked.insists) {
        return Ok(insisted);
    }
    let theirs = told.variable("SHOPCTL_DATABASE_URL").unwrap_or_default();
    let inside = Inside::of(theirs).filter(|inside| reach.ways.has_service(&inside.service));
    let Some(inside) = inside else {
        return said().ok_or_else(|| outside(reach, theirs));
    };
    let tried = "look into the shop's database";
    let Kept { text: password, .. } = reach.secret(&told.database_secret, "password", tried).await?;
    let way = reach.ways.to_service(&inside.service, &inside.port).await?;
    Ok((inside.url(&way.address().to_string(), password.trim()), Some(way)))
}

fn outside(reach: &Reach, theirs: &str) -> Failure {
    let host = theirs.parse::<Uri>().ok().and_then(|uri| uri.host().map(str::to_owned));
    let message = match &host {
        Some(host) => format!("the shop keeps its data outside the cluster, on {host}"),
        None => "where the shop keeps its data is not to be seen".to_owned(),
    };
    Failure::new(Exit::Config, "E-DATABASE-URL", message)
        .object(format!("namespace {}", reach.cluster.namespace()))
        .hint("set SHOPCTL_DATABASE_URL to its address from this machine, or SHOPCTL_DATABASE_URL_FILE to a file that holds it")
}

/// A database that the chart brought: behind a Service of the namespace, without TLS.
#[derive(Debug, PartialEq, Eq)]
struct Inside {
    user: String,
    service: String,
    port: String,
    /// The database and what else is said of it.
    rest: String,
}

impl Inside {
    fn of(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        if !uri.query().unwrap_or_default().split('&').any(|part| part == "sslmode=disable") {
            return None;
        }
        let (user, _) = uri.authority()?.as_str().rsplit_once('@')?;
        Some(Self {
            user: user.to_owned(),
            service: uri.host()?.to_owned(),
            port: uri.port_u16().unwrap_or(5432).to_string(),
            rest: uri.path_and_query()?.to_string(),
        })
    }

    fn url(&self, address: &str, password: &str) -> String {
        let Self { user, rest, .. } = self;
        format!("postgresql://{user}:{}@{address}{rest}", escaped(password))
    }
}

/// The sandbox that the chart brings is asked for its statement. A provider of the world outside tells none.
async fn statement(reach: &Reach, told: &Told) -> Option<(String, StatementSource)> {
    let uri: Uri = told.variable("SHOPD_PROVIDER_URL")?.parse().ok()?;
    let service = uri.host().filter(|host| reach.ways.has_service(host))?.to_owned();
    let port = uri.port_u16().unwrap_or(80).to_string();
    let way = match reach.secrets(told).await {
        Err(failure) => Err(whole(&failure.into())),
        Ok(secrets) => {
            match (reach.ways.to_service(&service, &port).await, control_token(secrets.text.as_bytes())) {
                (Ok(way), Some(token)) => Ok((Arc::new(way), token)),
                (Ok(_), None) => Err(format!("{} has no token for it", secrets.place)),
                (Err(failure), _) => Err(whole(&failure.into())),
            }
        }
    };
    let source: StatementSource = Arc::new(move || {
        let way = way.clone();
        Box::pin(async move {
            let (way, token) = way?;
            ask_provider(&way.url(), &token).await.map_err(|error| match way.failure("read it") {
                Some(failure) => whole(&failure.into()),
                None => whole(&error),
            })
        })
    });
    Some((format!("{service} in the namespace {}", reach.cluster.namespace()), source))
}

/// An error in one line.
fn whole(error: &anyhow::Error) -> String {
    format!("{error:#}")
}

/// The last lines of every container of the shop's pods, also of one that was started again.
async fn logs(reach: &Reach, beside: &mut Beside) {
    let pods = reach.ways.pods(&[("app.kubernetes.io/part-of", "shop")]);
    let wanted: Vec<Wanted> = pods.iter().flat_map(wanted).collect();
    let bytes = (LOG_BYTES[1] / wanted.len().max(1)).min(LOG_BYTES[0]);
    let (api, namespace) = (&reach.cluster.api, reach.cluster.namespace());
    let reading = stream::iter(wanted)
        .map(|wanted| async move { (last_lines(api, namespace, &wanted, bytes).await, wanted) })
        .buffered(AT_ONCE);
    let mut reading = std::pin::pin!(reading);
    while let Some((read, wanted)) = reading.next().await {
        match read {
            Ok(Some(text)) => beside.log_texts.push((wanted.name, text)),
            Ok(None) => {}
            Err(error) => beside.unread.push(format!("the log of the pod {} ({error})", wanted.name)),
        }
    }
}

/// A container's log.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// What it is called in a finding.
    name: String,
    pod: String,
    container: String,
    /// That of the container before the restart.
    is_previous: bool,
}

fn wanted(pod: &Object) -> Vec<Wanted> {
    let list = |pointer: &str| pod.at(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let containers = list("/spec/containers");
    let mut all = Vec::new();
    for container in containers.iter().filter_map(|one| one["name"].as_str()) {
        let name = match containers.len() {
            1 => pod.name().to_owned(),
            _ => format!("{} {container}", pod.name()),
        };
        let one = |name: String, is_previous| Wanted {
            name,
            pod: pod.name().to_owned(),
            container: container.to_owned(),
            is_previous,
        };
        let restarted = list("/status/containerStatuses")
            .iter()
            .any(|status| status["name"] == container && status["restartCount"].as_u64() > Some(0));
        if restarted {
            all.push(one(format!("{name} before its restart"), true));
        }
        all.push(one(name, false));
    }
    all
}

/// The last lines of a log, in at most so many bytes; absent when there is none, or no more.
async fn last_lines(
    api: &Api,
    namespace: &str,
    wanted: &Wanted,
    bytes: usize,
) -> Result<Option<String>, ApiError> {
    let Wanted { pod, container, is_previous, .. } = wanted;
    let mut lines = LINES;
    loop {
        let path = format!(
            "/api/v1/namespaces/{namespace}/pods/{pod}/log?container={container}&previous={is_previous}&tailLines={lines}&limitBytes={bytes}"
        );
        match api.read(&path).await {
            // It has not begun, or went.
            Err(error) if matches!(error.code(), Some(400 | 404)) => return Ok(None),
            // What is too much is cut off at the end, also within a letter, and the end is what is asked for.
            Err(ApiError::Garbage(_)) if lines > 1 => {}
            Ok(text) if text.len() >= bytes && lines > 1 => {}
            text => return text.map(Some),
        }
        lines /= 2;
    }
}

/// What the ready pods of every service tell at `/metrics`.
async fn metrics(reach: &Reach, beside: &mut Beside) {
    let labels = [("app.kubernetes.io/part-of", "shop"), ("app.kubernetes.io/component", "service")];
    let doors = |pod: &Object| {
        let port = metrics_port(pod)?;
        Some((pod.name().to_owned(), port))
    };
    let pods: Vec<(String, u16)> = reach.ways.ready_pods(&labels).iter().filter_map(doors).collect();
    let asking = stream::iter(pods)
        .map(|(pod, port)| async move { (told_by(reach, &pod, port).await, pod) })
        .buffered(AT_ONCE);
    let mut asking = std::pin::pin!(asking);
    while let Some((told, pod)) = asking.next().await {
        match told {
            Ok(text) => beside.texts.push((format!("metrics of {pod}"), text)),
            // One that ends meanwhile tells no more.
            Err(_) if !reach.ways.ready_pods(&labels).iter().any(|one| one.name() == pod) => {}
            Err(error) => {
                beside.unread.push(format!("the metrics of the pod {pod} ({})", whole(&error)));
            }
        }
    }
}

async fn told_by(reach: &Reach, pod: &str, port: u16) -> anyhow::Result<String> {
    let way = reach.ways.to_pod(pod, port).await?;
    match wire::get(&way.url(), "/metrics", PATIENCE).await {
        Ok(reply) if reply.status.is_success() => Ok(reply.text()),
        Ok(reply) => anyhow::bail!("it answers {}", reply.status),
        Err(error) => Err(way.failure("read its metrics").map_or(error, Into::into)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_database_without_tls_can_be_the_charts_own() {
        let inside = Inside::of("postgresql://shop@postgresql:5432/shop?sslmode=disable").unwrap();
        assert_eq!((inside.service.as_str(), inside.port.as_str()), ("postgresql", "5432"));
        assert_eq!(
            inside.url("127.0.0.1:4711", "p@ss/w:rd"),
            "postgresql://shop:p%40ss%2Fw%3Ard@127.0.0.1:4711/shop?sslmode=disable"
        );
        for elsewhere in
            ["postgresql://shop@db.example:5432/shop?sslmode=verify-full", "postgresql://db/shop", ""]
        {
            assert_eq!(Inside::of(elsewhere), None, "{elsewhere}");
        }
    }

    #[test]
    fn a_container_that_was_started_again_has_two_logs() {
        let pod = |containers: Value, statuses: Value| {
            let value = json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "order-a-1"},
                "spec": {"containers": containers}, "status": {"containerStatuses": statuses},
            });
            let all = wanted(&Object::new(value).unwrap());
            all.into_iter().map(|one| (one.name, one.container, one.is_previous)).collect::<Vec<_>>()
        };
        let log =
            |name: &str, container: &str, is_previous| (name.to_owned(), container.to_owned(), is_previous);
        let one = json!([{"name": "shopd"}]);
        assert_eq!(pod(one.clone(), json!([])), [log("order-a-1", "shopd", false)]);
        assert_eq!(
            pod(one, json!([{"name": "shopd", "restartCount": 2}])),
            [log("order-a-1 before its restart", "shopd", true), log("order-a-1", "shopd", false)]
        );
        let two = json!([{"name": "shopd"}, {"name": "proxy"}]);
        let both = [log("order-a-1 shopd", "shopd", false), log("order-a-1 proxy", "proxy", false)];
        assert_eq!(pod(two, json!([{"name": "shopd", "restartCount": 0}])), both);
    }
}
