//! How soon a shop sells: from the making of the process on an empty folder to the first order's 201, and on
//! a folder with data to `readyz`.

use std::time::{Duration, Instant};

use hyper::StatusCode;
use platform::vocabulary::Env;
use serde_json::json;

use super::Ground;
use super::buyer::Buyer;
use super::figures::to_tenth;
use super::ground::Shop;
use crate::output::{Printer, Progress, Report};
use crate::wire;

/// What one round took.
#[derive(Clone, Copy, Debug)]
struct Round {
    ready: Duration,
    first_order: Duration,
    ready_again: Duration,
}

/// Runs `rounds` rounds and reports the middle one of each figure, with the best and the worst.
///
/// # Errors
/// When a shop does not start, or the first order is not confirmed at once.
pub fn run(ground: &Ground, rounds: u32, env: &Env, printer: &Printer) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut progress = Progress::new(printer);
    let mut all = Vec::new();
    for number in 1..=rounds.max(1) {
        progress.step("starting shops on empty folders", number.into(), rounds.into());
        let folder = ground.folder(&number.to_string());
        let first = ground.start(&folder, &[])?;
        let ready = first.took();
        let first_order = runtime.block_on(first_order(&first, env))?;
        first.stop()?;
        let again = ground.start(&folder, &[])?;
        let ready_again = runtime.block_on(until_ready(&again))?;
        again.stop()?;
        all.push(Round { ready, first_order, ready_again });
    }
    progress.clear();
    Ok(report(ground, &all))
}

async fn first_order(shop: &Shop, env: &Env) -> anyhow::Result<Duration> {
    let mut buyer = Buyer::at(&shop.url(), env).await?;
    let skus = buyer.skus().await?;
    let basket = buyer.fill_basket(&skus[0]).await?;
    let placed = buyer.place(&basket).await?;
    anyhow::ensure!(placed.status == StatusCode::CREATED, "the first order answered {}", placed.status);
    Ok(shop.began().elapsed())
}

async fn until_ready(shop: &Shop) -> anyhow::Result<Duration> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let reply = wire::get(&shop.url(), "/readyz", Duration::from_secs(1)).await?;
        if reply.status.is_success() {
            return Ok(shop.began().elapsed());
        }
        anyhow::ensure!(Instant::now() < deadline, "readyz still answers {}", reply.status);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn report(ground: &Ground, rounds: &[Round]) -> Report {
    let figures = [
        ("empty folder to ready", "ready_ms", middle(rounds, |round| round.ready)),
        ("empty folder to the first 201", "first_order_ms", middle(rounds, |round| round.first_order)),
        ("folder with data to readyz", "ready_again_ms", middle(rounds, |round| round.ready_again)),
    ];
    let mut data = json!({"engine": ground.engine, "rounds": rounds.len()});
    for (_, field, [least, middle, most]) in &figures {
        data[*field] = json!(middle);
        data[format!("{field}_range")] = json!([least, most]);
    }
    let facts = figures.map(|(name, _, [least, middle, most])| {
        (name.to_owned(), format!("{middle:.0} ms ({least:.0} to {most:.0})"))
    });
    Report::facts(data, facts).last_line(format!(
        "the middle of {} rounds on {}",
        rounds.len(),
        ground.engine
    ))
}

/// The least, the middle and the most, in milliseconds.
fn middle(rounds: &[Round], figure: impl Fn(&Round) -> Duration) -> [f64; 3] {
    let mut all: Vec<f64> =
        rounds.iter().map(|round| to_tenth(figure(round).as_secs_f64() * 1000.0)).collect();
    all.sort_by(f64::total_cmp);
    let at = |index: usize| all.get(index).copied().unwrap_or(0.0);
    [at(0), at(all.len() / 2), at(all.len().saturating_sub(1))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_round_is_told_with_the_best_and_the_worst() {
        let round = |ms| Round {
            ready: Duration::from_millis(ms),
            first_order: Duration::from_millis(ms + 1),
            ready_again: Duration::ZERO,
        };
        let rounds = [round(30), round(10), round(20)];
        assert_eq!(middle(&rounds, |round| round.ready), [10.0, 20.0, 30.0]);
        assert_eq!(middle(&rounds, |round| round.first_order), [11.0, 21.0, 31.0]);
    }
}
