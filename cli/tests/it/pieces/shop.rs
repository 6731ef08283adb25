//! A shop in pieces for a test, and the processes it consists of.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use platform::client::ShopClient;
use platform::http::Context;
use platform::services::order::client::{PlaceOrder, Placed, Status};
use platform::services::user::client::Login;
use platform::vocabulary::{CartId, OrderId};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::running::Running;
use crate::shopctl::{PATIENCE, Project};

/// A folder that PostgreSQL's own user may walk through.
pub(crate) fn project() -> Project {
    let project = Project::new();
    let open = std::fs::Permissions::from_mode(0o711);
    std::fs::set_permissions(project.path(), open).expect("the folder is ours");
    project
}

/// The data folder of the project's shop.
pub(super) fn data_dir(project: &Project) -> PathBuf {
    project.path().join(".shopctl/local")
}

/// What `status` says of each process, by its name.
pub(super) fn processes(project: &Project) -> BTreeMap<String, Value> {
    let ran = project.run("status -o json");
    let items = ran.json()["data"]["processes"].as_array().cloned().unwrap_or_default();
    items.into_iter().map(|item| (item["name"].as_str().expect("a name").to_owned(), item)).collect()
}

/// The process of `name` as `status` shows it, once `is_so` holds of it.
pub(super) fn process_when(project: &Project, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = processes(project);
        match all.get(name) {
            Some(process) if is_so(process) => return process.clone(),
            _ => assert!(Instant::now() < deadline, "{name} never came to it: {all:?}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(super) fn pid_of(process: &Value) -> u32 {
    u32::try_from(process["pid"].as_u64().expect("a pid")).expect("a pid")
}

pub(super) fn send(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a pid")).expect("a pid");
    kill_process(pid, signal).expect("a signal arrives");
}

/// Every process that works for the project's shop: those that `ready` named, and every PostgreSQL in its folder.
pub(super) fn everybody(project: &Project, running: &Running) -> Vec<u32> {
    let named = running.ready()["processes"].as_array().expect("processes");
    let mut pids: Vec<u32> = named.iter().map(pid_of).collect();
    pids.extend(postgres_pids(project));
    pids
}

/// Every process whose working folder is the shop's PostgreSQL, or below it.
fn postgres_pids(project: &Project) -> Vec<u32> {
    pids_below(&data_dir(project).join("postgres"))
}

/// Every process whose working folder is `folder`, or below it.
pub(super) fn pids_below(folder: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("a list of processes");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| std::fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd.starts_with(folder)))
        .collect()
}

/// What `status` says of the shop's own database, once `is_so` holds of it.
pub(super) fn database_when(project: &Project, is_so: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let ran = project.run("status -o json");
        let facts =
            serde_json::from_str::<Value>(&ran.stdout).unwrap_or_default()["data"]["database"].clone();
        if is_so(&facts) {
            return facts;
        }
        assert!(Instant::now() < deadline, "the database never came to it: {}", ran.picture());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until none of them is there any more.
pub(super) fn until_gone(pids: &[u32]) {
    let deadline = Instant::now() + PATIENCE;
    let is_there = |pid: &u32| {
        // A zombie has ended; nobody has asked how yet.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
    };
    while let Some(pid) = pids.iter().find(|pid| is_there(pid)) {
        let name = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        assert!(Instant::now() < deadline, "process {pid} ({name:?}) is still there");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The admin's session.
pub(super) async fn admin(client: &ShopClient, running: &Running) -> Context {
    let admin = &running.ready()["admin"];
    let word = |field: &str| admin[field].as_str().expect("the admin is shown at the first start").to_owned();
    let login = Login { email: word("email"), password: word("password") };
    let session = client.users.login(&client.anonymous(), &login).await.expect("signed in");
    client.bearing(&session.access_token)
}

/// A SKU with more units than anybody can buy here.
pub(super) async fn stock_up(client: &ShopClient, admin: &Context, sku: &str) {
    let product = serde_json::from_value(json!({
        "slug": sku.to_lowercase(), "title": sku, "category": "kitchen",
        "variants": [{"sku": sku, "title": "one size", "price": {"amount": 999, "currency": "USD"}}],
    }))
    .expect("a product");
    client.products.create(admin, &product).await.expect("created");
    client.products.receive(admin, sku, 1_000_000, "delivery", None).await.expect("received");
}

/// A guest buys one of `sku` under `key`.
pub(super) async fn buy(client: &ShopClient, sku: &str, key: &str) -> Result<Placed, String> {
    let nobody = client.anonymous();
    let cart = client.orders.create_cart(&nobody).await.map_err(|error| error.to_string())?;
    client.orders.set_line(&nobody, cart.id, sku, 1).await.map_err(|error| error.to_string())?;
    let order: PlaceOrder = serde_json::from_value(order_of(cart.id)).expect("an order");
    client.orders.place(&nobody, &order, key, false).await.map_err(|error| error.to_string())
}

/// A guest's order of `cart`, as it goes onto the wire.
pub(super) fn order_of(cart: CartId) -> Value {
    json!({
        "cart_id": cart, "email": "ada@example.com", "payment_method": "pm_card_visa",
        "shipping_address": {"name": "Ada", "line1": "1 Road", "city": "London", "postal_code": "N1", "country": "GB"},
    })
}

/// Waits until every acknowledged order is confirmed, then holds our ledger against the provider's statement: each
/// was charged once, and nothing else was.
pub(super) async fn settled(client: &ShopClient, admin: &Context, acknowledged: &[OrderId]) {
    let deadline = Instant::now() + PATIENCE;
    for id in acknowledged {
        loop {
            let order = client.orders.admin_order(admin, *id).await;
            let order =
                order.unwrap_or_else(|error| panic!("acknowledged order {id} is lost: {error}")).order;
            if order.status == Status::Confirmed {
                break;
            }
            assert!(Instant::now() < deadline, "order {id} is still {:?}", order.status);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let report = client.payments.reconcile(admin, None).await.expect("reconciled");
    assert!(report.differences.is_empty(), "our ledger and the provider's statement differ: {report:?}");
    assert!(report.matches > 0, "nothing was compared: {report:?}");
}

/// Buys one of `sku` with one key until the shop says what became of it, as a patient client does: whatever it hears
/// meanwhile. Answers when the last try began, and the order.
pub(super) async fn insist(client: &ShopClient, sku: &str, key: &str) -> (Instant, OrderId) {
    insist_and_tell(client, sku, key, |_| ()).await
}

/// [`insist`], which tells when each attempt at a cart began that was answered well.
pub(super) async fn insist_and_tell(
    client: &ShopClient,
    sku: &str,
    key: &str,
    made_cart: impl Fn(Instant),
) -> (Instant, OrderId) {
    let deadline = Instant::now() + PATIENCE;
    let nobody = client.anonymous();
    let mut cart = None;
    loop {
        let began = Instant::now();
        if cart.is_none()
            && let Ok(made) = client.orders.create_cart(&nobody).await.inspect(|_| made_cart(began))
            && client.orders.set_line(&nobody, made.id, sku, 1).await.is_ok()
        {
            cart = Some(made.id);
        }
        if let Some(cart) = cart {
            let order: PlaceOrder = serde_json::from_value(order_of(cart)).expect("an order");
            match client.orders.place(&nobody, &order, key, false).await {
                Ok(placed) => return (began, placed.order.id),
                Err(error) => {
                    let is_for_now = error.problem().is_none_or(|problem| problem.status == 503);
                    assert!(is_for_now, "{key}: {error}");
                }
            }
        }
        assert!(Instant::now() < deadline, "{key} was never placed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
