//! Fault switches: the shop's own bad days, on request. Only where the configuration allows them.

use std::time::Duration;

use askama::Template;
use axum::response::Response;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{Method, Request};
use serde_json::{Value, json};

use super::OPERATORS;
use crate::bus::BusFaults;
use crate::http::{Code, Problem};
use crate::web::fields::Fields;
use crate::web::page::{Page, Tone, redirect};
use crate::web::view::Badge;
use crate::web::visit::{Form, Visit};

/// How long the sandbox's switchboard may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// The provider's modes: word on the wire, name, what happens.
const MODES: [(&str, &str, &str); 10] = [
    ("none", "Well", "only the latency below, if any"),
    ("refuse", "Down", "nobody listens; of a share or a number of calls, connections are cut"),
    ("blackhole", "Hangs", "requests are taken and never answered"),
    ("error", "Error 500", "nothing happens"),
    ("timeout_before", "Time-out before", "a change is not done, and not answered"),
    ("timeout_after", "Time-out after", "a change is done, and not answered"),
    ("decline", "Declines", "the bank says no"),
    ("duplicate_webhook", "Webhooks twice", "every event is delivered twice"),
    ("early_webhook", "Webhooks early", "every event comes before the answer"),
    ("lost_webhook", "Webhooks lost", "no event is delivered"),
];

#[derive(Template)]
#[template(path = "operations/faults.html")]
struct Faults {
    page: Page,
    fields: Fields,
    provider: Badge,
    provider_known: bool,
    mode: String,
    modes: &'static [(&'static str, &'static str, &'static str)],
    bus: Badge,
}

fn operator(visit: &Visit) -> Result<(), Problem> {
    visit.staff(OPERATORS)?;
    if visit.web.capabilities.config.faults_allowed {
        return Ok(());
    }
    Err(Problem::new(Code::Forbidden, "this environment does not allow fault switches"))
}

/// `GET /operations/faults`
pub(super) async fn faults(visit: Visit) -> Result<Response, Problem> {
    operator(&visit)?;
    let page = draw(&visit, None).await;
    Ok(visit.show(&page))
}

/// The page; with `fields`, as the form was sent.
async fn draw(visit: &Visit, fields: Option<Fields>) -> Faults {
    let fault = switchboard(visit, Method::GET, None).await;
    let bus = visit.web.capabilities.bus.faults();
    page(visit.page("Fault switches"), fault.ok().as_ref(), &bus, fields)
}

fn page(page: Page, fault: Option<&Value>, bus: &BusFaults, fields: Option<Fields>) -> Faults {
    let mode = fault.and_then(|fault| fault["mode"].as_str()).unwrap_or_default().to_owned();
    let slow = fault.and_then(|fault| fault["latency_ms"].as_u64()).unwrap_or(0) > 0;
    let provider = match (fault, mode.as_str()) {
        (None, _) => Badge { tone: Tone::Plain, words: "Unknown".to_owned() },
        (Some(_), "none") if !slow => Badge { tone: Tone::Good, words: "Well".to_owned() },
        (Some(_), "none") => Badge { tone: Tone::Warn, words: "Slow".to_owned() },
        (Some(_), mode) => {
            let name = MODES.iter().find(|(value, ..)| *value == mode).map_or(mode, |(_, name, _)| name);
            Badge { tone: Tone::Bad, words: name.to_owned() }
        }
    };
    let bus_words =
        if *bus == BusFaults::default() { (Tone::Good, "Well") } else { (Tone::Bad, "Misbehaving") };
    Faults {
        page,
        fields: fields.unwrap_or_else(|| shown(fault, bus)),
        provider,
        provider_known: fault.is_some(),
        mode,
        modes: &MODES,
        bus: Badge { tone: bus_words.0, words: bus_words.1.to_owned() },
    }
}

/// The fields as the switches stand.
fn shown(fault: Option<&Value>, bus: &BusFaults) -> Fields {
    let percent = |rate: f64| format!("{:.0}", rate * 100.0);
    let number = |key: &str| {
        let value = fault.and_then(|fault| fault[key].as_u64());
        value.map_or(String::new(), |value| value.to_string())
    };
    let rate = fault.and_then(|fault| fault["rate"].as_f64()).unwrap_or(1.0);
    Fields::default()
        .with("rate", percent(rate))
        .with("count", number("count"))
        .with("latency_ms", number("latency_ms"))
        .with("duplicate", percent(bus.duplicate_rate))
        .with("reorder", percent(bus.reorder_rate))
        .with("drop", percent(bus.drop_rate))
        .with("delay", percent(bus.delay_rate))
        .with("delay_ms", bus.delay.as_millis().to_string())
}

/// `POST /operations/faults/provider`
pub(super) async fn set_provider(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    operator(&visit)?;
    if fields.is_ticked("clear") {
        switchboard(&visit, Method::DELETE, None).await?;
        visit.say(Tone::Good, "The provider is well again.");
        return Ok(redirect("/operations/faults"));
    }
    let Some(fault) = fault_of(&mut fields) else {
        let page = draw(&visit, Some(fields)).await;
        return Ok(visit.show_again(&page));
    };
    switchboard(&visit, Method::PUT, Some(&fault)).await?;
    tracing::warn!(%fault, "an operator threw the provider's fault switch");
    visit.say(Tone::Warn, "The provider's switch is thrown.");
    Ok(redirect("/operations/faults"))
}

fn fault_of(fields: &mut Fields) -> Option<Value> {
    let mode = MODES.iter().find(|(value, ..)| *value == fields.value("mode")).map(|(value, ..)| *value);
    if mode.is_none() {
        fields.reject("", "Choose what goes wrong.");
    }
    let mut fault = json!({ "mode": mode.unwrap_or("none"), "rate": rate(fields, "rate") });
    for (name, least) in [("count", 1), ("latency_ms", 0)] {
        if fields.optional(name).is_some() {
            fault[name] = json!(fields.whole(name, least).unwrap_or(least));
        }
    }
    fields.is_good().then_some(fault)
}

/// Percent of a field as a share; an empty field is all.
fn rate(fields: &mut Fields, name: &str) -> f64 {
    if fields.optional(name).is_none() {
        return 1.0;
    }
    match fields.value(name).parse::<u8>() {
        Ok(percent @ 0..=100) => f64::from(percent) / 100.0,
        _ => {
            fields.reject(name, "Enter a whole number from 0 to 100.");
            0.0
        }
    }
}

/// `POST /operations/faults/bus`
pub(super) async fn set_bus(visit: Visit, Form(mut fields): Form) -> Result<Response, Problem> {
    operator(&visit)?;
    let bus = &visit.web.capabilities.bus;
    if fields.is_ticked("clear") {
        bus.set_faults(BusFaults::default());
        visit.say(Tone::Good, "Messages are well again.");
        return Ok(redirect("/operations/faults"));
    }
    let faults = BusFaults {
        duplicate_rate: rate(&mut fields, "duplicate"),
        reorder_rate: rate(&mut fields, "reorder"),
        drop_rate: rate(&mut fields, "drop"),
        delay_rate: rate(&mut fields, "delay"),
        delay: Duration::from_millis(u64::try_from(fields.whole("delay_ms", 0).unwrap_or(0)).unwrap_or(0)),
    };
    if !fields.is_good() {
        let page = draw(&visit, Some(fields)).await;
        return Ok(visit.show_again(&page));
    }
    tracing::warn!(?faults, "an operator threw the messages' fault switch");
    bus.set_faults(faults);
    visit.say(Tone::Warn, "The messages' switch is thrown.");
    Ok(redirect("/operations/faults"))
}

/// Asks the sandbox provider's switchboard.
async fn switchboard(visit: &Visit, method: Method, body: Option<&Value>) -> Result<Value, Problem> {
    let capabilities = &visit.web.capabilities;
    let away = |detail: String| Problem::new(Code::Unavailable, detail);
    let request = Request::builder()
        .method(method)
        .uri(format!("{}/control/faults", capabilities.control_url))
        .header("authorization", format!("Bearer {}", capabilities.secrets.provider_control.expose()))
        .header("content-type", "application/json")
        .body(Full::new(body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()))))
        .map_err(|error| away(error.to_string()))?;
    let answer = capabilities.http.send(request, PATIENCE).await?;
    if !answer.status().is_success() {
        return Err(away(format!("the provider's switchboard answered {}", answer.status())));
    }
    serde_json::from_slice(answer.body()).map_err(|error| away(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_switches_stand_as_they_are_and_an_unknown_provider_is_not_called_well() {
        let draw = |fault: Option<&Value>| {
            let frame = crate::web::page::tests::page("/operations/faults");
            page(frame, fault, &BusFaults::default(), None)
        };
        let down = draw(Some(&json!({"mode": "refuse", "rate": 0.5})));
        assert_eq!((down.provider.tone, down.provider.words.as_str()), (Tone::Bad, "Down"));
        assert_eq!(down.fields.value("rate"), "50");
        let html = down.render().unwrap();
        assert!(html.contains("value=\"refuse\" checked"));
        crate::web::page::tests::assert_is_well_made(&html);
        assert_eq!(draw(None).provider.words, "Unknown");
    }

    #[test]
    fn a_fault_is_read_from_its_form() {
        let mut fields = Fields::parse(b"mode=timeout_after&rate=25&count=3&latency_ms=");
        let fault = fault_of(&mut fields).expect("a fault");
        assert_eq!(fault, json!({"mode": "timeout_after", "rate": 0.25, "count": 3}));
        let mut wrong = Fields::parse(b"mode=explode&rate=101");
        assert!(fault_of(&mut wrong).is_none());
    }
}
