//! No number stands in the README that nothing measures.

use std::path::Path;

use crate::shopctl::Project;

#[test]
fn every_number_of_the_readme_is_covered_by_a_claim() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let Ok(page) = std::fs::read_to_string(&path) else {
        eprintln!("skipped: there is no README.md at {}", path.display());
        return;
    };
    let uncovered = ::shopctl::claims::uncovered(&page);
    let told: Vec<String> =
        uncovered.iter().map(|(line, number)| format!("README.md:{line}: {number}")).collect();
    assert!(
        told.is_empty(),
        "no claim covers these numbers; add one to CLAIMS with what measures it, or take the number out:\n{}",
        told.join("\n")
    );
}

#[test]
fn claims_are_listed_with_their_last_results() {
    let project = Project::new();
    project.write(
        "results.json",
        r#"{"memory": {"value": 31.5, "unit": "MiB", "at": "2026-11-23T12:00:00Z", "machine": "linux, 2 cores"}}"#,
    );
    let ran = project.run("claims list --ledger results.json");
    insta::assert_snapshot!("claims_list", ran.picture());
}
