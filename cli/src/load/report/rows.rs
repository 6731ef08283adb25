//! A run as rows: a sheet of every second and step, and a page in Markdown.

use super::super::lines;
use super::super::record::{Outcome, RunRecord, Second, StepSecond};
use super::repeat::repeat;
use crate::output::Table;

/// The columns that every row has.
const OF_A_STEP: [&str; 8] =
    ["at_s", "step", "count", "errors", "p50_us", "p99_us", "max_us", "uncorrected_p99_us"];
/// The columns of the row `all` of a second.
const OF_A_SECOND: [&str; 15] = [
    "asked",
    "started",
    "dropped",
    "in_flight",
    "connections",
    "lag_p99_us",
    "lateness_p99_us",
    "cpu",
    "resident_kib",
    "sagas_in_flight",
    "queue_depth",
    "pool_waiting",
    "written_bytes",
    "generator_cpu",
    "generator_resident_kib",
];

/// A row for each second and step, after one for all steps of the second, which also has what belongs to the second
/// as a whole. A cell of what nobody knows is empty.
#[must_use]
pub fn seconds(record: &RunRecord) -> Table {
    let errors: Vec<Outcome> = Outcome::ALL.into_iter().filter(|outcome| outcome.is_error()).collect();
    let named: Vec<String> = errors.iter().map(|outcome| format!("errors_{}", outcome.word())).collect();
    let columns = OF_A_STEP.into_iter().chain(OF_A_SECOND).chain(named.iter().map(String::as_str));
    let mut table = Table::new(columns);
    for second in &record.seconds {
        let mut row = step_cells(second.at_s, "all", &second.all);
        row.extend(second_cells(second));
        row.extend(errors.iter().map(|outcome| second.errors.get(outcome).copied().unwrap_or(0).to_string()));
        table.row(row);
        for (name, step) in &second.steps {
            let mut row = step_cells(second.at_s, name, step);
            row.resize(OF_A_STEP.len() + OF_A_SECOND.len() + errors.len(), String::new());
            table.row(row);
        }
    }
    table
}

fn step_cells(at_s: u64, name: &str, step: &StepSecond) -> Vec<String> {
    let numbers = [step.count, step.errors, step.p50_us, step.p99_us, step.max_us, step.service_p99_us];
    let names = [at_s.to_string(), name.to_owned()];
    names.into_iter().chain(numbers.map(|number| number.to_string())).collect()
}

fn second_cells(second: &Second) -> Vec<String> {
    let server = second.server.unwrap_or_default();
    let whole = [
        Some(second.asked),
        Some(second.started),
        Some(second.dropped),
        Some(second.in_flight),
        Some(second.connections),
        Some(second.lag_p99_us),
        Some(second.lateness_p99_us),
    ];
    let seen = [
        server.resident_kib,
        server.sagas_in_flight,
        server.queue_depth,
        server.pool_waiting,
        server.written_bytes,
    ];
    let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
    let fraction = |number: Option<f64>| number.map(|number| number.to_string()).unwrap_or_default();
    let mut cells: Vec<String> = whole.into_iter().map(number).collect();
    cells.push(fraction(server.cpu));
    cells.extend(seen.into_iter().map(number));
    cells.push(fraction(server.generator_cpu));
    cells.push(number(server.generator_resident_kib));
    cells
}

/// The run as a page in Markdown: to paste where people talk.
#[must_use]
pub fn markdown(record: &RunRecord) -> String {
    let mut page = format!("# Load: {} — {}\n\n", record.scenario.name, record.verdict.word.word());
    for reason in &record.verdict.reasons {
        page.push_str(&format!("- {reason}\n"));
    }
    for hint in &record.verdict.hints {
        page.push_str(&format!("- hint: {hint}\n"));
    }
    let mut objectives = Table::new(["objective", "seen", "met"]);
    for result in &record.objectives {
        objectives.row([&result.objective, seen(result.seen.as_deref()), met(result.met)]);
    }
    let mut facts = Table::new(["", ""]);
    for (name, value) in lines::facts(record) {
        facts.row([name.to_owned(), value]);
    }
    let repeat = repeat(record);
    let tables = [
        ("Objectives", !record.objectives.is_empty(), objectives),
        ("Steps", !record.steps.is_empty(), lines::steps(record)),
        ("Plateaus", !record.plateaus.is_empty(), lines::plateaus(record)),
        ("Facts", true, facts),
    ];
    for (name, _, table) in tables.iter().filter(|(_, has_any, _)| *has_any) {
        page.push_str(&format!("\n## {name}\n\n{}", table.to_markdown()));
    }
    page.push_str(&format!("\n## Again\n\n```\n{}\n```\n", repeat.command));
    if let Some(file) = repeat.file {
        page.push_str(&format!("\n`{file}`:\n\n```toml\n{}\n```\n", record.scenario.file.trim_end()));
    }
    page
}

/// What was seen of an objective.
pub(super) fn seen(seen: Option<&str>) -> &str {
    seen.unwrap_or("no such step was taken")
}

/// Whether it was met, in a word.
pub(super) fn met(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "met",
        Some(false) => "missed",
        None => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_sheet_has_a_row_for_each_second_and_step() {
        let mut record = sample::record();
        record.seconds.truncate(2);
        record.seconds[1].server = None;
        insta::assert_snapshot!(seconds(&record).to_csv().replace("\r\n", "\n"));
    }

    #[test]
    fn a_page_in_markdown() {
        insta::assert_snapshot!(markdown(&sample::record()));
    }
}
