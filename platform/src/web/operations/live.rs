//! The live page: how fast the shop is now, and what needs a person.

use askama::Template;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;

use super::OPERATORS;
use super::topology::probe_all;
use crate::http::Problem;
use crate::telemetry::LivePoint;
use crate::web::chart::Chart;
use crate::web::failure::full_sentence;
use crate::web::page::{self, Page, Tone};
use crate::web::visit::Visit;

/// The seconds that the figures are taken over.
const RECENT: usize = 10;
/// What 99 of 100 requests should be faster than.
const GOAL_MS: f64 = 200.0;

#[derive(Template)]
#[template(path = "operations/live.html")]
struct Live {
    page: Page,
    orders_rate: String,
    requests_rate: String,
    p50: String,
    p99: String,
    p99_misses: bool,
    errors: u64,
    flow: Chart,
    latency: Chart,
    attention: Vec<Attention>,
}

#[derive(Template)]
#[template(path = "operations/live_figures.html")]
struct Figures {
    orders_rate: String,
    requests_rate: String,
    p50: String,
    p99: String,
    p99_misses: bool,
    errors: u64,
    flow: Chart,
    latency: Chart,
}

/// Something that waits for a person.
struct Attention {
    tone: Tone,
    words: String,
    place: &'static str,
}

/// `GET /operations`
pub(super) async fn live(visit: Visit) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let attention = attention(&visit).await;
    let Figures { orders_rate, requests_rate, p50, p99, p99_misses, errors, flow, latency } = read(&visit);
    let page = visit.page("Live");
    Ok(visit.show(&Live {
        page,
        orders_rate,
        requests_rate,
        p50,
        p99,
        p99_misses,
        errors,
        flow,
        latency,
        attention,
    }))
}

/// `GET /operations/live`: the figures and charts by themselves.
pub(super) async fn figures(visit: Visit) -> Result<Response, Problem> {
    visit.staff(OPERATORS)?;
    let mut response = page::html(StatusCode::OK, &read(&visit));
    response.headers_mut().insert("x-fragment", HeaderValue::from_static("live"));
    Ok(response)
}

fn read(visit: &Visit) -> Figures {
    let capabilities = &visit.web.capabilities;
    figures_of(&capabilities.telemetry.live().points(capabilities.env.now()))
}

#[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
fn figures_of(points: &[LivePoint]) -> Figures {
    let recent = &points[points.len().saturating_sub(RECENT)..];
    let rate = |count: fn(&LivePoint) -> u64| {
        let sum: u64 = recent.iter().map(count).sum();
        format!("{:.1}", sum as f64 / RECENT as f64)
    };
    // Percentiles of seconds cannot be averaged; the worst second is what can be said truly.
    let worst = |value: fn(&LivePoint) -> Option<f64>| recent.iter().filter_map(value).reduce(f64::max);
    let words = |value: Option<f64>| value.map_or("–".to_owned(), |ms| format!("{ms:.1} ms"));
    let p99 = worst(|point| point.p99_ms);
    let line = |value: fn(&LivePoint) -> f64| points.iter().map(value).collect::<Vec<f64>>();
    let requests = line(|point| point.requests as f64);
    let orders = line(|point| point.orders as f64);
    let p50s = line(|point| point.p50_ms.unwrap_or(f64::NAN));
    let p95s = line(|point| point.p95_ms.unwrap_or(f64::NAN));
    let p99s = line(|point| point.p99_ms.unwrap_or(f64::NAN));
    Figures {
        orders_rate: rate(|point| point.orders),
        requests_rate: rate(|point| point.requests),
        p50: words(worst(|point| point.p50_ms)),
        p99: words(p99),
        p99_misses: p99.is_some_and(|ms| ms > GOAL_MS),
        errors: points.iter().map(|point| point.errors).sum(),
        flow: Chart::lines(
            "Requests and orders per second",
            "/s",
            &[("series", &requests), ("series series-two", &orders)],
        ),
        latency: Chart::lines(
            "Latency",
            " ms",
            &[("series", &p50s), ("series series-two", &p95s), ("series series-bad", &p99s)],
        ),
    }
}

/// Everything that waits for a person; a part that does not answer is on the list too.
async fn attention(visit: &Visit) -> Vec<Attention> {
    let mut found = Vec::new();
    let mut note =
        |tone, place, words: String| found.push(Attention { tone, words: full_sentence(&words), place });
    match visit.web.orders.dashboard(&visit.context).await {
        Ok(figures) if figures.sagas_stuck > 0 => {
            note(
                Tone::Bad,
                "/operations/sagas?state=stuck",
                format!("{} sagas are stuck", figures.sagas_stuck),
            );
        }
        Ok(_) => {}
        Err(error) => note(Tone::Bad, "/operations/sagas", format!("the sagas are unknown: {error}")),
    }
    match visit.web.notifications.queues(&visit.context).await {
        Ok(queues) => {
            let dead: i64 = queues.queues.iter().map(|queue| queue.dead).sum();
            if dead > 0 {
                note(Tone::Bad, "/operations/queues", format!("{dead} messages are dead letters"));
            }
        }
        Err(error) => note(Tone::Bad, "/operations/queues", format!("the queues are unknown: {error}")),
    }
    match visit.web.payments.breakers(&visit.context).await {
        Ok(breakers) => {
            for breaker in breakers.items.iter().filter(|breaker| breaker.state != "closed") {
                let words = format!("breaker {} is {}", breaker.name, breaker.state.replace('_', " "));
                note(Tone::Warn, "/operations/breakers", words);
            }
        }
        Err(error) => note(Tone::Bad, "/operations/breakers", format!("the breakers are unknown: {error}")),
    }
    for probe in probe_all(visit).await.iter().filter(|probe| probe.tone != Tone::Good) {
        let words = format!("{} is {}", probe.name, probe.words.to_lowercase());
        note(Tone::Bad, "/operations/topology", words);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(requests: u64, p99_ms: Option<f64>) -> LivePoint {
        LivePoint { at_s: 0, orders: 1, requests, errors: 0, p50_ms: p99_ms, p95_ms: p99_ms, p99_ms }
    }

    #[test]
    fn figures_are_of_the_last_ten_seconds_and_silence_is_not_zero_latency() {
        let mut points = vec![point(1000, Some(900.0)); 20];
        points.extend(vec![point(5, Some(12.0)); 9]);
        points.push(point(5, None));
        let figures = figures_of(&points);
        assert_eq!((figures.requests_rate.as_str(), figures.orders_rate.as_str()), ("5.0", "1.0"));
        assert_eq!((figures.p99.as_str(), figures.p99_misses), ("12.0 ms", false));
        assert_eq!(figures_of(&[]).p99, "–");
    }

    #[test]
    fn the_live_page_says_what_needs_a_person() {
        let Figures { orders_rate, requests_rate, p50, p99, p99_misses, errors, flow, latency } =
            figures_of(&[]);
        let attention = vec![Attention {
            tone: Tone::Bad,
            words: "2 sagas are stuck".into(),
            place: "/operations/sagas",
        }];
        let page = crate::web::page::tests::page("/operations");
        let html =
            Live { page, orders_rate, requests_rate, p50, p99, p99_misses, errors, flow, latency, attention }
                .render()
                .unwrap();
        assert!(html.contains("2 sagas are stuck") && html.contains("data-live=\"/operations/live\""));
        crate::web::page::tests::assert_is_well_made(&html);
    }
}
