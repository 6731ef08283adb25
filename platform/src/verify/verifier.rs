//! Runs the checks: a look, and where something looks broken on a running shop, a second one after the grace period.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::ground::{Beside, Bounds, Ground, last_write};
use super::orders;
use super::report::{EXAMPLES_MAX, Looked, Outcome, Report, SCHEMA, Verdict, worst};
use super::tally::Tally;
use super::{INVARIANTS, Invariant};
use crate::bus;
use crate::services::SERVICES;
use crate::storage::{Db, Dialect, EngineConfig, StorageError, migrations};
use crate::vocabulary::{Env, Timestamp, clock};

/// How many connections a verification takes from PostgreSQL.
const CONNECTIONS_MAX: usize = 4;
/// How many checks look at the same time. More would keep the readers of a running shop busy.
const AT_ONCE: usize = 2;

/// How to verify.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only these invariants (`V3`), unless empty.
    pub only: Vec<&'static str>,
    /// Whether the shop is running, or may be: then what looks broken is looked at again after the grace period.
    pub live: bool,
    /// How long something may look broken because it is under way.
    pub grace: Duration,
    /// How long what is bounded may take.
    pub bounds: Bounds,
    /// What is handed in beside the data.
    pub beside: Beside,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            only: Vec::new(),
            live: true,
            grace: Duration::from_secs(2),
            bounds: Bounds::default(),
            beside: Beside::default(),
        }
    }
}

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no shop's data there.
    #[error("there is no shop's data in {0}")]
    Absent(String),
    /// The data was written by a binary with other tables.
    #[error("{0}")]
    Schema(String),
    /// The storage does not answer, or a query is wrong.
    #[error("the data could not be read: {0}")]
    Storage(#[from] StorageError),
}

/// Looks at a shop's data, and never writes into it.
#[derive(Clone, Debug)]
pub struct Verifier {
    db: Db,
    env: Env,
}

impl Verifier {
    /// Opens the data that `engine` names for reading only, beside the process that writes it or after it.
    ///
    /// # Errors
    /// When it is not there, does not answer, or has other tables than this binary knows.
    pub async fn open(engine: &EngineConfig, env: &Env) -> Result<Self, VerifyError> {
        let engine = match engine {
            EngineConfig::Sqlite { path } if !path.exists() => {
                return Err(VerifyError::Absent(path.display().to_string()));
            }
            EngineConfig::Postgres { url, .. } => {
                EngineConfig::Postgres { url: url.clone(), connections_max: CONNECTIONS_MAX }
            }
            other => other.clone(),
        };
        let verifier = Self::on(Db::open_read_only(&engine).await?, env);
        verifier.check_tables().await?;
        Ok(verifier)
    }

    /// On a database that is open already.
    #[must_use]
    pub fn on(db: Db, env: &Env) -> Self {
        Self { db, env: env.clone() }
    }

    /// The checks are written for the tables of this binary: others would be misread, or could not be read at all.
    async fn check_tables(&self) -> Result<(), VerifyError> {
        let applied = match migrations::applied(&self.db).await {
            Ok(applied) => applied,
            Err(StorageError::Invalid(_)) => return Err(VerifyError::Absent("this database".to_owned())),
            Err(error) => return Err(error.into()),
        };
        let known = || bus::MIGRATIONS.iter().chain(SERVICES.iter().flat_map(|service| service.migrations));
        for (service, version) in &applied {
            if !known().any(|migration| migration.service == service && migration.version == *version) {
                return Err(VerifyError::Schema(format!(
                    "the data has migration {version} of service `{service}`, which this binary does not know: it \
                     was written by a newer one"
                )));
            }
        }
        let ran = |service: &str, version: i64| {
            applied.iter().any(|(known, number)| known == service && *number == version)
        };
        match known().find(|migration| !ran(migration.service, migration.version)) {
            None => Ok(()),
            Some(missing) => Err(VerifyError::Schema(format!(
                "the data does not have migration {} of service `{}` yet: it was written by an older binary",
                missing.version, missing.service
            ))),
        }
    }

    /// Verifies. `told` hears of each invariant as soon as its verdict is known, in their order.
    ///
    /// # Errors
    /// When the data cannot be read. What was only not handed in is an unknown verdict, not an error.
    pub async fn run(&self, options: &Options, told: impl Fn(&Outcome)) -> Result<Report, VerifyError> {
        let begun = self.env.now();
        let as_of = self.as_of(options).await?;
        let ground = Ground::new(self.db.clone(), as_of, options);
        let orders = ground.size("order_orders").await?;
        let asked: Vec<&'static Invariant> = INVARIANTS
            .iter()
            .filter(|invariant| options.only.is_empty() || options.only.contains(&invariant.id))
            .collect();
        let mut outcomes = Vec::with_capacity(asked.len());
        let looks: Vec<_> = asked.iter().map(|invariant| self.outcome(invariant, &ground, options)).collect();
        let looks = async {
            let mut looks = futures_util::stream::iter(looks).buffered(AT_ONCE);
            while let Some(outcome) = looks.next().await {
                let outcome = outcome?;
                told(&outcome);
                outcomes.push(outcome);
            }
            Ok::<_, VerifyError>(())
        };
        // The longest look begins first, so that its readers are busy while the others decide.
        let replays = asked.iter().any(|invariant| matches!(invariant.id, "V12" | "V13" | "V19"));
        let replay = async {
            if replays {
                orders::replayed(&ground).await?;
            }
            Ok::<_, VerifyError>(())
        };
        futures_util::try_join!(replay, looks)?;
        Ok(Report {
            schema: SCHEMA.to_owned(),
            at: begun,
            as_of,
            verdict: worst(outcomes.iter().map(|outcome| outcome.verdict)),
            orders,
            looked: self.looked(options),
            took_ms: self.ms_since(begun),
            outcomes,
        })
    }

    /// A stopped shop stands still: what was not due when it stopped is not late today.
    async fn as_of(&self, options: &Options) -> Result<Timestamp, VerifyError> {
        let now = self.env.now();
        if options.live {
            return Ok(now);
        }
        Ok(last_write(&self.db).await?.map_or(now, |last| last.min(now)))
    }

    async fn outcome(
        &self,
        invariant: &'static Invariant,
        ground: &Ground,
        options: &Options,
    ) -> Result<Outcome, VerifyError> {
        let begun = self.env.now();
        let mut tally = (invariant.check)(ground).await?;
        let mut healed = 0;
        if tally.is_suspicious() && !tally.is_certain && options.live {
            tokio::time::sleep(options.grace).await;
            // What is bounded gets no more time by the second look: the same moment counts.
            let again = Ground::new(self.db.clone(), ground.as_of, options);
            let mut second = (invariant.check)(&again).await?;
            healed = second.confirm(&tally);
            tally = second;
        }
        Ok(outcome(invariant, tally, healed, self.ms_since(begun)))
    }

    fn looked(&self, options: &Options) -> Looked {
        let paths = |paths: &[std::path::PathBuf]| -> Vec<String> {
            paths.iter().map(|path| path.display().to_string()).collect()
        };
        let engine = match self.db.dialect() {
            Dialect::Sqlite => "sqlite",
            Dialect::Postgres => "postgres",
        };
        let beside = &options.beside;
        let log_texts = beside.log_texts.iter().map(|(name, _)| name.clone());
        Looked {
            engine: engine.to_owned(),
            live: options.live,
            statement: beside.statement.as_ref().map(|(from, _)| from.clone()),
            journals: paths(&beside.journals),
            logs: paths(&beside.logs).into_iter().chain(log_texts).collect(),
            texts: beside.texts.iter().map(|(name, _)| name.clone()).collect(),
        }
    }

    fn ms_since(&self, begun: Timestamp) -> u64 {
        u64::try_from(clock::since(begun, self.env.now()).as_millis()).unwrap_or(u64::MAX)
    }

    /// Lets go of the data.
    pub async fn close(&self) {
        self.db.close().await;
    }
}

/// The verdict that follows from what was noted.
fn outcome(invariant: &Invariant, tally: Tally, healed: u64, took_ms: u64) -> Outcome {
    let broken = tally.suspicions.len() as u64 + tally.dropped;
    let saw_nothing = tally.examined == 0 && !tally.nothing_is_fine;
    let why = match tally.blind.as_slice() {
        [] if broken == 0 && saw_nothing => Some(format!("there are no {} yet", invariant.things)),
        [] => None,
        blind => Some(blind.join("; ")),
    };
    let verdict = match (broken, &why) {
        (1.., _) => Verdict::False,
        (0, Some(_)) => Verdict::Unknown,
        (0, None) => Verdict::True,
    };
    let left_out = Some(tally.left_out.join("; ")).filter(|left_out| !left_out.is_empty());
    let examples: Vec<_> = tally.suspicions.into_iter().take(EXAMPLES_MAX).collect();
    let first = examples.first().map_or("<id>", |example| example.id.as_str());
    Outcome {
        id: invariant.id.to_owned(),
        title: invariant.title.to_owned(),
        verdict,
        examined: tally.examined,
        broken,
        healed,
        counts: tally.counts,
        explain: invariant.explain.replace("<id>", first),
        examples,
        why: why.or(left_out),
        took_ms,
    }
}
