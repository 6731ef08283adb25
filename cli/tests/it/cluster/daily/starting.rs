//! `up`: a shop on a cluster from nothing, and brought up to date.

use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::code;
use crate::cluster::fake::Fake;
use crate::image::registry::{Login, Registry};
use crate::image::write_program;
use crate::shopctl::{Project, steady};

#[test]
fn a_shop_comes_up_and_says_how_it_is_reached() {
    let fake = Fake::new("image = \"shop:1\"");
    let ran = fake.run("up");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"took( +)[\d.]+ s", "took${1}[TOOK]");
    settings.add_filter(r"(?s)--- stderr.*", "");
    settings.bind(|| steady(|| insta::assert_snapshot!("up", ran.picture())));
    let again = fake.expect(0, "up");
    assert_eq!((&again["data"]["ready"], &again["data"]["image"]), (&true.into(), &"shop:1".into()));
    assert_eq!(fake.expect(0, "history order")["data"]["revisions"].as_array().map(Vec::len), Some(1));
    fake.expect(0, "up --image shop:2");
    let order = fake.object("deployments/order-a").expect("a Deployment");
    assert_eq!(order.pointer("/spec/template/spec/containers/0/image"), Some(&"shop:2".into()));
}

#[test]
fn where_customers_find_it_is_told_when_the_cluster_says_so() {
    let fake = Fake::new("image = \"shop:1\"\nvalues = [\"values.yaml\"]");
    fake.project.write(
        "values.yaml",
        "ingress: {enabled: true, host: shop.example.com}\nsecrets: {existingAdminSecret: ours}\n",
    );
    let document = fake.expect(0, "up");
    assert_eq!(document["data"]["addresses"], json!(["https://shop.example.com"]));
    let password = document["data"]["admin"]["password_command"].as_str().expect("a command");
    assert!(password.contains("get secret ours"), "{password}");
}

#[test]
fn an_image_that_is_not_there_brings_nothing_up() {
    let fake = Fake::new("image = \"shop:1\"");
    fake.lose_image("shop:1");
    let document = fake.expect(12, "up");
    let services = document["data"]["services"].as_array().expect("services");
    assert!(services.iter().all(|service| service["outcome"] == "failed"), "{document}");
}

#[test]
fn without_an_image_and_a_registry_it_is_told_what_to_write() {
    let fake = Fake::new("");
    let ran = fake.run("up");
    assert_eq!(ran.code, 3, "{}", ran.picture());
    assert!(ran.stderr.contains("[env.lab]") && ran.stderr.contains("registry ="), "{}", ran.picture());
    assert!(fake.writes().is_empty());
    let without_sources = Fake::new("registry = \"127.0.0.1:1\"");
    assert_eq!(code(&without_sources.expect(3, "up")), "E-NO-IMAGE");
    assert!(without_sources.writes().is_empty());
    let named = Fake::new("values = [\"values.yaml\"]");
    named.project.write("values.yaml", "image: {repository: ours, tag: \"7\"}\n");
    named.expect(0, "up");
    let order = named.object("deployments/order-a").expect("a Deployment");
    assert_eq!(order.pointer("/spec/template/spec/containers/0/image"), Some(&"ours:7".into()));
}

/// Sources whose cargo has built the program already.
fn with_sources(fake: Fake) -> Fake {
    let project = &fake.project;
    std::fs::create_dir_all(project.path().join("platform/src/bin/shopd")).expect("a folder");
    project.write("platform/src/bin/shopd/main.rs", "fn main() {}");
    project.write("Cargo.toml", "[workspace]\n[workspace.package]\nversion = \"9.1.0\"\nlicense = \"MIT\"\n");
    write_program(project, "shopd", None);
    let artifact = json!({"reason": "compiler-artifact", "executable": project.path().join("shopd")});
    project.write("cargo", &format!("#!/bin/sh\necho '{artifact}'\n"));
    let cargo = project.path().join("cargo");
    std::fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).expect("permissions");
    let cargo = cargo.to_str().expect("a readable path").to_owned();
    Fake { project: fake.project.variable("CARGO", &cargo), ..fake }
}

#[test]
fn an_image_is_made_of_the_sources_pushed_and_brought_out_by_its_digest() {
    let registry = Registry::start(Login::Nobody);
    let fake = with_sources(Fake::new(&format!("registry = \"{}/acme\"", registry.address)));
    let document = fake.expect(0, "up");
    let image = document["data"]["image"].as_str().expect("an image").to_owned();
    assert!(image.starts_with(&format!("{}/acme/shop@sha256:", registry.address)), "{image}");
    assert!(registry.is_whole());
    let tags: Vec<String> = registry.kept.lock().unwrap().tags.keys().cloned().collect();
    assert_eq!(tags, ["9.1.0"]);
    let order = fake.object("deployments/order-a").expect("a Deployment");
    assert_eq!(order.pointer("/spec/template/spec/containers/0/image"), Some(&image.as_str().into()));
    let again = fake.expect(0, "up");
    assert_eq!(again["data"]["image"], image.as_str(), "the same sources are the same image");
    assert_eq!(fake.expect(0, "history order")["data"]["revisions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn what_is_for_the_other_kind_of_shop_is_refused() {
    let fake = Fake::new("image = \"shop:1\"");
    for flags in ["--port 1", "--data-dir x", "--empty", "--detach", "--processes", "--no-allow-faults"] {
        let document = fake.expect(2, &format!("up {flags}"));
        assert_eq!(code(&document), "E-ON-KUBERNETES", "{flags}");
    }
    assert!(fake.lock().asked.is_empty(), "nobody was asked");
    let here = Project::new();
    for flags in ["--image shop:1", "--lock-wait 1s", "--confirm local"] {
        let ran = here.run(&format!("up {flags} -o json"));
        assert_eq!((ran.code, code(&ran.json())), (2, "E-NOT-KUBERNETES"), "{}", ran.picture());
    }
    let protected = Fake::new("protected = true\nimage = \"shop:1\"");
    assert_eq!(code(&protected.expect(8, "up")), "E-CONSENT");
    protected.expect(0, "up --confirm lab");
}
