//! `shopd buy`: a guest's way through a running shop, from the catalogue to a paid order. What a smoke test runs where
//! there is nothing but this binary.

use std::time::{Duration, Instant};

use clap::Args;
use platform::client::order::{Address, Order, PlaceOrder, Status};
use platform::client::product::ProductQuery;
use platform::client::{CallError, ShopClient};
use platform::vocabulary::Env;

use crate::{Failed, exit, say};

/// How often an order that is on its way is asked about.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

#[derive(Args)]
pub(crate) struct Buy {
    /// The shop's gateway
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080", env = "SHOPD_BUY_URL")]
    url: String,
    /// The provider's token for the means of payment
    #[arg(long, value_name = "TOKEN", default_value = "pm_card_visa")]
    payment_method: String,
    /// Where the order's mails go
    #[arg(long, value_name = "ADDRESS", default_value = "smoke.test@shop.example")]
    email: String,
    /// Stop before the order: look at the catalogue and fill a cart
    #[arg(long)]
    no_order: bool,
    /// How long the shop may take in all
    #[arg(long, value_name = "SECONDS", default_value = "60")]
    within_seconds: u64,
}

/// Buys one unit of something that is to be had, and tells about it.
pub(crate) async fn run(buy: Buy) -> Result<(), Failed> {
    let began = Instant::now();
    let within = Duration::from_secs(buy.within_seconds);
    let told = tokio::time::timeout(within, through(&buy)).await.unwrap_or_else(|_| {
        Err((exit::UNREACHABLE, format!("the shop did not get that far within {} s", within.as_secs())))
    });
    let mut told = told?;
    told["took_ms"] = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX).into();
    say(&told);
    Ok(())
}

async fn through(buy: &Buy) -> Result<serde_json::Value, Failed> {
    let shop = ShopClient::new(&buy.url);
    let guest = shop.anonymous();
    let wanted = ProductQuery { in_stock: Some(true), limit: Some(20), ..ProductQuery::default() };
    let page = shop.products.list(&guest, &wanted).await.map_err(at("the catalogue"))?;
    let sku = page
        .items
        .iter()
        .flat_map(|product| &product.variants)
        .find(|variant| variant.available > 0)
        .map(|variant| variant.sku.clone())
        .ok_or((exit::INTERNAL, "nothing in the catalogue is to be had".to_owned()))?;
    let cart = shop.orders.create_cart(&guest).await.map_err(at("the cart"))?;
    let cart = shop.orders.set_line(&guest, cart.id, &sku, 1).await.map_err(at("the cart"))?;
    if buy.no_order {
        return Ok(serde_json::json!({"event": "looked", "sku": sku, "total": cart.total}));
    }
    let request = PlaceOrder {
        cart_id: cart.id,
        email: Some(buy.email.clone()),
        shipping_address: address(),
        payment_method: buy.payment_method.clone(),
    };
    let key = Env::system().id::<platform::vocabulary::OrderId>().to_string();
    let placed = shop.orders.place(&guest, &request, &key, false).await.map_err(at("the order"))?;
    let order = until_confirmed(&shop, placed.order).await?;
    Ok(serde_json::json!({
        "event": "bought", "order_id": order.id, "number": order.number, "sku": sku,
        "status": order.status, "payment_status": order.payment_status, "total": order.total,
    }))
}

/// The order once its money is taken; an order that ends in any other way is a failure.
async fn until_confirmed(shop: &ShopClient, mut order: Order) -> Result<Order, Failed> {
    let token = order.access_token.clone();
    while !is_paid(order.status) {
        if order.status.is_terminal() {
            let why = format!("order {} ended as {} ({})", order.number, order.status, order.payment_status);
            return Err((exit::INTERNAL, why));
        }
        tokio::time::sleep(ASK_AGAIN_AFTER).await;
        let asked = shop.orders.order(&shop.anonymous(), order.id, token.as_deref()).await;
        order = asked.map_err(at("the order"))?;
    }
    Ok(order)
}

/// Whether the order is past the point from which it only goes forward.
fn is_paid(status: Status) -> bool {
    use Status::{Closed, Confirmed, Delivered, Fulfilling, Shipped};
    matches!(status, Confirmed | Fulfilling | Shipped | Delivered | Closed)
}

fn address() -> Address {
    Address {
        name: "Smoke Test".to_owned(),
        line1: "1 Main Street".to_owned(),
        line2: None,
        city: "Springfield".to_owned(),
        postal_code: "12345".to_owned(),
        country: "US".to_owned(),
    }
}

fn at(step: &'static str) -> impl Fn(CallError) -> Failed {
    move |error| {
        let code = match &error {
            CallError::Problem(_) => exit::INTERNAL,
            CallError::Refused(_) | CallError::Unknown(_) => exit::UNREACHABLE,
        };
        (code, format!("{step}: {error}"))
    }
}
