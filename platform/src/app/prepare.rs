//! What is done once before the services of a shop start as processes of their own: tables, secrets, furnishing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::assemble::{self, Assembly, Ground};
use super::start::{self, Admin, Progress, Sandbox, StartError};
use crate::config::ShopConfig;
use crate::secrets::{SECRETS_FILE, Secrets};
use crate::services::SERVICES;
use crate::vocabulary::Env;

/// What [`prepare`] does beyond the configuration.
#[derive(Clone, Debug, Default)]
pub struct PrepareOptions {
    /// Give the admin a new password.
    pub reset_admin: bool,
    /// The password of an admin that is made or reset; a generated one by default.
    pub admin_password: Option<String>,
    /// The secrets; in the data folder by default.
    pub secrets_file: Option<PathBuf>,
    /// How long to wait for a database that does not answer.
    pub patience: Duration,
    /// Versions replace each other while they run: tables that a newer one added to are good enough.
    pub side_by_side: bool,
}

/// What a shop that is prepared may tell.
#[derive(Debug)]
pub struct Prepared {
    /// The admin, when this start made one or gave it a new password. Shown once, kept hashed.
    pub admin: Option<Admin>,
    /// The demo promotion codes and what they give.
    pub promotions: Vec<(String, String)>,
    /// How many migrations ran.
    pub ran: usize,
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
    options: PrepareOptions,
    progress: impl Fn(Progress) + Send + Sync,
) -> Result<Prepared, StartError> {
    let env = Env::system();
    start::make_data_folder(&config)?;
    let telemetry = start::begin_telemetry(&config, &env)?;
    let secrets_file = options.secrets_file.unwrap_or_else(|| config.data_dir.join(SECRETS_FILE));
    let secrets = Arc::new(Secrets::load_or_generate(&secrets_file, &env)?);
    progress(Progress::Opening);
    let db = start::open(&config, options.patience).await?;
    progress(Progress::Migrating);
    let migrations = assemble::migrations();
    let is_done = options.side_by_side && db.missing(&migrations).await? == 0;
    let ran = if is_done { 0 } else { db.migrate(&migrations, &env).await? };
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
    let (admin, promotions) =
        start::furnish(&assembly.capabilities, options.reset_admin, options.admin_password).await?;
    drop(assembly);
    db.close().await;
    Ok(Prepared { admin, promotions, ran, secrets })
}
