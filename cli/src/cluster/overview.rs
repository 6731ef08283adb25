//! How the whole shop on a cluster is, from what was seen of it at one moment. Pure.
//!
//! The shop is ready when somebody answers for each part of it: every service has a ready pod behind its Service, and so
//! have the database and the provider that the chart brings. What is less than was asked for is told beside it.

use std::collections::BTreeMap;

use platform::vocabulary::Timestamp;
use serde::Serialize;
use serde_json::Value;

use super::lock::Holder;
use super::object::{Key, Object};
use super::readiness::{containers, new_replica_set, status};
use super::release::desired::selector_of;
use super::release::shop::{ServiceState, ShopState};
use super::rollout::{Phase, Selector, Slot};

/// What is to be seen of a shop.
#[derive(Clone, Debug)]
pub struct Sight<'a> {
    /// The services that there are to be, in the order in which they are told.
    pub services: &'a [String],
    /// Where the releases are.
    pub shop: &'a ShopState,
    /// The namespace's objects.
    pub objects: &'a BTreeMap<Key, Object>,
    /// Who holds the deploy lock.
    pub holder: Option<Holder>,
    /// The namespace.
    pub namespace: &'a str,
}

/// A shop at one moment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Whether somebody answers for each part of it.
    #[serde(rename = "ready")]
    pub is_ready: bool,
    /// Its services.
    pub services: Vec<Service>,
    /// What keeps its data.
    pub database: Part,
    /// Who takes its payments.
    pub provider: Part,
    /// Who holds the deploy lock.
    pub lock: Option<Holder>,
    /// Where customers find it, as far as the cluster says.
    pub addresses: Vec<String>,
    /// What is not as it was asked for.
    pub wrong: Vec<Wrong>,
}

/// One service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// The slot that its Service selects alone; else the one that counts as live.
    pub slot: Slot,
    /// The revision that is live.
    pub revision: Option<u64>,
    /// The image of the live slot's pods.
    pub image: String,
    /// The ready pods of the live slot.
    pub ready: u32,
    /// The pods that it is to have.
    pub wanted: u32,
    /// The ready pods that requests are given to, of both slots.
    pub serving: u32,
    /// Whether an autoscaler decides on their number.
    #[serde(rename = "autoscaled")]
    pub is_autoscaled: bool,
    /// Restarts of the containers of the live slot.
    pub restarts: u64,
    /// Where its release is, when one goes on.
    pub phase: Option<String>,
    /// Since when its pods are of the version that they are.
    pub since: Option<Timestamp>,
}

/// The database, or the provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The workload that the chart brings; none when it is somewhere else.
    pub workload: Option<String>,
    /// Where it is, when it is somewhere else.
    pub elsewhere: Option<String>,
    /// Whether it answers; not known of what is somewhere else.
    #[serde(rename = "ready")]
    pub is_ready: Option<bool>,
    /// Restarts of its container.
    pub restarts: u64,
}

/// An object that is not as it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wrong {
    /// Its name, as `why` takes it.
    pub object: String,
    /// How far it is.
    pub says: String,
    /// Whether nobody answers for it at all.
    #[serde(rename = "out")]
    pub is_out: bool,
}

/// What is to be seen of the shop; none when there is none.
#[must_use]
pub fn overview(sight: &Sight<'_>) -> Option<Overview> {
    let is_there = |name: &String| {
        Slot::ALL.iter().any(|slot| sight.find("apps", "Deployment", &format!("{name}-{slot}")).is_some())
    };
    if !sight.services.iter().any(is_there) {
        return None;
    }
    let mut wrong = Vec::new();
    let services: Vec<Service> = sight.services.iter().map(|name| sight.service(name, &mut wrong)).collect();
    let config = |service: &str, name: &str| {
        let slot = sight.shop.service(service).live;
        let map = sight.find("", "ConfigMap", &format!("{service}-{slot}"))?;
        Some(map.at("/data")?.get(name)?.as_str()?.to_owned())
    };
    let database =
        sight.part("postgresql", || config("order", "SHOPCTL_DATABASE_URL").map(without_user), &mut wrong);
    let provider = sight.part("fakepay", || config("payment", "SHOPD_PROVIDER_URL"), &mut wrong);
    Some(Overview {
        is_ready: !wrong.iter().any(|one| one.is_out),
        services,
        database,
        provider,
        lock: sight.holder.clone(),
        addresses: sight.addresses(),
        wrong,
    })
}

impl Sight<'_> {
    fn find(&self, group: &str, kind: &str, name: &str) -> Option<&Object> {
        self.objects.get(&Key {
            group: group.to_owned(),
            kind: kind.to_owned(),
            namespace: self.namespace.to_owned(),
            name: name.to_owned(),
        })
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.values().filter(move |object| object.kind() == kind)
    }

    fn service(&self, name: &str, wrong: &mut Vec<Wrong>) -> Service {
        let state = self.shop.service(name);
        let selector = self.find("", "Service", name).and_then(selector_of);
        let slot = match selector {
            Some(Selector::Narrow(slot)) => slot,
            Some(Selector::Wide) | None => state.live,
        };
        let workload = format!("{name}-{slot}");
        let deployment = self.find("apps", "Deployment", &workload);
        let labels = [("app.kubernetes.io/name", name), ("shopctl.dev/slot", slot.name())];
        let pods = || self.of_kind("Pod").filter(|pod| has_all(pod, &labels));
        let number = |pointer: &str| {
            let number = deployment.and_then(|deployment| deployment.number(pointer));
            number.and_then(|number| u32::try_from(number).ok())
        };
        let serving = self.serving(name);
        let is_out = serving == 0;
        match deployment.map(|deployment| status(deployment, None)) {
            None => wrong.push(Wrong {
                object: workload.clone(),
                says: "it is not there".to_owned(),
                is_out: true,
            }),
            Some(status) if !status.is_current() => {
                wrong.push(Wrong { object: workload.clone(), says: status.to_string(), is_out });
            }
            Some(_) if is_out => {
                let says = format!("the Service {name} has no ready pod behind it");
                wrong.push(Wrong { object: workload.clone(), says, is_out });
            }
            Some(_) => {}
        }
        let image = deployment.and_then(|one| one.text("/spec/template/spec/containers/0/image"));
        Service {
            name: name.to_owned(),
            slot,
            revision: state.revision,
            image: image.unwrap_or_default().to_owned(),
            ready: u32::try_from(pods().filter(|pod| is_ready(pod)).count()).unwrap_or(u32::MAX),
            wanted: number("/spec/replicas").unwrap_or(0),
            serving,
            is_autoscaled: self.find("autoscaling", "HorizontalPodAutoscaler", &workload).is_some(),
            restarts: pods().flat_map(containers).map(|one| one.restarts()).sum(),
            phase: phase(&state),
            since: deployment.and_then(|one| new_replica_set(one, self.objects.values())).and_then(made_at),
        }
    }

    /// How many ready pods requests to `service` are given to.
    fn serving(&self, service: &str) -> u32 {
        let slices = self
            .of_kind("EndpointSlice")
            .filter(|slice| slice.label("kubernetes.io/service-name") == Some(service));
        let endpoints = slices.filter_map(|slice| slice.at("/endpoints")?.as_array()).flatten();
        // Absent means ready, as the API has it.
        let is_ready = |endpoint: &&Value| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
        u32::try_from(endpoints.filter(is_ready).count()).unwrap_or(u32::MAX)
    }

    fn part(&self, name: &str, elsewhere: impl FnOnce() -> Option<String>, wrong: &mut Vec<Wrong>) -> Part {
        let Some(workload) = self.find("apps", "StatefulSet", name) else {
            return Part { workload: None, elsewhere: elsewhere(), is_ready: None, restarts: 0 };
        };
        let is_out = self.serving(name) == 0;
        let status = status(workload, None);
        if is_out || !status.is_current() {
            let says =
                if status.is_current() { "no pod of it is ready".to_owned() } else { status.to_string() };
            wrong.push(Wrong { object: name.to_owned(), says, is_out });
        }
        let pods = self.of_kind("Pod").filter(|pod| has_all(pod, &[("app.kubernetes.io/name", name)]));
        Part {
            workload: Some(name.to_owned()),
            elsewhere: None,
            is_ready: Some(!is_out),
            restarts: pods.flat_map(containers).map(|one| one.restarts()).sum(),
        }
    }

    /// Where the public face is, as the Ingress and the load balancer say.
    fn addresses(&self) -> Vec<String> {
        let mut found = Vec::new();
        let ingresses =
            self.of_kind("Ingress").filter(|one| one.label("app.kubernetes.io/part-of") == Some("shop"));
        for ingress in ingresses {
            let scheme = if ingress.at("/spec/tls").is_some() { "https" } else { "http" };
            let rules = ingress.at("/spec/rules").and_then(Value::as_array).into_iter().flatten();
            found.extend(rules.filter_map(|rule| Some(format!("{scheme}://{}", rule["host"].as_str()?))));
        }
        if let Some(gateway) = self.find("", "Service", "gateway") {
            let port = gateway.number("/spec/ports/0/port").unwrap_or(80);
            let given = gateway.at("/status/loadBalancer/ingress").and_then(Value::as_array);
            for one in given.into_iter().flatten() {
                let host = one["hostname"].as_str().or(one["ip"].as_str());
                found.extend(host.map(|host| address(host, port)));
            }
        }
        found
    }
}

fn address(host: &str, port: i64) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == 80 { format!("http://{host}") } else { format!("http://{host}:{port}") }
}

fn has_all(object: &Object, labels: &[(&str, &str)]) -> bool {
    labels.iter().all(|(name, value)| object.label(name) == Some(value))
}

fn is_ready(pod: &Object) -> bool {
    let conditions = pod.at("/status/conditions").and_then(Value::as_array).into_iter().flatten();
    let is_leaving = pod.at("/metadata/deletionTimestamp").is_some();
    !is_leaving && conditions.into_iter().any(|one| one["type"] == "Ready" && one["status"] == "True")
}

fn made_at(object: &Object) -> Option<Timestamp> {
    object.text("/metadata/creationTimestamp")?.parse().ok()
}

/// Where the release of a service is, as long as it is not at its end.
fn phase(state: &ServiceState) -> Option<String> {
    let release = state.release.as_ref().filter(|release| !matches!(release.phase(), Phase::Ended(_)))?;
    let paused = if release.pause().is_some() { ", paused" } else { "" };
    Some(format!("{}{paused} (revision {})", release.phase(), release.plan().revision))
}

/// A database's address without whom it is asked as.
fn without_user(url: String) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A shop of one service, as its cluster shows it.
    struct World {
        objects: BTreeMap<Key, Object>,
        shop: ShopState,
    }

    impl World {
        fn of_order(ready: u32) -> Self {
            let mut world = Self { objects: BTreeMap::new(), shop: ShopState::default() };
            world.shop.service_mut("order").revision = Some(3);
            world.add(json!({
                "apiVersion": "apps/v1", "kind": "Deployment",
                "metadata": {"name": "order-a", "uid": "d", "generation": 1,
                    "annotations": {"deployment.kubernetes.io/revision": "5"}},
                "spec": {"replicas": 2, "template": {"spec": {"containers": [{"image": "shop:3"}]}}},
                "status": {"observedGeneration": 1, "replicas": 2, "updatedReplicas": 2, "readyReplicas": ready,
                    "availableReplicas": ready, "conditions": [
                        {"type": "Available", "status": "True"},
                        {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]},
            }));
            world.add(json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": "order-a-1", "creationTimestamp": "2026-11-30T10:00:00Z",
                    "annotations": {"deployment.kubernetes.io/revision": "5"},
                    "ownerReferences": [{"uid": "d"}]},
            }));
            let selector = json!({"app.kubernetes.io/name": "order", "shopctl.dev/slot": "a"});
            world.add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "order"},
                "spec": {"selector": selector}}));
            for number in 0..2 {
                let is_ready = if number < ready { "True" } else { "False" };
                world.add(json!({
                    "apiVersion": "v1", "kind": "Pod",
                    "metadata": {"name": format!("order-a-1-{number}"), "labels": selector},
                    "status": {"conditions": [{"type": "Ready", "status": is_ready}],
                        "containerStatuses": [{"name": "shopd", "restartCount": number}]},
                }));
            }
            world.serve("order", ready);
            world
        }

        fn add(&mut self, mut value: Value) {
            value["metadata"]["namespace"] = "shop".into();
            let object = Object::new(value).unwrap();
            self.objects.insert(object.key().clone(), object);
        }

        fn serve(&mut self, service: &str, count: u32) {
            let endpoints: Vec<Value> = (0..count).map(|_| json!({"conditions": {"ready": true}})).collect();
            self.add(json!({
                "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
                "metadata": {"name": format!("{service}-x"), "labels": {"kubernetes.io/service-name": service}},
                "endpoints": endpoints,
            }));
        }

        fn look(&self) -> Option<Overview> {
            overview(&Sight {
                services: &["order".to_owned()],
                shop: &self.shop,
                objects: &self.objects,
                holder: None,
                namespace: "shop",
            })
        }
    }

    #[test]
    fn a_shop_that_is_well_has_nothing_wrong() {
        let seen = World::of_order(2).look().unwrap();
        assert!(seen.is_ready && seen.wrong.is_empty(), "{seen:?}");
        let order = &seen.services[0];
        assert_eq!((order.ready, order.wanted, order.serving, order.restarts), (2, 2, 2, 1));
        assert_eq!((order.revision, order.image.as_str(), &order.phase), (Some(3), "shop:3", &None));
        assert_eq!(order.since, Some("2026-11-30T10:00:00Z".parse().unwrap()));
    }

    #[test]
    fn one_pod_less_is_told_and_is_no_outage() {
        let seen = World::of_order(1).look().unwrap();
        assert!(seen.is_ready);
        assert_eq!((seen.wrong[0].object.as_str(), seen.wrong[0].is_out), ("order-a", false));
    }

    #[test]
    fn nobody_behind_the_service_is_an_outage() {
        let seen = World::of_order(0).look().unwrap();
        assert!(!seen.is_ready && seen.wrong[0].is_out);
    }

    #[test]
    fn a_database_of_the_chart_counts_and_another_is_named() {
        let mut world = World::of_order(2);
        world.add(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "order-a"},
            "data": {"SHOPCTL_DATABASE_URL": "postgresql://shop@db.example.com:5432/shop"}}));
        let seen = world.look().unwrap();
        assert_eq!(seen.database.elsewhere.as_deref(), Some("postgresql://db.example.com:5432/shop"));
        world.add(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "postgresql"},
            "spec": {"replicas": 1}}));
        assert!(!world.look().unwrap().is_ready);
        world.serve("postgresql", 1);
        assert!(world.look().unwrap().is_ready);
    }

    #[test]
    fn addresses_are_those_that_the_cluster_gives() {
        let mut world = World::of_order(2);
        world.add(json!({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
            "metadata": {"name": "gateway", "labels": {"app.kubernetes.io/part-of": "shop"}},
            "spec": {"tls": [{}], "rules": [{"host": "shop.example.com"}]}}));
        world.add(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "gateway"},
            "spec": {"ports": [{"port": 8080}]},
            "status": {"loadBalancer": {"ingress": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]}}}));
        let found = world.look().unwrap().addresses;
        assert_eq!(found, ["https://shop.example.com", "http://10.0.0.1:8080", "http://[fd00::1]:8080"]);
    }

    #[test]
    fn where_nothing_is_there_is_no_shop() {
        let mut world = World::of_order(2);
        world.objects.clear();
        assert_eq!(world.look(), None);
    }
}
