//! The table of steps.

use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::super::lines::ms;
use super::super::record::StepSecond;
use super::super::snapshot::StepSoFar;
use super::look::Look;
use super::parts::told_of;
use super::state::State;

/// A column of the table of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Step,
    Count,
    Errors,
    P50,
    P90,
    P99,
    Max,
    Now,
    Uncorrected,
}

impl Column {
    fn heading(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Count => "count",
            Self::Errors => "errors",
            Self::P50 => "p50",
            Self::P90 => "p90",
            Self::P99 => "p99",
            Self::Max => "max",
            Self::Now => "p99 now",
            Self::Uncorrected => "uncorrected p99",
        }
    }

    fn cell(self, step: &StepSoFar, now: Option<&StepSecond>) -> String {
        let time = |us| if step.count == 0 { "–".to_owned() } else { ms(us) };
        match self {
            Self::Step => step.step.clone(),
            Self::Count => step.count.to_string(),
            Self::Errors => step.errors.to_string(),
            Self::P50 => time(step.p50_us),
            Self::P90 => time(step.p90_us),
            Self::P99 => time(step.p99_us),
            Self::Max => time(step.max_us),
            Self::Now => now.map_or("–".to_owned(), |now| told_of(now)[1].clone()),
            Self::Uncorrected => time(step.service_p99_us),
        }
    }
}

/// Those that there is room for, each with its width.
fn columns(width: u16) -> &'static [(Column, usize)] {
    use Column::{Count, Errors, Max, Now, P50, P90, P99, Step, Uncorrected};
    match width {
        0..40 => &[(Step, 12), (P50, 10), (P99, 10)],
        40..60 => &[(Step, 12), (Errors, 8), (P50, 10), (P99, 10)],
        60..80 => &[(Step, 12), (Errors, 8), (P50, 10), (P90, 10), (P99, 10), (Max, 10)],
        80..100 => {
            &[(Step, 12), (Count, 8), (Errors, 8), (P50, 9), (P90, 9), (P99, 9), (Max, 9), (Uncorrected, 16)]
        }
        _ => &[
            (Step, 13),
            (Count, 10),
            (Errors, 9),
            (P50, 10),
            (P90, 10),
            (P99, 10),
            (Max, 10),
            (Uncorrected, 17),
            (Now, 11),
        ],
    }
}

/// The heading, all steps together and each of them, in `rows` rows.
pub(super) fn table(state: &State, width: u16, rows: u16, look: Look) -> Vec<Line<'static>> {
    let columns = columns(width);
    let padded = |column: Column, width: usize, cell: String| match column {
        Column::Step => format!("{cell:<width$}"),
        _ => format!("{cell:>width$}"),
    };
    let heading: String =
        columns.iter().map(|(column, width)| padded(*column, *width, column.heading().to_owned())).collect();
    let mut lines = vec![Line::styled(heading, look.faint())];
    let Some(newest) = &state.newest else { return lines };
    let all = std::iter::once(&newest.so_far.all).chain(&newest.so_far.steps);
    let count = newest.so_far.steps.len() + 1;
    let room = usize::from(rows.saturating_sub(1));
    // What there is no room for is told, in the last row.
    let shown = if count > room { room.saturating_sub(usize::from(room > 1)) } else { count };
    for (place, step) in all.take(shown).enumerate() {
        let now = if place == 0 { Some(&newest.second.all) } else { newest.second.steps.get(&step.step) };
        let usual = if place == 0 { look.bold() } else { Style::new() };
        let cells = columns.iter().map(|(column, width)| {
            let is_bad = *column == Column::Errors && step.errors > 0;
            let style = if is_bad { look.bad() } else { usual };
            Span::styled(padded(*column, *width, column.cell(step, now)), style)
        });
        lines.push(Line::from_iter(cells));
    }
    if shown < count && room > 1 {
        lines.push(Line::styled(format!("and {} more steps", count - shown), look.faint()));
    }
    lines
}
