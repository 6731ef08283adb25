//! How the view looks. It is a list of parts from the top to the foot; [`Rows`] says how many rows each gets, the
//! important ones first, so that a small terminal shows less and a large one more of the same.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Sparkline, SparklineBar, Wrap};

use super::super::lines::ms;
use super::super::step::Step;
use super::look::Look;
use super::parts::{self, NAME};
use super::state::{Past, State};
use super::steps;

/// A chart grows to so many rows.
const CHART_MAX: u16 = 6;
/// Cells of objectives are so wide.
const CELL: u16 = 40;
const HELP: &str = "\
p, space   pause, and go on. Arrivals of a pause are not made up for.
+ -        more and less load, from a tenth to ten times what was planned.
q          start nothing more, wait for the answers, judge what there is.
Ctrl-C     the same; pressed again it does not wait for the answers either.
?          this, and back.

Times run from the moment a step was meant to start to the end of its answer, which is what users feel. The uncorrected \
ones run from when it was sent: what tools show that wait for the last answer before they ask again. Lag is from meant to \
sent. The table and the objectives are about all there is up to now.";

/// How many rows each part gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    progress: u16,
    rate: u16,
    times: u16,
    flight: u16,
    steps: u16,
    errors: u16,
    objectives: u16,
    shop: u16,
    generator: u16,
    /// Blank rows, at most one before each group.
    gaps: u16,
}

impl Rows {
    /// Of `height` rows, with this many steps (all of them together is one) and rows of objectives.
    fn new(height: u16, steps: u16, objectives: u16) -> Self {
        let mut left = height;
        let mut take = |wanted: u16| {
            let taken = wanted.min(left);
            left -= taken;
            taken
        };
        // The title and the keys are always there.
        take(2);
        let [mut rate, mut times, errors, flight] = [take(1), take(1), take(1), take(1)];
        let few_objectives = take(objectives.min((height / 8).max(1)));
        let shop = take(1);
        let few_steps = take(2);
        let progress = take(1);
        // A heading above the steps.
        let steps = few_steps + take((steps + 1).saturating_sub(few_steps));
        let objectives = few_objectives + take(objectives - few_objectives);
        let generator = take(1);
        let gaps = take(4);
        for _ in 1..CHART_MAX {
            rate += take(1);
            times += take(1);
        }
        Self { progress, rate, times, flight, steps, errors, objectives, shop, generator, gaps }
    }
}

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, state: &State, look: Look) {
    let area = frame.area();
    if area.is_empty() {
        return;
    }
    let width = area.width;
    // Before the first second nobody knows how many there will be: room for all, so that nothing jumps.
    let steps = state.newest.as_ref().map_or(Step::COUNT, |newest| newest.so_far.steps.len() + 1);
    let judged = parts::judged(state, look);
    let columns = usize::from((width / CELL).max(1));
    let rows = Rows::new(area.height, number(steps), number(judged.len().div_ceil(columns)));
    // The keys stand at the foot, whatever is above.
    let foot = Rect { y: area.bottom() - 1, height: 1, ..area };
    let mut page = Page { frame, left: Rect { height: area.height - 1, ..area }, gaps: rows.gaps };
    page.lines(1, [parts::title(state, width, look)]);
    if state.shows_help {
        page.gaps = 1;
        page.gap();
        let help = Paragraph::new(HELP).wrap(Wrap { trim: false });
        page.frame.render_widget(help, page.left);
    } else {
        page.lines(rows.progress, [parts::progress(state, width, look)]);
        page.gap();
        page.chart(rows.rate, Chart::of_rate(state, look), look);
        page.chart(rows.times, Chart::of_times(state, look), look);
        page.lines(rows.flight, [parts::flight(state, width, look)]);
        page.gap();
        page.lines(rows.steps, steps::table(state, width, rows.steps, look));
        page.gap();
        page.lines(rows.errors, [parts::errors(state, width, look)]);
        page.lines(rows.objectives, objectives(&judged, width, rows.objectives, look));
        page.gap();
        page.lines(rows.shop, [parts::shop(state, width, look)]);
        page.lines(rows.generator, [parts::generator(state, width, look)]);
    }
    page.frame.render_widget(parts::keys(state, width, look), foot);
}

/// Figures of the last second, and the same of the past as bars.
struct Chart {
    name: &'static str,
    told: [(&'static str, String); 2],
    bars: Vec<(SparklineBar, u64)>,
    /// Says how high the highest bar is.
    most: fn(u64) -> String,
}

impl Chart {
    /// What was asked and what was started.
    fn of_rate(state: &State, look: Look) -> Self {
        let bar = |past: &Past| {
            let style = if past.started < past.asked { look.careful() } else { look.accent() };
            (SparklineBar::from(past.started).style(style), past.asked.max(past.started))
        };
        let told = |count: Option<u64>| count.map_or("–".to_owned(), |count| format!("{count}/s"));
        let now = state.newest.as_ref().map(|newest| &newest.second);
        Self {
            name: "journeys",
            told: [("asked", told(now.map(|now| now.asked))), ("started", told(now.map(|now| now.started)))],
            bars: state.past.iter().map(|past| past.as_ref().map_or_else(absent, bar)).collect(),
            most: |most| format!("asked at most {most}/s"),
        }
    }

    /// How long it took.
    fn of_times(state: &State, look: Look) -> Self {
        let bar = |past: &Past| {
            let style = if past.errors > 0 { look.bad() } else { look.accent() };
            (SparklineBar::from(past.p99_us).style(style), past.p99_us.unwrap_or(0))
        };
        let now = state.newest.as_ref().map(|newest| newest.second.all).unwrap_or_default();
        let [p50, p99] = parts::told_of(&now);
        Self {
            name: "this second",
            told: [("p50", p50), ("p99", p99)],
            bars: state.past.iter().map(|past| past.as_ref().map_or_else(absent, bar)).collect(),
            most: |most| format!("p99 at most {}", ms(most)),
        }
    }
}

/// A second that was missed.
fn absent() -> (SparklineBar, u64) {
    (SparklineBar::from(None), 0)
}

/// What is left of the screen to draw on.
struct Page<'a, 'b> {
    frame: &'a mut Frame<'b>,
    left: Rect,
    gaps: u16,
}

impl Page<'_, '_> {
    /// The next `rows` rows.
    fn next(&mut self, rows: u16) -> Rect {
        let height = rows.min(self.left.height);
        let next = Rect { height, ..self.left };
        self.left.y += height;
        self.left.height -= height;
        next
    }

    /// `lines` in the next `rows` rows: those that there is no room for are left out, rows that are left stay blank.
    fn lines<'a>(&mut self, rows: u16, lines: impl IntoIterator<Item = Line<'a>>) {
        let area = self.next(rows);
        for (row, line) in area.rows().zip(lines) {
            self.frame.render_widget(line, row);
        }
    }

    /// A blank row, when there is room for one.
    fn gap(&mut self) {
        if self.gaps > 0 {
            self.gaps -= 1;
            self.next(1);
        }
    }

    /// Figures at the left, and the past of them at the right.
    fn chart(&mut self, rows: u16, chart: Chart, look: Look) {
        let area = self.next(rows);
        if area.is_empty() {
            return;
        }
        let is_wide = area.width >= 60;
        let (width, pad, gap) = if is_wide { (45, 8, "  ") } else { (26, 5, " ") };
        let left = Rect { width: width.min(area.width), ..area };
        let right = Rect { x: left.right(), width: area.width - left.width, ..area };
        let mut spans = Vec::new();
        if is_wide {
            spans.push(Span::styled(format!("{:<NAME$}  ", chart.name), look.bold()));
        }
        for (name, value) in chart.told {
            spans.push(Span::styled(format!("{name} "), look.faint()));
            spans.push(Span::raw(format!("{value:<pad$}{gap}")));
        }
        self.frame.render_widget(Line::from(spans), left);
        let shown = &chart.bars[chart.bars.len().saturating_sub(usize::from(right.width))..];
        let most = shown.iter().map(|(_, height)| *height).max().unwrap_or(0);
        if rows > 1 && is_wide && most > 0 {
            let told = Line::styled(format!("{:NAME$}  {}", "", (chart.most)(most)), look.faint());
            self.frame.render_widget(told, Rect { y: left.y + 1, height: 1, ..left });
        }
        let bars = Sparkline::default().max(most.max(1)).data(shown.iter().map(|(bar, _)| *bar));
        self.frame.render_widget(bars, right);
    }
}

fn number(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

/// The cells side by side. Where there is no room for all of them, how many are met is told instead.
fn objectives(cells: &[(Span<'static>, String)], width: u16, rows: u16, look: Look) -> Vec<Line<'static>> {
    let columns = usize::from((width / CELL).max(1));
    let is_too_much = cells.len() > usize::from(rows) * columns;
    if is_too_much && rows == 1 {
        let met = cells.iter().filter(|(word, _)| word.content.starts_with("met")).count();
        let style = if met == cells.len() { look.good() } else { look.bad() };
        return vec![Line::styled(format!("{met} of {} objectives met", cells.len()), style)];
    }
    let cell_width = usize::from(width) / columns;
    let cell = |(word, told): &(Span<'static>, String)| {
        let room = cell_width.saturating_sub(word.width() + 1);
        let told: String = told.chars().take(room).collect();
        [word.clone(), Span::raw(format!("{told:<room$} "))]
    };
    cells.chunks(columns).map(|row| Line::from_iter(row.iter().flat_map(cell))).collect()
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use ratatui::style::Color;

    use super::super::keys::Action;
    use super::super::sample::{after, snapshot};
    use super::super::state::Levers;
    use super::*;
    use crate::load::record::{Outcome, Plateau};

    fn drawn(state: &State, width: u16, height: u16, look: Look) -> TestBackend {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state, look)).unwrap();
        terminal.backend().clone()
    }

    /// What stands on the screen, without what is blank at the end of a row.
    fn picture(state: &State, width: u16, height: u16) -> String {
        let backend = drawn(state, width, height, Look { has_color: true });
        let rows = backend.buffer().content().chunks(usize::from(width));
        let row = |cells: &[ratatui::buffer::Cell]| {
            cells.iter().map(ratatui::buffer::Cell::symbol).collect::<String>().trim_end().to_owned()
        };
        rows.map(row).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_usual_terminal_shows_everything() {
        insta::assert_snapshot!("usual_80x24", picture(&after(40), 80, 24));
    }

    #[test]
    fn a_large_terminal_has_room_for_charts_and_the_last_second_of_each_step() {
        insta::assert_snapshot!("large_120x40", picture(&after(40), 120, 40));
    }

    #[test]
    fn a_tiny_terminal_shows_what_matters_most() {
        insta::assert_snapshot!("tiny_40x10", picture(&after(40), 40, 10));
    }

    #[test]
    fn before_the_first_second_is_over_nothing_is_claimed() {
        let state = State::new("mixed", "http://127.0.0.1:4000", Levers::All);
        insta::assert_snapshot!("starting_80x24", picture(&state, 80, 24));
    }

    #[test]
    fn errors_and_a_pause_are_seen() {
        let mut state = after(20);
        let mut bad = snapshot(20);
        bad.second.all.errors = 9;
        bad.second.started = 31;
        bad.so_far.all.errors = 9;
        bad.so_far.steps[7].errors = 9;
        bad.so_far.outcomes = [(Outcome::Ok, 2990), (Outcome::Timeout, 2), (Outcome::ServerError, 7)].into();
        bad.so_far.objectives[1].met = Some(false);
        bad.so_far.journeys.dropped = 3;
        state.on(bad);
        (state.is_paused, state.factor) = (true, 1.5);
        insta::assert_snapshot!("errors_and_a_pause_80x24", picture(&state, 80, 24));
    }

    #[test]
    fn a_load_that_was_stopped_says_what_it_waits_for() {
        let mut state = after(20);
        state.is_stopped = true;
        let seen = picture(&state, 80, 24);
        assert!(seen.lines().next().unwrap().contains("stopping, 3 in flight"), "{seen}");
        assert!(seen.ends_with("Ctrl-C do not wait for the answers   ? help"), "{seen}");
    }

    #[test]
    fn a_search_shows_its_plateaus_the_newest_first() {
        let mut state = State::new("knee", "http://127.0.0.1:4000", Levers::None);
        let plateau = |rate: f64, met| Plateau {
            from_s: 0.0,
            to_s: 10.0,
            asked_per_s: rate,
            started_per_s: rate,
            p50_us: 1000,
            p99_us: 9000,
            error_rate: 0.0,
            met,
            why: Vec::new(),
        };
        let mut newest = snapshot(30);
        newest.planned_s = None;
        newest.so_far.objectives.clear();
        newest.so_far.plateaus = vec![plateau(25.0, Some(true)), plateau(50.0, Some(false))];
        state.on(newest);
        state.heard(Action::More);
        let seen = picture(&state, 80, 24);
        assert!(seen.contains("missed   plateau 50.0/s  p99 9.00 ms"), "{seen}");
        assert!(seen.find("50.0/s") < seen.find("25.0/s"), "{seen}");
        assert!(seen.contains("depends on what it finds") && seen.contains("can only be stopped"), "{seen}");
    }

    #[test]
    fn help_takes_the_place_of_the_figures_until_it_is_asked_for_again() {
        let mut state = after(3);
        state.heard(Action::Help);
        insta::assert_snapshot!("help_80x24", picture(&state, 80, 24));
        state.heard(Action::Help);
        assert_eq!(picture(&state, 80, 24), picture(&after(3), 80, 24));
    }

    #[test]
    fn without_colour_the_same_stands_there_and_nothing_is_coloured() {
        let state = after(40);
        let [colored, plain] =
            [true, false].map(|has_color| drawn(&state, 80, 24, Look { has_color }).buffer().clone());
        let symbols = |buffer: &ratatui::buffer::Buffer| -> String {
            buffer.content().iter().map(|cell| cell.symbol().to_owned()).collect()
        };
        assert_eq!(symbols(&colored), symbols(&plain));
        assert!(colored.content().iter().any(|cell| cell.fg != Color::Reset));
        assert!(plain.content().iter().all(|cell| cell.fg == Color::Reset && cell.bg == Color::Reset));
    }

    #[test]
    fn no_terminal_is_too_small_or_too_large() {
        let mut state = after(40);
        for shows_help in [false, true] {
            state.shows_help = shows_help;
            for (width, height) in [(1, 1), (5, 2), (39, 9), (59, 13), (79, 23), (300, 100)] {
                picture(&state, width, height);
            }
        }
    }

    #[test]
    fn rows_are_given_out_and_none_twice() {
        for height in 2..60 {
            let rows = Rows::new(height, 13, 2);
            let Rows { progress, rate, times, flight, steps, errors, objectives, shop, generator, gaps } =
                rows;
            let given = progress + rate + times + flight + steps + errors + objectives + shop + generator;
            assert!(given + gaps + 2 <= height, "{height}: {rows:?}");
        }
    }
}
