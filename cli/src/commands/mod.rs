//! One file per verb. A file has the verb's words and what it does; the rooms below do the work.
//!
//! # Adding one
//! A file with its `Args` and `run`, a line in [`Command`] and one in each of its two matches.

mod bench;
mod breaker;
mod changing;
mod claims;
mod completion;
mod config;
mod deploy;
mod diff;
mod dlq;
mod doctor;
mod down;
mod drift;
mod duration;
mod errand;
mod events;
mod help;
mod history;
mod image;
mod load;
mod lock;
mod logs;
mod man;
mod only;
mod open;
mod piece;
mod place;
mod restart;
mod rollback;
mod rollout;
mod saga;
mod scale;
mod status;
mod up;
pub(crate) mod verify;
mod version;
mod walkthrough;
mod why;

use clap::Subcommand;

use crate::context::Context;
use crate::failure::Exit;

/// The verbs, in the order a newcomer meets them.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the shop, in one process or several, or bring it onto its cluster
    Up(up::UpArgs),
    /// Stop the shop of the data folder, or take it off its cluster
    Down(down::DownArgs),
    /// Show whether the shop runs, and how it is
    Status(status::StatusArgs),
    /// Show the shop's logs
    Logs(logs::LogsArgs),
    /// Show what happened to the shop's processes, or to its objects on a cluster
    Events(events::EventsArgs),
    /// Start services anew, one after the other
    Restart(restart::RestartArgs),
    /// Say how many pods services have
    Scale(scale::ScaleArgs),
    /// Open a page of the shop in the browser
    Open(open::OpenArgs),
    /// Bring the shop onto its cluster, or what changed of it
    Deploy(Box<deploy::DeployArgs>),
    /// Show what a deploy would change, field by field
    Diff(diff::DiffArgs),
    /// Show what others changed since the last deploy, and put it right
    Drift(drift::DriftArgs),
    /// Show what keeps a service on a cluster from being well
    Why(why::WhyArgs),
    /// See and steer the releases that go on
    #[command(subcommand)]
    Rollout(rollout::RolloutCommand),
    /// Bring an earlier revision of a service back
    Rollback(rollback::RollbackArgs),
    /// Show what was rolled out, and what became of it
    History(history::HistoryArgs),
    /// See and run the work behind the orders
    #[command(subcommand)]
    Saga(saga::SagaCommand),
    /// See and move messages that nobody could handle
    #[command(subcommand)]
    Dlq(dlq::DlqCommand),
    /// See and turn the circuit breakers in front of the payment provider
    #[command(subcommand)]
    Breaker(breaker::BreakerCommand),
    /// Check whether the shop keeps its promises
    Verify(verify::VerifyArgs),
    /// Look for what would keep a shop from running
    Doctor(doctor::DoctorArgs),
    /// Tell and run the stories of the shop
    #[command(subcommand)]
    Walkthrough(walkthrough::WalkthroughCommand),
    /// Put a shop under load, and say what it means
    #[command(subcommand)]
    Load(load::LoadCommand),
    /// See and hold the lock that keeps others from deploying
    #[command(subcommand)]
    Lock(lock::LockCommand),
    /// Lay out, look at and push the shop's image, without any engine
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// List and check the numbers that the documentation states
    #[command(subcommand)]
    Claims(claims::ClaimsCommand),
    /// Measure the shop on this machine
    #[command(subcommand)]
    Bench(bench::BenchCommand),
    /// Explain the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Print the completion script of a shell
    Completion(completion::CompletionArgs),
    /// Print the manual page
    Man(man::ManArgs),
    /// Show the version
    Version,
    /// Help on a command or a topic
    Help(help::HelpArgs),
    /// Run one process of a shop in pieces
    #[command(hide = true)]
    Piece(piece::PieceArgs),
}

impl Command {
    /// The words of the command, for the envelope.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Up(_) => "up".into(),
            Self::Down(_) => "down".into(),
            Self::Status(_) => "status".into(),
            Self::Logs(_) => "logs".into(),
            Self::Events(_) => "events".into(),
            Self::Restart(_) => "restart".into(),
            Self::Scale(_) => "scale".into(),
            Self::Open(_) => "open".into(),
            Self::Deploy(_) => "deploy".into(),
            Self::Diff(_) => "diff".into(),
            Self::Drift(_) => "drift".into(),
            Self::Why(_) => "why".into(),
            Self::Rollout(command) => format!("rollout {}", command.word()),
            Self::Rollback(_) => "rollback".into(),
            Self::History(_) => "history".into(),
            Self::Saga(command) => format!("saga {}", command.word()),
            Self::Dlq(command) => format!("dlq {}", command.word()),
            Self::Breaker(command) => format!("breaker {}", command.word()),
            Self::Verify(args) => args.words().into(),
            Self::Doctor(_) => "doctor".into(),
            Self::Walkthrough(command) => format!("walkthrough {}", command.word()),
            Self::Load(command) => format!("load {}", command.word()),
            Self::Lock(command) => format!("lock {}", command.word()),
            Self::Image(command) => format!("image {}", command.word()),
            Self::Claims(command) => format!("claims {}", command.word()),
            Self::Bench(command) => format!("bench {}", command.word()),
            Self::Config(command) => format!("config {}", command.word()),
            Self::Completion(_) => "completion".into(),
            Self::Man(_) => "man".into(),
            Self::Version => "version".into(),
            Self::Help(_) => "help".into(),
            Self::Piece(_) => "piece".into(),
        }
    }

    /// Runs it.
    ///
    /// # Errors
    /// What it could not do.
    pub fn run(self, context: &Context<'_>) -> anyhow::Result<Exit> {
        let report = match self {
            Self::Up(args) => return up::run(&args, context),
            Self::Logs(args) => return logs::run(&args, context),
            Self::Status(args) => return status::run(&args, context),
            Self::Events(args) => return events::run(&args, context),
            Self::Open(args) => return open::run(&args, context),
            Self::Verify(args) => return verify::run(&args, context),
            Self::Piece(args) => return piece::run(&args, context),
            Self::Load(command) => return load::run(command, context),
            Self::Down(args) => down::run(&args, context)?,
            Self::Restart(args) => restart::run(&args, context)?,
            Self::Scale(args) => scale::run(&args, context)?,
            Self::Deploy(args) => deploy::run(&args, context)?,
            Self::Diff(args) => diff::run(&args, context)?,
            Self::Drift(args) => drift::run(&args, context)?,
            Self::Why(args) => why::run(&args, context)?,
            Self::Rollout(command) => rollout::run(&command, context)?,
            Self::Rollback(args) => rollback::run(&args, context)?,
            Self::History(args) => history::run(&args, context)?,
            Self::Saga(command) => saga::run(command, context)?,
            Self::Dlq(command) => dlq::run(command, context)?,
            Self::Breaker(command) => breaker::run(command, context)?,
            Self::Doctor(args) => doctor::run(args, context)?,
            Self::Walkthrough(command) => walkthrough::run(command, context)?,
            Self::Lock(command) => lock::run(command, context)?,
            Self::Image(command) => image::run(command, context)?,
            Self::Claims(command) => claims::run(command, context)?,
            Self::Bench(command) => bench::run(command, context)?,
            Self::Config(command) => config::run(command, context)?,
            Self::Completion(args) => completion::run(&args, context),
            Self::Man(args) => man::run(&args, context)?,
            Self::Version => version::run(),
            Self::Help(args) => help::run(&args, context)?,
        };
        context.printer.report(&report)?;
        Ok(report.exit_code())
    }
}
