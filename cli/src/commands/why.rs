//! `shopctl why`: what keeps a service on a cluster from being well.

use clap::Args;
use serde_json::json;

use crate::cluster::mirror::{KINDS, Mirror};
use crate::cluster::object::Key;
use crate::cluster::release::causes;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure, nearest};
use crate::output::Report;
use crate::targets::kubernetes;

/// The words of `why`.
#[derive(Debug, Args)]
pub struct WhyArgs {
    /// The Deployment, StatefulSet or Job: `order-a`, `postgresql`; all that are not well when left out
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// The kinds that can be asked about.
const ASKED: [&str; 3] = ["Deployment", "StatefulSet", "Job"];

pub(super) fn run(args: &WhyArgs, context: &Context<'_>) -> anyhow::Result<Report> {
    let settings = context.config()?.kubernetes(variable)?;
    context.runtime()?.block_on(async {
        let cluster = kubernetes::connect(&settings, &context.env).await?;
        let mirror = Mirror::of(&cluster.api, cluster.namespace(), KINDS).await;
        let mirror = mirror.map_err(|error| cluster.refused(error, "look at the namespace"))?;
        let keys: Vec<Key> = mirror.look(|objects| {
            objects.keys().filter(|key| ASKED.contains(&key.kind.as_str())).cloned().collect()
        });
        let asked: Vec<&Key> = match &args.name {
            None => keys.iter().collect(),
            Some(name) => keys.iter().filter(|key| key.name == *name).collect(),
        };
        if let (Some(name), true) = (&args.name, asked.is_empty()) {
            let message = format!("there is no `{name}` in the namespace {}", cluster.namespace());
            let near = nearest(name, keys.iter().map(|key| key.name.as_str()));
            let failure = Failure::new(Exit::Usage, "E-WHY", message);
            return Err(match near {
                Some(near) => failure.hint(format!("did you mean `{near}`?")),
                None => failure.hint("leave the name out to see all that are not well"),
            }
            .into());
        }
        let mut found = Vec::new();
        let mut text = Vec::new();
        for key in asked {
            for cause in causes::of(&cluster, &mirror, key).await {
                text.push(cause.to_string());
                found.push(json!({"object": key.to_string(), "cause": cause}));
            }
        }
        let nothing = if args.name.is_some() {
            "nothing is found to be wrong with it"
        } else {
            "nothing is found to be wrong"
        };
        let exit = if found.is_empty() { Exit::Ok } else { Exit::Degraded };
        let report = Report::new(json!({"causes": found}), crate::output::Body::Text(text.join("\n\n")));
        Ok(if exit == Exit::Ok { report.last_line(nothing) } else { report.exit(exit) })
    })
}
