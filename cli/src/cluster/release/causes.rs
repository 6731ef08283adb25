//! What keeps something from being well, with the last lines of the logs that tell it.

use crate::cluster::api::Api;
use crate::cluster::connect::Cluster;
use crate::cluster::mirror::Mirror;
use crate::cluster::object::{Key, Object};
use crate::cluster::why::{Cause, ContainerLogs, ContainerName, Snapshot, why};

/// Lines of each log.
const LINES: u32 = 20;

/// What is wrong with `target`, as far as `mirror` and the logs tell. What cannot be asked is left out.
pub async fn of(cluster: &Cluster, mirror: &Mirror, target: &Key) -> Vec<Cause> {
    let mut objects = mirror.objects();
    objects.extend(more(&cluster.api, cluster.namespace()).await);
    let mut snapshot = Snapshot { objects, logs: std::collections::BTreeMap::new() };
    for cause in why(target, &snapshot) {
        if let Some(container) = cause.container {
            let logs = logs(&cluster.api, &container).await;
            snapshot.logs.insert(container, logs);
        }
    }
    why(target, &snapshot)
}

/// What the mirror does not follow.
async fn more(api: &Api, namespace: &str) -> Vec<Object> {
    let mut all = api.list(("v1", "Node"), "", "").await.unwrap_or_default();
    all.extend(api.list(("v1", "PersistentVolumeClaim"), namespace, "").await.unwrap_or_default());
    all
}

async fn logs(api: &Api, container: &ContainerName) -> ContainerLogs {
    let read = async |is_previous| {
        let ContainerName { namespace, pod, container } = container;
        let text = api.logs(namespace, pod, container, is_previous, LINES).await.unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    ContainerLogs { current: read(false).await, previous: read(true).await }
}
