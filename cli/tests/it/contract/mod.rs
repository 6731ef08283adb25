//! The whole public contract, asked as any client asks it, on every set-up that a shop can have: one process on SQLite,
//! one process on PostgreSQL, and every service twice in processes of its own.
//!
//! # Adding a promise
//! A function in the file of its subject, and a line in [`hold`]. It must hold wherever a request lands, so what
//! another replica may not know yet is waited for.

mod buying;
mod catalogue;
mod people;
mod refusals;
mod staff;
mod world;

use platform::testing::postgres;

use crate::pieces;
use crate::running::Running;
use crate::shopctl::Project;
use world::World;

/// Every promise, in an order in which the later ones need nothing of the earlier.
async fn hold(world: &World) {
    people::accounts_open_and_close(world).await;
    people::refresh_tokens_work_once(world).await;
    catalogue::products_are_found_and_described(world).await;
    catalogue::staff_changes_the_catalogue(world).await;
    buying::carts_add_up(world).await;
    buying::a_guest_buys_and_nobody_else_sees_it(world).await;
    buying::a_customer_buys_what_the_guest_collected(world).await;
    buying::one_key_is_one_order(world).await;
    buying::what_cannot_be_bought_is_said(world).await;
    buying::an_order_waits_for_a_provider_that_is_away(world).await;
    staff::an_order_goes_its_way(world).await;
    staff::stock_is_received_and_adjusted(world).await;
    staff::the_machinery_is_shown(world).await;
    refusals::every_refusal_has_its_code(world).await;
    refusals::every_process_tells_of_itself(world).await;
    refusals::guessing_passwords_is_held_up(world).await;
}

fn on(running: &Running) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { hold(&World::of(running).await).await });
}

#[test]
fn the_contract_holds_in_one_process_on_sqlite() {
    on(&Running::up(&Project::new(), &[]));
}

#[test]
fn the_contract_holds_in_one_process_on_postgres() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let Some(url) = runtime.block_on(postgres::database()) else { return };
    let project = Project::new().variable("SHOPCTL_DATABASE_URL", &url);
    on(&Running::up(&project, &["--engine", "postgres"]));
}

#[test]
fn the_contract_holds_in_processes_with_two_replicas_each_on_postgres() {
    if !postgres::is_here() {
        return;
    }
    let project = pieces::shop::project();
    on(&Running::up(&project, &["--processes", "--replicas", pieces::replicas::TWO_OF_EACH]));
}
