//! `shopctl load`: that it tells the truth, and what it says when something is wrong.

mod bad_days;
mod honesty;
mod reports;
mod server;
mod shop;
mod terminal;
mod view;

use serde_json::Value;

use crate::shopctl::{Project, Ran};

/// A scenario that asks for one page, `load` being the lines of its part `[load]`. The generator may be late, since
/// test machines are busy; how late it was is not what most tests ask.
pub(crate) fn probe(load: &str) -> String {
    format!(
        "schema = 1\nabout = \"one page\"\nobjectives = [\"errors<1%\"]\n[load]\n{load}\n[mix]\nprobe = 1\n\
         [probe]\npath = \"/page\"\n[bounds]\nlateness = \"1m\"\n"
    )
}

/// A few guests who look and buy, judged by whether they are served: how fast a debug build is on a busy machine is not
/// what tests of a whole shop ask.
pub(crate) const GUESTS: &str = "schema = 1\nabout = \"a few guests\"\nobjectives = [\"errors<1%\", \"availability>=99.9%\", \"checkout.p99<10s\"]\n\
     [load]\nrate = 4\nduration = \"3s\"\nseed = 1\n[bounds]\nlateness = \"1m\"\n\
     [mix]\nbrowse = 30\nsearch = 15\ncart = 10\ncheckout = 35\nreturning-customer = 10\n";

/// Runs a scenario of one page against `url`, with `words` after it, and answers what it said in JSON.
pub(crate) fn run(project: &Project, url: &str, load: &str, words: &[&str]) -> Ran {
    project.write("probe.toml", &probe(load));
    project.run_words(&[&["load", "run", "--file", "probe.toml", "--url", url, "-o", "json"], words].concat())
}

/// The record in what a run said.
pub(crate) fn record(ran: &Ran) -> Value {
    ran.json()["data"].clone()
}

/// A number in a record.
pub(crate) fn number(record: &Value, pointer: &str) -> f64 {
    let value = record.pointer(pointer).and_then(Value::as_f64);
    value.unwrap_or_else(|| panic!("no number at {pointer} of {record:#}"))
}
