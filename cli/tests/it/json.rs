//! Every `-o json`, and the other shapes of stdout.

use crate::shopctl::{Project, steady};

#[test]
fn every_document_is_as_it_was() {
    let project = Project::with_config("schema = 1\n[defaults]\nport = 9000\n");
    project.write("results.json", "{}");
    let lines = [
        "version",
        "help exit-codes",
        "config explain port",
        "config explain",
        "config schema",
        "down",
        "status",
        "walkthrough list",
        "load list",
        "claims list --ledger results.json",
    ];
    for line in lines {
        let ran = project.run(&format!("{line} -o json"));
        let document = ran.json();
        assert_eq!(document["exit"], ran.code, "{line}");
        assert_eq!(document["ok"], ran.code == 0, "{line}");
        let name = format!("json_{}", line.replace([' ', '-', '.'], "_"));
        steady(|| insta::assert_snapshot!(name, ran.stdout));
    }
}

#[test]
fn documents_with_facts_of_this_machine_have_their_fields() {
    let project = Project::new();
    let doctor = project.run("doctor --port 0 -o json");
    let names: Vec<String> = doctor.json()["data"]["checks"]
        .as_array()
        .expect("checks")
        .iter()
        .map(|check| check["name"].as_str().expect("a name").to_owned())
        .collect();
    assert_eq!(names, ["configuration", "data folder", "disk", "shop", "port", "file descriptors"]);
    let completion = project.run("completion bash -o json").json();
    assert!(completion["data"]["script"].as_str().expect("a script").contains("_shopctl"));
    let page = project.run("man config explain -o json").json();
    assert!(page["data"]["page"].as_str().expect("a page").contains(".TH"));
}

#[test]
fn a_table_is_csv_markdown_and_lines_too() {
    let project = Project::new();
    let csv = project.run("help exit-codes -o csv").stdout;
    assert!(csv.starts_with("code,name,meaning\r\n0,ok,\"done, or nothing to do\"\r\n"), "{csv}");
    let md = project.run("help exit-codes -o md").stdout;
    assert!(md.starts_with("| code | name | meaning |\n| --- | --- | --- |\n| 0 | ok |"), "{md}");
    let lines = project.run("help exit-codes -o ndjson").stdout;
    assert_eq!(lines.lines().count(), 22);
    assert!(lines.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
}

#[test]
fn every_flag_can_come_from_the_environment() {
    let project = Project::new().variable("SHOPCTL_OUTPUT", "json").variable("SHOPCTL_PORT", "9123");
    let document = project.run("config explain port").json();
    assert_eq!(document["data"]["value"], "9123");
    assert_eq!(document["data"]["origin"]["variable"], "SHOPCTL_PORT");
}
