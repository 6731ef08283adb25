//! What the shop is told at its start. Plain data: parsed and checked once, by whoever starts it.

use std::path::PathBuf;
use std::time::Duration;

use crate::manifest::RouteClass;
use crate::resilience::limiter::Quota;
use crate::storage::EngineConfig;
use crate::vocabulary::{Currency, Env, Fate};

/// Everything a shop can be told. [`ShopConfig::local`] has the built-in values.
#[derive(Clone, Debug)]
pub struct ShopConfig {
    /// The environment's name: `local`, `prod`.
    pub environment: String,
    /// Where the embedded data, the secrets and the logs live.
    pub data_dir: PathBuf,
    /// The storage engine.
    pub engine: EngineConfig,
    /// Fill an empty shop with the demo catalogue.
    pub demo_data: bool,
    /// The address the gateway listens on; port 0 asks the system for one.
    pub listen: std::net::SocketAddr,
    /// Whether fault switches may be thrown.
    pub faults_allowed: bool,
    /// Decides where the process dies; nobody does outside tests and drills.
    pub fate: Option<Fate>,
    /// Serve `/metrics` on the public listener too.
    pub metrics_public: bool,
    /// The user service.
    pub user: UserConfig,
    /// The product service.
    pub product: ProductConfig,
    /// The order service.
    pub order: OrderConfig,
    /// The payment service.
    pub payment: PaymentConfig,
    /// The notification service.
    pub notification: NotificationConfig,
    /// The gateway.
    pub gateway: GatewayConfig,
    /// Telemetry.
    pub telemetry: TelemetryConfig,
}

/// The user service's settings.
#[derive(Clone, Debug)]
pub struct UserConfig {
    /// bcrypt's cost, 4 to 31; at least 12 outside `local`.
    pub bcrypt_cost: u32,
    /// Threads that may hash at once.
    pub bcrypt_threads: usize,
    /// How long an access token lives.
    pub access_token_life: Duration,
    /// How long a refresh token lives.
    pub refresh_token_life: Duration,
}

/// The product service's settings.
#[derive(Clone, Debug)]
pub struct ProductConfig {
    /// How long a catalogue read may be served from the cache.
    pub cache_life: Duration,
    /// How often expired reservations are swept.
    pub sweep_every: Duration,
}

/// The order service's settings.
#[derive(Clone, Debug)]
pub struct OrderConfig {
    /// The shop's currency.
    pub currency: Currency,
    /// How long `POST /v1/orders` waits for the end before it answers 202.
    pub wait: Duration,
    /// How long stock is held for an order.
    pub reservation_ttl: Duration,
    /// How long a queued payment is tried.
    pub payment_deadline: Duration,
    /// How long a worker may own a saga without a sign of life.
    pub lease: Duration,
    /// How long after its delivery an order stays open for returns.
    pub return_window: Duration,
    /// Tax and shipping.
    pub pricing: PricingConfig,
}

/// How prices become totals.
#[derive(Clone, Debug)]
pub struct PricingConfig {
    /// Whether the catalogue's prices include tax; if not, it is added.
    pub tax_included: bool,
    /// The rate of each tax class in hundredths of a percent; a class that is not listed is taxed as the first.
    pub tax_rates_bp: Vec<(String, i64)>,
    /// What shipping costs, in minor units.
    pub shipping: i64,
    /// The subtotal from which on shipping is free, in minor units.
    pub shipping_free_from: Option<i64>,
}

/// The payment service's settings.
#[derive(Clone, Debug)]
pub struct PaymentConfig {
    /// The provider's API; empty means the sandbox that runs beside the shop.
    pub provider_url: String,
    /// Where a sandbox provider is told how to fail, when that is another address.
    pub control_url: Option<String>,
    /// How long one provider call may take.
    pub provider_timeout: Duration,
}

/// The notification service's settings.
#[derive(Clone, Debug)]
pub struct NotificationConfig {
    /// The shop's sender address.
    pub sender: String,
    /// Where customers find the shop, for links in mails (`https://shop.example`); none means the listener's address.
    pub shop_url: Option<String>,
    /// The mail server; none keeps mails in the log channel only.
    pub smtp: Option<SmtpConfig>,
}

/// A mail server.
#[derive(Clone, Debug)]
pub struct SmtpConfig {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether to speak TLS (STARTTLS), verified.
    pub tls: bool,
    /// User name and password, when the server wants them.
    pub credentials: Option<(String, String)>,
}

/// The gateway's settings.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Whether rate limits apply at all (`--limits none` for benchmarks).
    pub limits: bool,
    /// The rate limits.
    pub quotas: Quotas,
    /// How many proxies of ours stand in front: the caller's address is the one that many from the end of
    /// `X-Forwarded-For`. None by default, so that nobody can name an address of their own.
    pub proxies: usize,
    /// Whether those proxies speak TLS with the public: then browsers are told to insist on it.
    pub tls: bool,
    /// Requests in flight above which new ones are shed.
    pub in_flight_max: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// Origins that may call from a browser elsewhere; none by default.
    pub cors_origins: Vec<String>,
}

/// The rate limits: a quota for each class of route. Callers are told apart by user where somebody is signed in, and
/// by address elsewhere; sign-ins and registrations always by address.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    /// Signing in.
    pub login: Quota,
    /// Making an account.
    pub registration: Quota,
    /// Placing orders.
    pub checkout: Quota,
    /// Reading, and writing carts.
    pub read: Quota,
    /// Staff.
    pub admin: Quota,
    /// The provider's webhooks.
    pub webhook: Quota,
}

impl Quotas {
    /// What a public shop wants.
    #[must_use]
    pub const fn standard() -> Self {
        Self {
            login: Quota::per_minute(5),
            registration: Quota::per_minute(10),
            checkout: Quota::per_minute(10),
            read: Quota::per_second(100),
            admin: Quota::per_second(50),
            webhook: Quota::per_second(200),
        }
    }

    /// What a developer's shop wants: nothing but guessing passwords is held up.
    #[must_use]
    pub const fn generous() -> Self {
        let plenty = Quota::per_second(100_000);
        Self {
            login: Quota::per_minute(5),
            registration: plenty,
            checkout: plenty,
            read: plenty,
            admin: plenty,
            webhook: plenty,
        }
    }

    /// The quota of `class`.
    #[must_use]
    pub const fn of(&self, class: RouteClass) -> Quota {
        match class {
            RouteClass::Login => self.login,
            RouteClass::Registration => self.registration,
            RouteClass::Checkout => self.checkout,
            RouteClass::Read => self.read,
            RouteClass::Admin => self.admin,
            RouteClass::Webhook => self.webhook,
        }
    }
}

/// Telemetry's settings.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// Where traces go (OTLP over HTTP); none keeps them in memory only.
    pub otlp_url: Option<String>,
    /// The least severe level that is logged.
    pub log_level: tracing::Level,
    /// The file that JSON logs are appended to; none writes them to stderr.
    pub log_file: Option<PathBuf>,
    /// Which process this is, in the lines of a log that several share: `order-2`.
    pub process: Option<String>,
}

impl ShopConfig {
    /// The system's time, chance and ids, and the fate of this configuration.
    #[must_use]
    pub fn env(&self) -> Env {
        match &self.fate {
            Some(fate) => Env::system().with_fate(fate.clone()),
            None => Env::system(),
        }
    }

    /// The built-in environment: SQLite under `data_dir`, generous limits, fault switches allowed.
    #[must_use]
    pub fn local(data_dir: PathBuf) -> Self {
        Self {
            environment: "local".to_owned(),
            engine: EngineConfig::Sqlite { path: data_dir.join("shop.db") },
            demo_data: true,
            listen: std::net::SocketAddr::from(([127, 0, 0, 1], 8080)),
            faults_allowed: true,
            fate: None,
            metrics_public: true,
            user: UserConfig {
                bcrypt_cost: 10,
                bcrypt_threads: 2,
                access_token_life: Duration::from_secs(15 * 60),
                refresh_token_life: Duration::from_secs(30 * 24 * 3600),
            },
            product: ProductConfig {
                cache_life: Duration::from_secs(30),
                sweep_every: Duration::from_secs(5),
            },
            order: OrderConfig {
                currency: Currency::USD,
                wait: Duration::from_secs(2),
                reservation_ttl: Duration::from_secs(15 * 60),
                payment_deadline: Duration::from_secs(60 * 60),
                lease: Duration::from_secs(10),
                return_window: Duration::from_secs(30 * 24 * 3600),
                pricing: PricingConfig {
                    tax_included: false,
                    tax_rates_bp: vec![
                        ("standard".to_owned(), 800),
                        ("reduced".to_owned(), 400),
                        ("zero".to_owned(), 0),
                    ],
                    shipping: 499,
                    shipping_free_from: Some(10_000),
                },
            },
            payment: PaymentConfig {
                provider_url: String::new(),
                control_url: None,
                provider_timeout: Duration::from_secs(5),
            },
            notification: NotificationConfig {
                sender: "Shop <shop@localhost>".to_owned(),
                shop_url: None,
                smtp: None,
            },
            gateway: GatewayConfig {
                limits: true,
                quotas: Quotas::generous(),
                proxies: 0,
                tls: false,
                in_flight_max: 4096,
                timeout: Duration::from_secs(30),
                cors_origins: Vec::new(),
            },
            telemetry: TelemetryConfig {
                otlp_url: None,
                log_level: tracing::Level::INFO,
                log_file: Some(data_dir.join("shop.log")),
                process: None,
            },
            data_dir,
        }
    }
}
