//! How soon the tool says what it can do: `--help`, from the making of the process to its end, beside tools that whoever
//! runs a shop has at hand, each in turns in one run. One that is not installed is said to be absent.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::figures::{middle, to_hundredth};
use crate::failure::Exit;
use crate::output::{Printer, Progress, Report};

/// The others, and how each is asked for its help.
const PEERS: [(&str, &str); 2] = [("terraform", "-help"), ("kubectl", "--help")];

/// A tool and what its rounds took.
#[derive(Debug)]
struct Tool {
    name: &'static str,
    program: PathBuf,
    word: &'static str,
    /// Milliseconds of each round; none when it is not installed.
    took_ms: Option<Vec<f64>>,
}

/// Asks each for its help `rounds` times in turns, and reports the middle one of each.
///
/// # Errors
/// When one is installed and does not answer well.
pub fn run(rounds: u32, at_most_ms: Option<f64>, printer: &Printer) -> anyhow::Result<Report> {
    let own = std::env::current_exe().context("could not tell where shopctl is")?;
    let mut progress = Progress::new(printer);
    let mut tools = vec![Tool::new("shopctl", own, "--help")];
    tools.extend(PEERS.map(|(name, word)| Tool::new(name, PathBuf::from(name), word)));
    for round in 1..=rounds.max(1) {
        progress.step("--help of each in turns", round.into(), rounds.into());
        for tool in &mut tools {
            tool.ask()?;
        }
    }
    progress.clear();
    Ok(report(rounds, at_most_ms, &tools))
}

impl Tool {
    fn new(name: &'static str, program: PathBuf, word: &'static str) -> Self {
        Self { name, program, word, took_ms: Some(Vec::new()) }
    }

    /// One round. A tool that is not there is not asked again.
    fn ask(&mut self) -> anyhow::Result<()> {
        let Some(took_ms) = &mut self.took_ms else { return Ok(()) };
        match time(&self.program, self.word)
            .with_context(|| format!("could not ask {} for help", self.name))?
        {
            Some(took) => took_ms.push(took.as_secs_f64() * 1000.0),
            None => self.took_ms = None,
        }
        Ok(())
    }

    fn middle_ms(&self) -> Option<f64> {
        self.took_ms.as_ref().map(|all| to_hundredth(middle(all, |ms| *ms)))
    }
}

/// How long `program word` takes; none when there is no such program.
fn time(program: &Path, word: &str) -> anyhow::Result<Option<Duration>> {
    let mut command = Command::new(program);
    command.arg(word).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let ended = child.wait()?;
    anyhow::ensure!(ended.success(), "it ended with {ended}");
    Ok(Some(began.elapsed()))
}

fn report(rounds: u32, at_most_ms: Option<f64>, tools: &[Tool]) -> Report {
    let ours = tools.first().and_then(Tool::middle_ms).unwrap_or(f64::MAX);
    let peers = || tools.iter().skip(1);
    let told: serde_json::Map<_, _> =
        peers().map(|tool| (tool.name.to_owned(), json!(tool.middle_ms()))).collect();
    let facts = tools.iter().map(|tool| {
        let took = tool.middle_ms().map_or_else(|| "not installed".to_owned(), |ms| format!("{ms:.1} ms"));
        (format!("{} {}", tool.name, tool.word), took)
    });
    let report = Report::facts(json!({"rounds": rounds, "ours_ms": ours, "peers_ms": told}), facts);
    let whole = format!("from start to end, the middle of {rounds} rounds");
    let Some(most) = at_most_ms else { return report.last_line(whole) };
    let faster = peers().find(|tool| tool.middle_ms().is_some_and(|peer| peer <= ours));
    match faster {
        _ if ours > most => {
            report.exit(Exit::Threshold).last_line(format!("over the {most} ms that were asked for; {whole}"))
        }
        Some(peer) => report.exit(Exit::Threshold).last_line(format!("{} is faster; {whole}", peer.name)),
        None => report.last_line(whole),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tool(name: &'static str, took_ms: Option<&[f64]>) -> Tool {
        Tool { took_ms: took_ms.map(<[f64]>::to_vec), ..Tool::new(name, PathBuf::from(name), "--help") }
    }

    #[test]
    fn the_bound_is_missed_by_being_over_it_or_slower_than_somebody_who_is_there() {
        let exit = |ours: &[f64], peer: Option<&[f64]>, at_most| {
            report(3, at_most, &[tool("shopctl", Some(ours)), tool("kubectl", peer)]).exit_code()
        };
        assert_eq!(exit(&[5.0, 4.0, 90.0], Some(&[50.0]), Some(10.0)), Exit::Ok);
        assert_eq!(exit(&[11.0], Some(&[50.0]), Some(10.0)), Exit::Threshold);
        assert_eq!(exit(&[5.0], Some(&[4.0]), Some(10.0)), Exit::Threshold);
        assert_eq!(exit(&[5.0], None, Some(10.0)), Exit::Ok);
        assert_eq!(exit(&[50.0], Some(&[4.0]), None), Exit::Ok);
    }

    #[test]
    fn one_that_is_absent_has_no_number() {
        let told = report(1, None, &[tool("shopctl", Some(&[5.0])), tool("terraform", None)]);
        assert_eq!(told.data["peers_ms"], json!({"terraform": null}));
        assert_eq!(told.data["ours_ms"], 5.0);
    }

    #[test]
    fn a_program_that_does_not_exist_is_absent_and_one_that_fails_is_an_error() {
        assert!(time(Path::new("no-such-program-anywhere"), "--help").unwrap().is_none());
        assert!(time(Path::new("false"), "--nothing").is_err());
        assert!(time(Path::new("true"), "--nothing").unwrap().is_some());
    }
}
