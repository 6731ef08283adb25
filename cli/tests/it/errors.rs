//! Every mistake a person can make, and what the tool answers.

use crate::shopctl::{Project, steady};

fn picture(project: &Project, line: &str) -> String {
    format!("$ shopctl {line}\n{}", project.run(line).picture())
}

#[test]
fn usage_errors() {
    let project = Project::new();
    let lines = [
        "",
        "stauts",
        "status --wach",
        "-o yaml version",
        "open storfront",
        "down --timeout 5",
        "config",
        "config explain prot",
        "config explain xyzzy",
        "help exit-kodes",
        "logs ordr",
        "logs --since yesterday",
        "man upp",
        "doctor --port 70000",
        "up --port 70000",
        "up --timeout soon",
        "up --engine oracle",
        "up --processes --engine sqlite",
        "up --replicas order=2",
        "up --standby",
        "up --processes --replicas orders=2",
        "up --processes --replicas gateway=2",
        "piece order-1",
        "up --database-url postgres://shop:s3cret@db/shop",
        "bench",
        "bench checkout --buyers 0",
        "claims check memroy",
        "walkthrough play first-order --pace 99",
        "completion tcsh",
        "load run",
        "load run mixd",
        "load show xyzzy",
        "load run mixed --rate 5 --users 5",
        "load run mixed --objective chekout.p99<1s",
        "load run mixed --url https://shop.example",
    ];
    for line in lines {
        let ran = project.run(line);
        assert_eq!(ran.code, 2, "{line}: {}", ran.picture());
        insta::with_settings!({ description => line }, {
            let name = format!("usage_{}", line.replace(|letter: char| !letter.is_alphanumeric(), "_"));
            steady(|| insta::assert_snapshot!(name, picture(&project, line)));
        });
    }
}

#[test]
fn a_usage_error_is_a_document_for_a_script() {
    let project = Project::new();
    let ran = project.run("stauts -o json");
    assert_eq!(ran.code, 2);
    let document = ran.json();
    assert_eq!(document["exit"], 2);
    assert_eq!(document["ok"], false);
    assert_eq!(document["errors"][0]["code"], "E-USAGE");
}

#[test]
fn configuration_errors() {
    let unknown_key = Project::with_config("schema = 1\n\n[defaults]\nprot = 9000\n");
    let wrong_kind = Project::with_config("schema = 1\n[env.dev]\nport = \"many\"\n");
    let not_toml = Project::with_config("schema = = 1\n");
    let newer = Project::with_config("schema = 1\nmin_version = \"99.0\"\n");
    let other_schema = Project::with_config("schema = 2\n");
    let unknown_target = Project::with_config("schema = 1\n[env.prod]\ntarget = \"embeded\"\n");
    let secret = Project::with_config(
        "schema = 1\n[defaults]\nengine = \"postgres\"\ndatabase_url = \"postgres://shop:s3cret@db/shop\"\n",
    );
    let nothing = Project::new();
    let cases = [
        ("unknown_key", &unknown_key, "config explain port"),
        ("wrong_kind", &wrong_kind, "config explain port"),
        ("not_toml", &not_toml, "config explain port"),
        ("newer", &newer, "config explain port"),
        ("other_schema", &other_schema, "config explain port"),
        ("unknown_target", &unknown_target, "config explain port"),
        ("secret_in_file", &secret, "doctor"),
        ("no_such_environment", &nothing, "-e prod config explain port"),
        ("no_such_file", &nothing, "--config nowhere.toml config explain port"),
    ];
    for (name, project, line) in cases {
        let ran = project.run(line);
        assert_eq!(ran.code, 3, "{name}: {}", ran.picture());
        assert!(!ran.picture().contains("s3cret"), "{name} shows a password");
        steady(|| insta::assert_snapshot!(format!("config_{name}"), picture(project, line)));
    }
}

#[test]
fn there_is_no_shop() {
    let project = Project::new();
    for line in ["status", "open storefront", "logs"] {
        let ran = project.run(line);
        assert_eq!(ran.code, 6, "{line}: {}", ran.picture());
        steady(|| {
            insta::assert_snapshot!(format!("no_shop_{}", line.replace(' ', "_")), picture(&project, line))
        });
    }
    let ran = project.run("down");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    insta::assert_snapshot!("no_shop_down", picture(&project, "down"));
}

#[test]
fn colour_is_for_terminals_unless_it_is_forced() {
    let project = Project::new();
    assert!(!project.run("status").stderr.contains('\u{1b}'));
    assert!(project.run("--color always status").stderr.contains('\u{1b}'));
    assert!(project.run("--color always stauts").stderr.contains('\u{1b}'));
    let never = Project::new().variable("SHOPCTL_COLOR", "never");
    assert!(!never.run("status").stderr.contains('\u{1b}'));
}

#[test]
fn quiet_still_says_what_went_wrong() {
    let ran = Project::new().run("--quiet status");
    assert!(ran.stderr.starts_with("error: "), "{}", ran.picture());
}
