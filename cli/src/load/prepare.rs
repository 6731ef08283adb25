//! What is done before a load begins, so that the load measures the shop and not its own preparation: the catalogue is
//! read, accounts are made and signed in, stock is received.

use anyhow::Context as _;
use futures_util::stream::{self, StreamExt as _};
use hyper::header::HeaderValue;
use platform::client::product::{NewProduct, ProductCard, ProductQuery};
use platform::client::user::Register;
use platform::client::{CallError, Code, Operator, ShopClient};
use platform::vocabulary::{Env, Role};
use serde_json::json;

use super::accounts::{Account, Accounts};
use super::ask::Ask;
use super::journeys::Journey;
use super::scenario::Scenario;
use super::supplies::{Sale, Supplies};
use crate::failure::{Exit, Failure};
use crate::targets::operator::failed;

/// Products that a load looks at, at most.
const PRODUCTS_MAX: usize = 1000;
/// Accounts that are being registered at a time.
const REGISTERED_AT_ONCE: usize = 4;
/// Units of one SKU that are received at once, at most.
const UNITS_MAX: f64 = 10_000_000.0;
/// How many more orders than were worked out there are units for.
const SPARE: f64 = 1.5;

/// What a preparation works with.
pub(super) struct Preparation<'a> {
    pub(super) scenario: &'a Scenario,
    /// Where the shop answers.
    pub(super) url: &'a str,
    /// What requests call it.
    pub(super) host: &'a HeaderValue,
    /// The right to receive stock and to make a product, when there is one.
    pub(super) operator: Option<&'a Operator>,
    /// Names the run.
    pub(super) run: &'a str,
    pub(super) env: &'a Env,
    /// Hears what a person should know.
    pub(super) say: &'a dyn Fn(&str),
}

impl Preparation<'_> {
    /// Does it.
    ///
    /// # Errors
    /// When the shop has nothing that the scenario needs, or refuses.
    pub(super) async fn supplies(&self) -> anyhow::Result<Supplies> {
        let mix = &self.scenario.mix;
        let probe = self.scenario.probe.path.parse().context("the path of the probe is not one")?;
        let probe = Some(Ask::page(self.host, &probe));
        let mut supplies = Supplies { probe, ..Supplies::default() };
        if Journey::ALL.iter().all(|journey| *journey == Journey::Probe || !mix.has(*journey)) {
            return Ok(supplies);
        }
        let client = ShopClient::new(self.url);
        self.read_catalogue(&client, &mut supplies).await?;
        if mix.has(Journey::ReturningCustomer) || self.scenario.signed_in.sign_ins_per_s > 0.0 {
            supplies.accounts = self.make_accounts(&client).await?;
        }
        if mix.has(Journey::FlashSale) {
            supplies.sale = Some(self.make_sale(&client).await?);
        }
        Ok(supplies)
    }

    async fn read_catalogue(&self, client: &ShopClient, supplies: &mut Supplies) -> anyhow::Result<()> {
        let cards = self.cards(client).await?;
        let for_sale = cards.iter().flat_map(|card| &card.variants).filter(|variant| variant.available > 0);
        supplies.skus = for_sale.map(|variant| variant.sku.clone()).collect();
        let sells = self.scenario.mix.has(Journey::Checkout)
            || self.scenario.mix.has(Journey::ReturningCustomer)
            || self.scenario.mix.has(Journey::Cart);
        let only_sale = self.scenario.mix.weights().iter().all(|(journey, weight)| {
            *weight == 0.0 || matches!(journey, Journey::FlashSale | Journey::Probe)
        });
        if only_sale {
            return Ok(());
        }
        if cards.is_empty() || (sells && supplies.skus.is_empty()) {
            let message = format!("{} has nothing for sale that a visitor could look at", self.url);
            return Err(Failure::new(Exit::Preflight, "E-NOTHING-FOR-SALE", message)
                .object(self.url)
                .hint("a shop that is started without --empty has a demo catalogue")
                .into());
        }
        supplies.products = cards
            .iter()
            .map(|card| self.page(&format!("/v1/products/{}", card.slug)))
            .collect::<Result<_, _>>()?;
        let categories = client.products.categories(&client.anonymous()).await;
        let categories = categories.map_err(|error| failed(error, "read the categories"))?.items;
        supplies.categories = categories
            .iter()
            .filter(|category| category.count > 0)
            .map(|category| self.page(&format!("/v1/products?category={}", category.slug)))
            .collect::<Result<_, _>>()?;
        supplies.catalogue =
            ["/v1/products?limit=20", "/v1/products?sort=price", "/v1/products?in_stock=true"]
                .into_iter()
                .map(|path| self.page(path))
                .collect::<Result<_, _>>()?;
        supplies.searches = words(&cards)
            .iter()
            .map(|word| self.page(&format!("/v1/products?q={word}")))
            .collect::<Result<_, _>>()?;
        if self.scenario.checkout.restock && sells {
            self.restock(&cards, &supplies.skus).await?;
        }
        Ok(())
    }

    async fn cards(&self, client: &ShopClient) -> anyhow::Result<Vec<ProductCard>> {
        let (mut cards, mut cursor) = (Vec::new(), None);
        loop {
            let query = ProductQuery { limit: Some(100), cursor, ..ProductQuery::default() };
            let page = client.products.list(&client.anonymous(), &query).await;
            let page = page.map_err(|error| self.refused(error, "read the catalogue"))?;
            cards.extend(page.items);
            cursor = page.next_cursor;
            if cursor.is_none() || cards.len() >= PRODUCTS_MAX {
                return Ok(cards);
            }
        }
    }

    /// Receives what the popular SKUs will be short of.
    async fn restock(&self, cards: &[ProductCard], skus: &[String]) -> anyhow::Result<()> {
        let available = |sku: &str| {
            let mut variants = cards.iter().flat_map(|card| &card.variants);
            variants.find(|variant| variant.sku == sku).map_or(0, |variant| variant.available)
        };
        let orders = self.orders_at_most();
        let short: Vec<(&String, i64)> = skus
            .iter()
            .enumerate()
            .map(|(at, sku)| (sku, units_for(orders, at, skus.len()) - available(sku)))
            .filter(|(_, short)| *short > 0)
            .collect();
        if short.is_empty() {
            return Ok(());
        }
        let Some(operator) = self.operator else {
            (self.say)("the load may sell more than there is, and nobody has the right to receive stock");
            return Ok(());
        };
        (self.say)(&format!("receiving stock of {} SKUs", short.len()));
        for (sku, units) in short {
            let acting = operator.acting(&[Role::Merchandiser]);
            let key = format!("load-{}-{sku}", self.run);
            let received = operator.shop().products.receive(&acting, sku, units, "load", Some(&key)).await;
            received.map_err(|error| failed(error, &format!("receive stock of {sku}")))?;
        }
        Ok(())
    }

    /// Orders that the load can place at most, roughly: what is left over stays on the shelf.
    fn orders_at_most(&self) -> f64 {
        let scenario = self.scenario;
        let schedule = scenario.schedule();
        let journeys = match (scenario.load.users, scenario.search()) {
            // A journey has at least four steps, each after a thought and an answer.
            (Some(_), _) => schedule.total() / (4.0 * scenario.think.mean.seconds().max(0.002)),
            (None, Some(search)) => {
                search.at_most.min(10_000.0) * 4.0 * (scenario.settle_seconds() + scenario.hold_seconds())
            }
            (None, None) => schedule.total(),
        };
        let weights = scenario.mix.weights();
        let all: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let buying: f64 =
            weights.iter().filter(|(journey, _)| journey.buys()).map(|(_, weight)| weight).sum();
        journeys * buying / all.max(f64::EPSILON)
    }

    /// Registers the accounts, a few at once: each is a bcrypt, and the shop works on some of them side by side.
    async fn make_accounts(&self, client: &ShopClient) -> anyhow::Result<Accounts> {
        let wanted = self.scenario.signed_in.accounts;
        (self.say)(&format!("registering {wanted} accounts"));
        let mut registered =
            stream::iter(0..wanted).map(|number| self.register(client, number)).buffered(REGISTERED_AT_ONCE);
        let mut accounts = Vec::new();
        while let Some(answer) = registered.next().await {
            match answer {
                Ok(account) => accounts.extend(account),
                // A few accounts do as well as many, and the limit is there for a reason.
                Err(CallError::Problem(problem)) if problem.status == 429 && !accounts.is_empty() => {
                    (self.say)(&format!(
                        "the shop let {} of {wanted} accounts be made; `shopctl up --limits none` has no limit",
                        accounts.len()
                    ));
                    break;
                }
                Err(error) => return Err(self.refused(error, "register an account")),
            }
        }
        Ok(accounts.into())
    }

    async fn register(&self, client: &ShopClient, number: u32) -> Result<Option<Account>, CallError> {
        let email = format!("load-{}-{number}@example.com", self.run);
        let password: String = self.env.bytes::<16>().iter().map(|byte| format!("{byte:02x}")).collect();
        let register = Register { email: email.clone(), password: password.clone(), name: None };
        let session = client.users.register(&client.anonymous(), &register).await?;
        Ok(Account::new(&session.user.id.to_string(), &email, &password, &session.access_token))
    }

    async fn make_sale(&self, client: &ShopClient) -> anyhow::Result<Sale> {
        let Some(operator) = self.operator else {
            let message = "a flash sale needs a product of its own, and nobody has the right to make one";
            return Err(Failure::new(Exit::Auth, "E-NO-OPERATOR", message)
                .object(self.url)
                .hint("run it where the shop's data folder can be read, or put a token of staff into SHOPCTL_TOKEN")
                .into());
        };
        let units = self.scenario.flash_sale.units;
        (self.say)(&format!("putting {units} units of a new product on sale"));
        let (slug, sku) = (format!("flash-sale-{}", self.run), format!("FLASH-{}", self.run.to_uppercase()));
        let product: NewProduct = serde_json::from_value(json!({
            "slug": slug,
            "title": format!("Flash sale {}", self.run),
            "category": "flash-sale",
            "variants": [{"sku": sku, "title": "one of few", "price": {"amount": 1999, "currency": self.currency(client).await?}}],
        }))?;
        let products = &operator.shop().products;
        let acting = || operator.acting(&[Role::Merchandiser]);
        products
            .create(&acting(), &product)
            .await
            .map_err(|error| failed(error, "make the product of the sale"))?;
        if units > 0 {
            let key = format!("load-{}-{sku}", self.run);
            let received = products.receive(&acting(), &sku, units.into(), "load", Some(&key)).await;
            received.map_err(|error| failed(error, "receive the units of the sale"))?;
        }
        Ok(Sale { product: self.page(&format!("/v1/products/{slug}"))?, sku })
    }

    /// The request for a page.
    fn page(&self, path: &str) -> anyhow::Result<Ask> {
        let uri = path
            .parse()
            .with_context(|| format!("the shop named something that cannot stand in an address: {path}"))?;
        Ok(Ask::page(self.host, &uri))
    }

    /// The shop's currency, as its prices have it.
    async fn currency(&self, client: &ShopClient) -> anyhow::Result<String> {
        let query = ProductQuery { limit: Some(1), ..ProductQuery::default() };
        let page = client.products.list(&client.anonymous(), &query).await;
        let page = page.map_err(|error| self.refused(error, "read the catalogue"))?;
        let price = page.items.first().map(|card| serde_json::to_value(card.price));
        let currency = price.transpose()?.and_then(|price| Some(price["currency"].as_str()?.to_owned()));
        Ok(currency.unwrap_or_else(|| "USD".to_owned()))
    }

    /// A refusal; when it is a rate limit, with what to do about it.
    fn refused(&self, error: CallError, tried: &str) -> anyhow::Error {
        match error {
            CallError::Problem(problem) if problem.code == Code::RateLimited => Failure::new(
                Exit::Preflight,
                "E-RATE-LIMITED",
                format!("could not {tried}: the shop answers 429"),
            )
            .object(self.url)
            .hint("start the shop with `shopctl up --limits none`")
            .into(),
            error => failed(error, tried),
        }
    }
}

/// Units for the SKU at place `at` of `all`, as often as [`popular_place`](super::chance::Chance::popular_place)
/// will choose it.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "clamped numbers of units")]
fn units_for(orders: f64, at: usize, all: usize) -> i64 {
    let up_to = |place: usize| (place as f64 / all.max(1) as f64).sqrt();
    (orders * (up_to(at + 1) - up_to(at)) * SPARE + 20.0).clamp(0.0, UNITS_MAX) as i64
}

/// Words of titles that a search can be made of: letters only, each once.
fn words(cards: &[ProductCard]) -> Vec<String> {
    let mut words: Vec<String> = cards
        .iter()
        .flat_map(|card| card.title.split(|letter: char| !letter.is_ascii_alphabetic()))
        .filter(|word| word.len() >= 4)
        .map(str::to_lowercase)
        .collect();
    words.sort_unstable();
    words.dedup();
    words
}

#[cfg(test)]
mod tests {
    use super::super::chance::{Chance, Stream};
    use super::*;

    #[test]
    fn there_are_units_for_every_order_that_chance_brings() {
        let (orders, all) = (100_000, 50);
        let mut chance = Chance::new(1, Stream::Journey, 0);
        let mut sold = vec![0_i64; all];
        (0..orders).for_each(|_| sold[chance.popular_place(all)] += 1);
        for (at, sold) in sold.into_iter().enumerate() {
            assert!(sold <= units_for(f64::from(orders), at, all), "{sold} of the SKU at {at}");
        }
    }
}
