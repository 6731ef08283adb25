//! `shopctl walkthrough`: tells the stories of the shop, or runs them as tests.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;

use crate::config::Target;
use crate::context::{Context, variable};
use crate::failure::{Exit, Failure, nearest};
use crate::output::{Body, Format, Report, Table};
use crate::walkthroughs::{Place, Player, Step, StepResult, Story, WALKTHROUGHS};

/// The words of `walkthrough`.
#[derive(Debug, Subcommand)]
pub enum WalkthroughCommand {
    /// List the stories
    List,
    /// Tell a story at a person's pace, running every step
    Play(PlayArgs),
    /// Run stories headless, as a test; without a name all that play where the environment's shop lives
    Check(CheckArgs),
}

/// The words of `walkthrough play`.
#[derive(Debug, Args)]
pub struct PlayArgs {
    /// The story
    story: String,
    /// Twice as slow is 2, twice as fast 0.5, without pauses 0
    #[arg(long, default_value_t = 1.0, value_parser = pace)]
    pace: f64,
}

/// The words of `walkthrough check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The stories
    stories: Vec<String>,
}

impl WalkthroughCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Play(_) => "play",
            Self::Check(_) => "check",
        }
    }
}

pub(super) fn run(command: WalkthroughCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    match command {
        WalkthroughCommand::List => Ok(list()),
        WalkthroughCommand::Play(args) => play(find(&args.story)?, args.pace, context),
        WalkthroughCommand::Check(args) => {
            let named: Result<Vec<&Story>, Failure> = args.stories.iter().map(|name| find(name)).collect();
            let named = named?;
            let here = || WALKTHROUGHS.iter().filter(|story| is_placed(story, context).is_ok_and(|is| is));
            check(if named.is_empty() { here().collect() } else { named }, context)
        }
    }
}

fn list() -> Report {
    let mut table = Table::new(["story", "steps", "what it shows"]);
    for story in WALKTHROUGHS {
        table.row([story.name.to_owned(), story.steps.len().to_string(), story.about.to_owned()]);
    }
    let item = |story: &Story| json!({"name": story.name, "about": story.about, "steps": story.steps.len()});
    Report::new(WALKTHROUGHS.iter().map(item).collect(), Body::Table(table))
}

fn play(story: &Story, pace: f64, context: &Context<'_>) -> anyhow::Result<Report> {
    let printer = context.printer;
    // A script that asked for a document gets it at the end; the story is told on stderr then.
    let is_told_on_stdout = printer.format() == Format::Text;
    let tell = |text: &str| {
        if is_told_on_stdout {
            // Nobody is left to listen when stdout is gone; the story still ends well.
            printer.data(text).ok();
        } else {
            printer.talk(text);
        }
    };
    let paint = if is_told_on_stdout { printer.paint() } else { printer.paint_err() };
    let before = |number: usize, step: &Step, ran: &str| {
        tell(&format!("\n{} {}\n", paint.bold(&format!("{number}.")), step.say));
        tell(&format!("   {}\n", paint.cyan(&format!("$ {ran}"))));
    };
    let after = |step: &Step, result: &StepResult| {
        tell(&format!("   {}\n", paint.faint(&result.came)));
        for missed in &result.missed {
            tell(&format!("   {} {missed}\n", paint.red("✗")));
        }
        std::thread::sleep(Duration::from_millis(step.pause_ms).mul_f64(pace));
    };
    let played = player(story, context)?.play(story, before, after)?;
    let data = serde_json::to_value(&played)?;
    let report = Report::new(data, Body::Nothing);
    Ok(if played.ok {
        report.last_line("that is the story; `shopctl up` starts a shop to keep")
    } else {
        report.exit(Exit::Partial).last_line("the story did not come to its end")
    })
}

fn check(stories: Vec<&Story>, context: &Context<'_>) -> anyhow::Result<Report> {
    let printer = context.printer;
    let mut table = Table::new(["story", "verdict", "steps", "what was missed"]);
    let mut all = Vec::new();
    for story in stories {
        let mut missed = Vec::new();
        let played = player(story, context)?.play(
            story,
            |_, _, _| (),
            |_, result| {
                let mark = if result.missed.is_empty() { "ok" } else { "missed" };
                printer.say(&format!(
                    "{} {} {mark} ({} ms): {}",
                    story.name, result.number, result.took_ms, result.ran
                ));
                missed.extend(result.missed.iter().map(|missed| format!("step {}: {missed}", result.number)));
            },
        )?;
        let verdict = if played.ok { "ok" } else { "missed" };
        let steps = format!("{} of {}", played.results.len(), played.steps);
        table.row([story.name.to_owned(), verdict.to_owned(), steps, missed.join("; ")]);
        all.push(played);
    }
    let failed = all.iter().filter(|played| !played.ok).count();
    let report = Report::new(serde_json::to_value(&all)?, Body::Table(table));
    Ok(if failed == 0 {
        report.last_line("every step came out as the story says")
    } else {
        report.exit(Exit::Partial).last_line(format!("{failed} of {} stories missed a step", all.len()))
    })
}

/// Whether the environment's shop lives where `story` plays.
fn is_placed(story: &Story, context: &Context<'_>) -> anyhow::Result<bool> {
    let target = context.config()?.target();
    Ok(match story.place {
        Place::Here => target == Target::Embedded,
        Place::Cluster => target == Target::Kubernetes,
    })
}

/// A player on a data folder of its own, beside the shop's, or on the environment's cluster.
fn player(story: &Story, context: &Context<'_>) -> anyhow::Result<Player> {
    if !is_placed(story, context)? {
        let (where_it_plays, hint) = match story.place {
            Place::Here => ("on this machine", "leave -e out"),
            Place::Cluster => ("on a cluster", "name an environment with `target = \"kubernetes\"` by -e"),
        };
        let message = format!("the story `{}` plays {where_it_plays}", story.name);
        return Err(Failure::new(Exit::Usage, "E-STORY-PLACE", message).hint(hint).into());
    }
    if story.place == Place::Cluster && context.config()?.kubernetes(variable)?.protected {
        let message =
            format!("`{}` is protected, and this story takes away what it makes", context.environment);
        return Err(Failure::new(Exit::Refused, "E-PROTECTED", message)
            .hint("play it in an environment that nobody needs")
            .into());
    }
    let data_dir = context.data_dir(None)?;
    let run = context.env.uuid().to_string();
    let folder = data_dir.parent().map_or_else(|| PathBuf::from(".shopctl"), PathBuf::from);
    let folder = folder.join(format!("walkthrough-{run}"));
    Player::new(folder, &run, &context.environment, context.config_path.clone())
}

fn find(name: &str) -> Result<&'static Story, Failure> {
    WALKTHROUGHS.iter().find(|story| story.name == name).ok_or_else(|| {
        let hint = match nearest(name, WALKTHROUGHS.iter().map(|story| story.name)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`shopctl walkthrough list` lists the stories".to_owned(),
        };
        Failure::new(Exit::Usage, "E-STORY", format!("there is no story `{name}`")).hint(hint)
    })
}

fn pace(text: &str) -> Result<f64, String> {
    let pace: f64 = text.parse().map_err(|_| "a number, as 0.5".to_owned())?;
    if (0.0..=10.0).contains(&pace) { Ok(pace) } else { Err("a number from 0 to 10".to_owned()) }
}
