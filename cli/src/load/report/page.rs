//! A run as one file of HTML that needs nothing else: no script, no picture, no letter from elsewhere.

use askama::Template;
use platform::verify::{Report, Verdict};
use platform::vocabulary::Timestamp;

use super::super::lines::{self, told};
use super::super::record::{Ended, ModelFacts, ObjectiveResult, Outcome, RunRecord, VerdictWord};
use super::causes;
use super::pictures::{Picture, Pictures};
use super::repeat::{Repeat, repeat};
use super::rows::{met, seen};
use crate::output::Table;

#[derive(Template)]
#[template(path = "load_report.html")]
struct Page<'a> {
    record: &'a RunRecord,
    meaning: &'static str,
    load: String,
    objectives: Vec<(&'a str, &'a str, &'static str)>,
    facts: Vec<(&'static str, String)>,
    seconds_per_point: usize,
    over_time: Vec<Picture>,
    errors: Option<Picture>,
    examples: Table,
    server: Vec<Picture>,
    resources: Table,
    shares: Table,
    sentences: Vec<String>,
    steps: Table,
    plateaus: Option<Table>,
    step_pictures: Vec<StepPictures<'a>>,
    promises: Promises,
    machine: Vec<(&'static str, String)>,
    repeat: Repeat,
}

/// A step with its charts.
struct StepPictures<'a> {
    name: &'a str,
    request: &'a str,
    told: String,
    pictures: Vec<Picture>,
}

/// What `verify` found, as far as it was asked.
struct Promises {
    sentence: String,
    table: Option<Table>,
}

/// The page.
///
/// # Errors
/// When it cannot be written, which would be for want of memory.
pub fn html(record: &RunRecord) -> anyhow::Result<String> {
    let pictures = Pictures::new(record);
    let page = Page {
        record,
        meaning: meaning(record.verdict.word),
        load: load(record),
        objectives: record.objectives.iter().map(objective).collect(),
        facts: lines::facts(record),
        seconds_per_point: pictures.seconds_per_point(),
        over_time: pictures.load(),
        errors: pictures.errors(),
        examples: examples(record),
        server: pictures.server(),
        resources: causes::resources(record),
        shares: causes::shares(record),
        sentences: causes::sentences(record),
        steps: steps(record),
        plateaus: (!record.plateaus.is_empty()).then(|| lines::plateaus(record)),
        step_pictures: step_pictures(record, &pictures),
        promises: promises(record),
        machine: machine(record),
        repeat: repeat(record),
    };
    Ok(page.render()? + "\n")
}

fn objective(result: &ObjectiveResult) -> (&str, &str, &'static str) {
    (&result.objective, seen(result.seen.as_deref()), met(result.met))
}

fn meaning(word: VerdictWord) -> &'static str {
    match word {
        VerdictWord::Pass => "Every objective was met, and no promise was broken.",
        VerdictWord::Missed => "An objective was missed.",
        VerdictWord::Broken => "A promise of the shop was broken.",
        VerdictWord::Unknown => "It cannot be told.",
    }
}

/// What was asked for, in a line.
fn load(record: &RunRecord) -> String {
    let who = match &record.scenario.model {
        ModelFacts::Open { journeys_per_s, arrivals, .. } => {
            format!("{journeys_per_s} journeys a second, {arrivals} arrivals, open model")
        }
        #[expect(clippy::cast_precision_loss, reason = "at most a day")]
        ModelFacts::Closed { users, think_us } => {
            format!("{users} users, {} s of thought between answers, closed model", *think_us as f64 / 1e6)
        }
    };
    let ended = match record.ended {
        Ended::Completed => String::new(),
        Ended::Interrupted => format!(" of {:.0} s: it was interrupted", record.planned_s),
    };
    format!("{who}, profile {}, {:.1} s{ended}", record.scenario.profile, record.lasted_s)
}

/// Every step with the times of its whole run: counts, then what was felt, then what an uncorrected tool would tell.
fn steps(record: &RunRecord) -> Table {
    let errors: Vec<Outcome> = Outcome::ALL
        .into_iter()
        .filter(|outcome| *outcome != Outcome::Ok && record.outcomes.contains_key(outcome))
        .collect();
    let columns = ["step", "count", "errors"].into_iter().chain(errors.iter().map(|one| one.label()));
    let columns = columns.chain([
        "p50",
        "p90",
        "p99",
        "p99.9",
        "max",
        "uncorrected p50",
        "uncorrected p99",
        "uncorrected max",
        "lag p50",
        "lag p99",
    ]);
    let mut table = Table::new(columns);
    for step in &record.steps {
        let mut row = vec![step.step.clone(), step.count.to_string(), step.errors.to_string()];
        row.extend(
            errors.iter().map(|one| step.outcomes.get(one).map_or(0, |found| found.count).to_string()),
        );
        row.extend([0.5, 0.9, 0.99, 0.999].map(|quantile| told(step.response.quantile(quantile))));
        row.push(told(step.response.max()));
        row.extend([0.5, 0.99].map(|quantile| told(step.service.quantile(quantile))));
        row.push(told(step.service.max()));
        row.extend([0.5, 0.99].map(|quantile| told(step.lag.quantile(quantile))));
        table.row(row);
    }
    table
}

fn examples(record: &RunRecord) -> Table {
    let mut table = Table::new(["step", "at", "counted as", "status", "said"]);
    for step in &record.steps {
        for example in &step.examples {
            table.row([
                step.step.clone(),
                format!("{:.1} s", example.at_s),
                example.outcome.label().to_owned(),
                example.status.map(|status| status.to_string()).unwrap_or_default(),
                example.said.clone(),
            ]);
        }
    }
    table
}

fn step_pictures<'a>(record: &'a RunRecord, pictures: &Pictures<'_>) -> Vec<StepPictures<'a>> {
    let of = |step: &'a super::super::record::StepRecord| StepPictures {
        name: &step.step,
        request: &step.request,
        told: format!(
            "{} taken, {} errors; p50 {}, p99 {}, uncorrected p99 {}",
            step.count,
            step.errors,
            told(step.response.quantile(0.5)),
            told(step.response.quantile(0.99)),
            told(step.service.quantile(0.99))
        ),
        pictures: pictures.step(step),
    };
    record.steps.iter().filter(|step| step.count > 0).map(of).collect()
}

fn promises(record: &RunRecord) -> Promises {
    let only = |sentence: &str| Promises { sentence: sentence.to_owned(), table: None };
    let Some(found) = &record.verify else {
        return match &record.journal {
            Some(journal) if journal.orders > 0 => {
                only("It was not, or could not be, found out whether they were kept.")
            }
            _ => only("No order was placed, so none could be lost."),
        };
    };
    let Ok(report) = serde_json::from_value::<Report>(found.clone()) else {
        return only("The report of `verify` in this record is of a kind that this shopctl does not know.");
    };
    let mut table = Table::new(["", "promise", "kept", "looked at", "broken", "which"]);
    for outcome in &report.outcomes {
        let example = outcome.examples.first().map(|example| format!("{}: {}", example.id, example.what));
        let kept = match outcome.verdict {
            Verdict::True => "yes",
            Verdict::False => "no",
            Verdict::Unknown => "unknown",
        };
        table.row([
            outcome.id.clone(),
            outcome.title.clone(),
            kept.to_owned(),
            outcome.examined.to_string(),
            outcome.broken.to_string(),
            example.or_else(|| outcome.why.clone()).unwrap_or_default(),
        ]);
    }
    Promises { sentence: format!("{}.", report.summary()), table: Some(table) }
}

fn machine(record: &RunRecord) -> Vec<(&'static str, String)> {
    let machine = &record.machine;
    let target = &record.target;
    let build = if machine.is_release { "release" } else { "debug build: its figures are of no use" };
    let shop = [target.version.clone(), target.engine.clone()].into_iter().flatten().collect::<Vec<_>>();
    let target = match &target.environment {
        Some(environment) if target.is_forwarded => {
            format!("{environment}, through its cluster's API server: every figure includes that way")
        }
        Some(environment) => format!("{environment} on {}", target.url),
        None => target.url.clone(),
    };
    let moment = |moment: Timestamp| moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut facts = vec![
        ("run", record.id.clone()),
        ("from", moment(record.started_at)),
        ("to", moment(record.ended_at)),
        ("target", format!("{target} {}", shop.join(", "))),
        ("processors", machine.cores.to_string()),
    ];
    facts.extend(machine.memory_mib.map(|mib| ("memory", format!("{mib} MiB"))));
    facts.extend(machine.kernel.clone().map(|kernel| ("kernel", kernel)));
    facts.push(("shopctl", format!("{} ({build})", machine.shopctl)));
    facts.push((
        "generator",
        format!(
            "{} threads, {} source addresses, {} of {} descriptors",
            machine.workers, machine.source_addresses, machine.descriptors[0], machine.descriptors[1]
        ),
    ));
    facts
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;
    use crate::load::record::{Example, Plateau, Second};

    /// Every element is closed by its own name, and no letter stands where only an entity may.
    fn is_well_formed(page: &str) {
        let mut open: Vec<&str> = Vec::new();
        let (_, mut rest) = page.split_once("<!DOCTYPE html>").expect("a doctype");
        while let Some(at) = rest.find('<') {
            assert!(
                !rest[..at].contains('>') || open.last() == Some(&"style"),
                "a loose > in {:?}",
                &rest[..at]
            );
            let end = rest[at..].find('>').expect("a tag that ends") + at;
            let tag = &rest[at + 1..end];
            rest = &rest[end + 1..];
            let name = tag.trim_start_matches('/').split([' ', '/']).next().unwrap_or_default();
            match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
                (Some(closed), _) => assert_eq!(open.pop(), Some(closed), "before {:.80}", rest),
                (None, Some(_)) => {}
                (None, None) => open.push(name),
            }
        }
        assert_eq!(open, Vec::<&str>::new());
    }

    fn needs_nothing_else(page: &str) {
        for word in ["<script", "<link", "<img", "src=", "href=", "url(", "@import", "xmlns"] {
            assert!(!page.contains(word), "{word} in the page");
        }
        for word in ["NaN", "inf "] {
            assert!(!page.contains(word), "{word} in the page");
        }
    }

    fn page_of(record: &RunRecord) -> String {
        let page = html(record).unwrap();
        is_well_formed(&page);
        needs_nothing_else(&page);
        page
    }

    #[test]
    fn what_the_record_says_is_on_the_page() {
        let mut record = sample::record();
        record.steps[1].examples.push(Example {
            at_s: 6.5,
            outcome: Outcome::Timeout,
            status: None,
            said: "<script>alert('x')</script>".into(),
        });
        let page = page_of(&record);
        for told in [
            "<strong>missed</strong> An objective was missed.",
            "<li>checkout.p99&#60;200ms was 1000.45 ms</li>",
            "<tr><td>errors&#60;1%</td><td>0.09 %</td><td class=\"met\">met</td></tr>",
            "1100 asked (110.0/s), 1100 started (110.0/s), 1099 completed, 1 broken off, 0 dropped in 10.0 s",
            "<tr><td>product</td><td>1000</td><td>0</td><td>0</td><td>30.0 ms</td>",
            "<tr><td>checkout</td><td>100</td><td>1</td><td>1</td><td>1000 ms</td>",
            "<tr><td>checkout</td><td>76.9 %</td>",
            "<tr><td>processors, shop</td><td>0.75</td><td>0.75</td></tr>",
            "<tr><td>memory, shop</td><td>48.0 MiB</td><td>48.0 MiB</td></tr>",
            "<tr><td>messages in queues</td><td>5.0</td><td>5.0</td></tr>",
            "<td>6.5 s</td><td>timeout</td>",
            "shopctl load run --file mixed.toml --seed 42 --workers 2",
            "about = &#34;&#60;a day&#62;&#34;",
            "2026-01-02 03:04:05 UTC",
            "It was not, or could not be, found out whether they were kept.",
        ] {
            assert!(page.contains(told), "{told} is not on\n{page}");
        }
    }

    #[test]
    fn lines_are_drawn_where_the_numbers_are() {
        let page = page_of(&sample::record());
        // 110 a second of a grid to 150, at each of ten seconds.
        assert!(page.contains("class=\"line c1\" d=\"M62.0 60.3L102.8 60.3L143.6 60.3"), "{page}");
        // One time-out in the seventh second.
        assert!(page.contains("class=\"bar c5\" d=\"M306.8 204.0H347.6V8.0H306.8Z\""), "{page}");
    }

    #[test]
    fn a_run_without_anything_still_has_a_page() {
        let mut record = sample::record();
        record.seconds.clear();
        record.steps.clear();
        record.outcomes.clear();
        record.objectives.clear();
        record.journal = None;
        record.ended = Ended::Interrupted;
        record.lasted_s = 0.0;
        let page = page_of(&record);
        for told in [
            "Nothing was measured: the run ended before its first second did.",
            "No step was taken.",
            "0.0 s of 10 s: it was interrupted",
            "No order was placed, so none could be lost.",
        ] {
            assert!(page.contains(told), "{told} is not on\n{page}");
        }
    }

    #[test]
    fn a_shop_that_could_not_be_watched_leaves_only_its_charts_out() {
        let mut record = sample::record();
        record.seconds.iter_mut().for_each(|second| second.server = None);
        let page = page_of(&record);
        assert!(page.contains("The shop is not one of this machine, or did not say what it did."));
        assert!(!page.contains("What the shop did meanwhile") && page.contains("checkout: percentiles"));
    }

    #[test]
    fn a_long_run_has_as_many_points_as_a_short_one() {
        let mut record = sample::record();
        let second = record.seconds[0].clone();
        record.seconds = (0..7200).map(|at_s| Second { at_s, ..second.clone() }).collect();
        record.plateaus.push(Plateau {
            from_s: 0.0,
            to_s: 7200.0,
            asked_per_s: 110.0,
            started_per_s: 110.0,
            p50_us: 30_000,
            p99_us: 1_000_000,
            error_rate: 0.0,
            met: Some(true),
            why: Vec::new(),
        });
        let page = page_of(&record);
        assert!(page.contains("A point stands for 30 seconds"), "{}", &page[..4000]);
        assert!(page.contains("<td>110.0/s</td><td>110.0/s</td>"));
        assert!(page.len() < 200_000, "{} bytes", page.len());
    }

    #[test]
    fn broken_promises_are_told_by_name() {
        let mut record = sample::record();
        record.verify = Some(serde_json::json!({
            "schema": "shopctl/v1/verify", "at": "2026-01-02T03:04:05Z", "as_of": "2026-01-02T03:04:05Z",
            "verdict": "false", "orders": 99, "took_ms": 3,
            "looked": {"engine": "sqlite", "live": true, "statement": null, "journals": [], "logs": [], "texts": []},
            "outcomes": [{
                "id": "V17", "title": "acknowledged orders", "verdict": "false", "examined": 99, "broken": 1,
                "healed": 0, "examples": [{"id": "ord-1", "what": "lost"}], "explain": "shopctl verify", "took_ms": 1,
            }],
        }));
        let page = page_of(&record);
        assert!(
            page.contains(
                "<td>V17</td><td>acknowledged orders</td><td>no</td><td>99</td><td>1</td><td>ord-1: lost</td>"
            ),
            "{page}"
        );
        record.verify = Some(serde_json::json!({"schema": "shopctl/v9/verify"}));
        assert!(page_of(&record).contains("of a kind that this shopctl does not know"));
    }
}
