//! Every `--help`, as a person reads it; and how fast.

use std::time::{Duration, Instant};

use crate::shopctl::Project;

/// Every command that the tree has, as words.
fn commands(command: &clap::Command, words: &[String], found: &mut Vec<Vec<String>>) {
    found.push(words.to_vec());
    for child in command.get_subcommands().filter(|child| child.get_name() != "help" || words.is_empty()) {
        let mut longer = words.to_vec();
        longer.push(child.get_name().to_owned());
        commands(child, &longer, found);
    }
}

#[test]
fn every_help_is_as_it_was() {
    let project = Project::new();
    let mut all = Vec::new();
    commands(&::shopctl::args::tree(), &[], &mut all);
    for words in all {
        let mut line: Vec<&str> = words.iter().map(String::as_str).collect();
        line.push("--help");
        let ran = project.run_words(&line);
        assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{words:?}");
        let name = if words.is_empty() { "shopctl".to_owned() } else { words.join("_") };
        insta::assert_snapshot!(format!("help_{name}"), ran.stdout);
    }
}

#[test]
fn help_on_a_command_is_the_help_of_the_command() {
    let project = Project::new();
    assert_eq!(project.run("help config explain").stdout, project.run("config explain --help").stdout);
}

/// The promise is 10 ms for the release binary; a test machine under load is given more, and never a runtime
/// or a socket, which is what this would notice.
#[test]
fn help_is_quick_and_needs_no_file() {
    let project = Project::with_config("this is not toml");
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let began = Instant::now();
        assert_eq!(project.run("--help").code, 0);
        best = best.min(began.elapsed());
    }
    assert!(best < Duration::from_millis(100), "the best of 5 took {best:?}");
}
