//! Who is asked: the shop of this machine, one of a cluster, or one behind an address that its owner lets us load.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyper::header::HeaderValue;

use super::journeys::Journey;
use super::record::TargetFacts;
use super::scenario::Scenario;
use crate::failure::{Exit, Failure};
use crate::targets::local::lock::{self, Holder, Standing};
use crate::wire;

/// How long a target may take to say that it is ready.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to answer one question.
const ANSWER: Duration = Duration::from_secs(2);

/// Who is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where it answers.
    pub url: String,
    pub(super) address: SocketAddr,
    pub(super) host: HeaderValue,
    /// The shop, when it is one of this machine whose data folder is known.
    pub(super) shop: Option<(PathBuf, Holder)>,
    /// The environment, when it is one on a cluster.
    on_cluster: Option<OnCluster>,
    version: Option<String>,
}

/// What is known of a shop on a cluster.
#[derive(Clone, Debug)]
pub struct OnCluster {
    /// The environment.
    pub environment: String,
    /// What names the shop in journals, whatever the way to it.
    pub name: String,
    /// Whether requests are carried by this process through the cluster's API server.
    pub is_forwarded: bool,
}

impl Target {
    /// The shop that runs on `data_dir`, or the one at `url`.
    ///
    /// # Errors
    /// When there is none, the address cannot be understood, or it is elsewhere and nobody said whose it is.
    pub fn find(data_dir: &Path, url: Option<&str>, is_mine: bool) -> Result<Self, Failure> {
        let holder = match (url, lock::standing(data_dir)?) {
            (None, _) => Some(lock::running(data_dir)?),
            // An address that is that of the shop in the data folder is that shop.
            (Some(url), Standing::Held(Some(holder))) if is_same(holder.url.as_deref(), url) => Some(holder),
            (Some(_), _) => None,
        };
        let url = match (url, &holder) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(Holder { url: Some(url), .. })) => url.clone(),
            (None, _) => {
                return Err(Failure::new(Exit::Unreachable, "E-NOT-READY", "the shop is not ready yet")
                    .object(data_dir.display())
                    .hint("try again in a moment; `shopctl status` tells how it is"));
            }
        };
        let (authority, address) = resolve(&url)?;
        if !address.ip().is_loopback() && !is_mine {
            let message = format!("{url} is not on this machine, and load on it may hurt somebody");
            return Err(Failure::new(Exit::Refused, "E-NOT-MINE", message)
                .object(&url)
                .hint("add --i-own-this-target when it is yours to load"));
        }
        let host = HeaderValue::from_str(&authority).map_err(|error| not_an_address(&url).because(error))?;
        let shop = holder.map(|holder| (data_dir.to_owned(), holder));
        Ok(Self { url, address, host, shop, on_cluster: None, version: None })
    }

    /// The same, known to be the shop of an environment on a cluster.
    #[must_use]
    pub fn on_cluster(mut self, on_cluster: OnCluster) -> Self {
        self.on_cluster = Some(on_cluster);
        self
    }

    /// What names the shop in journals.
    pub(super) fn name(&self) -> &str {
        self.on_cluster.as_ref().map_or(&self.url, |on_cluster| &on_cluster.name)
    }

    /// Descriptors of this process that a connection takes: one that is carried comes in, and goes out again.
    pub(super) fn descriptors_each(&self) -> u64 {
        if self.is_forwarded() { 3 } else { 1 }
    }

    fn is_forwarded(&self) -> bool {
        self.on_cluster.as_ref().is_some_and(|on_cluster| on_cluster.is_forwarded)
    }

    /// Waits until it says that it is ready, or, when nothing but a page is probed, until that page is answered.
    ///
    /// # Errors
    /// What it said last, when it never does.
    pub(super) async fn until_healthy(&mut self, scenario: &Scenario) -> anyhow::Result<()> {
        let is_probe = scenario.mix.named().keys().all(|name| name == Journey::Probe.name());
        let path = if is_probe { scenario.probe.path.as_str() } else { "/readyz" };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match wire::get(&self.url, path, ANSWER).await {
                Ok(reply) if reply.status.is_success() => break,
                Ok(reply) => anyhow::anyhow!("{}{path} answers {}", self.url, reply.status),
                Err(error) => error,
            };
            if Instant::now() > deadline {
                let seconds = PATIENCE.as_secs();
                let message = format!("{} was not ready within {seconds} s, and no load was made", self.url);
                return Err(Failure::new(Exit::Unreachable, "E-NEVER-HEALTHY", message)
                    .object(&self.url)
                    .hint("`shopctl status` tells how the shop of this machine is")
                    .because(last)
                    .into());
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        if is_probe {
            return Ok(());
        }
        let version = wire::get(&self.url, "/version", ANSWER).await.ok();
        self.version = version.and_then(|reply| Some(reply.json()["version"].as_str()?.to_owned()));
        Ok(())
    }

    /// The data folder of the shop, when it is one of this machine that is known.
    #[must_use]
    pub fn data_dir(&self) -> Option<&Path> {
        self.shop.as_ref().map(|(folder, _)| folder.as_path())
    }

    /// Its process, when it is one of this machine.
    pub(super) fn pid(&self) -> Option<u32> {
        self.shop.as_ref().map(|(_, holder)| holder.pid)
    }

    /// As a record has it.
    pub(super) fn facts(&self) -> TargetFacts {
        TargetFacts {
            url: self.url.clone(),
            data_dir: self.shop.as_ref().map(|(folder, _)| folder.clone()),
            pid: self.pid(),
            version: self.version.clone(),
            engine: self.shop.as_ref().map(|(_, holder)| holder.engine.clone()),
            environment: self.on_cluster.as_ref().map(|on_cluster| on_cluster.environment.clone()),
            is_forwarded: self.is_forwarded(),
        }
    }
}

fn is_same(one: Option<&str>, two: &str) -> bool {
    let resolved = |url: &str| resolve(url.trim_end_matches('/')).ok().map(|(_, address)| address);
    one.and_then(resolved).is_some_and(|address| resolved(two) == Some(address))
}

/// `host:port` of an address, and where that is.
fn resolve(url: &str) -> Result<(String, SocketAddr), Failure> {
    let rest = url.strip_prefix("http://").ok_or_else(|| not_an_address(url))?;
    let authority = rest.split('/').next().unwrap_or(rest);
    if authority.is_empty() || rest.len() > authority.len() || authority.contains('@') {
        return Err(not_an_address(url));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let asked = if has_port { authority.to_owned() } else { format!("{authority}:80") };
    let found = asked.to_socket_addrs().map_err(|error| {
        Failure::new(Exit::Unreachable, "E-UNREACHABLE", format!("could not find out where {authority} is"))
            .object(url)
            .hint("look for a typing error in --url")
            .because(error)
    })?;
    // Of a name with addresses of both kinds the older kind: source addresses can be chosen there.
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort_by_key(SocketAddr::is_ipv6);
    let address = found.first().copied().ok_or_else(|| not_an_address(url))?;
    Ok((authority.to_owned(), address))
}

fn not_an_address(url: &str) -> Failure {
    Failure::new(Exit::Usage, "E-URL", format!("`{url}` is not an address that can be loaded"))
        .object(url)
        .hint("http://HOST:PORT, without a path; TLS is not spoken by the generator")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_addresses_are_loaded() {
        assert_eq!(resolve("http://127.0.0.1:8080").unwrap().1.to_string(), "127.0.0.1:8080");
        assert_eq!(resolve("http://127.0.0.1").unwrap().1.port(), 80);
        assert_eq!(resolve("http://[::1]:99").unwrap().1.to_string(), "[::1]:99");
        for url in
            ["https://shop.example", "http://", "http://h/p", "127.0.0.1:80", "http://u:p@127.0.0.1:80"]
        {
            assert_eq!(resolve(url).unwrap_err().exit(), Exit::Usage, "{url}");
        }
    }

    #[test]
    fn a_target_elsewhere_is_refused_until_somebody_says_whose_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let find = |is_mine| Target::find(folder.path(), Some("http://192.0.2.1:80"), is_mine);
        assert_eq!(find(false).unwrap_err().exit(), Exit::Refused);
        assert_eq!(find(true).unwrap().url, "http://192.0.2.1:80");
    }

    #[test]
    fn without_a_shop_and_an_address_there_is_nobody_to_ask() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Target::find(folder.path(), None, false).unwrap_err().exit(), Exit::Unreachable);
    }
}
