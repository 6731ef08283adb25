//! A buyer: one connection, one cart after the other.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use hyper::{Method, StatusCode};
use platform::verify::journal::Acknowledged;
use platform::vocabulary::Env;
use serde_json::{Value, json};

use crate::wire::{Connection, Reply};

/// An order that is ready to be placed: everything but the answer is made before the clock runs.
#[derive(Debug)]
pub(super) struct Basket {
    cart: String,
    key: String,
    body: Bytes,
}

/// What came of one order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    /// The answer.
    pub(super) status: StatusCode,
    /// From the first byte sent to the last received.
    pub(super) took: Duration,
}

/// One buyer.
#[derive(Debug)]
pub(super) struct Buyer {
    connection: Connection,
    env: Env,
}

impl Buyer {
    pub(super) async fn at(url: &str, env: &Env) -> anyhow::Result<Self> {
        Ok(Self { connection: Connection::open(url).await?, env: env.clone() })
    }

    /// What is for sale: the SKUs that have at least one unit.
    pub(super) async fn skus(&mut self) -> anyhow::Result<Vec<String>> {
        let page = self.ask(Method::GET, "/v1/products?in_stock=true&limit=100", None).await?;
        let variants =
            page["items"].as_array().into_iter().flatten().filter_map(|item| item["variants"].as_array());
        let on_sale = variants.flatten().filter(|variant| variant["available"].as_i64().unwrap_or(0) > 0);
        let skus: Vec<String> =
            on_sale.filter_map(|variant| variant["sku"].as_str()).map(str::to_owned).collect();
        anyhow::ensure!(!skus.is_empty(), "the shop has nothing for sale");
        Ok(skus)
    }

    /// Puts one unit of `sku` into a new cart.
    pub(super) async fn fill_basket(&mut self, sku: &str) -> anyhow::Result<Basket> {
        let cart = self.ask(Method::POST, "/v1/carts", Some(json!({}))).await?;
        let id = cart["id"].as_str().context("a cart without an id")?.to_owned();
        self.ask(Method::PUT, &format!("/v1/carts/{id}/lines/{sku}"), Some(json!({"quantity": 1}))).await?;
        let body = json!({
            "cart_id": id,
            "email": "buyer@example.com",
            "payment_method": "pm_card_visa",
            "shipping_address": {
                "name": "A Buyer",
                "line1": "1 Main Street",
                "city": "Springfield",
                "postal_code": "12345",
                "country": "US",
            },
        });
        Ok(Basket { cart: id, key: self.env.uuid().to_string(), body: Bytes::from(body.to_string()) })
    }

    /// Places the order and waits for the answer.
    pub(super) async fn place(&mut self, basket: &Basket) -> anyhow::Result<Placed> {
        self.send_order(basket).await.map(|(placed, _)| placed)
    }

    /// [`Buyer::place`], and the order as it was answered.
    pub(super) async fn place_and_read(&mut self, basket: &Basket) -> anyhow::Result<(Placed, Value)> {
        self.send_order(basket).await.map(|(placed, reply)| (placed, reply.json()))
    }

    async fn send_order(&mut self, basket: &Basket) -> anyhow::Result<(Placed, Reply)> {
        let headers = [("idempotency-key", basket.key.as_str())];
        let began = Instant::now();
        let body = Some(basket.body.clone());
        let reply = self.connection.send_bytes(Method::POST, "/v1/orders", &headers, body).await?;
        let placed = Placed { status: reply.status, took: began.elapsed() };
        Ok((placed, reply))
    }

    /// Places the order, which must be taken, and answers what was promised.
    pub(super) async fn order(&mut self, basket: &Basket) -> anyhow::Result<Acknowledged> {
        let headers = [("idempotency-key", basket.key.as_str())];
        let body = Some(basket.body.clone());
        let reply = self.connection.send_bytes(Method::POST, "/v1/orders", &headers, body).await?;
        let answer = reply.json();
        let id = answer["id"].as_str().and_then(|id| id.parse().ok()).filter(|_| reply.status.is_success());
        let order_id =
            id.with_context(|| format!("an order was not taken: {} {}", reply.status, reply.text()))?;
        Ok(Acknowledged {
            order_id,
            scope: format!("cart:{}", basket.cart),
            key: basket.key.clone(),
            status: reply.status.as_u16(),
            at: self.env.now(),
        })
    }

    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>) -> anyhow::Result<Value> {
        let reply = self.connection.send(method.clone(), path, &[], body.as_ref()).await?;
        anyhow::ensure!(
            reply.status.is_success(),
            "{method} {path} answered {} {}",
            reply.status,
            reply.text()
        );
        Ok(reply.json())
    }
}
