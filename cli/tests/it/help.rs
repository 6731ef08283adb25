//! Every `--help`, as a person reads it.

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

/// How quick it is, `bench help` tells.
#[test]
fn help_needs_no_file() {
    let project = Project::with_config("this is not toml");
    assert_eq!(project.run("--help").code, 0);
}
