//! The charts of a run, from its record.

use super::super::latencies::Latencies;
use super::super::lines::ms;
use super::super::record::{Outcome, RunRecord, Second, ServerSample, StepRecord, StepSecond};
use super::chart::{Along, Chart, Heights, Series};

/// The most points that a line has; a longer run has several seconds a point.
const POINTS_MAX: usize = 240;
/// The farthest that percentiles are drawn: 99.99 %.
const NINES_MAX: f64 = 4.0;
/// The class of each kind of error.
const ERROR_CLASSES: [&str; 9] = ["c1", "c1", "c7", "c4", "c5", "c2", "c1", "c6", "c3"];

/// A chart with what stands around it.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// What it shows.
    pub(super) title: String,
    /// Names and classes of its lines.
    pub(super) legend: Vec<(String, &'static str)>,
    /// The drawing.
    pub(super) svg: String,
}

/// Draws the charts of a run.
pub(super) struct Pictures<'a> {
    record: &'a RunRecord,
    seconds_per_point: usize,
    along: Along,
}

impl<'a> Pictures<'a> {
    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    pub(super) fn new(record: &'a RunRecord) -> Self {
        let last = record.seconds.last().map_or(0, |second| second.at_s + 1);
        Self {
            record,
            seconds_per_point: record.seconds.len().div_ceil(POINTS_MAX).max(1),
            along: Along::Time(last as f64),
        }
    }

    /// How many seconds a point of a line stands for.
    pub(super) fn seconds_per_point(&self) -> usize {
        self.seconds_per_point
    }

    /// What was asked and what was done; how many were under way.
    pub(super) fn load(&self) -> Vec<Picture> {
        let asked = self.mean("asked", "asked", |second| Some(count(second.asked)));
        let started = self.mean("started", "c1", |second| Some(count(second.started)));
        // Dashed, and so drawn over the other: where both are the same both are seen.
        let mut rate = vec![asked, started];
        if self.record.journeys.dropped > 0 {
            rate.push(self.mean("dropped", "c2", |second| Some(count(second.dropped))));
        }
        let in_flight = self.most("journeys in flight", "c1", |second| Some(count(second.in_flight)));
        let connections = self.most("connections", "c3", |second| Some(count(second.connections)));
        let lag = self.most("sent too late, p99", "c1", |second| some_us(second.lag_p99_us));
        let late =
            self.most("generator woke too late, p99", "asked", |second| some_us(second.lateness_p99_us));
        [
            self.even("Journeys a second: asked and started", rate, told),
            self.even("Under way at the end of each second", vec![in_flight, connections], told),
            self.times("Over all steps: what users felt", self.felt(|second| Some(second.all))),
            self.times("From meant to sent", vec![lag, late]),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// Ends that count against the shop, by class; absent when there was none.
    pub(super) fn errors(&self) -> Option<Picture> {
        let classes = Outcome::ALL.into_iter().filter(|outcome| outcome.is_error());
        let seen = classes.filter(|outcome| self.record.outcomes.contains_key(outcome));
        let series: Vec<Series> = seen
            .map(|outcome| {
                let class = ERROR_CLASSES[outcome.index()];
                self.mean(outcome.label(), class, |second| {
                    second.errors.get(&outcome).map(|errors| count(*errors))
                })
            })
            .filter(|series| !series.is_empty())
            .collect();
        let mut chart = self.chart("Errors a second, by class", Heights::Even, series, told)?;
        #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
        {
            chart.bars = Some(self.seconds_per_point as f64);
        }
        Some(picture(&chart))
    }

    /// What the shop and the generator used meanwhile; nothing when the shop could not be watched.
    pub(super) fn server(&self) -> Vec<Picture> {
        let of = |name: &str, class, value: fn(&ServerSample) -> Option<f64>| {
            self.most(name, class, move |second| second.server.as_ref().and_then(value))
        };
        [
            self.even(
                "Processors in use",
                vec![of("shop", "c1", |one| one.cpu), of("generator", "c3", |one| one.generator_cpu)],
                told,
            ),
            self.even(
                "Resident memory",
                vec![
                    of("shop", "c1", |one| one.resident_kib.map(mib)),
                    of("generator", "c3", |one| one.generator_resident_kib.map(mib)),
                ],
                |mib| format!("{} MiB", told(mib)),
            ),
            self.even(
                "Waiting in the shop",
                vec![
                    of("sagas in flight", "c1", |one| one.sagas_in_flight.map(count)),
                    of("messages in queues", "c3", |one| one.queue_depth.map(count)),
                    of("batches for the database", "c2", |one| one.pool_waiting.map(count)),
                ],
                told,
            ),
            self.even(
                "Written to disk in a second",
                vec![of("shop", "c1", |one| one.written_bytes.map(|bytes| count(bytes) / 1_048_576.0))],
                |mib| format!("{} MiB", told(mib)),
            ),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// A step second by second, and its percentiles.
    pub(super) fn step(&self, step: &StepRecord) -> Vec<Picture> {
        let over_time = self.felt(|second| second.steps.get(&step.step).copied());
        let nines = nines_of(step.response.count());
        let percentiles = Chart {
            title: format!("{}: percentiles", step.step),
            along: Along::Nines(nines),
            heights: Heights::Multiples,
            told: told_us,
            series: vec![
                Series::new("felt", "c1", curve(&step.response, nines)),
                Series::new("uncorrected", "raw", curve(&step.service, nines)),
            ],
            bars: None,
        };
        let has_any = !percentiles.series[0].is_empty();
        let over_time = self.times(&format!("{}: over time", step.step), over_time);
        over_time.into_iter().chain(has_any.then(|| picture(&percentiles))).collect()
    }

    fn felt(&self, of: impl Fn(&Second) -> Option<StepSecond>) -> Vec<Series> {
        let of = |second: &Second| of(second).filter(|step| step.count > 0);
        vec![
            self.most("p99", "c1", |second| of(second).map(|step| count(step.p99_us))),
            self.most("p50", "c3", |second| of(second).map(|step| count(step.p50_us))),
            self.most("p99 uncorrected", "raw", |second| {
                of(second).map(|step| step.service_p99_us).filter(|us| *us > 0).map(count)
            }),
        ]
    }

    fn even(&self, title: &str, series: Vec<Series>, told: fn(f64) -> String) -> Option<Picture> {
        self.chart(title, Heights::Even, series, told).as_ref().map(picture)
    }

    fn times(&self, title: &str, series: Vec<Series>) -> Option<Picture> {
        self.chart(title, Heights::Multiples, series, told_us).as_ref().map(picture)
    }

    /// A chart of those series that have values; absent when none has.
    fn chart(
        &self,
        title: &str,
        heights: Heights,
        series: Vec<Series>,
        told: fn(f64) -> String,
    ) -> Option<Chart> {
        let series: Vec<Series> = series.into_iter().filter(|series| !series.is_empty()).collect();
        let chart = Chart { title: title.to_owned(), along: self.along, heights, told, series, bars: None };
        (!chart.series.is_empty()).then_some(chart)
    }

    /// The mean of each point's seconds.
    fn mean(&self, name: &str, class: &'static str, value: impl Fn(&Second) -> Option<f64>) -> Series {
        self.series(name, class, value, |values, seconds| values.iter().sum::<f64>() / seconds)
    }

    /// The highest of each point's seconds.
    fn most(&self, name: &str, class: &'static str, value: impl Fn(&Second) -> Option<f64>) -> Series {
        self.series(name, class, value, |values, _| values.iter().copied().fold(0.0, f64::max))
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds of a run")]
    fn series(
        &self,
        name: &str,
        class: &'static str,
        value: impl Fn(&Second) -> Option<f64>,
        together: impl Fn(&[f64], f64) -> f64,
    ) -> Series {
        let point = |seconds: &[Second]| {
            let values: Vec<f64> = seconds.iter().filter_map(&value).collect();
            let at = seconds.first().map_or(0, |second| second.at_s) as f64;
            (at, (!values.is_empty()).then(|| together(&values, seconds.len() as f64)))
        };
        Series::new(name, class, self.record.seconds.chunks(self.seconds_per_point).map(point))
    }
}

fn picture(chart: &Chart) -> Picture {
    let legend = chart.series.iter().map(|series| (series.name.clone(), series.class)).collect();
    Picture { title: chart.title.clone(), legend, svg: chart.draw() }
}

/// As many nines as `values` can tell: of a hundred values the last percent is one.
#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn nines_of(values: u64) -> f64 {
    (values.max(2) as f64).log10().clamp(1.0, NINES_MAX)
}

fn curve(all: &Latencies, nines: f64) -> Vec<(f64, Option<f64>)> {
    let steps = 120_u32;
    (0..=steps)
        .filter(|_| !all.is_empty())
        .map(|at| {
            let at = nines * f64::from(at) / f64::from(steps);
            let quantile = 1.0 - 10_f64.powf(-at);
            (at, Some(all.quantile(quantile).as_secs_f64() * 1e6))
        })
        .collect()
}

fn some_us(us: u64) -> Option<f64> {
    (us > 0).then(|| count(us))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(value: u64) -> f64 {
    value as f64
}

fn mib(kib: u64) -> f64 {
    count(kib) / 1024.0
}

fn told(value: f64) -> String {
    let rounded = (value * 1000.0).round() / 1000.0;
    if rounded >= 10_000.0 { format!("{}k", (rounded / 100.0).round() / 10.0) } else { format!("{rounded}") }
}

/// Microseconds on a grid, where they are round numbers.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "lines of a grid, at most 5e9")]
fn told_us(us: f64) -> String {
    match us {
        0.0..1000.0 => format!("{us} µs"),
        1000.0..1e6 => format!("{} ms", us / 1000.0),
        1e6..1e10 => format!("{} s", us / 1e6),
        _ => ms(us as u64),
    }
}
