//! What is refused before any cluster is asked.

use crate::shopctl::Project;

const KUBECONFIG: &str = r#"{
  "apiVersion": "v1", "kind": "Config",
  "clusters": [{"name": "near", "cluster": {"server": "http://127.0.0.1:1"}}],
  "users": [{"name": "me", "user": {}}],
  "contexts": [{"name": "kind-shop", "context": {"cluster": "near", "user": "me"}}]
}"#;

fn project(layer: &str) -> Project {
    let project = Project::with_config(&format!(
        "schema = 1\n[env.dev]\ntarget = \"kubernetes\"\nkubeconfig = \"kubeconfig\"\n{layer}\n"
    ));
    project.write("kubeconfig", KUBECONFIG);
    project
}

/// The exit code, and the stable code for scripts.
fn refused(project: &Project, line: &str) -> (i32, String) {
    let ran = project.run(&format!("{line} -o json"));
    let document = ran.json();
    (ran.code, document["errors"][0]["code"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn an_environment_of_this_machine_is_not_deployed_to() {
    for line in ["deploy", "diff", "history", "rollout status", "rollback order", "lock status", "why"] {
        assert_eq!(refused(&Project::new(), line), (2, "E-NOT-KUBERNETES".to_owned()), "{line}");
    }
}

#[test]
fn a_shop_on_a_cluster_is_reached_through_its_cluster() {
    let project = project("context = \"kind-shop\"");
    let lines = ["open api", "verify", "saga list", "dlq list", "breaker list", "load run mixed"];
    // Each tries for some seconds before it gives up.
    std::thread::scope(|scope| {
        let asked = lines.map(|line| {
            let project = &project;
            (line, scope.spawn(move || refused(project, &format!("{line} -e dev"))))
        });
        for (line, found) in asked {
            assert_eq!(found.join().expect("an answer"), (6, "E-KUBE-UNREACHABLE".to_owned()), "{line}");
        }
    });
}

#[test]
fn a_protected_shop_is_loaded_only_by_whoever_says_that_it_is_theirs() {
    let project = project("context = \"kind-shop\"\nprotected = true");
    assert_eq!(refused(&project, "load run mixed -e dev"), (18, "E-NOT-MINE".to_owned()));
    let is_mine = refused(&project, "load run mixed -e dev --i-own-this-target");
    assert_eq!(is_mine, (6, "E-KUBE-UNREACHABLE".to_owned()));
}

#[test]
fn the_context_that_kubectl_is_set_to_is_never_used() {
    assert_eq!(refused(&project(""), "deploy -e dev"), (3, "E-KUBE-CONTEXT".to_owned()));
}

#[test]
fn an_unknown_context_gets_a_suggestion() {
    let ran = project("context = \"kind-shp\"").run("deploy -e dev");
    assert_eq!(ran.code, 3, "{}", ran.picture());
    assert!(ran.stderr.contains("did you mean `kind-shop`?"), "{}", ran.stderr);
}

#[test]
fn a_kubeconfig_that_is_not_there_is_named() {
    let project = Project::with_config(
        "schema = 1\n[env.dev]\ntarget = \"kubernetes\"\ncontext = \"c\"\nkubeconfig = \"nowhere\"\n",
    );
    let ran = project.run("lock status -e dev");
    assert_eq!(ran.code, 5, "{}", ran.picture());
    assert!(ran.stderr.contains("nowhere"), "{}", ran.stderr);
}

#[test]
fn a_cluster_that_does_not_answer_is_unreachable() {
    let found = refused(&project("context = \"kind-shop\""), "history -e dev");
    assert_eq!(found, (6, "E-KUBE-UNREACHABLE".to_owned()));
}
