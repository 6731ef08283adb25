//! Each exit code that a command of today can end with, produced.

use std::net::TcpListener;

use crate::shopctl::Project;

#[test]
fn ok_0() {
    assert_eq!(Project::new().run("version").code, 0);
}

#[test]
fn usage_2() {
    assert_eq!(Project::new().run("version --nope").code, 2);
}

#[test]
fn config_3() {
    assert_eq!(Project::with_config("nope = 1").run("config explain").code, 3);
}

#[test]
fn preflight_4_names_what_is_in_the_way() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let ran = Project::new().run(&format!("doctor --port {port}"));
    assert_eq!(ran.code, 4, "{}", ran.picture());
    assert!(ran.stdout.contains(&format!("port {port} is taken")), "{}", ran.picture());
    assert!(ran.stdout.contains("is free: `shopctl up --port"), "{}", ran.picture());
}

#[test]
fn unreachable_6() {
    assert_eq!(Project::new().run("status").code, 6);
}

#[test]
fn the_table_of_exit_codes_has_every_number_once() {
    let table = Project::new().run("help exit-codes -o json").json();
    let codes: Vec<u64> = table["data"]
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| row["code"].as_u64().expect("a number"))
        .collect();
    assert_eq!(codes, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 130, 143]);
}
