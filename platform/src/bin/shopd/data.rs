//! Where the data are and how they are reached: what every verb that touches them is told.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use platform::config::{Quotas, ShopConfig};
use platform::http::address::escaped;
use platform::storage::EngineConfig;

/// bcrypt's cost where real people have accounts.
const BCRYPT_COST: u32 = 12;

#[derive(Args)]
pub(crate) struct Data {
    /// Where the data, the secrets and the logs live
    #[arg(long, value_name = "DIR", default_value = ".shopctl", env = "SHOPCTL_DATA_DIR")]
    data_dir: PathBuf,
    /// The shop's secrets, shared by all its processes [default: secrets.json in the data folder]
    #[arg(long, value_name = "FILE", env = "SHOPCTL_SECRETS_FILE")]
    pub(crate) secrets_file: Option<PathBuf>,
    /// The storage engine; the address of postgres comes from SHOPCTL_DATABASE_URL or SHOPCTL_DATABASE_URL_FILE, and
    /// its password, when that holds none, from SHOPCTL_DATABASE_PASSWORD_FILE
    #[arg(long, default_value = "sqlite", value_parser = ["sqlite", "postgres"], env = "SHOPCTL_ENGINE")]
    engine: String,
    /// How many connections to postgres this process may hold
    #[arg(long, value_name = "COUNT", default_value = "16", value_parser = clap::value_parser!(u16).range(2..), env = "SHOPD_CONNECTIONS")]
    connections: u16,
    /// How long to wait for a database that does not answer, and for tables that another process brings up to date
    #[arg(long, value_name = "SECONDS", default_value = "0", env = "SHOPD_WAIT_SECONDS")]
    wait_seconds: u64,
    /// What the environment is called. Outside `local`, passwords are hashed at full cost, the rate limits are those of a
    /// public shop, and faults need --allow-faults
    #[arg(long, value_name = "NAME", default_value = "local", env = "SHOPD_ENVIRONMENT")]
    environment: String,
    /// Allow the fault switches; always allowed in `local`
    #[arg(long, env = "SHOPD_ALLOW_FAULTS", value_parser = clap::builder::FalseyValueParser::new())]
    allow_faults: bool,
    /// The least severe lines that are logged
    #[arg(long, default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"], env = "SHOPD_LOG_LEVEL")]
    log_level: String,
    /// What this process is called in the log, where several share one: order-2
    #[arg(long, value_name = "NAME", env = "SHOPD_PROCESS")]
    process: Option<String>,
}

impl Data {
    pub(crate) fn patience(&self) -> Duration {
        Duration::from_secs(self.wait_seconds)
    }

    pub(crate) fn config(&self) -> Result<ShopConfig, String> {
        let mut config = ShopConfig::local(self.data_dir.clone());
        config.telemetry.log_file = None;
        config.telemetry.process.clone_from(&self.process);
        config.telemetry.log_level =
            self.log_level.parse().map_err(|_| format!("`{}` is not a log level", self.log_level))?;
        if self.engine == "postgres" {
            config.engine = EngineConfig::Postgres {
                url: database_url()?,
                connections_max: usize::from(self.connections),
            };
        }
        if self.environment != "local" {
            config.environment.clone_from(&self.environment);
            config.faults_allowed = self.allow_faults;
            config.user.bcrypt_cost = BCRYPT_COST;
            config.gateway.quotas = Quotas::standard();
        }
        Ok(config)
    }
}

/// A secret comes from a file or the environment, never from a flag that `ps` shows.
fn database_url() -> Result<String, String> {
    let url = match secret_file("SHOPCTL_DATABASE_URL_FILE")? {
        Some(url) => url,
        None => std::env::var("SHOPCTL_DATABASE_URL").map_err(|_| {
            "set SHOPCTL_DATABASE_URL or SHOPCTL_DATABASE_URL_FILE for --engine postgres".to_owned()
        })?,
    };
    match secret_file("SHOPCTL_DATABASE_PASSWORD_FILE")? {
        Some(password) => with_password(&url, &password),
        None => Ok(url),
    }
}

/// What is in the file that the environment names under `variable`, if it names one.
pub(crate) fn secret_file(variable: &str) -> Result<Option<String>, String> {
    let Ok(file) = std::env::var(variable) else { return Ok(None) };
    let text = std::fs::read_to_string(&file).map_err(|error| format!("cannot read `{file}`: {error}"))?;
    Ok(Some(text.trim().to_owned()))
}

/// `url` with `password` behind the user that it names. The message repeats neither.
fn with_password(url: &str, password: &str) -> Result<String, String> {
    let invalid = |why: &str| Err(format!("SHOPCTL_DATABASE_URL and a password file: {why}"));
    let Some((scheme, rest)) = url.split_once("://") else { return invalid("the URL has no scheme") };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return invalid("the URL names no user") };
    let user = &rest[..at];
    if user.contains(':') {
        return invalid("the URL holds a password already");
    }
    Ok(format!("{scheme}://{user}:{}{}", escaped(password), &rest[at..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_its_own_goes_into_the_url_whatever_is_in_it() {
        let url = "postgresql://shop@db:5432/shop?sslmode=verify-full";
        assert_eq!(
            with_password(url, "p@ss/w:rd?").unwrap(),
            "postgresql://shop:p%40ss%2Fw%3Ard%3F@db:5432/shop?sslmode=verify-full"
        );
        for (wrong, why) in [
            ("postgresql://db/shop", "names no user"),
            ("postgresql://shop:old@db/shop", "already"),
            ("host=db user=shop", "no scheme"),
        ] {
            let message = with_password(wrong, "secret").unwrap_err();
            assert!(message.contains(why) && !message.contains("secret"), "{message}");
        }
    }
}
