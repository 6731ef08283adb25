//! A chart: its facts, its defaults, its schema and its templates, read whole and checked before anything is rendered.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rust_embed::Embed;
use semver::VersionReq;

use super::schema::Schema;
use super::template::{TemplateError, Templates};
use super::value::Value;
use super::values::Overrides;
use super::yaml::{self, Document};

/// The files of the product's own chart.
#[derive(Embed)]
#[folder = "../charts/shop"]
struct Files;

/// A chart.
#[derive(Debug)]
pub struct Chart {
    facts: Facts,
    defaults: Document,
    schema: Option<Schema>,
    /// Values files at its top, by name.
    values_files: BTreeMap<String, String>,
    templates: Templates,
    /// The templates that are rendered, by name, in the order in which helm renders them.
    rendered: Vec<String>,
}

/// What `Chart.yaml` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The chart's name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The version of what it runs.
    pub app_version: String,
    /// What it is for.
    pub description: String,
    /// The versions of Kubernetes that it is for; none means all.
    pub kube_version: Option<VersionReq>,
}

/// Why a folder is no chart that can be rendered here.
#[derive(Debug, thiserror::Error)]
pub enum ChartError {
    /// A file cannot be read.
    #[error("could not read {}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what it is to be.
    #[error("{file}{}: {message}", line.map(|line| format!(":{line}")).unwrap_or_default())]
    Invalid {
        /// Which, as the chart has it.
        file: String,
        /// The line, where one is to blame. Counted from 1.
        line: Option<usize>,
        /// What is wrong with it.
        message: String,
    },
    /// A template is none, or uses what is not known here.
    #[error(transparent)]
    Template(#[from] TemplateError),
}

const CHART_FILE: &str = "Chart.yaml";
const DEFAULTS_FILE: &str = "values.yaml";
const SCHEMA_FILE: &str = "values.schema.json";
const TEMPLATES: &str = "templates/";

impl Chart {
    /// The product's own chart, which is in this program.
    #[must_use]
    pub fn embedded() -> &'static Self {
        static CHART: LazyLock<Chart> = LazyLock::new(|| {
            let text = |name: &str| {
                let file = Files::get(name).expect("a file that is listed");
                String::from_utf8(file.data.into_owned()).expect("the chart's files are text")
            };
            let files = Files::iter().map(|name| (name.to_string(), text(&name))).collect();
            Chart::new(files).expect("a test reads the chart that is in this program")
        });
        &CHART
    }

    /// The chart in `folder`.
    ///
    /// # Errors
    /// When a file cannot be read, or is not what a chart has there.
    pub fn read(folder: &Path) -> Result<Self, ChartError> {
        let mut files = BTreeMap::new();
        files.insert(CHART_FILE.to_owned(), text(&folder.join(CHART_FILE))?);
        for name in [DEFAULTS_FILE, SCHEMA_FILE] {
            let path = folder.join(name);
            if path.exists() {
                files.insert(name.to_owned(), text(&path)?);
            }
        }
        let is_values = |name: &str| name.starts_with("values-") && name.ends_with(".yaml");
        for path in listed(folder)?.into_iter().filter(|path| is_values(&name_of(path))) {
            files.insert(name_of(&path), text(&path)?);
        }
        read_templates(&folder.join(TEMPLATES), TEMPLATES, &mut files)?;
        Self::new(files)
    }

    /// A chart of these files, each by its path in the chart.
    fn new(mut files: BTreeMap<String, String>) -> Result<Self, ChartError> {
        let facts = Facts::read(&files.remove(CHART_FILE).unwrap_or_default())?;
        let defaults = files.remove(DEFAULTS_FILE).unwrap_or_default();
        let defaults = document(DEFAULTS_FILE, &defaults)?;
        let schema =
            files.remove(SCHEMA_FILE).map(|text| Schema::new(&text).map_err(|why| invalid(SCHEMA_FILE, why)));
        let schema = schema.transpose()?;
        let (templates, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|(name, _)| name.starts_with(TEMPLATES));
        let mut chart = Self {
            defaults,
            schema,
            values_files: others.into_iter().filter(|(name, _)| name.ends_with(".yaml")).collect(),
            templates: Templates::default(),
            rendered: Vec::new(),
            facts,
        };
        chart.add_templates(templates)?;
        Ok(chart)
    }

    /// Deep ones first, and from the end of the alphabet: helm's order, in which a later definition takes the place of an
    /// earlier one.
    fn add_templates(&mut self, mut templates: Vec<(String, String)>) -> Result<(), ChartError> {
        templates.sort_by_key(|(path, _)| (path.matches('/').count(), path.clone()));
        for (path, text) in templates.iter().rev() {
            let name = format!("{}/{path}", self.facts.name);
            self.templates.add(&name, text)?;
            if !name_of(Path::new(path)).starts_with('_') {
                self.rendered.push(name);
            }
        }
        Ok(())
    }

    /// What `Chart.yaml` says.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Values for it: its defaults, and what is given over them.
    #[must_use]
    pub fn values(&self) -> Overrides<'_> {
        Overrides::new(self)
    }

    /// The names of the values files that it brings.
    pub fn values_files(&self) -> impl Iterator<Item = &str> {
        self.values_files.keys().map(String::as_str)
    }

    pub(super) fn values_file(&self, name: &str) -> Option<&str> {
        self.values_files.get(name).map(String::as_str)
    }

    pub(super) fn defaults(&self) -> &Document {
        &self.defaults
    }

    pub(super) fn schema(&self) -> Option<&Schema> {
        self.schema.as_ref()
    }

    pub(super) fn templates(&self) -> &Templates {
        &self.templates
    }

    pub(super) fn rendered(&self) -> &[String] {
        &self.rendered
    }
}

impl Facts {
    fn read(text: &str) -> Result<Self, ChartError> {
        let document = document(CHART_FILE, text)?;
        let fact = |name: &str| match document.value.member(name) {
            Value::Text(text) => text.to_string(),
            _ => String::new(),
        };
        let required = |name: &str| match fact(name) {
            empty if empty.is_empty() => Err(invalid(CHART_FILE, format!("`{name}` is missing, or no text"))),
            text => Ok(text),
        };
        let kube_version = match fact("kubeVersion") {
            any if any.is_empty() => None,
            text => Some(
                VersionReq::parse(&text)
                    .map_err(|why| invalid(CHART_FILE, format!("`kubeVersion`: {why}")))?,
            ),
        };
        Ok(Self {
            name: required("name")?,
            version: required("version")?,
            app_version: fact("appVersion"),
            description: fact("description"),
            kube_version,
        })
    }
}

/// A YAML file of the chart that holds a map.
fn document(file: &str, text: &str) -> Result<Document, ChartError> {
    let mut document = yaml::settings(text).map_err(|error| ChartError::Invalid {
        file: file.to_owned(),
        line: Some(error.place.line),
        message: error.to_string(),
    })?;
    document.value = match document.value {
        Value::Nothing => Value::map([]),
        map @ Value::Map(_) => map,
        other => return Err(invalid(file, format!("it is to hold a map, not {}", other.kind()))),
    };
    Ok(document)
}

/// The templates in `folder` and below, as the chart calls them. What an editor left behind is none.
fn read_templates(
    folder: &Path,
    within: &str,
    files: &mut BTreeMap<String, String>,
) -> Result<(), ChartError> {
    for path in listed(folder)? {
        let name = format!("{within}{}", name_of(&path));
        if path.is_dir() {
            read_templates(&path, &format!("{name}/"), files)?;
        } else if [".yaml", ".yml", ".tpl", ".txt"].iter().any(|ending| name.ends_with(ending)) {
            files.insert(name, text(&path)?);
        }
    }
    Ok(())
}

fn listed(folder: &Path) -> Result<Vec<PathBuf>, ChartError> {
    let read = || folder.read_dir()?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    read().map_err(|source| ChartError::Read { path: folder.to_owned(), source })
}

fn text(path: &Path) -> Result<String, ChartError> {
    std::fs::read_to_string(path).map_err(|source| ChartError::Read { path: path.to_owned(), source })
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn invalid(file: &str, message: String) -> ChartError {
    ChartError::Invalid { file: file.to_owned(), line: None, message }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(files: &[(&str, &str)]) -> Result<Chart, ChartError> {
        Chart::new(files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn the_chart_in_the_program_is_the_one_in_the_tree() {
        let inside = Chart::embedded();
        let outside = Chart::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/shop")).unwrap();
        assert_eq!(inside.facts, outside.facts);
        assert_eq!(inside.rendered, outside.rendered);
        assert_eq!(inside.defaults.value, outside.defaults.value);
        assert_eq!(inside.values_files, outside.values_files);
        assert_eq!(inside.facts.name, "shop");
        assert!(inside.values_files().any(|name| name == "values-prod.yaml"));
    }

    #[test]
    fn what_is_no_chart_is_told_with_its_file() {
        let facts = "name: x\nversion: 1.0.0\n";
        let error = |files: &[(&str, &str)]| chart(files).unwrap_err().to_string();
        assert_eq!(error(&[]), "Chart.yaml: `name` is missing, or no text");
        assert_eq!(
            error(&[("Chart.yaml", "name: x\nname: y\n")]),
            "Chart.yaml:2: `name` is in line 1 already"
        );
        let values = [("Chart.yaml", facts), ("values.yaml", "[1]")];
        assert_eq!(error(&values), "values.yaml: it is to hold a map, not a list");
        let templates = [("Chart.yaml", facts), ("templates/a.yaml", "\n{{ nope }}")];
        assert!(error(&templates).starts_with("x/templates/a.yaml:2: there is no function `nope`"));
        let schema = [("Chart.yaml", facts), ("values.schema.json", "{")];
        assert!(error(&schema).starts_with("values.schema.json: EOF"));
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(Chart::read(folder.path()), Err(ChartError::Read { .. })));
    }

    #[test]
    fn deep_templates_come_first_and_helpers_are_not_rendered() {
        let names = ["templates/_a.tpl", "templates/b.yaml", "templates/t/c.yaml", "templates/d.yaml"];
        let mut files = vec![("Chart.yaml", "name: x\nversion: 1.0.0\n")];
        files.extend(names.map(|name| (name, "")));
        let wanted = ["x/templates/t/c.yaml", "x/templates/d.yaml", "x/templates/b.yaml"];
        assert_eq!(chart(&files).unwrap().rendered, wanted);
    }
}
