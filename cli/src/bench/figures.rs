//! What is done to figures before they are told.

/// The middle of a figure.
pub(super) fn middle<T>(all: &[T], figure: impl Fn(&T) -> f64) -> f64 {
    let mut figures: Vec<f64> = all.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

pub(super) fn to_tenth(number: f64) -> f64 {
    (number * 10.0).round() / 10.0
}

pub(super) fn to_hundredth(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}
