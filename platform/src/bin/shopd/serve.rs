//! `shopd serve`: roles until told to stop.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use platform::app::{self, Role, RunningMetrics, RunningShop, ServeOptions, Tables};
use platform::config::{ShopConfig, SmtpConfig};
use platform::http::Addresses;
use platform::services::SERVICES;

use crate::data::{Data, secret_file};
use crate::metrics::{self, Metrics};
use crate::{Failed, failed, say, usage};

/// How long a process trusts its memory of what its twins may have changed.
const SHARED_CACHE_LIFE: Duration = Duration::from_millis(500);

#[derive(Args)]
pub(crate) struct Serve {
    /// gateway, user, product, order, payment, notification, fakepay, or all (which leaves fakepay out); or metrics, which
    /// runs by itself and answers Kubernetes' external metrics API
    #[arg(required = true, value_name = "ROLE", value_parser = parse_part)]
    parts: Vec<Part>,
    /// Where to listen; with several roles each listens on this host at its own port [default: 127.0.0.1 at the role's port]
    #[arg(long, value_name = "ADDR", env = "SHOPD_LISTEN")]
    listen: Option<SocketAddr>,
    /// A listener of its own for the gateway's metrics, which are then no longer on the public one
    #[arg(long, value_name = "ADDR", env = "SHOPD_METRICS_LISTEN")]
    metrics_listen: Option<SocketAddr>,
    /// Where a service that is not among the roles answers, as NAME=URL[,URL…]; may be repeated
    #[arg(long, value_name = "NAME=URL", value_parser = parse_peer)]
    peer: Vec<(String, String)>,
    /// The payment provider's API (a sandbox's, or the real one's)
    #[arg(long, value_name = "URL", env = "SHOPD_PROVIDER_URL")]
    provider_url: Option<String>,
    /// Where fakepay sends its webhooks
    #[arg(long, value_name = "URL", env = "SHOPD_WEBHOOK_URL")]
    webhook_url: Option<String>,
    /// Switch the gateway's rate limits off
    #[arg(long, value_name = "WHICH", value_parser = ["default", "none"], default_value = "default", env = "SHOPD_LIMITS")]
    limits: String,
    /// What to do about the tables at the start: bring them up to date, or wait until another process has
    #[arg(long, value_enum, default_value_t = Migrate::Auto, env = "SHOPD_MIGRATE")]
    migrate: Migrate,
    /// Other processes have the same roles: remember nothing for longer than they may take to change it
    #[arg(long, env = "SHOPD_TWINS", value_parser = clap::builder::FalseyValueParser::new())]
    twins: bool,
    #[command(flatten)]
    face: Face,
    #[command(flatten)]
    mail: Mail,
    /// Where traces go (OTLP over HTTP), for example http://collector:4318
    #[arg(long, value_name = "URL", env = "SHOPD_OTLP_URL")]
    otlp_url: Option<String>,
    #[command(flatten)]
    data: Data,
    // Last: its heading is that of all that follows.
    #[command(flatten)]
    metrics: Metrics,
}

/// How the public finds the shop.
#[derive(Args)]
struct Face {
    /// Where customers find the shop, for links in mails [default: the listener]
    #[arg(long, value_name = "URL", env = "SHOPD_SHOP_URL")]
    shop_url: Option<String>,
    /// How many proxies of ours stand in front of the gateway; it believes what they say about the caller's address
    #[arg(long, value_name = "COUNT", default_value = "0", env = "SHOPD_PROXIES")]
    proxies: usize,
    /// Those proxies speak TLS with the public: browsers are told to insist on it
    #[arg(long, env = "SHOPD_PUBLIC_TLS", value_parser = clap::builder::FalseyValueParser::new())]
    public_tls: bool,
}

/// How mails leave.
#[derive(Args)]
struct Mail {
    /// The mail server; without one, mails are written to the data folder
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_server, env = "SHOPD_SMTP")]
    smtp: Option<(String, u16)>,
    /// How the mail server is spoken to
    #[arg(long, default_value = "starttls", value_parser = ["starttls", "none"], env = "SHOPD_SMTP_TLS")]
    smtp_tls: String,
    /// Who signs in at the mail server, with the password in the file that SHOPD_SMTP_PASSWORD_FILE names
    #[arg(long, value_name = "NAME", env = "SHOPD_SMTP_USER")]
    smtp_user: Option<String>,
    /// Whom mails come from, `Shop <shop@localhost>` unless told
    #[arg(long, value_name = "MAILBOX", env = "SHOPD_SENDER")]
    sender: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Migrate {
    Auto,
    Never,
}

/// What a process can be told to be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Shop(Role),
    Metrics,
}

impl Part {
    fn role(self) -> Option<Role> {
        match self {
            Self::Shop(role) => Some(role),
            Self::Metrics => None,
        }
    }
}

fn parse_part(text: &str) -> Result<Part, String> {
    match text {
        "metrics" => Ok(Part::Metrics),
        role => role.parse().map(Part::Shop).map_err(|why: String| format!("{why}, metrics")),
    }
}

fn parse_peer(text: &str) -> Result<(String, String), String> {
    let (name, url) =
        text.split_once('=').ok_or("write NAME=URL, for example product=http://127.0.0.1:8082")?;
    let known = SERVICES.iter().any(|service| service.manifest.name == name);
    let names = || SERVICES.iter().map(|service| service.manifest.name).collect::<Vec<_>>().join(", ");
    if known {
        Ok((name.to_owned(), url.to_owned()))
    } else {
        Err(format!("there is no service `{name}`; there are {}", names()))
    }
}

fn parse_server(text: &str) -> Result<(String, u16), String> {
    text.rsplit_once(':')
        .and_then(|(host, port)| Some((host.to_owned(), port.parse().ok()?)))
        .ok_or_else(|| "write HOST:PORT, for example mail.example.com:587".to_owned())
}

impl Mail {
    fn server(&self) -> Result<Option<SmtpConfig>, String> {
        let Some((host, port)) = self.smtp.clone() else { return Ok(None) };
        let password = secret_file("SHOPD_SMTP_PASSWORD_FILE")?;
        let credentials = match (self.smtp_user.clone(), password) {
            (Some(user), Some(password)) => Some((user, password)),
            (None, None) => None,
            _ => {
                return Err(
                    "a mail server wants --smtp-user and SHOPD_SMTP_PASSWORD_FILE, or neither".to_owned()
                );
            }
        };
        Ok(Some(SmtpConfig { host, port, tls: self.smtp_tls == "starttls", credentials }))
    }
}

impl Serve {
    fn config(&self) -> Result<ShopConfig, String> {
        let mut config = self.data.config()?;
        config.gateway.limits = self.limits != "none";
        config.gateway.proxies = self.face.proxies;
        config.gateway.tls = self.face.public_tls;
        config.payment.provider_url = self.provider_url.clone().unwrap_or_default();
        config.notification.shop_url.clone_from(&self.face.shop_url);
        config.notification.smtp = self.mail.server()?;
        if let Some(sender) = &self.mail.sender {
            config.notification.sender.clone_from(sender);
        }
        config.telemetry.otlp_url.clone_from(&self.otlp_url);
        if self.twins {
            config.product.cache_life = SHARED_CACHE_LIFE;
        }
        Ok(config)
    }
}

/// What runs until it is told to stop.
enum Running {
    Shop(Box<RunningShop>),
    Metrics(RunningMetrics),
}

/// Serves until SIGINT or SIGTERM, also while it still waits for the database: as the first process of a container it
/// would otherwise not hear them.
pub(crate) async fn until_stopped(serve: Serve) -> Result<(), Failed> {
    let stop = app::until_told_to_stop();
    tokio::pin!(stop);
    let running = tokio::select! {
        running = start(serve) => running?,
        () = &mut stop => return Ok(()),
    };
    let addresses = match &running {
        Running::Shop(shop) => shop.addresses.clone(),
        Running::Metrics(metrics) => vec![("metrics".to_owned(), metrics.url.clone())],
    };
    let roles = addresses.iter().map(|(role, url)| serde_json::json!({"role": role, "url": url}));
    let roles = roles.collect::<Vec<_>>();
    say(&serde_json::json!({"event": "ready", "pid": std::process::id(), "roles": roles}));
    stop.await;
    match running {
        Running::Shop(shop) => {
            shop.drain().await;
        }
        Running::Metrics(metrics) => metrics.drain().await,
    }
    Ok(())
}

async fn start(serve: Serve) -> Result<Running, Failed> {
    let config = serve.config().map_err(usage)?;
    if serve.parts.contains(&Part::Metrics) {
        if serve.parts.len() > 1 {
            return Err(usage(
                "`metrics` runs by itself: give the other roles a process of their own".to_owned(),
            ));
        }
        return metrics::start(&config, serve.metrics, serve.listen, serve.peer).await.map(Running::Metrics);
    }
    serve.metrics.is_not_told().map_err(usage)?;
    let options = ServeOptions {
        patience: serve.data.patience(),
        tables: match serve.migrate {
            Migrate::Auto => Tables::Update,
            Migrate::Never => Tables::Await,
        },
        metrics_listen: serve.metrics_listen,
        roles: serve.parts.iter().filter_map(|part| part.role()).collect(),
        listen: serve.listen,
        peers: serve.peer.iter().map(|(name, urls)| (name.clone(), Addresses::parse(urls))).collect(),
        webhook_url: serve.webhook_url,
        own_port: 0,
        secrets_file: serve.data.secrets_file,
    };
    app::serve(config, options).await.map(|shop| Running::Shop(Box::new(shop))).map_err(failed)
}
