//! What is done once before the services of a shop start as processes of their own: tables, secrets, furnishing.

use std::collections::HashMap;
use std::sync::Arc;

use super::assemble::{self, Assembly, Ground};
use super::start::{self, Admin, Progress, Sandbox, StartError, UpOptions};
use crate::config::ShopConfig;
use crate::secrets::Secrets;
use crate::services::SERVICES;
use crate::storage::Db;
use crate::vocabulary::Env;

/// What a shop that is prepared may tell.
#[derive(Debug)]
pub struct Prepared {
    /// The admin, when this start made one or gave it a new password. Shown once, kept hashed.
    pub admin: Option<Admin>,
    /// The demo promotion codes and what they give.
    pub promotions: Vec<(String, String)>,
    secrets: Arc<Secrets>,
}

impl Prepared {
    /// The sandbox provider that answers at `url`, with the secrets of this shop.
    #[must_use]
    pub fn sandbox(&self, url: &str) -> Sandbox {
        Sandbox::at(url, &self.secrets)
    }
}

/// Brings the tables up to date, makes the secrets, and fills an empty shop. Nothing listens and nothing is left
/// running: afterwards [`super::serve`] starts the roles, in any process that finds the same data folder.
pub async fn prepare(
    config: ShopConfig,
    options: UpOptions,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Prepared, StartError> {
    let env = Env::system();
    start::make_data_folder(&config)?;
    let telemetry = start::begin_telemetry(&config, &env)?;
    let secrets = Arc::new(Secrets::load_or_generate(&config.data_dir.join("secrets.json"), &env)?);
    progress(Progress::Opening);
    let db = Db::open(&config.engine).await?;
    progress(Progress::Migrating);
    let ran = db.migrate(&assemble::migrations(), &env).await?;
    progress(Progress::Migrated { ran });

    progress(Progress::Seeding);
    let ground = Ground {
        env,
        config,
        secrets: Arc::clone(&secrets),
        db: db.clone(),
        telemetry,
        provider_url: "http://127.0.0.1:0".into(),
        control_url: "http://127.0.0.1:0".into(),
    };
    let mut assembly =
        Assembly::new(ground, SERVICES.to_vec(), &HashMap::new()).map_err(StartError::Mount)?;
    assembly.mount().await.map_err(StartError::Mount)?;
    let (admin, promotions) = start::furnish(&assembly.capabilities, options).await?;
    drop(assembly);
    db.close().await;
    Ok(Prepared { admin, promotions, secrets })
}
