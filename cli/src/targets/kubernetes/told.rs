//! What a shop's pods were told of their surroundings. Read from the objects that they run by, not from the values: those
//! may have changed since, or have been given on a command line.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::cluster::connect::Cluster;
use crate::cluster::object::Object;
use crate::failure::{Exit, Failure};

/// What the pods of one service were told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// The Secret with the shop's keys.
    pub secrets: String,
    /// The Secret with the database's password.
    pub database_secret: String,
    /// Their variables, without those that come from a Secret.
    variables: BTreeMap<String, String>,
}

impl Told {
    /// What the pods of `service` were told: those of the slot that has the most ready.
    ///
    /// # Errors
    /// When the namespace has no such service; when the cluster refuses or does not answer.
    pub async fn of(cluster: &Cluster, service: &str) -> Result<Self, Failure> {
        let tried = |error| cluster.refused(error, "look what the shop's pods were told");
        let selector = format!("app.kubernetes.io/part-of=shop,app.kubernetes.io/name={service}");
        let slots = cluster.api.list(("apps/v1", "Deployment"), cluster.namespace(), &selector).await;
        let ready = |slot: &Object| slot.number("/status/readyReplicas").unwrap_or(0);
        let Some(slot) = slots.map_err(tried)?.into_iter().max_by_key(ready) else {
            return Err(no_shop(cluster, service));
        };
        let mut maps = Vec::new();
        for name in config_maps(&slot) {
            let map = cluster.api.get(("v1", "ConfigMap"), cluster.namespace(), &name).await;
            maps.extend(map.map_err(tried)?);
        }
        Ok(Self::read(&slot, &maps))
    }

    fn read(slot: &Object, maps: &[Object]) -> Self {
        let mut variables = BTreeMap::new();
        let of_map = |map: &Object| map.at("/data").and_then(Value::as_object).cloned().unwrap_or_default();
        for (name, value) in maps.iter().flat_map(of_map) {
            variables.extend(value.as_str().map(|value| (name, value.to_owned())));
        }
        // What a container names itself goes before what its maps have.
        for variable in entries(slot, "/spec/template/spec/containers/0/env") {
            let (name, value) = (variable["name"].as_str(), variable["value"].as_str());
            variables.extend(name.zip(value).map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let secret = |volume: &str, usual: &str| {
            let volumes = entries(slot, "/spec/template/spec/volumes");
            let found = volumes.iter().find(|one| one["name"] == volume);
            found.and_then(|one| one["secret"]["secretName"].as_str()).unwrap_or(usual).to_owned()
        };
        Self {
            secrets: secret("secrets", "shop-secrets"),
            database_secret: secret("database", "shop-database"),
            variables,
        }
    }

    /// The variable with this name, when it is not empty.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

fn config_maps(slot: &Object) -> Vec<String> {
    let from = entries(slot, "/spec/template/spec/containers/0/envFrom");
    from.iter().filter_map(|one| one["configMapRef"]["name"].as_str().map(str::to_owned)).collect()
}

fn entries<'a>(object: &'a Object, pointer: &str) -> &'a [Value] {
    object.at(pointer).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn no_shop(cluster: &Cluster, service: &str) -> Failure {
    let namespace = cluster.namespace();
    let message = format!("there is no shop in the namespace {namespace}: it has no service `{service}`");
    Failure::new(Exit::Unreachable, "E-KUBE-NO-SHOP", message)
        .object(format!("context {}, namespace {namespace}", cluster.place.context))
        .hint(format!("`shopctl deploy -e {}` brings one", cluster.place.environment))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn slot(pod: Value) -> Object {
        let value = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "payment-a"},
            "spec": {"template": {"spec": pod}},
        });
        Object::new(value).unwrap()
    }

    #[test]
    fn a_container_is_believed_before_its_maps_and_a_secrets_value_is_not_known() {
        let slot = slot(json!({
            "containers": [{
                "envFrom": [{"configMapRef": {"name": "payment-a"}}],
                "env": [
                    {"name": "SHOPD_PROVIDER_URL", "value": "https://provider.example"},
                    {"name": "SHOPD_PROCESS", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                ],
            }],
            "volumes": [
                {"name": "data", "emptyDir": {}},
                {"name": "secrets", "secret": {"secretName": "keys-of-mine"}},
                {"name": "database", "secret": {"secretName": "shop-database"}},
            ],
        }));
        let map = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "payment-a"},
            "data": {"SHOPD_PROVIDER_URL": "http://fakepay:8090", "SHOPCTL_ENGINE": "postgres", "EMPTY": ""},
        });
        assert_eq!(config_maps(&slot), ["payment-a"]);
        let told = Told::read(&slot, &[Object::new(map).unwrap()]);
        assert_eq!((told.secrets.as_str(), told.database_secret.as_str()), ("keys-of-mine", "shop-database"));
        assert_eq!(told.variable("SHOPD_PROVIDER_URL"), Some("https://provider.example"));
        assert_eq!(told.variable("SHOPCTL_ENGINE"), Some("postgres"));
        assert_eq!((told.variable("EMPTY"), told.variable("SHOPD_PROCESS")), (None, None));
    }

    #[test]
    fn where_nothing_is_named_the_charts_own_names_hold() {
        let told = Told::read(&slot(json!({"containers": [{}]})), &[]);
        assert_eq!((told.secrets.as_str(), told.database_secret.as_str()), ("shop-secrets", "shop-database"));
    }
}
