//! The shape of `shop.toml`. Unknown keys are refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::gates::{Bake, Gate, Service};

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The version of this format: 1.
    pub schema: u32,
    /// The shop's name.
    pub name: Option<String>,
    /// The oldest shopctl that may read this file.
    pub min_version: Option<String>,
    /// What holds in every environment.
    #[serde(default)]
    pub defaults: Layer,
    /// What holds in one environment.
    #[serde(default)]
    pub env: BTreeMap<String, Layer>,
    /// What is said of a service, in every environment on a cluster.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,
    /// The figures that releases are held to.
    #[serde(default)]
    pub gates: BTreeMap<String, Gate>,
    /// How often they are asked.
    #[serde(default)]
    pub bake: Bake,
}

/// What may be set for all environments or for one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Where the shop lives.
    pub target: Option<Target>,
    /// The port of the public listener.
    pub port: Option<u16>,
    /// The folder of the shop's data.
    pub data_dir: Option<PathBuf>,
    /// The database engine.
    pub engine: Option<Engine>,
    /// The database's address, without a password.
    pub database_url: Option<String>,
    /// The table of rate limits.
    pub limits: Option<Limits>,
    /// Fault switches may be thrown.
    pub allow_faults: Option<bool>,
    /// A new shop starts with a demo catalogue.
    pub demo: Option<bool>,
    /// The kubeconfig, for a shop on Kubernetes.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    pub context: Option<String>,
    /// The namespace of the shop.
    pub namespace: Option<String>,
    /// The uid of the cluster's `kube-system` namespace.
    pub cluster_uid: Option<String>,
    /// Values files for the chart, the last one wins.
    pub values: Option<Vec<PathBuf>>,
    /// The image that is rolled out.
    pub image: Option<String>,
    /// The registry that an image is pushed to when none is named.
    pub registry: Option<String>,
    /// How one release follows another.
    pub strategy: Option<Strategy>,
    /// Changes need `--confirm` with the environment's name.
    pub protected: Option<bool>,
}

/// Where a shop can live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// In the process of `shopctl up`.
    Embedded,
    /// In a namespace of a Kubernetes cluster.
    Kubernetes,
}

/// How one release follows another on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// Pod by pod, in place.
    Rolling,
    /// A second set of pods beside the first; then the traffic moves, and can move back.
    BlueGreen,
}

/// What keeps the shop's data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Engine {
    /// In files of the data folder; nothing to install.
    Sqlite,
    /// In a PostgreSQL server.
    Postgres,
}

/// How often a caller may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    /// Generous everywhere but on sign-in.
    Local,
    /// None at all: for benchmarks.
    None,
}
