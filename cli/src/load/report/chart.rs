//! A chart as SVG: lines or stacked bars over time or over percentiles, drawn for a page that has no script.
//!
//! A chart is [`WIDTH`] by [`HEIGHT`] units. It is shown at half the width of a desk and at the whole width of a
//! phone, so that its letters are of a readable size on both. Colours are classes of the page's style.

use std::fmt::Write as _;

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 230.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 470.0;
const TOP: f64 = 8.0;
const BOTTOM: f64 = 204.0;

/// What stands along the bottom.
#[derive(Clone, Copy, Debug)]
pub(super) enum Along {
    /// Seconds of the run, from 0 to this.
    Time(f64),
    /// Percentiles from 0, where each step to the right leaves a tenth of what was left: up to this many nines.
    Nines(f64),
}

/// How heights are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Heights {
    /// From zero, evenly.
    Even,
    /// Each line of the grid a multiple of the one below: for lengths of time.
    Multiples,
}

/// A line, or a layer of bars. Where there was nothing to measure a value is absent, and the line has a gap.
#[derive(Clone, Debug)]
pub(super) struct Series {
    /// What it is, for the legend.
    pub(super) name: String,
    /// Its class in the style of the page.
    pub(super) class: &'static str,
    /// Places along the bottom with their heights, from left to right.
    pub(super) points: Vec<(f64, Option<f64>)>,
}

impl Series {
    pub(super) fn new(
        name: impl Into<String>,
        class: &'static str,
        points: impl IntoIterator<Item = (f64, Option<f64>)>,
    ) -> Self {
        Self { name: name.into(), class, points: points.into_iter().collect() }
    }

    /// Whether there is anything to draw.
    pub(super) fn is_empty(&self) -> bool {
        self.points.iter().all(|(_, value)| value.is_none())
    }

    fn values(&self) -> impl Iterator<Item = f64> + '_ {
        self.points.iter().filter_map(|(_, value)| *value)
    }
}

/// A chart, ready to be drawn.
#[derive(Clone, Debug)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// Along the bottom.
    pub(super) along: Along,
    /// Upwards.
    pub(super) heights: Heights,
    /// How a height is written.
    pub(super) told: fn(f64) -> String,
    /// What is drawn.
    pub(super) series: Vec<Series>,
    /// Bars on one another, this wide, instead of lines.
    pub(super) bars: Option<f64>,
}

impl Chart {
    /// The drawing as an `svg` element.
    pub(super) fn draw(&self) -> String {
        let (from, to, ticks) = self.grid();
        let y = |value: f64| {
            let part = match self.heights {
                Heights::Even => value / to,
                Heights::Multiples => (value.max(from) / from).ln() / (to / from).ln(),
            };
            BOTTOM - part.clamp(0.0, 1.0) * (BOTTOM - TOP)
        };
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            escaped(&self.title)
        );
        for tick in ticks {
            let at = y(tick);
            let told = escaped(&(self.told)(tick));
            write!(svg, "<path class=\"grid\" d=\"M{LEFT} {at:.1}H{RIGHT}\"/>").ok();
            write!(svg, "<text x=\"{}\" y=\"{:.1}\" class=\"up\">{told}</text>", LEFT - 6.0, at + 4.0).ok();
        }
        for (at, told) in self.along.ticks() {
            let x = self.along.x(at);
            write!(svg, "<path class=\"grid\" d=\"M{x:.1} {TOP}V{}\"/>", BOTTOM + 4.0).ok();
            write!(svg, "<text x=\"{x:.1}\" y=\"{}\" class=\"along\">{told}</text>", BOTTOM + 18.0).ok();
        }
        match self.bars {
            Some(width) => self.draw_bars(&mut svg, width, y),
            None => self.draw_lines(&mut svg, y),
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw_lines(&self, svg: &mut String, y: impl Fn(f64) -> f64) {
        // The first is the most important one and is drawn over the others.
        for series in self.series.iter().rev() {
            let mut path = String::new();
            let mut is_open = false;
            for (index, (at, value)) in series.points.iter().enumerate() {
                let Some(value) = value else {
                    is_open = false;
                    continue;
                };
                let (x, y) = (self.along.x(*at), y(*value));
                let is_alone = !is_open && series.points.get(index + 1).is_none_or(|next| next.1.is_none());
                if is_alone {
                    // So short that its round ends make a dot of it.
                    write!(path, "M{:.1} {y:.1}h3", x - 1.5).ok();
                } else {
                    write!(path, "{}{x:.1} {y:.1}", if is_open { 'L' } else { 'M' }).ok();
                }
                is_open = true;
            }
            write!(svg, "<path class=\"line {}\" d=\"{path}\"/>", series.class).ok();
        }
    }

    fn draw_bars(&self, svg: &mut String, width: f64, y: impl Fn(f64) -> f64) {
        let across = (self.along.x(width) - self.along.x(0.0)).max(1.0);
        let mut floors: Vec<f64> = Vec::new();
        for series in &self.series {
            let mut path = String::new();
            floors.resize(floors.len().max(series.points.len()), 0.0);
            for ((at, value), floor) in series.points.iter().zip(&mut floors) {
                let value = value.unwrap_or(0.0);
                if value > 0.0 {
                    let (low, high) = (y(*floor), y(*floor + value));
                    let x = self.along.x(*at);
                    write!(path, "M{x:.1} {low:.1}H{:.1}V{high:.1}H{x:.1}Z", x + across).ok();
                    *floor += value;
                }
            }
            write!(svg, "<path class=\"bar {}\" d=\"{path}\"/>", series.class).ok();
        }
    }

    /// The lowest and the highest height, and where lines of the grid are.
    fn grid(&self) -> (f64, f64, Vec<f64>) {
        let values = || self.series.iter().flat_map(Series::values);
        let most = match self.bars {
            Some(_) => {
                let columns = self.series.iter().map(|series| series.points.len()).max().unwrap_or(0);
                let height =
                    |at: usize| self.series.iter().filter_map(|series| series.points.get(at)?.1).sum::<f64>();
                (0..columns).map(height).fold(0.0, f64::max)
            }
            None => values().fold(0.0, f64::max),
        };
        match self.heights {
            Heights::Even => even(most),
            Heights::Multiples => multiples(values().filter(|value| *value > 0.0).fold(most, f64::min), most),
        }
    }
}

/// Four or five even steps from zero to at least `most`.
fn even(most: f64) -> (f64, f64, Vec<f64>) {
    if most <= 0.0 {
        return (0.0, 1.0, vec![0.0, 1.0]);
    }
    let rough = most / 4.0;
    let ten = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|times| times * ten).into_iter().find(|step| *step >= rough);
    let step = step.unwrap_or(rough);
    let count = (most / step - 1e-9).ceil().max(1.0);
    let ticks = (0_u32..).map(|at| f64::from(at) * step).take_while(|tick| *tick <= step * count * 1.001);
    (0.0, step * count, ticks.take(9).collect())
}

/// From 1, 2 or 5 times a power of ten under `least` to one over `most`.
fn multiples(least: f64, most: f64) -> (f64, f64, Vec<f64>) {
    let most = most.max(1.0);
    let least = least.clamp(1.0, most);
    let steps: Vec<f64> =
        (0..10).flat_map(|ten| [1.0, 2.0, 5.0].map(|times| times * 10_f64.powi(ten))).collect();
    let low = steps.iter().rposition(|step| *step <= least).unwrap_or(0);
    let high = steps.iter().position(|step| *step >= most).unwrap_or(steps.len() - 1).max(low + 1);
    let every = if high - low > 6 { 3 } else { 1 };
    // Of more than two powers of ten only the powers themselves are told.
    let ticks = (low..=high).filter(|at| every == 1 || at % 3 == 0).map(|at| steps[at]);
    (steps[low], steps[high], ticks.collect())
}

impl Along {
    fn x(self, at: f64) -> f64 {
        let part = match self {
            Self::Time(to) => at / to.max(1.0),
            Self::Nines(nines) => at / nines,
        };
        LEFT + part.clamp(0.0, 1.0) * (RIGHT - LEFT)
    }

    fn ticks(self) -> Vec<(f64, String)> {
        match self {
            Self::Time(to) => {
                const STEPS: [f64; 17] = [
                    1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0,
                    7200.0, 14_400.0, 28_800.0, 86_400.0,
                ];
                let step = STEPS.into_iter().find(|step| to / step <= 6.0).unwrap_or(86_400.0);
                let told = |at: f64| match step {
                    _ if at == 0.0 => "0".to_owned(),
                    60.0..3600.0 => format!("{} min", at / 60.0),
                    3600.0.. => format!("{} h", at / 3600.0),
                    _ => format!("{at} s"),
                };
                (0_u32..8)
                    .map(|at| f64::from(at) * step)
                    .take_while(|at| *at <= to.max(1.0))
                    .map(|at| (at, told(at)))
                    .collect()
            }
            Self::Nines(nines) => {
                let all = [(0.301, "50 %"), (1.0, "90 %"), (2.0, "99 %"), (3.0, "99.9 %"), (4.0, "99.99 %")];
                all.into_iter()
                    .filter(|(at, _)| *at <= nines + 1e-9)
                    .map(|(at, told)| (at, told.to_owned()))
                    .collect()
            }
        }
    }
}

/// Text as it may stand in an element or an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(heights: Heights, points: &[Option<f64>]) -> Chart {
        let points =
            points.iter().enumerate().map(|(at, value)| (f64::from(u32::try_from(at).unwrap()), *value));
        Chart {
            title: "a <b> & \"c\"".into(),
            along: Along::Time(4.0),
            heights,
            told: |height| format!("{height}"),
            series: vec![Series::new("s", "c1", points)],
            bars: None,
        }
    }

    #[test]
    fn a_line_has_gaps_where_nothing_was_measured_and_dots_where_one_value_stands_alone() {
        let svg = chart(Heights::Even, &[Some(0.0), Some(4.0), None, Some(2.0), None]).draw();
        assert!(svg.contains("d=\"M62.0 204.0L164.0 8.0M366.5 106.0h3\""), "{svg}");
        assert!(svg.contains("aria-label=\"a &lt;b&gt; &amp; &quot;c&quot;\""), "{svg}");
    }

    #[test]
    fn nothing_is_drawn_as_an_empty_grid() {
        for heights in [Heights::Even, Heights::Multiples] {
            let svg = chart(heights, &[None, None]).draw();
            assert!(!svg.contains("NaN") && !svg.contains("inf") && svg.contains("class=\"grid\""), "{svg}");
        }
    }

    #[test]
    fn the_grid_has_round_numbers() {
        assert_eq!(even(87.0), (0.0, 100.0, vec![0.0, 25.0, 50.0, 75.0, 100.0]));
        assert_eq!(even(0.0).1, 1.0);
        assert_eq!(multiples(1800.0, 9000.0), (1000.0, 10_000.0, vec![1000.0, 2000.0, 5000.0, 10_000.0]));
        assert_eq!(multiples(300.0, 2_000_000.0).2, [1e3, 1e4, 1e5, 1e6]);
    }

    #[test]
    fn bars_stand_on_one_another() {
        let mut chart = chart(Heights::Even, &[Some(1.0), Some(2.0)]);
        chart.series.push(Series::new("t", "c2", [(0.0, Some(3.0)), (1.0, None)]));
        chart.bars = Some(1.0);
        let svg = chart.draw();
        assert!(svg.contains("class=\"bar c2\" d=\"M62.0 155.0H164.0V8.0H62.0Z\""), "{svg}");
    }
}
