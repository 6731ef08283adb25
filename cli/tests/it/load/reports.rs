//! What is made of runs that are over: the list, the page, the sheet.

use super::server::{fine, serve};
use super::{record, run};
use crate::shopctl::{Project, steady};

#[test]
fn no_runs_yet_is_no_mistake_and_says_what_to_do() {
    let project = Project::new();
    steady(|| insta::assert_snapshot!("load_runs_empty", project.run("load runs").picture()));
    let ran = project.run("load report");
    assert_eq!(ran.code, 2);
    steady(|| insta::assert_snapshot!("load_report_none", ran.picture()));
}

#[test]
fn a_run_leaves_a_page_and_can_be_written_as_anything() {
    let project = Project::new();
    let url = serve(|_| fine());
    let made = record(&run(&project, &url, "rate = 20\narrivals = \"uniform\"\nduration = \"2s\"", &[]));
    let id = made["id"].as_str().expect("an id");
    let folder = project.path().join(".shopctl/local/runs").join(id);
    let page = std::fs::read_to_string(folder.join("report.html")).expect("a page beside the record");
    assert!(page.contains(id) && page.ends_with("</html>\n"), "{page}");

    let listed = project.run("load runs -o json").json();
    assert_eq!(listed["data"][0]["id"], id);
    assert_eq!(listed["data"][0]["verdict"], made["verdict"]["word"]);

    let sheet = project.run("load report latest --format csv").stdout;
    let rows: Vec<Vec<&str>> = sheet.lines().map(|line| line.split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()), "{sheet}");
    let probes =
        rows.iter().filter(|row| row[1] == "probe").map(|row| row[2].parse::<u64>().expect("a count"));
    assert_eq!(probes.sum::<u64>(), 40, "{sheet}");

    let kept = project.run_words(&["load", "report", id, "--format", "json"]);
    assert_eq!(kept.json(), made);
    let told = project.run("load report -o md").stdout;
    assert!(told.contains("## Steps") && told.contains("| probe | 40 | 0 |"), "{told}");

    let again = project.run("load report latest --to again.html");
    assert_eq!((again.code, again.stdout.as_str()), (0, "again.html\n"), "{}", again.picture());
    let again = std::fs::read_to_string(project.path().join("again.html")).expect("a page");
    assert_eq!(again, page, "the same record makes the same page");
    let by_path = project.run_words(&["load", "report", folder.to_str().expect("a path"), "--to", "-"]);
    assert_eq!(by_path.stdout, page);

    let near = format!("{}x", &id[..id.len() - 1]);
    let missing = project.run_words(&["load", "report", &near]);
    assert_eq!(missing.code, 2);
    assert!(
        missing.stderr.contains(&format!("did you mean `{id}`? `shopctl load runs` lists them")),
        "{}",
        missing.stderr
    );

    let full = project.run("load report latest --to no/such/folder/run.html");
    assert_eq!(full.code, 4, "{}", full.picture());
    assert!(full.stderr.contains("could not write no/such/folder/run.html"), "{}", full.stderr);
}
