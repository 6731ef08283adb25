//! A shop on a cluster, reached from this machine: the way to its gateway, the right to run it, and its name.
//!
//! Whoever may read the Secret with the shop's keys owns the shop, as whoever can read the data folder does on one machine:
//! passes are made from it here, and nothing of it is written down.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use platform::client::Operator;
use platform::vocabulary::Env;

use super::told::Told;
use crate::cluster::connect::Cluster;
use crate::cluster::forward::{Forward, Ways};
use crate::cluster::object::Object;
use crate::config::KubernetesSettings;
use crate::failure::{Exit, Failure};
use crate::targets::operator;

/// The key of the shop's own secrets in their Secret.
const SECRETS: &str = "secrets.json";

/// A shop that is reached.
pub struct Reach {
    /// The cluster.
    pub cluster: Cluster,
    /// The ways into its namespace.
    pub ways: Ways,
}

/// What stood in a Secret, and where.
pub struct Kept {
    /// The value.
    pub text: String,
    /// `Secret/shop-secrets`.
    pub place: String,
}

impl Reach {
    /// The shop of `settings`.
    ///
    /// # Errors
    /// When the cluster is not the one, does not answer, or does not let us see the shop's pods.
    pub async fn of(settings: &KubernetesSettings, env: &Env) -> Result<Self, Failure> {
        let cluster = super::connect(settings, env).await?;
        let ways = Ways::of(&cluster).await?;
        Ok(Self { cluster, ways })
    }

    /// A way to the shop's public face.
    ///
    /// # Errors
    /// When no pod of the gateway can be reached.
    pub async fn gateway(&self) -> Result<Forward, Failure> {
        self.ways.to_service("gateway", "http").await
    }

    /// The right to run the shop that answers on `url`.
    ///
    /// # Errors
    /// When its secrets are not for this account to read, or are none.
    pub async fn operator(&self, url: &str) -> Result<Operator, Failure> {
        let secrets = self.secrets(&Told::of(&self.cluster, "gateway").await?).await?;
        operator::of_secrets(url, &secrets.text, &secrets.place)
    }

    /// The shop's secrets.
    ///
    /// # Errors
    /// When they are not there, or not for this account to read.
    pub async fn secrets(&self, told: &Told) -> Result<Kept, Failure> {
        self.secret(&told.secrets, SECRETS, "become the operator of the shop").await
    }

    /// What stands under `key` in the Secret `name`; read because somebody `tried` something.
    ///
    /// # Errors
    /// When it is not there, or not for this account to read.
    pub async fn secret(&self, name: &str, key: &str, tried: &str) -> Result<Kept, Failure> {
        let place = format!("Secret/{name} in the namespace {}", self.cluster.namespace());
        let found = self.cluster.api.get(("v1", "Secret"), self.cluster.namespace(), name).await;
        let found = found.map_err(|error| match error.code() {
            Some(403) => Failure::new(Exit::Auth, "E-NO-SECRETS", format!("could not {tried}"))
                .object(&place)
                .hint(format!("the account needs `get` on the Secret {name}; whoever has it has the shop"))
                .because(error),
            _ => self.cluster.refused(error, tried),
        })?;
        let text = found.as_ref().and_then(|secret| value(secret, key)).ok_or_else(|| {
            Failure::new(Exit::Auth, "E-NO-SECRETS", format!("could not {tried}: it has no `{key}`"))
                .object(&place)
                .hint(format!(
                    "`shopctl why -e {}` says whether the shop's pods find it",
                    self.cluster.place.environment
                ))
        })?;
        Ok(Kept { text, place })
    }

    /// What names this shop for ever, whatever the way to it: journals of load runs are known by it. A namespace that is
    /// made anew is another shop.
    ///
    /// # Errors
    /// When the namespace is not there, or not for this account to see.
    pub async fn name(&self) -> Result<String, Failure> {
        let namespace = self.cluster.namespace();
        let found = self.cluster.api.get(("v1", "Namespace"), "", namespace).await;
        let found = found.map_err(|error| self.cluster.refused(error, "look at the shop's namespace"))?;
        let uid = found.and_then(|found| found.uid().map(str::to_owned)).unwrap_or_default();
        Ok(format!("kubernetes:{namespace}/{uid}"))
    }

    /// Where the public finds the shop, when an Ingress says so.
    ///
    /// # Errors
    /// When the cluster does not answer. Who may not see an Ingress is told of none.
    pub async fn public_url(&self) -> Result<Option<String>, Failure> {
        let kind = ("networking.k8s.io/v1", "Ingress");
        match self.cluster.api.get(kind, self.cluster.namespace(), "gateway").await {
            Ok(ingress) => Ok(ingress.as_ref().and_then(public)),
            Err(error) if error.code() == Some(403) => Ok(None),
            Err(error) => Err(self.cluster.refused(error, "look where the public finds the shop")),
        }
    }
}

fn value(secret: &Object, key: &str) -> Option<String> {
    let encoded = secret.at("/data")?.get(key)?.as_str()?;
    String::from_utf8(STANDARD.decode(encoded).ok()?).ok()
}

/// The address that an Ingress gives the shop: without a host it has none of its own.
fn public(ingress: &Object) -> Option<String> {
    let host = ingress.text("/spec/rules/0/host").filter(|host| !host.is_empty())?;
    let speaks_tls = ingress.at("/spec/tls/0").is_some();
    Some(format!("{}://{host}", if speaks_tls { "https" } else { "http" }))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn object(kind: &str, mut value: Value) -> Object {
        value["apiVersion"] = "v1".into();
        value["kind"] = kind.into();
        value["metadata"] = json!({"name": "gateway"});
        Object::new(value).unwrap()
    }

    #[test]
    fn the_public_address_is_the_ingresss() {
        let told = |spec: Value| public(&object("Ingress", json!({"spec": spec})));
        let rules = json!([{"host": "shop.example.com"}]);
        assert_eq!(told(json!({"rules": rules})).unwrap(), "http://shop.example.com");
        assert_eq!(
            told(json!({"rules": rules, "tls": [{"hosts": ["shop.example.com"]}]})).unwrap(),
            "https://shop.example.com"
        );
        assert_eq!(told(json!({"rules": [{"http": {}}]})), None);
        assert_eq!(told(json!({})), None);
    }

    #[test]
    fn a_secrets_values_are_base64_of_text() {
        let secret = object("Secret", json!({"data": {"a": "eyJhIjoxfQ==", "b": "?", "c": "/w=="}}));
        assert_eq!(value(&secret, "a").unwrap(), "{\"a\":1}");
        for nothing in ["b", "c", "d"] {
            assert_eq!(value(&secret, nothing), None, "{nothing}");
        }
    }
}
