//! The lines of the view, each from what is known.

use ratatui::style::{Color, Style};
use ratatui::text::{Line, Span};

use super::super::lines::ms;
use super::super::record::{ObjectiveResult, Plateau, ServerSample, StepSecond};
use super::super::snapshot::Snapshot;
use super::super::verdict::told_errors;
use super::look::Look;
use super::state::{Levers, State};

/// The names of the lines, and the room that they take.
pub(super) const NAME: usize = 11;

/// Which run it is, and how it stands.
pub(super) fn title(state: &State, width: u16, look: Look) -> Line<'static> {
    let stands = match &state.newest {
        _ if state.is_stopped => {
            let in_flight = state.newest.as_ref().map_or(0, |newest| newest.second.in_flight);
            Span::styled(format!("stopping, {in_flight} in flight"), look.careful())
        }
        None => Span::styled("starting".to_owned(), look.careful()),
        _ if state.is_paused => Span::styled("paused".to_owned(), look.careful()),
        Some(newest) => Span::styled(newest.phase.clone(), look.good()),
    };
    let by_hand = if state.factor == 1.0 { String::new() } else { format!("  ×{}", state.factor) };
    let time = state.newest.as_ref().map_or_else(String::new, |newest| format!("  {}", elapsed(newest)));
    let right = stands.width() + Span::raw(&by_hand).width() + time.chars().count();
    let room = usize::from(width).saturating_sub(right + 2);
    let name: String = state.scenario.chars().take(room).collect();
    let left = room.saturating_sub(name.chars().count() + 2);
    // Half an address is none.
    let target = if state.target.chars().count() <= left { state.target.clone() } else { String::new() };
    let gap = usize::from(width).saturating_sub(right + name.chars().count() + 2 + target.chars().count());
    Line::from(vec![
        Span::styled(name, look.bold()),
        Span::raw("  "),
        Span::styled(target, look.accent()),
        Span::raw(" ".repeat(gap)),
        stands,
        Span::styled(by_hand, look.careful()),
        Span::raw(time),
    ])
}

/// `0:12 of 1:00`.
fn elapsed(newest: &Snapshot) -> String {
    let at = clock(newest.second.at_s + 1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of a run")]
    match newest.planned_s {
        Some(planned) => format!("{at} of {}", clock(planned.ceil().max(0.0) as u64)),
        None => at,
    }
}

fn clock(seconds: u64) -> String {
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if hours > 0 { format!("{hours}:{minutes:02}:{seconds:02}") } else { format!("{minutes}:{seconds:02}") }
}

/// How much of the planned time is over.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "columns of a terminal and seconds of a run"
)]
pub(super) fn progress(state: &State, width: u16, look: Look) -> Line<'static> {
    let (at, planned) = match &state.newest {
        None => (0.0, Some(1.0)),
        Some(newest) => ((newest.second.at_s + 1) as f64, newest.planned_s),
    };
    let Some(planned) = planned else {
        return Line::styled("how long it takes depends on what it finds", look.faint());
    };
    let done = (at / planned.max(1.0) * f64::from(width)).min(f64::from(width)) as usize;
    Line::from(vec![
        Span::styled("━".repeat(done), look.accent()),
        Span::styled("─".repeat(usize::from(width) - done), look.faint()),
    ])
}

/// What is on its way, and how late it set out.
pub(super) fn flight(state: &State, width: u16, look: Look) -> Line<'static> {
    let Some(newest) = &state.newest else {
        return Line::styled("the first second is not over yet", look.faint());
    };
    let (second, so_far) = (&newest.second, &newest.so_far);
    let mut told = vec![
        ("in flight", second.in_flight.to_string()),
        ("lag p99", ms(second.lag_p99_us)),
        ("requests", format!("{}/s", second.requests)),
        ("connections", second.connections.to_string()),
    ];
    if so_far.journeys.dropped > 0 {
        told.insert(1, ("dropped", so_far.journeys.dropped.to_string()));
    }
    if so_far.orders > 0 {
        told.push(("orders", so_far.orders.to_string()));
    }
    fitted(told, width, look)
}

/// As many of `told` as `width` has room for, in one line.
fn fitted(told: Vec<(&'static str, String)>, width: u16, look: Look) -> Line<'static> {
    let mut left = usize::from(width);
    let mut spans = Vec::new();
    for (name, value) in told {
        let taken = name.chars().count() + 1 + value.chars().count();
        if taken > left {
            break;
        }
        left = left.saturating_sub(taken + 3);
        spans.extend([Span::styled(format!("{name} "), look.faint()), Span::raw(format!("{value}   "))]);
    }
    Line::from(spans)
}

fn named(name: &str, look: Look) -> Span<'static> {
    Span::styled(format!("{name:<NAME$}  "), look.bold())
}

/// All that count against the shop, by class, and those of the last second.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
pub(super) fn errors(state: &State, width: u16, look: Look) -> Line<'static> {
    let Some(newest) = &state.newest else {
        return Line::from(vec![named("errors", look), Span::raw("–")]);
    };
    let all = &newest.so_far.all;
    let mut told = told_errors(newest.so_far.outcomes.clone());
    let mut style = Style::new();
    if all.errors > 0 {
        style = look.bad();
        let share = all.errors as f64 / all.count.max(1) as f64 * 100.0;
        let longer = format!("{told}: {share:.2} % of all, {} in the last second", newest.second.all.errors);
        if longer.chars().count() + NAME + 2 <= usize::from(width) {
            told = longer;
        }
    }
    Line::from(vec![named("errors", look), Span::styled(told, style)])
}

/// Each objective, or each plateau where these are judged, as the word and what it is about.
pub(super) fn judged(state: &State, look: Look) -> Vec<(Span<'static>, String)> {
    let Some(newest) = &state.newest else { return Vec::new() };
    let so_far = &newest.so_far;
    let objective = |result: &ObjectiveResult| {
        let seen = result.seen.as_deref().unwrap_or("none yet");
        (met(result.met, look), format!("{}  {seen}", result.objective))
    };
    let plateau = |plateau: &Plateau| {
        let told = format!("plateau {:.1}/s  p99 {}", plateau.asked_per_s, ms(plateau.p99_us));
        (met(plateau.met, look), told)
    };
    let objectives = so_far.objectives.iter().map(objective);
    // The newest is the one to look at.
    objectives.chain(so_far.plateaus.iter().rev().map(plateau)).collect()
}

fn met(met: Option<bool>, look: Look) -> Span<'static> {
    match met {
        Some(true) => Span::styled("met      ", look.good()),
        Some(false) => Span::styled("missed   ", look.bad()),
        None => Span::styled("unknown  ", look.careful()),
    }
}

fn facts(name: &str, told: Vec<String>, width: u16, look: Look) -> Line<'static> {
    let mut left = usize::from(width).saturating_sub(NAME + 2);
    let mut spans = vec![named(name, look)];
    for value in told {
        let taken = value.chars().count();
        if taken > left {
            break;
        }
        left = left.saturating_sub(taken + 2);
        spans.push(Span::raw(format!("{value}  ")));
    }
    Line::from(spans)
}

/// What the shop says about itself.
pub(super) fn shop(state: &State, width: u16, look: Look) -> Line<'static> {
    let Some(server) = server(state) else {
        return facts("shop", vec!["nothing heard of it yet".to_owned()], width, look);
    };
    let some = |count: Option<u64>| count.filter(|count| *count > 0);
    let counted = [
        ("sagas", server.sagas_in_flight),
        ("queued", server.queue_depth),
        ("stuck", some(server.sagas_stuck)),
        ("dead letters", some(server.dead_letters)),
        ("waiting", some(server.pool_waiting)),
        ("shed", some(server.shed)),
    ];
    let counted = counted.into_iter().filter_map(|(name, count)| Some(format!("{name} {}", count?)));
    let mut told: Vec<String> = uses(server.cpu, server.resident_kib).chain(counted).collect();
    if told.is_empty() {
        told.push("says nothing about itself".to_owned());
    }
    facts("shop", told, width, look)
}

/// What the load itself takes, and how late it is.
pub(super) fn generator(state: &State, width: u16, look: Look) -> Line<'static> {
    let late = state.newest.as_ref().map(|newest| format!("late p99 {}", ms(newest.second.lateness_p99_us)));
    let server = server(state).unwrap_or_default();
    let told = uses(server.generator_cpu, server.generator_resident_kib).chain(late).collect();
    facts("generator", told, width, look)
}

fn server(state: &State) -> Option<ServerSample> {
    state.newest.as_ref().and_then(|newest| newest.second.server)
}

#[expect(clippy::cast_precision_loss, reason = "memory of a machine")]
fn uses(cpu: Option<f64>, resident_kib: Option<u64>) -> impl Iterator<Item = String> {
    let cpu = cpu.map(|cpu| format!("{cpu:.2} processors"));
    cpu.into_iter().chain(resident_kib.map(|kib| format!("{:.1} MiB", kib as f64 / 1024.0)))
}

/// What can be pressed, or why what was pressed came to nothing.
pub(super) fn keys(state: &State, width: u16, look: Look) -> Line<'static> {
    if let Some(note) = state.note {
        return Line::styled(note, look.careful());
    }
    let pause = ("p", if state.is_paused { "go on" } else { "pause" });
    let all: &[(&str, &str)] = match state.levers {
        _ if state.is_stopped => &[("Ctrl-C", "do not wait for the answers"), ("?", "help")],
        Levers::All => &[pause, ("+", "more"), ("-", "less"), ("q", "stop"), ("?", "help")],
        Levers::Pause => &[pause, ("q", "stop"), ("?", "help")],
        Levers::None => &[("q", "stop"), ("?", "help")],
    };
    let mut left = usize::from(width);
    let mut spans = Vec::new();
    for (key, meaning) in all {
        let taken = key.chars().count() + 1 + meaning.chars().count();
        if taken > left {
            break;
        }
        left = left.saturating_sub(taken + 3);
        spans.extend([
            Span::styled((*key).to_owned(), look.colored(look.bold(), Color::Cyan)),
            Span::raw(format!(" {meaning}   ")),
        ]);
    }
    Line::from(spans)
}

/// p50 and p99 of a second; a second in which nothing ended has none.
pub(super) fn told_of(second: &StepSecond) -> [String; 2] {
    if second.count == 0 {
        ["–".to_owned(), "–".to_owned()]
    } else {
        [ms(second.p50_us), ms(second.p99_us)]
    }
}
