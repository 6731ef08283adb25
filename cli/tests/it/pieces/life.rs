//! Starting, staying, stopping: no process is lost, and none is left behind.

use platform::client::ShopClient;
use rustix::process::Signal;

use super::shop::{
    admin, buy, everybody, has_postgres, pid_of, process_when, project, send, stock_up, until_gone,
};
use crate::running::Running;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

#[test]
fn a_shop_in_pieces_sells_heals_and_ends_without_a_trace() {
    if !has_postgres() {
        return;
    }
    let (project, runtime) = (project(), runtime());
    let running = Running::up(&project, &["--processes", "--limits", "none"]);
    let client = ShopClient::new(&running.url());
    let (admin, order) = runtime.block_on(async {
        let admin = admin(&client, &running).await;
        stock_up(&client, &admin, "PIECE-1").await;
        (admin, buy(&client, "PIECE-1", "first").await.expect("an order").order)
    });

    let killed = process_when(&project, "product-1", |process| process["state"] == "ready");
    send(pid_of(&killed), Signal::KILL);
    let back = process_when(&project, "product-1", |process| {
        process["state"] == "ready" && process["restarts"] == 1
    });
    assert_ne!(pid_of(&back), pid_of(&killed));
    assert_eq!(back["last_end"], "signal 9 ended it");
    runtime.block_on(async { buy(&client, "PIECE-1", "second").await.expect("an order with the new one") });
    let logs = project.run("logs product");
    assert!(logs.stdout.contains("process=product-1"), "{}", logs.picture());

    let all = everybody(&project, &running);
    running.signal(Signal::INT);
    let (code, told) = running.end();
    assert_eq!(code, 130, "{told:?}");
    assert!(told.last().is_some_and(|line| line.contains("\"clean\":true")), "{told:?}");
    until_gone(&all);

    let running = Running::up(&project, &["--processes", "--limits", "none"]);
    assert!(running.ready()["admin"].is_null(), "the data is kept");
    let client = ShopClient::new(&running.url());
    let kept = runtime.block_on(client.orders.admin_order(&admin, order.id)).expect("the first order");
    assert_eq!(kept.order.number, order.number);
    let down = project.run("down");
    assert_eq!(down.code, 0, "{}", down.picture());
}

#[test]
fn nobody_outlives_a_supervisor_that_is_killed() {
    if !has_postgres() {
        return;
    }
    let project = project();
    let running = Running::up(&project, &["--processes", "--empty"]);
    let all = everybody(&project, &running);
    assert!(all.len() > 8, "seven processes and PostgreSQL's: {all:?}");
    running.signal(Signal::KILL);
    until_gone(&all);
    let running = Running::up(&project, &["--processes", "--empty"]);
    assert_eq!(running.ready()["processes"].as_array().map(Vec::len), Some(7));
}

#[test]
fn a_second_signal_ends_all_of_it_at_once() {
    if !has_postgres() {
        return;
    }
    let project = project();
    let running = Running::up(&project, &["--processes", "--empty"]);
    let all = everybody(&project, &running);
    // One that hangs would keep the others waiting.
    let frozen = process_when(&project, "order-1", |process| process["state"] == "ready");
    send(pid_of(&frozen), Signal::STOP);
    running.signal(Signal::TERM);
    while !running.line().contains("stopping") {}
    running.signal(Signal::INT);
    let (code, _) = running.end();
    assert_eq!(code, 130);
    until_gone(&all);
}
