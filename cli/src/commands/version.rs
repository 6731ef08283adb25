//! `shopctl version`.

use serde_json::json;

use crate::output::{Body, Report};

pub(super) fn run() -> Report {
    let version = env!("CARGO_PKG_VERSION");
    let data = json!({
        "name": "shopctl",
        "version": version,
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    });
    let text = format!("shopctl {version} ({} {})\n", std::env::consts::OS, std::env::consts::ARCH);
    Report::new(data, Body::Text(text))
}
