//! What is to be on the cluster: the chart, rendered with the environment's values, with both slots of each service.

use serde_json::{Value, json};

use crate::cluster::chart::{self, Chart, Outside, Release};
use crate::cluster::connect::Cluster;
use crate::cluster::object::Object;
use crate::cluster::release::desired::Desired;
use crate::config::KubernetesSettings;
use crate::failure::{Exit, Failure};
use platform::vocabulary::Env;

/// The name of the release, as the chart has it.
const RELEASE: &str = "shop";

/// Renders the chart for the environment of `settings`. Secrets that are on the cluster are kept as they are.
///
/// # Errors
/// When values do not fit, a template fails, or the cluster does not answer.
pub async fn desired(
    cluster: &Cluster,
    settings: &KubernetesSettings,
    image: Option<&str>,
    sets: &[String],
    env: &Env,
) -> anyhow::Result<Desired> {
    let chart = Chart::embedded();
    let mut values = chart.values();
    for file in &settings.values {
        values = values.file(&file.to_string_lossy()).map_err(invalid)?;
    }
    if let Some(image) = image.or(settings.image.as_deref()) {
        values = values.overlay("the image", &json!({"image": image_values(image)?})).map_err(invalid)?;
    }
    for set in sets {
        values = values.set(set).map_err(invalid)?;
    }
    // Which slot serves is for the rollout to say.
    values = values.overlay("the slots", &json!({"slots": slots(&services(chart)?)})).map_err(invalid)?;
    let values = values.merged().map_err(invalid)?;
    let secrets = cluster.api.list(("v1", "Secret"), cluster.namespace(), "").await;
    let secrets = secrets.map_err(|error| cluster.refused(error, "look at the secrets"))?;
    let lookup = |version: &str, kind: &str, namespace: &str, name: &str| {
        anyhow::ensure!(
            (version, kind, namespace) == ("v1", "Secret", cluster.namespace()),
            "the chart looks up {kind} {name}, and only Secrets of the namespace are answered"
        );
        let found = secrets.iter().find(|secret| secret.name() == name).map(Object::value).cloned();
        Ok(found.unwrap_or(Value::Null))
    };
    let random = || u64::from_le_bytes(env.bytes());
    let about = chart::Cluster::new(&cluster.version, Vec::new()).map_err(|error| {
        Failure::new(Exit::Preflight, "E-KUBE-VERSION", "the cluster's version cannot be understood")
            .object(&cluster.version)
            .because(error)
    })?;
    let release = Release {
        is_upgrade: true,
        service: "shopctl".to_owned(),
        ..Release::first(RELEASE, cluster.namespace())
    };
    let outside = Outside { lookup: &lookup, random: &random };
    let rendered = chart::render(chart, &values, &release, &about, &outside).map_err(|error| {
        Failure::new(Exit::Config, "E-CHART", "the chart cannot be rendered with these values").because(error)
    })?;
    Ok(Desired::sorted(rendered.objects))
}

/// Whether the values files of `settings` name an image of their own.
///
/// # Errors
/// When they do not fit the chart.
pub fn names_image(settings: &KubernetesSettings) -> Result<bool, Failure> {
    let chart = Chart::embedded();
    let mut values = chart.values();
    for file in &settings.values {
        values = values.file(&file.to_string_lossy()).map_err(invalid)?;
    }
    let named = values.merged().map_err(invalid)?.to_json();
    let own = chart.values().merged().map_err(invalid)?.to_json();
    Ok(named["image"] != own["image"])
}

fn invalid(error: chart::ValuesError) -> Failure {
    Failure::new(Exit::Config, "E-VALUES", "the values do not fit the chart").because(error)
}

/// The services that the chart has, those that others call before those that call them.
///
/// # Errors
/// When the chart's own values do not fit it.
pub fn services(chart: &Chart) -> Result<Vec<String>, Failure> {
    let values = chart.values().merged().map_err(invalid)?.to_json();
    let mut waiting: Vec<(String, Vec<String>)> = Vec::new();
    for (name, service) in values["services"].as_object().into_iter().flatten() {
        let needs = service["needs"].as_array().into_iter().flatten();
        waiting.push((name.clone(), needs.filter_map(|one| one.as_str().map(str::to_owned)).collect()));
    }
    let mut sorted: Vec<String> = Vec::new();
    while !waiting.is_empty() {
        let is_free = |(_, needs): &(String, Vec<String>)| needs.iter().all(|need| sorted.contains(need));
        // Services that call each other in a circle have no order: any will do.
        let at = waiting.iter().position(is_free).unwrap_or(0);
        sorted.push(waiting.remove(at).0);
    }
    Ok(sorted)
}

fn slots(services: &[String]) -> Value {
    let both = json!({"live": "a", "selector": "narrow", "a": {"enabled": true}, "b": {"enabled": true}});
    services.iter().map(|service| (service.clone(), both.clone())).collect::<serde_json::Map<_, _>>().into()
}

/// `repository[:tag][@digest]` as the chart's values have it.
fn image_values(image: &str) -> Result<Value, Failure> {
    let (rest, digest) = image.split_once('@').unwrap_or((image, ""));
    // A colon before the last slash belongs to a port.
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (rest, ""),
    };
    if repository.is_empty() || (tag.is_empty() && digest.is_empty()) {
        let message = format!("`{image}` names no image: a tag or a digest is needed");
        return Err(Failure::new(Exit::Usage, "E-IMAGE", message).hint("like registry.example.com/shop:1.4"));
    }
    Ok(json!({"repository": repository, "tag": tag, "digest": digest}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_called_comes_before_who_calls() {
        let services = services(Chart::embedded()).unwrap();
        let at = |name: &str| services.iter().position(|service| service == name).unwrap();
        assert_eq!(services.len(), 6);
        assert!(at("product") < at("order") && at("payment") < at("order") && at("order") < at("gateway"));
    }

    #[test]
    fn an_image_is_taken_apart() {
        let values = |image| image_values(image).unwrap();
        assert_eq!(values("shop:1"), json!({"repository": "shop", "tag": "1", "digest": ""}));
        assert_eq!(
            values("localhost:5000/a/shop@sha256:ab"),
            json!({"repository": "localhost:5000/a/shop", "tag": "", "digest": "sha256:ab"})
        );
        assert!(image_values("shop").is_err());
        assert!(image_values("localhost:5000/shop").is_err());
    }
}
