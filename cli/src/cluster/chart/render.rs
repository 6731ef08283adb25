//! A chart and values become objects, as `helm template` would have them.

use semver::Version;

use super::package::{Chart, Facts};
use super::template::{Evaluation, NO_VALUE, TemplateError, Trouble};
use super::value::Value;
use super::values::Values;
use super::yaml;
use crate::cluster::object::{self, NoObject, Object};

/// What the release is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its name.
    pub name: String,
    /// The namespace that it is in.
    pub namespace: String,
    /// Its number, from 1 on.
    pub revision: u32,
    /// Whether something is there already.
    pub is_upgrade: bool,
    /// Who renders, for the label `app.kubernetes.io/managed-by`. Helm says `Helm`.
    pub service: String,
}

impl Release {
    /// A first release, as helm would have it.
    #[must_use]
    pub fn first(name: &str, namespace: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            revision: 1,
            is_upgrade: false,
            service: "Helm".to_owned(),
        }
    }
}

/// What is known of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    version: Version,
    api_versions: Vec<String>,
}

impl Cluster {
    /// One whose API server has this version, as it says it itself (`v1.34.1`, `v1.33.4-eks-99bf4de`), and serves these
    /// (`v1`, `apps/v1`).
    ///
    /// # Errors
    /// When that is no version.
    pub fn new(version: &str, api_versions: Vec<String>) -> Result<Self, semver::Error> {
        Ok(Self { version: Version::parse(version.trim_start_matches('v'))?, api_versions })
    }
}

/// Answers what a template looks up: an object by API version, kind, namespace and name, `null` when it is not there. With
/// an empty name, a list of all.
pub type Lookup<'a> = dyn Fn(&str, &str, &str, &str) -> anyhow::Result<serde_json::Value> + 'a;

/// What a rendering asks of the world outside. The chart keeps the secrets that it made by looking them up: who answers
/// that nothing is there makes new ones.
pub struct Outside<'a> {
    /// Answers what a template looks up.
    pub lookup: &'a Lookup<'a>,
    /// A number of 64 random bits, for keys and passwords.
    pub random: &'a (dyn Fn() -> u64 + 'a),
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rendered {
    /// The objects, in the order of applying.
    pub objects: Vec<Object>,
    /// Those that are made at a moment of their own and are no part of the release: `helm.sh/hook` says when.
    pub hooks: Vec<Object>,
    /// What to tell whoever made the release.
    pub notes: String,
}

/// Why a chart could not be rendered.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A template failed, or said that the values cannot be.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// What a template says is no YAML.
    #[error("{file} renders to what is no YAML, in line {line}: {message}\n{text}")]
    Yaml {
        /// The template.
        file: String,
        /// The line in what was rendered. Counted from 1.
        line: usize,
        /// That line.
        text: String,
        /// What is wrong with it.
        message: String,
    },
    /// What a template says is YAML, but no object.
    #[error("{file} renders to what is no object, in line {line}")]
    Object {
        /// The template.
        file: String,
        /// The line in what was rendered at which it begins. Counted from 1.
        line: usize,
        /// What it lacks.
        source: NoObject,
    },
    /// The chart is not for this version of Kubernetes.
    #[error("the chart is for Kubernetes {wanted}, and the cluster has {found}")]
    Version {
        /// The versions that the chart is for.
        wanted: String,
        /// The cluster's.
        found: Version,
    },
}

/// Renders `chart` with `values`.
///
/// # Errors
/// When the cluster's version does not fit, a template fails, or its text is no object.
pub fn render(
    chart: &Chart,
    values: &Values,
    release: &Release,
    cluster: &Cluster,
    outside: &Outside<'_>,
) -> Result<Rendered, RenderError> {
    check_version(chart.facts(), cluster)?;
    let evaluation = Evaluation::new(chart.templates(), outside);
    let mut rendered = Rendered::default();
    for file in chart.rendered() {
        let text =
            evaluation.run(file, &dot(chart.facts(), values, release, cluster, file)).map_err(failed)?;
        // Helm takes out, in the end, what Go prints for a value that is not there.
        let text = text.replace(NO_VALUE, "");
        if file.ends_with("NOTES.txt") {
            rendered.notes = text;
        } else {
            sort_in(&mut rendered, file, &text)?;
        }
    }
    object::sort(&mut rendered.objects);
    object::sort(&mut rendered.hooks);
    Ok(rendered)
}

/// A version with something after its three numbers, as some clouds have it, counts as the version alone.
fn check_version(facts: &Facts, cluster: &Cluster) -> Result<(), RenderError> {
    let plain = Version::new(cluster.version.major, cluster.version.minor, cluster.version.patch);
    match &facts.kube_version {
        Some(wanted) if !wanted.matches(&plain) => {
            Err(RenderError::Version { wanted: wanted.to_string(), found: cluster.version.clone() })
        }
        _ => Ok(()),
    }
}

fn failed(trouble: Trouble) -> TemplateError {
    match trouble {
        Trouble::Within(error) => error,
        Trouble::Told(message) | Trouble::Outside(message, _) => TemplateError::nowhere(message),
    }
}

/// What the dot of the template `file` is.
fn dot(facts: &Facts, values: &Values, release: &Release, cluster: &Cluster, file: &str) -> Value {
    let text = |text: &str| Value::text(text);
    let folder = file.split_inclusive('/').take(2).collect::<String>();
    let version = text(&format!("v{}", cluster.version));
    Value::map([
        ("Values", values.value().clone()),
        (
            "Chart",
            Value::map([
                ("Name", text(&facts.name)),
                ("Version", text(&facts.version)),
                ("AppVersion", text(&facts.app_version)),
                ("Description", text(&facts.description)),
            ]),
        ),
        (
            "Release",
            Value::map([
                ("Name", text(&release.name)),
                ("Namespace", text(&release.namespace)),
                ("Revision", Value::Int(release.revision.into())),
                ("IsInstall", Value::Bool(!release.is_upgrade)),
                ("IsUpgrade", Value::Bool(release.is_upgrade)),
                ("Service", text(&release.service)),
            ]),
        ),
        (
            "Capabilities",
            Value::map([
                ("APIVersions", Value::list(cluster.api_versions.iter().map(|version| text(version)))),
                (
                    "KubeVersion",
                    Value::map([
                        ("Version", version.clone()),
                        ("GitVersion", version),
                        ("Major", text(&cluster.version.major.to_string())),
                        ("Minor", text(&cluster.version.minor.to_string())),
                    ]),
                ),
            ]),
        ),
        ("Template", Value::map([("Name", text(file)), ("BasePath", text(folder.trim_end_matches('/')))])),
    ])
}

/// Puts the objects in `text` where they belong.
fn sort_in(rendered: &mut Rendered, file: &str, text: &str) -> Result<(), RenderError> {
    for (above, document) in documents(text) {
        let read = yaml::made(&document).map_err(|error| RenderError::Yaml {
            file: file.to_owned(),
            line: above + error.place.line,
            text: document.lines().nth(error.place.line - 1).unwrap_or_default().to_owned(),
            message: error.to_string(),
        })?;
        if !read.is_something() {
            continue;
        }
        let object = Object::new(read.to_json()).map_err(|source| RenderError::Object {
            file: file.to_owned(),
            line: above + 1 + document.lines().take_while(|line| line.trim().is_empty()).count(),
            source,
        })?;
        let is_hook = object.annotation("helm.sh/hook").is_some();
        if is_hook { &mut rendered.hooks } else { &mut rendered.objects }.push(object);
    }
    Ok(())
}

/// The documents in `text`, each with the number of lines above it. A line that begins with `---` ends one, whatever
/// follows there, and the space before it goes with it; then each ends with a newline. So helm splits them.
fn documents(text: &str) -> Vec<(usize, String)> {
    let mut documents = Vec::new();
    let (mut start, mut lines_above, mut at) = (0, 0, 0);
    for (number, line) in text.split_inclusive('\n').enumerate() {
        if line.starts_with("---") {
            documents.push((lines_above, format!("{}\n", text[start..at].trim_end())));
            (start, lines_above) = (at + 3, number);
        }
        at += line.len();
    }
    documents.push((lines_above, format!("{}\n", &text[start..])));
    documents
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn cluster() -> Cluster {
        Cluster::new("v1.34.0", Vec::new()).unwrap()
    }

    fn nothing<'a>() -> Outside<'a> {
        Outside { lookup: &|_, _, _, _| Ok(serde_json::Value::Null), random: &|| 7 }
    }

    fn sorted(text: &str) -> Result<Rendered, RenderError> {
        let mut rendered = Rendered::default();
        sort_in(&mut rendered, "x/templates/a.yaml", text)?;
        Ok(rendered)
    }

    #[test]
    fn documents_are_split_as_helm_splits_them() {
        let told = |text: &str| documents(text);
        let document = |above: usize, text: &str| (above, text.to_owned());
        assert_eq!(
            told("a\n\n---\nb\n--- # c\nd"),
            [document(0, "a\n"), document(2, "\nb\n"), document(4, " # c\nd\n")]
        );
        assert_eq!(told("---\na: |\n  ---\n"), [document(0, "\n"), document(0, "\na: |\n  ---\n\n")]);
    }

    #[test]
    fn hooks_are_kept_apart() {
        let hook = "kind: Pod\napiVersion: v1\nmetadata: {name: t, annotations: {helm.sh/hook: test}}\n";
        let rendered =
            sorted(&format!("# nothing\n---\n{hook}---\nkind: A\napiVersion: v1\nmetadata: {{name: a}}\n"));
        let rendered = rendered.unwrap();
        assert_eq!((rendered.objects.len(), rendered.hooks.len()), (1, 1));
        assert_eq!(rendered.hooks[0].name(), "t");
    }

    #[test]
    fn what_is_no_object_is_told_with_its_line() {
        let error = |text: &str| sorted(text).unwrap_err().to_string();
        let told = error("# a\n---\nb: [1\nc: 2\n");
        assert!(told.starts_with("x/templates/a.yaml renders to what is no YAML, in line 4: "), "{told}");
        assert!(told.ends_with("\nc: 2"), "{told}");
        assert_eq!(error("---\n\nkind: A\n"), "x/templates/a.yaml renders to what is no object, in line 3");
    }

    #[test]
    fn a_chart_is_for_versions_of_kubernetes() {
        let chart = Chart::embedded();
        let values = chart.values().merged().unwrap();
        let version = |text: &str| {
            let cluster = Cluster::new(text, Vec::new()).unwrap();
            render(chart, &values, &Release::first("shop", "shop"), &cluster, &nothing())
        };
        assert!(version("1.30.0").is_ok());
        assert!(version("v1.30.2-eks-abcdef").is_ok());
        let error = version("1.29.9").unwrap_err().to_string();
        assert_eq!(error, "the chart is for Kubernetes >=1.30.0-0, and the cluster has 1.29.9");
    }

    #[test]
    fn a_template_that_refuses_is_told_with_its_line() {
        let chart = Chart::embedded();
        let values = chart.values().overlay("a test", &json!({"slots": {"order": {"live": "b"}}})).unwrap();
        let values = values.merged().unwrap();
        let error =
            render(chart, &values, &Release::first("shop", "shop"), &cluster(), &nothing()).unwrap_err();
        let RenderError::Template(error) = error else { panic!("{error}") };
        assert_eq!((error.file(), error.line()), ("shop/templates/deployments.yaml", 8));
        assert_eq!(
            error.message(),
            "slots.order.live is b, which is not enabled: the Service would point at nothing"
        );
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_told() {
        let chart = Chart::embedded();
        let values = chart.values().merged().unwrap();
        let outside =
            Outside { lookup: &|_, _, _, _| Err(anyhow::anyhow!("connection refused")), random: &|| 7 };
        let error = render(chart, &values, &Release::first("shop", "ns"), &cluster(), &outside).unwrap_err();
        let chain: Vec<String> = anyhow::Error::from(error).chain().map(ToString::to_string).collect();
        assert_eq!(
            chain,
            ["shop/templates/secrets.yaml:9: could not look up Secret ns/shop-secrets", "connection refused"]
        );
    }
}
