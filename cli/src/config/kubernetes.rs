//! The values that hold for a shop on Kubernetes.

use std::path::PathBuf;

use super::settings::switch;
use super::{Config, Gates, Strategy, Target};
use crate::failure::{Exit, Failure};

/// Where a shop on Kubernetes lives, and what it is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct KubernetesSettings {
    /// The environment's name.
    pub environment: String,
    /// The kubeconfig, absolute; absent when `KUBECONFIG` or the usual place say.
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig.
    pub context: String,
    /// The namespace of the shop.
    pub namespace: String,
    /// The uid of the cluster that is meant.
    pub cluster_uid: Option<String>,
    /// Values files for the chart, absolute, the last one wins.
    pub values: Vec<PathBuf>,
    /// The image that is rolled out.
    pub image: Option<String>,
    /// The registry that an image is pushed to when none is named: `ghcr.io/acme`.
    pub registry: Option<String>,
    /// How one release follows another.
    pub strategy: Strategy,
    /// Changes need the environment's name to be typed.
    pub protected: bool,
    /// The figures that releases are held to.
    pub gates: Gates,
}

impl Config {
    /// Where the environment's shop lives.
    #[must_use]
    pub fn target(&self) -> Target {
        self.pick(|layer| layer.target).unwrap_or(Target::Embedded)
    }

    /// The values that hold for a shop on Kubernetes.
    ///
    /// # Errors
    /// When the environment's shop lives elsewhere, or no context is named.
    pub fn kubernetes(
        &self,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<KubernetesSettings, Failure> {
        let environment = self.environment().to_owned();
        if self.target() != Target::Kubernetes {
            let message = format!("the environment `{environment}` is not on Kubernetes");
            return Err(Failure::new(Exit::Usage, "E-NOT-KUBERNETES", message).hint(format!(
                "name another with -e, or say `target = \"kubernetes\"` in [env.{environment}] of shop.toml"
            )));
        }
        let said = |name: &str| variable(name).filter(|value| !value.is_empty());
        let Some(context) = said("SHOPCTL_CONTEXT").or_else(|| self.pick(|layer| layer.context.clone()))
        else {
            let message = format!("the environment `{environment}` names no context");
            return Err(Failure::new(Exit::Config, "E-KUBE-CONTEXT", message).hint(format!(
                "put `context = \"…\"` into [env.{environment}]: the one that kubectl is set to is never used"
            )));
        };
        let root = self.root().to_owned();
        let kubeconfig = said("SHOPCTL_KUBECONFIG").map(PathBuf::from);
        let values = self.pick(|layer| layer.values.clone()).unwrap_or_default();
        Ok(KubernetesSettings {
            kubeconfig: kubeconfig
                .or_else(|| self.pick(|layer| layer.kubeconfig.clone()).map(|path| root.join(path))),
            context,
            namespace: said("SHOPCTL_NAMESPACE")
                .or_else(|| self.pick(|layer| layer.namespace.clone()))
                .unwrap_or_else(|| "shop".to_owned()),
            cluster_uid: said("SHOPCTL_CLUSTER_UID").or_else(|| self.pick(|layer| layer.cluster_uid.clone())),
            values: values.into_iter().map(|path| root.join(path)).collect(),
            image: said("SHOPCTL_IMAGE").or_else(|| self.pick(|layer| layer.image.clone())),
            registry: said("SHOPCTL_REGISTRY").or_else(|| self.pick(|layer| layer.registry.clone())),
            strategy: self.pick(|layer| layer.strategy).unwrap_or(Strategy::Rolling),
            protected: switch("SHOPCTL_PROTECTED", &variable)?
                .or_else(|| self.pick(|layer| layer.protected))
                .unwrap_or(false),
            gates: self.gates()?,
            environment,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::load::dev as config;
    use super::*;

    #[test]
    fn a_context_must_be_named() {
        let (_folder, config) = config("schema = 1\n[env.dev]\ntarget = \"kubernetes\"\n");
        assert_eq!(config.kubernetes(|_| None).unwrap_err().exit(), Exit::Config);
        let said = |name: &str| (name == "SHOPCTL_CONTEXT").then(|| "kind".to_owned());
        let settings = config.kubernetes(said).unwrap();
        assert_eq!((settings.context.as_str(), settings.namespace.as_str()), ("kind", "shop"));
        assert_eq!((settings.strategy, settings.protected), (Strategy::Rolling, false));
    }

    #[test]
    fn files_are_meant_from_where_shop_toml_stands() {
        let (folder, config) = config(
            "schema = 1\n[defaults]\nstrategy = \"blue-green\"\n[env.dev]\ntarget = \"kubernetes\"\ncontext = \"c\"\nkubeconfig = \"k\"\nvalues = [\"v.yaml\"]\n",
        );
        let settings = config.kubernetes(|_| None).unwrap();
        assert_eq!(settings.kubeconfig, Some(folder.path().join("k")));
        assert_eq!(settings.values, [folder.path().join("v.yaml")]);
        assert!(settings.values[0].is_absolute());
        assert_eq!(settings.strategy, Strategy::BlueGreen);
    }

    #[test]
    fn a_shop_of_this_machine_is_not_on_kubernetes() {
        let (_folder, config) = config("schema = 1\n[env.dev]\n");
        assert_eq!(config.kubernetes(|_| None).unwrap_err().exit(), Exit::Usage);
    }
}
