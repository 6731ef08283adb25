//! Starting, staying, stopping: no process is lost, and none is left behind.

use platform::client::ShopClient;
use platform::http::HttpClient;
use platform::services::order::client::Status;
use platform::testing::postgres;
use rustix::process::Signal;
use serde_json::json;

use super::shop::{
    admin, buy, data_dir, everybody, pid_of, pids_below, process_when, project, send, settled, stock_up,
    until_gone,
};
use crate::running::Running;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().expect("a runtime")
}

#[test]
fn a_shop_in_pieces_sells_heals_and_ends_without_a_trace() {
    if !postgres::is_here() {
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
fn processes_are_restarted_by_service_and_by_seat_and_that_is_told() {
    if !postgres::is_here() {
        return;
    }
    let project = project();
    let running = Running::up(&project, &["--processes", "--empty", "--replicas", "order=2"]);
    let first_event = project.run("events");
    assert!(first_event.stdout.contains("the shop is ready"), "{}", first_event.picture());
    let before = |name| pid_of(&process_when(&project, name, |process| process["state"] == "ready"));
    let (first, second, user) = (before("order-1"), before("order-2"), before("user-1"));
    let ran = project.run("restart order -o json");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    let rows = ran.json()["data"]["processes"].clone();
    assert_eq!((&rows[0]["name"], &rows[0]["pid_before"]), (&"order-1".into(), &first.into()));
    assert_eq!((&rows[1]["name"], &rows[1]["pid_before"]), (&"order-2".into(), &second.into()));
    for (name, old) in [("order-1", first), ("order-2", second)] {
        let process = process_when(&project, name, |process| process["state"] == "ready");
        assert_ne!(pid_of(&process), old, "{name}");
        assert_eq!(process["last_end"], "it ended with 143", "it was asked to, and ended in order");
    }
    assert_eq!(project.run("restart gateway-1").code, 0);
    assert_eq!(before("user-1"), user, "nobody else was asked");
    assert_eq!(project.run("restart ordr").code, 2);
    let events = project.run("events order");
    assert_eq!(events.code, 0, "{}", events.picture());
    assert!(
        events.stdout.contains("order-1") && !events.stdout.contains("gateway-1"),
        "{}",
        events.picture()
    );
    drop(running);
}

#[test]
fn nobody_outlives_a_supervisor_that_is_killed() {
    if !postgres::is_here() {
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
    if !postgres::is_here() {
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

#[test]
fn a_shop_in_pieces_that_was_stopped_or_killed_is_verified_and_left_as_it_was() {
    if !postgres::is_here() {
        return;
    }
    let (project, runtime) = (project(), runtime());
    let mut running = Running::up(&project, &["--processes", "--limits", "none"]);
    let client = ShopClient::new(&running.url());
    let staff = runtime.block_on(async {
        let staff = admin(&client, &running).await;
        stock_up(&client, &staff, "LEFT-1").await;
        let order = buy(&client, "LEFT-1", "before").await.expect("an order").order;
        settled(&client, &staff, &[order.id]).await;
        staff
    });
    for signal in [Signal::TERM, Signal::KILL] {
        let all = everybody(&project, &running);
        running.signal(signal);
        until_gone(&all);
        let facts = || std::fs::read(data_dir(&project).join("up.lock")).expect("the facts");
        let left = facts();
        let ran = project.run("verify -o json");
        let document = ran.json();
        assert_eq!(document["data"]["looked"]["live"], false, "{}", ran.picture());
        assert_eq!(document["data"]["orders"], 1, "{}", ran.picture());
        let outcomes = document["data"]["outcomes"].as_array().expect("outcomes");
        assert!(outcomes.iter().all(|outcome| outcome["verdict"] != "false"), "{}", ran.picture());
        assert_eq!(
            pids_below(&data_dir(&project).join("postgres")),
            Vec::<u32>::new(),
            "nobody is left behind"
        );
        assert_eq!(facts(), left, "the shop that ended is still the last one");
        running = Running::up(&project, &["--processes", "--limits", "none"]);
    }
    let client = ShopClient::new(&running.url());
    runtime.block_on(async {
        let order = buy(&client, "LEFT-1", "after").await.expect("an order").order;
        settled(&client, &staff, &[order.id]).await;
    });
}

#[test]
fn a_provider_that_refuses_is_one_where_nobody_listens_also_in_pieces() {
    if !postgres::is_here() {
        return;
    }
    let (project, runtime) = (project(), runtime());
    let running = Running::up(&project, &["--processes", "--limits", "none"]);
    let client = ShopClient::new(&running.url());
    let fakepay = &running.ready()["fakepay"];
    let word = |field: &str| fakepay[field].as_str().expect("a word").to_owned();
    let (url, token) = (word("url"), word("control_token"));
    let turn = async |method: &str, fault: &serde_json::Value| {
        let request = hyper::Request::builder()
            .method(method)
            .uri(format!("{url}/control/faults"))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(http_body_util::Full::new(bytes::Bytes::from(fault.to_string())))
            .expect("a request");
        let http = HttpClient::new(std::time::Duration::from_secs(5));
        let answer = http.send(request, std::time::Duration::from_secs(5)).await.expect("an answer");
        assert!(answer.status().is_success(), "{answer:?}");
    };
    runtime.block_on(async {
        let staff = admin(&client, &running).await;
        stock_up(&client, &staff, "DOWN-1").await;
        turn("PUT", &json!({"mode": "refuse"})).await;
        // A connection that is cut proves nothing, and such an order waits for its answer instead.
        let queued = buy(&client, "DOWN-1", "refused").await.expect("an order").order;
        assert_eq!(queued.status, Status::PaymentQueued);
        turn("DELETE", &json!(null)).await;
        settled(&client, &staff, &[queued.id]).await;
    });
    let killed = process_when(&project, "fakepay-1", |process| process["state"] == "ready");
    send(pid_of(&killed), Signal::KILL);
    process_when(&project, "fakepay-1", |process| process["state"] == "ready" && process["restarts"] == 1);
    runtime.block_on(async {
        let staff = admin(&client, &running).await;
        let order = buy(&client, "DOWN-1", "the next provider").await.expect("an order").order;
        settled(&client, &staff, &[order.id]).await;
    });
}
