//! The stories, run as the tests that they are.

use crate::shopctl::Project;

#[test]
fn the_first_order_comes_out_as_the_story_says() {
    let project = Project::new();
    let ran = project.run("walkthrough check first-order -o json");
    assert_eq!(ran.code, 0, "{}", ran.picture());
    let played = &ran.json()["data"][0];
    assert_eq!(played["ok"], true);
    assert_eq!(played["results"].as_array().expect("steps").len(), played["steps"]);
    let left: Vec<_> = std::fs::read_dir(project.path().join(".shopctl"))
        .into_iter()
        .flatten()
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    assert!(left.is_empty(), "the story leaves {left:?} behind");
}

#[test]
fn stories_are_listed_and_an_unknown_one_gets_a_suggestion() {
    let project = Project::new();
    insta::assert_snapshot!("walkthrough_list", project.run("walkthrough list").picture());
    insta::assert_snapshot!("walkthrough_unknown", project.run("walkthrough play frist-order").picture());
}
