//! Every key of a layer of `shop.toml`, once.

use std::path::PathBuf;

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A port number.
    Port,
    /// A folder; relative to the file that names it.
    Folder,
    /// A file; relative to the file that names it.
    File,
    /// A list of files.
    Files,
    /// Text.
    Text,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// true or false.
    Switch,
}

/// A key that may stand in `[defaults]` and `[env.NAME]`.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Its name in the file.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it means.
    pub about: &'static str,
    /// Its value when nobody says otherwise.
    pub built_in: Option<&'static str>,
}

impl Key {
    /// The environment variable that sets it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SHOPCTL_{}", self.name.to_uppercase())
    }
}

/// The list.
pub const KEYS: &[Key] = &[
    Key {
        name: "target",
        kind: Kind::OneOf(&["embedded", "kubernetes"]),
        about: "where the shop lives",
        built_in: Some("embedded"),
    },
    Key {
        name: "port",
        kind: Kind::Port,
        about: "port of the public listener; 0 takes a free one",
        built_in: Some("8080"),
    },
    Key {
        name: "data_dir",
        kind: Kind::Folder,
        about: "folder of the shop's data; .shopctl/<env> beside shop.toml when unset",
        built_in: None,
    },
    Key {
        name: "engine",
        kind: Kind::OneOf(&["sqlite", "postgres"]),
        about: "what keeps the shop's data",
        built_in: Some("sqlite"),
    },
    Key {
        name: "database_url",
        kind: Kind::Text,
        about: "address of the PostgreSQL database, without a password",
        built_in: None,
    },
    Key {
        name: "limits",
        kind: Kind::OneOf(&["local", "none"]),
        about: "the table of rate limits",
        built_in: Some("local"),
    },
    Key {
        name: "allow_faults",
        kind: Kind::Switch,
        about: "fault switches may be thrown; on by default in local only",
        built_in: None,
    },
    Key {
        name: "demo",
        kind: Kind::Switch,
        about: "a new shop starts with a demo catalogue and promotion codes",
        built_in: Some("true"),
    },
    Key {
        name: "kubeconfig",
        kind: Kind::File,
        about: "the kubeconfig; KUBECONFIG or ~/.kube/config when unset",
        built_in: None,
    },
    Key {
        name: "context",
        kind: Kind::Text,
        about: "the context of the kubeconfig; the current one is never used",
        built_in: None,
    },
    Key { name: "namespace", kind: Kind::Text, about: "the namespace of the shop", built_in: Some("shop") },
    Key {
        name: "cluster_uid",
        kind: Kind::Text,
        about: "the uid of the cluster's kube-system namespace; another cluster is refused",
        built_in: None,
    },
    Key {
        name: "values",
        kind: Kind::Files,
        about: "values files for the chart, the last one wins",
        built_in: None,
    },
    Key {
        name: "image",
        kind: Kind::Text,
        about: "the image that is rolled out; that of the chart when unset",
        built_in: None,
    },
    Key {
        name: "registry",
        kind: Kind::Text,
        about: "where `up` pushes the image that it builds when `image` is unset: REGISTRY/PATH",
        built_in: None,
    },
    Key {
        name: "strategy",
        kind: Kind::OneOf(&["rolling", "blue-green"]),
        about: "how one release follows another on a cluster",
        built_in: Some("rolling"),
    },
    Key {
        name: "protected",
        kind: Kind::Switch,
        about: "changes need --confirm with the environment's name",
        built_in: Some("false"),
    },
];

/// The key with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

/// What a key without a fixed value is built in to be, for environment `env` of the project in `root`.
#[must_use]
pub fn built_in(key: &Key, env: &str, root: &std::path::Path) -> Option<String> {
    match key.name {
        "data_dir" => Some(default_data_dir(root, env).display().to_string()),
        "allow_faults" => Some((env == "local").to_string()),
        _ => key.built_in.map(str::to_owned),
    }
}

/// The data folder when nobody names one: beside `shop.toml`, one per environment.
fn default_data_dir(root: &std::path::Path, env: &str) -> PathBuf {
    root.join(".shopctl").join(env)
}
