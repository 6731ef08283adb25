//! `shopctl bench`: measures a shop of its own on this machine.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::duration::Span;
use crate::bench::checkout::Load;
use crate::bench::load_engine::Rounds;
use crate::bench::outage::{Mode, Outage};
use crate::bench::postgres::Turns;
use crate::bench::{Ground, catalogue, checkout, help, load_engine, memory, outage, postgres, start, verify};
use crate::config::{Engine, Overrides};
use crate::context::Context;
use crate::output::Report;

/// The words of `bench`.
#[derive(Debug, Subcommand)]
pub enum BenchCommand {
    /// Time from an empty folder to the first confirmed order
    Start(StartArgs),
    /// Memory of the whole shop after some orders, idle
    Memory(MemoryArgs),
    /// Orders a second, whole saga, on the disk before the answer
    Checkout(CheckoutArgs),
    /// Orders a second on a PostgreSQL of its own, beside pgbench
    Postgres(PostgresArgs),
    /// CPU of a catalogue read through the gateway, beside bare axum
    Catalogue(RoundsArgs),
    /// CPU of a request of the load engine, beside wrk
    LoadEngine(RoundsArgs),
    /// Time of --help, beside terraform and kubectl where they are installed
    Help(HelpArgs),
    /// Time and memory of `verify` over many orders
    Verify(VerifyArgs),
    /// What buyers notice while the payment provider is away, and what becomes of their orders
    Outage(OutageArgs),
}

/// What every measurement may be told.
#[derive(Debug, Args)]
pub(super) struct GroundArgs {
    /// What keeps the shop's data: sqlite, or postgres at SHOPCTL_DATABASE_URL
    #[arg(long, value_enum, hide_possible_values = true)]
    engine: Option<Engine>,
}

/// The words of `bench start`.
#[derive(Debug, Args)]
pub struct StartArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// How many times; the middle one counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
}

/// The words of `bench memory`.
#[derive(Debug, Args)]
pub struct MemoryArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Orders before it rests
    #[arg(long, default_value_t = 100)]
    orders: u32,
    /// How long it rests after its last saga
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    idle: Span,
}

/// The words of `bench checkout`.
#[derive(Debug, Args)]
pub struct CheckoutArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Buyers at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    buyers: u32,
    /// Orders that are measured
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,
    /// Orders before the clock runs
    #[arg(long, default_value_t = 1_000)]
    warm_up: u32,
    /// Threads of the driver
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    threads: u32,
    /// Orders a second under which the command ends with 14
    #[arg(long, value_name = "RATE")]
    at_least: Option<f64>,
}

/// The words of `bench postgres`.
#[derive(Debug, Args)]
pub struct PostgresArgs {
    /// Buyers at once, and clients of pgbench
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100))]
    buyers: u32,
    /// Orders of each turn
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,
    /// Orders before the first turn
    #[arg(long, default_value_t = 500)]
    warm_up: u32,
    /// Length of each turn of pgbench, whole seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Turns of each side; the middle one counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Ratio under which the command ends with 14
    #[arg(long, value_name = "RATIO")]
    at_least: Option<f64>,
}

/// The words of what is measured in rounds beside something else.
#[derive(Debug, Args)]
pub struct RoundsArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Connections at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=1000))]
    connections: u32,
    /// Length of each round, whole seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Rounds of each side; the middle one counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Ratio over which the command ends with 14
    #[arg(long, value_name = "RATIO")]
    at_most: Option<f64>,
}

impl RoundsArgs {
    fn rounds(&self) -> Rounds {
        Rounds {
            connections: self.connections,
            seconds: self.seconds,
            rounds: self.rounds,
            at_most: self.at_most,
        }
    }
}

/// The words of `bench help`.
#[derive(Debug, Args)]
pub struct HelpArgs {
    /// How many times each; the middle one counts
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Milliseconds over which the command ends with 14, as it does when another is faster
    #[arg(long, value_name = "MS")]
    at_most: Option<f64>,
}

/// The words of `bench verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// Orders that are placed before
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..))]
    orders: u32,
    /// Buyers at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    buyers: u32,
}

/// The words of `bench outage`.
#[derive(Debug, Args)]
pub struct OutageArgs {
    #[command(flatten)]
    ground: GroundArgs,
    /// How the provider is away: refuse or blackhole
    #[arg(long, value_enum, hide_possible_values = true, default_value = "refuse")]
    mode: Mode,
    /// How long it is away
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    duration: Span,
    /// Buyers at once
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    lanes: u32,
}

impl BenchCommand {
    /// The second word.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Start(_) => "start",
            Self::Memory(_) => "memory",
            Self::Checkout(_) => "checkout",
            Self::Postgres(_) => "postgres",
            Self::Catalogue(_) => "catalogue",
            Self::LoadEngine(_) => "load-engine",
            Self::Help(_) => "help",
            Self::Verify(_) => "verify",
            Self::Outage(_) => "outage",
        }
    }
}

pub(super) fn run(command: BenchCommand, context: &Context<'_>) -> anyhow::Result<Report> {
    let (env, printer) = (&context.env, context.printer);
    match command {
        BenchCommand::Start(args) => start::run(&ground(&args.ground, context)?, args.rounds, env, printer),
        BenchCommand::Memory(args) => {
            memory::run(&ground(&args.ground, context)?, args.orders, args.idle.duration(), env, printer)
        }
        BenchCommand::Catalogue(args) => {
            catalogue::run(&ground(&args.ground, context)?, args.rounds(), printer)
        }
        BenchCommand::LoadEngine(args) => {
            load_engine::run(&ground(&args.ground, context)?, args.rounds(), printer)
        }
        BenchCommand::Checkout(args) => {
            let load = Load {
                buyers: count(args.buyers),
                orders: count(args.orders),
                warm_up: count(args.warm_up),
                threads: count(args.threads),
            };
            checkout::run(&ground(&args.ground, context)?, load, args.at_least, env, printer)
        }
        BenchCommand::Postgres(args) => {
            let load = Load {
                buyers: count(args.buyers),
                orders: count(args.orders),
                warm_up: count(args.warm_up),
                threads: 1,
            };
            let turns = Turns { load, seconds: args.seconds, rounds: args.rounds, at_least: args.at_least };
            postgres::run(&ground_with_postgres(context)?, turns, env, printer)
        }
        BenchCommand::Help(args) => help::run(args.rounds, args.at_most, printer),
        BenchCommand::Verify(args) => {
            verify::run(&ground(&args.ground, context)?, args.orders, args.buyers, env, printer)
        }
        BenchCommand::Outage(args) => {
            let outage =
                Outage { mode: args.mode, duration: args.duration.duration(), lanes: count(args.lanes) };
            outage::run(&ground(&args.ground, context)?, outage, env, printer)
        }
    }
}

fn count(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Beside the data of the shop, so that the disk is the one that would be used.
fn ground(args: &GroundArgs, context: &Context<'_>) -> anyhow::Result<Ground> {
    let settings = context.settings(&Overrides { engine: args.engine, ..Overrides::default() })?;
    Ok(Ground { folder: beside(settings.data_dir), engine: settings.engine })
}

/// The same, whatever database the settings name: this measurement brings its own.
fn ground_with_postgres(context: &Context<'_>) -> anyhow::Result<Ground> {
    let overrides = Overrides { engine: Some(Engine::Postgres), processes: true, ..Overrides::default() };
    Ok(Ground { folder: beside(context.settings(&overrides)?.data_dir), engine: Engine::Postgres })
}

fn beside(data_dir: PathBuf) -> PathBuf {
    data_dir.parent().map(Path::to_owned).unwrap_or(data_dir)
}
