//! Small charts, drawn by the server as SVG: they need no script, and no inline style.

use std::fmt::Write;

use askama::filters::Safe;

/// The width and height that points are laid out in; the page stretches it.
const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;

/// One line of a chart.
#[derive(Clone, Debug)]
struct Series {
    class: &'static str,
    values: Vec<f64>,
}

/// A chart of values over time, oldest first.
#[derive(Clone, Debug)]
pub struct Chart {
    label: String,
    series: Vec<Series>,
    as_bars: bool,
    /// The highest value, for the scale.
    pub peak: String,
}

impl Chart {
    /// Bars of counts.
    #[must_use]
    pub fn bars(label: &str, counts: &[i64]) -> Self {
        let values = counts.iter().map(|count| as_f64(*count)).collect();
        let peak = counts.iter().max().copied().unwrap_or(0).to_string();
        Self {
            label: label.to_owned(),
            series: vec![Series { class: "series", values }],
            as_bars: true,
            peak,
        }
    }

    /// Lines of values, each with the class that gives it its look; `unit` goes with the peak. A value that is not
    /// known is not a number: the line is broken there.
    #[must_use]
    pub fn lines(label: &str, unit: &str, lines: &[(&'static str, &[f64])]) -> Self {
        let series: Vec<_> =
            lines.iter().map(|(class, values)| Series { class, values: values.to_vec() }).collect();
        let peak = series.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max);
        let peak = if peak >= 10.0 { format!("{peak:.0}") } else { format!("{peak:.1}") };
        Self { label: label.to_owned(), series, as_bars: false, peak: format!("{peak}{unit}") }
    }

    /// The drawing. Readers of the screen hear its label and its peak; a table beside it has the figures.
    #[must_use]
    pub fn svg(&self) -> Safe<String> {
        let most = self.series.iter().flat_map(|line| &line.values).copied().fold(0.0, f64::max);
        let scale = if most > 0.0 { most } else { 1.0 };
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}, at most {}\">",
            escaped(&self.label),
            escaped(&self.peak)
        );
        for part in 0..=4 {
            let y = HEIGHT * f64::from(part) / 4.0;
            let _ = write!(out, "<path class=\"grid-line\" d=\"M0 {y:.1}H{WIDTH}\"/>");
        }
        for line in &self.series {
            out.push_str(&if self.as_bars { bars(line, scale) } else { path(line, scale) });
        }
        out.push_str("</svg>");
        Safe(out)
    }
}

fn bars(line: &Series, scale: f64) -> String {
    let step = WIDTH / as_f64(line.values.len().max(1));
    let mut out = String::new();
    for (at, value) in line.values.iter().enumerate().filter(|(_, value)| **value > 0.0) {
        let height = HEIGHT * value / scale;
        let (x, y) = (as_f64(at) * step, HEIGHT - height);
        let width = step * 0.75;
        let _ = write!(
            out,
            "<rect class=\"bar-of-chart\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"/>"
        );
    }
    out
}

fn path(line: &Series, scale: f64) -> String {
    if line.values.is_empty() {
        return String::new();
    }
    let step = WIDTH / as_f64(line.values.len().saturating_sub(1).max(1));
    let mut points = String::new();
    let mut letter = 'M';
    for (at, value) in line.values.iter().enumerate() {
        if value.is_nan() {
            letter = 'M';
            continue;
        }
        let (x, y) = (as_f64(at) * step, HEIGHT - HEIGHT * value / scale);
        let _ = write!(points, "{letter}{x:.1} {y:.1}");
        letter = 'L';
    }
    format!("<path class=\"{}\" d=\"{points}\"/>", line.class)
}

/// Counts in a chart stay far below where `f64` loses whole numbers.
fn as_f64<T: TryInto<i32>>(count: T) -> f64 {
    f64::from(count.try_into().unwrap_or(i32::MAX))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_value_reaches_the_top_and_nothing_leaves_the_frame() {
        let svg = Chart::lines("Latency", " ms", &[("series", &[0.0, 5.0, 10.0])]).svg().0;
        assert!(svg.contains("M0.0 160.0L300.0 80.0L600.0 0.0"), "{svg}");
        assert!(svg.contains("at most 10 ms"));
        let broken = Chart::lines("Latency", " ms", &[("series", &[4.0, f64::NAN, 2.0])]).svg().0;
        assert!(broken.contains("M0.0 0.0M600.0 80.0"), "{broken}");
    }

    #[test]
    fn no_data_is_an_empty_frame() {
        let chart = Chart::bars("Orders \"now\"", &[]);
        assert_eq!(chart.peak, "0");
        assert!(!chart.svg().0.contains("<rect"));
        assert!(chart.svg().0.contains("Orders &quot;now&quot;"));
    }
}
