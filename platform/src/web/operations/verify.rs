//! The shop's promises, a light each: what the last check found, whoever ran it, and a button for the next.
//!
//! A check reads beside the shop, on connections of its own, and outlives the request that asked for it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use askama::Template;
use axum::Extension;
use axum::response::Response;

use super::OPERATORS;
use crate::capabilities::Capabilities;
use crate::http::Problem;
use crate::telemetry::TraceQuery;
use crate::verify::{
    Beside, Example, INVARIANTS, Options, Outcome, Report, Statement, StatementSource, Verdict, Verifier,
    journal,
};
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::{milliseconds, moment_words};
use crate::web::visit::{Form, Visit};

/// How long the button waits for the end; a longer check goes on by itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Traces that are searched for secrets.
const TRACES_MAX: usize = 500;

/// The check of this process: one at a time, and what it found last.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    is_looking: Arc<AtomicBool>,
    /// Kept here as well, for a process that may not write into the data folder.
    last: Arc<Mutex<Option<Report>>>,
}

#[derive(Template)]
#[template(path = "operations/promises.html")]
struct Promises {
    page: Page,
    is_looking: bool,
    last: Option<Last>,
    lights: Vec<Light>,
}

/// The last check in a few lines.
struct Last {
    when: String,
    took: String,
    summary: String,
    looked: String,
}

/// One invariant.
struct Light {
    id: &'static str,
    title: &'static str,
    promise: &'static str,
    tone: Tone,
    words: &'static str,
    examined: String,
    broken: String,
    why: String,
    examples: Vec<Example>,
    explain: String,
}

/// `GET /operations/promises`
pub(super) async fn promises(Extension(look): Extension<Look>, visit: Visit) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let report = look.last(&visit.web.capabilities);
    let is_looking = look.is_looking.load(Ordering::SeqCst);
    Ok(visit.show(&Promises {
        page: visit.page("Promises"),
        is_looking,
        last: report.as_ref().map(last),
        lights: lights(report.as_ref()),
    }))
}

/// `POST /operations/promises`: checks them all.
pub(super) async fn check(
    Extension(look): Extension<Look>,
    visit: Visit,
    Form(_): Form,
) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    if look.is_looking.swap(true, Ordering::SeqCst) {
        visit.say(Tone::Info, "The promises are being checked already.");
        return Ok(redirect("/operations/promises"));
    }
    let checking = tokio::spawn(look.clone().run(visit.web.capabilities.clone()));
    match tokio::time::timeout(PATIENCE, checking).await {
        Ok(Ok(Ok(report))) => {
            visit.say(
                tone(report.verdict),
                &format!("{}.", crate::web::failure::full_sentence(&report.summary()).trim_end_matches('.')),
            );
        }
        Ok(Ok(Err(why))) => visit.say(Tone::Bad, &crate::web::failure::full_sentence(&why)),
        Ok(Err(_)) => visit.say(Tone::Bad, "The check ended before its end: the log has more."),
        Err(_) => visit.say(Tone::Info, "The check goes on: load this page again in a moment."),
    }
    Ok(redirect("/operations/promises"))
}

impl Look {
    /// The latest report, of this process or of whoever else left one in the data folder.
    fn last(&self, capabilities: &Capabilities) -> Option<Report> {
        let own = self.last.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept = Report::last(&capabilities.config.data_dir);
        [own, kept].into_iter().flatten().max_by_key(|report| report.at)
    }

    async fn run(self, capabilities: Capabilities) -> Result<Report, String> {
        let found = verify(&capabilities).await;
        self.is_looking.store(false, Ordering::SeqCst);
        match found {
            Ok(report) => {
                if let Err(error) = report.keep(&capabilities.config.data_dir) {
                    tracing::warn!(%error, "the report could not be kept in the data folder");
                }
                *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(report.clone());
                Ok(report)
            }
            Err(error) => {
                tracing::warn!(%error, "the promises could not be checked");
                Err(error.to_string())
            }
        }
    }
}

async fn verify(capabilities: &Capabilities) -> Result<Report, crate::verify::VerifyError> {
    let verifier = Verifier::open(&capabilities.config.engine, &capabilities.env).await?;
    let options = Options { live: true, beside: beside(capabilities), ..Options::default() };
    let report = verifier.run(&options, |_| {}).await;
    verifier.close().await;
    report
}

/// What this process can see beside the data.
fn beside(capabilities: &Capabilities) -> Beside {
    let config = &capabilities.config;
    let telemetry = &capabilities.telemetry;
    let folder = config.data_dir.join("fakepay");
    let journals = config.notification.shop_url.as_deref().map(|url| journal::of_runs(&config.data_dir, url));
    let journals = journals.unwrap_or_default();
    let log = config.telemetry.log_file.clone().filter(|log| log.is_file());
    Beside {
        statement: folder.is_dir().then(|| ("the sandbox's journal".to_owned(), written(folder))),
        journals: journals.own,
        journals_elsewhere: journals.elsewhere,
        logs: log.into_iter().collect(),
        texts: vec![
            ("metrics".to_owned(), telemetry.metrics_text()),
            ("traces".to_owned(), traces(capabilities)),
        ],
        ..Beside::default()
    }
}

fn written(folder: PathBuf) -> StatementSource {
    Arc::new(move || {
        let folder = folder.clone();
        Box::pin(async move {
            let read = tokio::task::spawn_blocking(move || Statement::at_rest(&folder)).await;
            let read = read.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
            read.ok_or_else(|| "the sandbox left none".to_owned())
        })
    })
}

/// The recent traces, a line each, without the ids that they are woven with: those are random digits.
fn traces(capabilities: &Capabilities) -> String {
    let query = TraceQuery { limit: TRACES_MAX, ..TraceQuery::default() };
    let mut text = String::new();
    for mut trace in capabilities.telemetry.traces().find(&query) {
        trace.trace_id.clear();
        let mut value = serde_json::to_value(&trace).unwrap_or_default();
        for span in value["spans"].as_array_mut().into_iter().flatten() {
            if let Some(fields) = span.as_object_mut() {
                fields.retain(|name, _| !name.ends_with("_id"));
            }
        }
        text.push_str(&value.to_string());
        text.push('\n');
    }
    text
}

fn last(report: &Report) -> Last {
    let looked = &report.looked;
    let mut parts = vec![format!(
        "{} on {}",
        if looked.live { "the running shop" } else { "the stopped shop" },
        looked.engine
    )];
    parts.extend(looked.statement.as_ref().map(|from| format!("the provider's statement ({from})")));
    for (count, what) in
        [(looked.journals.len(), "journals of acknowledged orders"), (looked.logs.len(), "logs")]
    {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    parts.extend(looked.texts.iter().cloned());
    Last {
        when: moment_words(report.at),
        took: milliseconds(report.took_ms),
        summary: report.summary(),
        looked: parts.join(", "),
    }
}

fn lights(report: Option<&Report>) -> Vec<Light> {
    let light = |invariant: &'static crate::verify::Invariant| {
        let outcome = report.and_then(|report| report.outcome(invariant.id));
        let number = |of: fn(&Outcome) -> u64| {
            outcome.map_or_else(|| "–".to_owned(), |outcome| of(outcome).to_string())
        };
        Light {
            id: invariant.id,
            title: invariant.title,
            promise: invariant.promise,
            tone: outcome.map_or(Tone::Plain, |outcome| tone(outcome.verdict)),
            words: outcome.map_or("Not checked", |outcome| words(outcome.verdict)),
            examined: number(|outcome| outcome.examined),
            broken: number(|outcome| outcome.broken),
            why: outcome.and_then(|outcome| outcome.why.clone()).unwrap_or_default(),
            examples: outcome.map(|outcome| outcome.examples.clone()).unwrap_or_default(),
            explain: outcome.map(|outcome| outcome.explain.clone()).unwrap_or_default(),
        }
    };
    INVARIANTS.iter().map(light).collect()
}

fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::True => Tone::Good,
        Verdict::Unknown => Tone::Warn,
        Verdict::False => Tone::Bad,
    }
}

fn words(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::True => "Kept",
        Verdict::Unknown => "Unknown",
        Verdict::False => "Broken",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::{Looked, SCHEMA};
    use crate::vocabulary::Timestamp;

    fn outcome(id: &str, verdict: Verdict) -> Outcome {
        let broken = verdict == Verdict::False;
        let example = Example { id: "MUG".into(), what: "<b>3 reserved of 2".into() };
        Outcome {
            id: id.into(),
            title: String::new(),
            verdict,
            examined: 7,
            broken: broken.into(),
            healed: 0,
            counts: Default::default(),
            examples: if broken { vec![example] } else { vec![] },
            why: (verdict == Verdict::Unknown).then(|| "there is no journal".to_owned()),
            explain: "shopctl verify --only V1".into(),
            took_ms: 1,
        }
    }

    fn page_of(report: Option<&Report>) -> String {
        let page = crate::web::page::tests::page("/operations/promises");
        let promises = Promises { page, is_looking: false, last: report.map(last), lights: lights(report) };
        let html = promises.render().unwrap();
        crate::web::page::tests::assert_is_well_made(&html);
        html
    }

    #[test]
    fn every_promise_has_a_light_and_what_is_broken_is_shown() {
        let report = Report {
            schema: SCHEMA.into(),
            at: Timestamp::UNIX_EPOCH,
            as_of: Timestamp::UNIX_EPOCH,
            verdict: Verdict::False,
            orders: 3,
            looked: Looked { engine: "sqlite".into(), live: true, ..Looked::default() },
            outcomes: vec![
                outcome("V1", Verdict::False),
                outcome("V2", Verdict::True),
                outcome("V17", Verdict::Unknown),
            ],
            took_ms: 1200,
        };
        let html = page_of(Some(&report));
        assert_eq!(html.matches("class=\"badge ").count(), INVARIANTS.len());
        assert!(html.contains("badge-bad") && html.contains("badge-good") && html.contains("badge-warn"));
        assert!(html.contains("&#60;b&#62;3 reserved of 2") || html.contains("&lt;b&gt;3 reserved of 2"));
        assert!(html.contains("there is no journal") && html.contains("1 of 3 promises kept over 3 orders"));
    }

    #[test]
    fn before_the_first_check_nothing_is_shown_as_kept() {
        let html = page_of(None);
        assert!(html.contains("Not checked yet") && !html.contains("badge-good"));
    }
}
