//! Runs a story step by step, on a data folder of its own that is removed afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hyper::Method;
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

use super::{Act, Call, Expect, Step, Story};
use crate::targets::local::lock::{self, Standing};
use crate::wire::Connection;

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// How often a look is taken again.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// What came of a step.
#[derive(Clone, Debug, Serialize)]
pub struct StepResult {
    /// Its place in the story, from 1.
    pub number: usize,
    /// What was run, with names replaced.
    pub ran: String,
    /// What came back, in one line.
    pub came: String,
    /// What was expected and did not come; empty when all did.
    pub missed: Vec<String>,
    /// How long it took.
    pub took_ms: u64,
}

/// What came of a story: its steps up to the end, or to the first that missed.
#[derive(Clone, Debug, Serialize)]
pub struct Played {
    /// The story's name.
    pub story: &'static str,
    /// Everything expected came.
    pub ok: bool,
    /// How many steps it has.
    pub steps: usize,
    /// What came of those that ran.
    pub results: Vec<StepResult>,
}

/// Runs stories.
#[derive(Debug)]
pub struct Player {
    data_dir: PathBuf,
    /// The `shop.toml` that was named, for whatever is run.
    config: Option<PathBuf>,
    names: BTreeMap<String, String>,
    runtime: tokio::runtime::Runtime,
}

/// What a step brought, before it is judged.
struct Outcome {
    exit: Option<i64>,
    status: Option<u16>,
    document: Value,
    text: String,
}

impl Player {
    /// A player whose shop lives in `data_dir`, which must not exist yet, or in `environment` of the file `config`. `run`
    /// makes this run's keys differ from another's.
    ///
    /// # Errors
    /// When the system gives no runtime.
    pub fn new(
        data_dir: PathBuf,
        run: &str,
        environment: &str,
        config: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let names = BTreeMap::from([
            ("data".to_owned(), data_dir.display().to_string()),
            ("run".to_owned(), run.to_owned()),
            ("env".to_owned(), environment.to_owned()),
        ]);
        Ok(Self { data_dir, config, names, runtime })
    }

    /// Runs the story until its end or the first step that misses. `before` is told each step before it runs,
    /// `after` what came of it.
    ///
    /// # Errors
    /// When a step cannot be run at all.
    pub fn play(
        &mut self,
        story: &Story,
        mut before: impl FnMut(usize, &Step, &str),
        mut after: impl FnMut(&Step, &StepResult),
    ) -> anyhow::Result<Played> {
        let mut results = Vec::new();
        for (at, step) in story.steps.iter().enumerate() {
            let ran = self.shown(step);
            before(at + 1, step, &ran);
            let result =
                self.step(at + 1, step, ran).with_context(|| format!("step {} of {}", at + 1, story.name))?;
            after(step, &result);
            let is_missed = !result.missed.is_empty();
            results.push(result);
            if is_missed {
                break;
            }
        }
        let ok = results.len() == story.steps.len() && results.iter().all(|result| result.missed.is_empty());
        Ok(Played { story: story.name, ok, steps: story.steps.len(), results })
    }

    fn step(&mut self, number: usize, step: &Step, ran: String) -> anyhow::Result<StepResult> {
        let began = Instant::now();
        let patience = Duration::from_millis(step.within_ms);
        let (outcome, missed) = loop {
            let outcome = self.act(&step.run)?;
            let missed: Vec<String> =
                step.expect.iter().filter_map(|expect| self.miss(expect, &outcome)).collect();
            if missed.is_empty() || began.elapsed() >= patience {
                break (outcome, missed);
            }
            std::thread::sleep(LOOK_EVERY);
        };
        let missed = if missed.is_empty() { self.keep(step, &outcome) } else { missed };
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Ok(StepResult { number, ran, came: outcome.line(), missed, took_ms })
    }

    fn act(&self, act: &Act) -> anyhow::Result<Outcome> {
        match act {
            Act::Shopctl(words) => self.shopctl(words),
            Act::Call(call) => self.runtime.block_on(async {
                tokio::time::timeout(CALL_TIMEOUT, self.call(call))
                    .await
                    .with_context(|| format!("no answer within {} s", CALL_TIMEOUT.as_secs()))?
            }),
            Act::PullThePlug => self.pull_the_plug(),
        }
    }

    fn shopctl(&self, words: &str) -> anyhow::Result<Outcome> {
        let binary = std::env::current_exe().context("could not tell where shopctl is")?;
        let words: Vec<String> = words.split(' ').map(|word| self.filled(word)).collect();
        let config = self.config.iter().flat_map(|path| ["--config".into(), path.clone().into_os_string()]);
        let output = Command::new(binary)
            .args(&words)
            .args(["--output", "json"])
            .args(config)
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("could not run shopctl {}", words.join(" ")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Outcome {
            exit: output.status.code().map(i64::from),
            status: None,
            document: serde_json::from_str(&text).unwrap_or(Value::Null),
            text,
        })
    }

    async fn call(&self, call: &Call) -> anyhow::Result<Outcome> {
        let path = self.filled(call.path);
        let (base, path) = match path.strip_prefix("http://").and_then(|rest| rest.split_once('/')) {
            Some((authority, path)) => (format!("http://{authority}"), format!("/{path}")),
            None => (self.filled("$url"), path),
        };
        let headers: Vec<(&str, String)> =
            call.headers.iter().map(|(name, value)| (*name, self.filled(value))).collect();
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let body = call.body.map(|body| serde_json::from_str(&self.filled(body))).transpose();
        let body: Option<Value> = body.context("the story's document is not JSON")?;
        let method: Method = call.method.parse().context("the story's method is none")?;
        let mut connection = Connection::open(&base).await?;
        let reply = connection.send(method, &path, &headers, body.as_ref()).await?;
        Ok(Outcome {
            exit: None,
            status: Some(reply.status.as_u16()),
            document: reply.json(),
            text: reply.text(),
        })
    }

    fn pull_the_plug(&self) -> anyhow::Result<Outcome> {
        let pid = self.names.get("pid").and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        let pid = pid.context("no process is known whose plug could be pulled")?;
        kill_process(pid, Signal::KILL).context("could not pull the plug")?;
        let deadline = Instant::now() + CALL_TIMEOUT;
        while matches!(lock::standing(&self.data_dir)?, Standing::Held(_)) {
            anyhow::ensure!(Instant::now() < deadline, "the process is still there");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Outcome {
            exit: None,
            status: None,
            document: Value::Null,
            text: "the process is gone".to_owned(),
        })
    }

    /// What `expect` misses in `outcome`, as a sentence.
    fn miss(&self, expect: &Expect, outcome: &Outcome) -> Option<String> {
        match expect {
            Expect::Exit(code) => (outcome.exit != Some(*code)).then(|| {
                format!("expected exit {code}, and it was {}: {}", shown(outcome.exit), outcome.excerpt())
            }),
            Expect::Status(status) => (outcome.status != Some(*status)).then(|| {
                format!(
                    "expected status {status}, and it was {}: {}",
                    shown(outcome.status),
                    outcome.excerpt()
                )
            }),
            Expect::At(pointer, wanted) => {
                let wanted = self.filled(wanted);
                let found = text_at(&outcome.document, pointer);
                (found.as_deref() != Some(wanted.as_str()))
                    .then(|| format!("expected {wanted} at {pointer}, and there is {}", shown(found)))
            }
            Expect::Count(pointer, wanted) => {
                let found = outcome.document.pointer(pointer).and_then(Value::as_array).map(Vec::len);
                (found != Some(*wanted))
                    .then(|| format!("expected {wanted} items at {pointer}, and there are {}", shown(found)))
            }
            Expect::Shows(wanted) => {
                let wanted = self.filled(wanted);
                (!outcome.text.contains(&wanted)).then(|| format!("expected to see {wanted}"))
            }
        }
    }

    /// Keeps what later steps speak of; tells what is not there to keep.
    fn keep(&mut self, step: &Step, outcome: &Outcome) -> Vec<String> {
        let mut missed = Vec::new();
        for keep in step.keep {
            match text_at(&outcome.document, keep.pointer) {
                Some(text) => drop(self.names.insert(keep.name.to_owned(), text)),
                None => {
                    missed.push(format!("expected something at {}, to keep as {}", keep.pointer, keep.name))
                }
            }
        }
        missed
    }

    /// `text` with every known `$name` replaced, the longest name first.
    fn filled(&self, text: &str) -> String {
        let mut names: Vec<(&String, &String)> = self.names.iter().collect();
        names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
        names.iter().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value))
    }

    /// The step as a person would type it.
    fn shown(&self, step: &Step) -> String {
        match step.run {
            Act::Shopctl(words) => format!("shopctl {}", self.filled(words)),
            Act::Call(call) => match call.body {
                Some("{}") | None => format!("{} {}", call.method, self.filled(call.path)),
                Some(body) => {
                    let body: String = self.filled(body).split_whitespace().collect::<Vec<_>>().join(" ");
                    format!("{} {} {body}", call.method, self.filled(call.path))
                }
            },
            Act::PullThePlug => format!("kill -9 {}", self.filled("$pid")),
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        // A story that ended early leaves its shop behind; nobody else knows that folder.
        if let Ok(Standing::Held(Some(holder))) = lock::standing(&self.data_dir)
            && let Some(pid) = i32::try_from(holder.pid).ok().and_then(Pid::from_raw)
        {
            kill_process(pid, Signal::KILL).ok();
        }
        remove(&self.data_dir);
    }
}

/// What cannot be removed is left for a person to look at.
fn remove(folder: &Path) {
    std::fs::remove_dir_all(folder).ok();
}

impl Outcome {
    /// What came back, in one line.
    fn line(&self) -> String {
        let verdict = match (self.exit, self.status) {
            (Some(exit), _) => format!("exit {exit}"),
            (None, Some(status)) => format!("{status}"),
            (None, None) => return self.excerpt(),
        };
        let facts = ["/status", "/payment_status", "/total/amount", "/total/currency", "/id", "/data/url"];
        let facts: Vec<String> = facts
            .iter()
            .filter_map(|pointer| {
                let name = pointer.rsplit('/').next().unwrap_or(pointer);
                Some(format!("{name} {}", text_at(&self.document, pointer)?))
            })
            .collect();
        let items = self.document.pointer("/items").and_then(Value::as_array);
        let items = items.map(|items| items.iter().filter_map(name_of).collect::<Vec<_>>().join(", "));
        let rest: Vec<String> = facts.into_iter().chain(items).filter(|part| !part.is_empty()).collect();
        if rest.is_empty() { verdict } else { format!("{verdict} · {}", rest.join(" · ")) }
    }

    fn excerpt(&self) -> String {
        let flat: String = self.text.split_whitespace().collect::<Vec<_>>().join(" ");
        flat.chars().take(300).collect()
    }
}

/// What an item of a list is called.
fn name_of(item: &Value) -> Option<String> {
    ["type", "title", "order_id"].iter().find_map(|field| Some(item.get(field)?.as_str()?.to_owned()))
}

fn text_at(document: &Value, pointer: &str) -> Option<String> {
    match document.pointer(pointer)? {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn shown(found: Option<impl ToString>) -> String {
    found.map_or_else(|| "nothing".to_owned(), |found| found.to_string())
}

#[cfg(test)]
mod tests {
    use super::super::WALKTHROUGHS;
    use super::*;

    fn player() -> Player {
        let mut player = Player::new(PathBuf::from("/nowhere/at/all"), "r1", "lab", None).unwrap();
        player.names.insert("second".to_owned(), "B".to_owned());
        player.names.insert("second_token".to_owned(), "T".to_owned());
        player
    }

    fn outcome(document: &str) -> Outcome {
        Outcome {
            exit: None,
            status: Some(200),
            document: serde_json::from_str(document).unwrap(),
            text: document.to_owned(),
        }
    }

    #[test]
    fn a_longer_name_is_not_taken_for_a_shorter_one() {
        assert_eq!(player().filled("$second/$second_token/$run"), "B/T/r1");
    }

    #[test]
    fn what_is_missed_is_a_sentence() {
        let player = player();
        let outcome = outcome(r#"{"status": "cancelled", "items": [1, 2]}"#);
        assert_eq!(player.miss(&Expect::Status(200), &outcome), None);
        assert_eq!(player.miss(&Expect::Count("/items", 2), &outcome), None);
        assert_eq!(
            player.miss(&Expect::At("/status", "confirmed"), &outcome).unwrap(),
            "expected confirmed at /status, and there is cancelled"
        );
        assert_eq!(
            player.miss(&Expect::At("/nope", "1"), &outcome).unwrap(),
            "expected 1 at /nope, and there is nothing"
        );
    }

    #[test]
    fn every_story_speaks_only_of_what_it_has_kept() {
        for story in WALKTHROUGHS {
            let mut known = vec!["data".to_owned(), "run".to_owned(), "env".to_owned()];
            for step in story.steps {
                let mut texts = match step.run {
                    Act::Shopctl(words) => vec![words],
                    Act::Call(call) => [call.path]
                        .into_iter()
                        .chain(call.body)
                        .chain(call.headers.iter().map(|(_, value)| *value))
                        .collect(),
                    Act::PullThePlug => vec!["$pid"],
                };
                texts.extend(step.expect.iter().filter_map(|expect| match expect {
                    Expect::At(_, text) | Expect::Shows(text) => Some(*text),
                    _ => None,
                }));
                for used in texts.iter().flat_map(|text| text.split('$').skip(1)) {
                    let name: String =
                        used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                    assert!(
                        known.contains(&name),
                        "{}: ${name} is not kept before `{}`",
                        story.name,
                        step.say
                    );
                }
                known.extend(step.keep.iter().map(|keep| keep.name.to_owned()));
            }
        }
    }

    #[test]
    fn only_looks_are_run_again() {
        for step in WALKTHROUGHS.iter().flat_map(|story| story.steps).filter(|step| step.within_ms > 0) {
            assert!(matches!(step.run, Act::Call(Call { method: "GET", .. })), "{}", step.say);
        }
    }
}
