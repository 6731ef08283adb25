//! The database of a shop in pieces that does not run, opened for somebody who only looks: the node that may write is
//! started by itself and refuses writes, and ends with the look.
//!
//! Like every start it finishes what a crash left behind and writes a checkpoint. Nothing is promoted, and no role
//! changes: one whose promotion was cut off is read as the standby that it still is.

use std::io;
use std::path::Path;

use platform::app::installed_postgres::{Installed, USER};

use super::node::{DATABASE, Node, Server};
use super::roles::RolesFile;
use super::standby::{is_marked, settings};
use super::{FOLDER, broken, missing, nodes};
use crate::failure::{Exit, Failure};

/// A database that is only looked at. Dropped without [`AtRest::end`] it ends too, a moment later.
#[derive(Debug)]
pub struct AtRest {
    node: Node,
    server: Server,
    url: String,
}

impl AtRest {
    /// Starts the one under `data_dir`. The caller holds the folder, so nobody else does.
    ///
    /// # Errors
    /// When there is none, or it does not start.
    pub async fn begin(data_dir: &Path) -> anyhow::Result<Self> {
        let installed = Installed::find().map_err(missing)?;
        let folder = data_dir.join(FOLDER);
        let started = async {
            let [a, b] = nodes(&installed, &folder);
            let writer = RolesFile::in_folder(&folder).read()?.writer.word();
            let (node, other) = if a.name == writer { (a, b) } else { (b, a) };
            if !node.exists() {
                return Ok(None);
            }
            other.end_leftovers().await?;
            let mut refusing =
                vec![("default_transaction_read_only", "on".to_owned()), ("autovacuum", "off".to_owned())];
            if is_marked(&node) {
                refusing.extend(settings(&other, &node));
            }
            let server = node.start(&refusing).await?;
            let url = format!("postgresql://{USER}@{}/{DATABASE}?target_session_attrs=any", node.host());
            io::Result::Ok(Some(Self { node, server, url }))
        };
        let started = started.await.map_err(|error| broken(data_dir, error))?;
        started.ok_or_else(|| {
            Failure::new(Exit::Preflight, "E-NO-DATA", "the shop's own PostgreSQL has no data here")
                .object(folder.display())
                .hint("start a shop with `shopctl up --processes`, or name its folder with --data-dir")
                .into()
        })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops it in order.
    ///
    /// # Errors
    /// When it does not end.
    pub async fn end(self) -> io::Result<()> {
        self.server.stop(&self.node).await
    }
}
