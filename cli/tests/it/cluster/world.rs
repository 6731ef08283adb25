//! A namespace of its own on the cluster that `SHOPCTL_TEST_CONTEXT` names.
//!
//! | variable | |
//! |---|---|
//! | `SHOPCTL_TEST_CONTEXT` | the context; without it these tests are skipped, and say so |
//! | `SHOPCTL_TEST_KUBECONFIG` | the kubeconfig, when it is not the usual one |
//! | `SHOPCTL_TEST_IMAGES` | two tags of the shop's image that the nodes have or can pull, with a comma between them |
//! | `SHOPCTL_TEST_VALUES` | a values file for that cluster: where PostgreSQL's image is |

use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::shopctl::Project;

/// A shop's namespace. It goes when this is dropped.
pub(super) struct World {
    pub(super) project: Project,
    pub(super) images: [String; 2],
    kubeconfig: Option<String>,
    context: String,
    namespace: String,
}

impl World {
    /// A namespace called `name`; none where no cluster is named.
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    pub(super) fn on_a_cluster(name: &str) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some(context) = variable("SHOPCTL_TEST_CONTEXT") else {
            eprintln!("skipped: SHOPCTL_TEST_CONTEXT names no cluster (see docs/guides/deploy.md)");
            return None;
        };
        let images = variable("SHOPCTL_TEST_IMAGES").expect("SHOPCTL_TEST_IMAGES");
        let (first, second) = images.split_once(',').expect("two images");
        let kubeconfig = variable("SHOPCTL_TEST_KUBECONFIG");
        let namespace = format!("shop-{name}-{}", std::process::id());
        let values = variable("SHOPCTL_TEST_VALUES");
        let mut config = format!(
            "schema = 1\n[env.lab]\ntarget = \"kubernetes\"\ncontext = \"{context}\"\nnamespace = \"{namespace}\"\n"
        );
        if let Some(kubeconfig) = &kubeconfig {
            config.push_str(&format!("kubeconfig = \"{kubeconfig}\"\n"));
        }
        if let Some(values) = &values {
            assert!(Path::new(values).is_absolute(), "SHOPCTL_TEST_VALUES is meant from any folder");
            config.push_str(&format!("values = [\"{values}\"]\n"));
        }
        let project = Project::with_config(&config);
        let images = [first.to_owned(), second.to_owned()];
        Some(Self { project, images, kubeconfig, context, namespace })
    }

    /// `shopctl LINE -e lab`, to its end.
    pub(super) fn run(&self, line: &str) -> Output {
        self.spawn(line).wait_with_output().expect("shopctl runs")
    }

    /// The same, begun.
    pub(super) fn spawn(&self, line: &str) -> Child {
        let words: Vec<&str> = line.split(' ').chain(["-e", "lab"]).collect();
        let mut command = self.project.command(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("shopctl starts")
    }

    /// Runs it, and holds it to its exit code. Answers the document that it prints.
    pub(super) fn expect(&self, code: i32, line: &str) -> Value {
        let output = self.run(&format!("{line} -o json"));
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{line}\n{out}\n{err}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error} in {out}"))
    }

    /// What kubectl answers, as JSON.
    pub(super) fn kubectl(&self, line: &str) -> Value {
        let mut command = Command::new("kubectl");
        if let Some(kubeconfig) = &self.kubeconfig {
            command.args(["--kubeconfig", kubeconfig]);
        }
        command.args(["--context", &self.context, "--namespace", &self.namespace]);
        let output = command.args(line.split(' ')).output().expect("kubectl is on the PATH");
        assert!(output.status.success(), "kubectl {line}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// What the shop answers to a request that comes by way of the cluster's API: a `POST` when there is a body.
    pub(super) fn ask_shop(&self, path: &str, body: Option<&str>) -> Value {
        let raw = format!("/api/v1/namespaces/{}/services/gateway:http/proxy{path}", self.namespace);
        match body {
            None => self.kubectl(&format!("get --raw {raw}")),
            Some(body) => {
                self.project.write("body.json", body);
                let file = self.project.path().join("body.json");
                self.kubectl(&format!("create --raw {raw} -f {}", file.display()))
            }
        }
    }

    /// The names of the objects of a kind.
    pub(super) fn names(&self, kind: &str) -> Vec<String> {
        let found = self.kubectl(&format!("get {kind} -o json"));
        let items = found["items"].as_array().into_iter().flatten();
        items.filter_map(|item| item["metadata"]["name"].as_str().map(str::to_owned)).collect()
    }

    /// The slot that the Service of `service` selects alone; none when it selects both.
    pub(super) fn selected(&self, service: &str) -> Option<String> {
        let service = self.kubectl(&format!("get service {service} -o json"));
        service["spec"]["selector"]["shopctl.dev/slot"].as_str().map(str::to_owned)
    }

    /// How many endpoints of `service` are given requests.
    pub(super) fn served(&self, service: &str) -> usize {
        let slices =
            self.kubectl(&format!("get endpointslices -l kubernetes.io/service-name={service} -o json"));
        let endpoints = slices["items"]
            .as_array()
            .into_iter()
            .flatten()
            .flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
        endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false).count()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.kubectl(&format!("delete namespace {} --wait=false", self.namespace));
        }
    }
}
