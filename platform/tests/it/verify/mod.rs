//! The checks of the promises: every one seen to fail, none that cries wolf.

mod busy;
mod patient;
mod planted;
mod story;

use platform::verify::{Report, Verdict};

/// The invariants that are not kept, with what the report says of them: what a failed test shows.
fn complaints(report: &Report) -> Vec<String> {
    let bad = report.outcomes.iter().filter(|outcome| outcome.verdict != Verdict::True);
    bad.map(|outcome| {
        let first = outcome.examples.first().map(|example| format!("{}: {}", example.id, example.what));
        let said = first.or_else(|| outcome.why.clone()).unwrap_or_default();
        format!("{} {} {said}", outcome.id, outcome.verdict)
    })
    .collect()
}
