//! Where the time went: which steps people waited for, what they waited for, and what shop and generator had to give.

use super::super::lines::told;
use super::super::record::{RunRecord, ServerSample};
use crate::output::Table;

/// Beyond this fraction of the processors there is nothing left for more load.
const FULL: f64 = 0.9;

/// The steps as shares of all the time that users waited, the greatest first.
pub(super) fn shares(record: &RunRecord) -> Table {
    let mut table =
        Table::new(["step", "share of all waiting", "felt, mean", "before it was sent", "in the shop"]);
    let waited = |step: &super::super::record::StepRecord| {
        step.response.mean().as_secs_f64() * f64::from(u32::try_from(step.count).unwrap_or(u32::MAX))
    };
    let all: f64 = record.steps.iter().map(waited).sum();
    let mut steps: Vec<_> = record.steps.iter().filter(|step| step.count > 0).collect();
    steps.sort_by(|one, two| waited(two).total_cmp(&waited(one)));
    for step in steps {
        table.row([
            step.step.clone(),
            format!("{:.1} %", 100.0 * waited(step) / all.max(f64::MIN_POSITIVE)),
            told(step.response.mean()),
            told(step.lag.mean()),
            told(step.service.mean()),
        ]);
    }
    table
}

/// What shop and generator used and what waited in the shop: the mean and the most of the samples.
pub(super) fn resources(record: &RunRecord) -> Table {
    let mut table = Table::new(["", "mean", "most"]);
    let samples: Vec<ServerSample> = record.seconds.iter().filter_map(|second| second.server).collect();
    let mut row = |name: &str, unit: &str, digits: usize, value: &dyn Fn(&ServerSample) -> Option<f64>| {
        if let Some((mean, most)) = mean_and_most(samples.iter().filter_map(value)) {
            table.row([name.to_owned(), format!("{mean:.digits$}{unit}"), format!("{most:.digits$}{unit}")]);
        }
    };
    let mib = |kib: u64| count(kib) / 1024.0;
    row("processors, shop", "", 2, &|one| one.cpu);
    row("processors, generator", "", 2, &|one| one.generator_cpu);
    row("memory, shop", " MiB", 1, &|one| one.resident_kib.map(mib));
    row("memory, generator", " MiB", 1, &|one| one.generator_resident_kib.map(mib));
    row("written to disk a second", " MiB", 2, &|one| {
        one.written_bytes.map(|bytes| count(bytes) / 1_048_576.0)
    });
    row("open files and sockets", "", 0, &|one| one.open_files.map(count));
    row("sagas in flight", "", 1, &|one| one.sagas_in_flight.map(count));
    row("messages in queues", "", 1, &|one| one.queue_depth.map(count));
    row("batches waiting for the database", "", 1, &|one| one.pool_waiting.map(count));
    row("sagas that wait for a person", "", 0, &|one| one.sagas_stuck.map(count));
    row("dead letters", "", 0, &|one| one.dead_letters.map(count));
    table
}

/// What the figures say, in sentences; none where they say nothing.
pub(super) fn sentences(record: &RunRecord) -> Vec<String> {
    let mut all = Vec::new();
    let samples: Vec<ServerSample> = record.seconds.iter().filter_map(|second| second.server).collect();
    let both = samples.iter().filter_map(|one| Some(one.cpu? + one.generator_cpu?));
    let cores = count(u64::try_from(record.machine.cores).unwrap_or(u64::MAX));
    if let Some((_, most)) = mean_and_most(both)
        && most >= FULL * cores
    {
        all.push(format!(
            "The machine was full: at most {most:.2} of its {cores} processors were in use by shop and generator \
             together. What waited then waited for a processor."
        ));
    }
    let (mut lag, mut felt) = (0.0, 0.0);
    for step in &record.steps {
        lag += step.lag.mean().as_secs_f64() * count(step.lag.count());
        felt += step.response.mean().as_secs_f64() * count(step.response.count());
    }
    if felt > 0.0 && lag / felt >= 0.1 {
        all.push(format!(
            "{:.0} % of the waiting was before anything was sent: for a connection that was free, or for the \
             generator.",
            100.0 * lag / felt
        ));
    }
    let most_of =
        |value: fn(&ServerSample) -> Option<u64>| samples.iter().filter_map(value).max().unwrap_or(0);
    let waiting = most_of(|one| one.pool_waiting);
    if waiting > 0 {
        all.push(format!("Up to {waiting} batches waited for the database at once."));
    }
    let shed: Vec<u64> = samples.iter().filter_map(|one| one.shed).collect();
    if let (Some(first), Some(last)) = (shed.first(), shed.last())
        && last > first
    {
        all.push(format!("The shop shed {} requests to protect itself.", last - first));
    }
    all
}

fn mean_and_most(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (mut number, mut sum, mut most) = (0.0, 0.0, f64::MIN);
    for value in values {
        number += 1.0;
        sum += value;
        most = most.max(value);
    }
    (number > 0.0).then(|| (sum / number, most))
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn count(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_full_machine_and_a_long_wait_for_connections_are_said() {
        let mut record = sample::record();
        assert_eq!(sentences(&record), Vec::<String>::new());
        for second in &mut record.seconds {
            let server = second.server.as_mut().unwrap();
            (server.cpu, server.generator_cpu, server.pool_waiting) = (Some(1.2), Some(0.7), Some(9));
        }
        let lag = record.steps[0].service.clone();
        record.steps[0].lag = lag;
        let said = sentences(&record);
        assert!(said[0].contains("1.90 of its 2 processors"), "{said:?}");
        assert!(said[1].contains("before anything was sent"), "{said:?}");
        assert_eq!(said[2], "Up to 9 batches waited for the database at once.");
    }

    #[test]
    fn shares_are_of_the_whole_and_the_greatest_is_first() {
        let drawn = shares(&sample::record()).to_csv();
        let lines: Vec<&str> = drawn.lines().collect();
        assert!(lines[1].starts_with("checkout,76.9 %"), "{drawn}");
        assert!(lines[2].starts_with("product,23.1 %"), "{drawn}");
    }
}
