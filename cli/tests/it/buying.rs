//! A guest who buys, for whoever needs an order in a shop.

use platform::client::{ShopClient, order::PlaceOrder};
use platform::verify::journal::Acknowledged;
use platform::vocabulary::Env;
use serde_json::json;

/// Places an order by way of `url`, and answers what the guest was promised. With `respond_async` the answer comes before the
/// saga is over, whatever becomes of it.
pub(crate) async fn place(url: &str, key: &str, respond_async: bool) -> Acknowledged {
    let client = ShopClient::new(url);
    let nobody = client.anonymous();
    let query = serde_json::from_value(json!({"in_stock": "true"})).expect("a query");
    let product = client.products.list(&nobody, &query).await.expect("products").items.remove(0);
    let cart = client.orders.create_cart(&nobody).await.expect("a cart");
    client.orders.set_line(&nobody, cart.id, &product.variants[0].sku, 1).await.expect("a line");
    let order: PlaceOrder = serde_json::from_value(json!({
        "cart_id": cart.id, "email": "ada@example.com", "payment_method": "pm_card_visa",
        "shipping_address": {"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"},
    }))
    .expect("an order");
    let placed = client.orders.place(&nobody, &order, key, respond_async).await.expect("placed");
    let (scope, key, at) = (format!("cart:{}", cart.id), key.to_owned(), Env::system().now());
    Acknowledged { order_id: placed.order.id, scope, key, status: placed.status.as_u16(), at }
}
