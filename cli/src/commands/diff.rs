//! `shopctl diff`: what a deploy would change on the cluster, field by field.

use clap::Args;
use serde_json::{Value, json};

use super::errand::failed;
use crate::cluster::apply::Consent;
use crate::cluster::applyset::{self, ApplySet};
use crate::cluster::connect::Cluster;
use crate::cluster::diff::{Difference, differences};
use crate::cluster::object::Object;
use crate::cluster::release::desired::{Desired, selector_of};
use crate::cluster::release::shared;
use crate::cluster::release::shop::ShopState;
use crate::cluster::rollout::Selector;
use crate::cluster::state::Stored;
use crate::context::{Context, variable};
use crate::failure::Exit;
use crate::output::{Body, Report};
use crate::targets::kubernetes::{self, rendering};

/// The words of `diff`.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The image that would be rolled out
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// One value of the chart, as `a.b=c`; may be given again
    #[arg(long = "set", value_name = "NAME=VALUE")]
    sets: Vec<String>,
    /// End with 10 when something would change
    #[arg(long)]
    exit_code: bool,
}

pub(super) fn run(args: &DiffArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        let image = args.image.as_deref();
        let desired = rendering::desired(&cluster, &settings, image, &args.sets, &context.env).await?;
        let stored = Stored::<ShopState>::load(&cluster.api, cluster.namespace()).await;
        let shop = stored.map_err(|error| failed(error.into()))?.value;
        let objects = meant(&cluster, &desired, &shop).await?;
        report(args, &cluster, &desired, &objects).await
    })
}

/// The objects as a deploy would apply them, the slot that is live of each service.
async fn meant(cluster: &Cluster, desired: &Desired, shop: &ShopState) -> anyhow::Result<Vec<Object>> {
    let mut all = desired.shared.clone();
    all.extend(desired.prepare.iter().cloned());
    for (service, objects) in &desired.services {
        let state = shop.service(service);
        let live = cluster.api.get(("v1", "Service"), cluster.namespace(), service).await;
        let live = live.map_err(|error| cluster.refused(error, "look at the Services"))?;
        let selector = live.as_ref().and_then(selector_of).unwrap_or(Selector::Narrow(state.live));
        all.push(objects.service(service, selector).map_err(failed)?);
        all.extend(objects.of(state.live, "ConfigMap").cloned());
        all.push(objects.deployment(service, state.live, state.revision.unwrap_or(1)).map_err(failed)?);
    }
    Ok(all)
}

async fn report(
    args: &DiffArgs,
    cluster: &Cluster,
    desired: &Desired,
    objects: &[Object],
) -> anyhow::Result<Report> {
    let (mut lines, mut changes) = (Vec::new(), Vec::new());
    let mut note = |object: &Object, what: &str, fields: &[Difference]| {
        lines.push(format!("{what} {}", object.key()));
        lines.extend(fields.iter().map(told));
        changes.push(json!({"object": object.key().to_string(), "change": what, "fields": fields}));
    };
    for object in objects {
        let mut object = object.clone();
        applyset::enrol(&mut object, cluster.namespace());
        let kind = (object.api_version(), object.kind());
        let live = cluster.api.get(kind, &object.key().namespace, object.name()).await;
        let live = live.map_err(|error| cluster.refused(error, "look at an object"))?;
        let Some(live) = live else {
            note(&object, "+", &[]);
            continue;
        };
        let consent = Consent { takes_over: true };
        let after = shared::apply_one(&cluster.api, cluster.namespace(), &object, consent, true).await;
        let (after, _) = after.map_err(failed)?;
        let fields = differences(Some(&live), Some(&after));
        if !fields.is_empty() {
            note(&object, "~", &fields);
        }
    }
    let set = ApplySet::find(&cluster.api, cluster.namespace()).await;
    let set = set.map_err(|error| cluster.refused(error, "look at what is the shop's"))?;
    let mut kept: Vec<Object> = objects.to_vec();
    kept.extend(
        desired.services.values().flat_map(|service| service.slots.iter().chain(&service.preview)).cloned(),
    );
    let gone = set.leftovers(&cluster.api, &kept).await;
    for object in gone.map_err(|error| cluster.refused(error, "look at what is the shop's"))? {
        note(&object, "-", &[]);
    }
    let count = changes.len();
    let report = Report::new(json!({"changes": changes}), Body::Text(lines.join("\n")));
    let report = report.last_line(match count {
        0 => "nothing would change".to_owned(),
        1 => "1 object would change: `shopctl deploy`".to_owned(),
        count => format!("{count} objects would change: `shopctl deploy`"),
    });
    Ok(if args.exit_code && count > 0 { report.exit(Exit::Changes) } else { report })
}

fn told(field: &Difference) -> String {
    let value = |value: &Option<Value>| match value {
        None => "(nothing)".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    format!("    {}: {} -> {}", field.path, value(&field.before), value(&field.after))
}
