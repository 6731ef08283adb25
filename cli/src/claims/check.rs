//! Measures claims again. Claims that one command measures share one run of it.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde::Serialize;
use serde_json::Value;

use super::{Claim, Measure};

/// What came of measuring a claim again.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The claim.
    pub id: &'static str,
    /// The number; absent when it could not be had.
    pub value: Option<f64>,
    /// Whether the bound is kept; unknown without a number.
    pub is_kept: Option<bool>,
    /// Why there is no number.
    pub why: Option<String>,
}

/// Measures `claims`, telling `before` each command that is run.
///
/// # Errors
/// When this tool cannot run itself.
pub fn check(claims: &[&Claim], mut before: impl FnMut(&str)) -> anyhow::Result<Vec<Finding>> {
    let mut documents: Vec<(&str, Value)> = Vec::new();
    let mut findings = Vec::new();
    for claim in claims {
        let Measure::Shopctl { words, pointer } = claim.measure;
        if !documents.iter().any(|(known, _)| *known == words) {
            before(words);
            documents.push((words, run(words)?));
        }
        let document = documents.iter().find(|(known, _)| *known == words).map(|(_, document)| document);
        findings.push(judge(claim, document.unwrap_or(&Value::Null), pointer));
    }
    Ok(findings)
}

fn judge(claim: &Claim, document: &Value, pointer: &str) -> Finding {
    let value = document.pointer(pointer).and_then(Value::as_f64);
    let said = document["errors"][0]["message"].as_str();
    let why = value.is_none().then(|| said.unwrap_or("the command gave no such number").to_owned());
    Finding { id: claim.id, value, is_kept: value.map(|value| claim.bound.is_kept(value)), why }
}

fn run(words: &str) -> anyhow::Result<Value> {
    let binary = std::env::current_exe().context("could not tell where shopctl is")?;
    let output = Command::new(binary)
        .args(words.split(' '))
        .args(["--output", "json"])
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("could not run shopctl {words}"))?;
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::CLAIMS;
    use super::*;

    #[test]
    fn no_number_is_unknown_and_never_kept() {
        let document = json!({"data": null, "errors": [{"message": "the shop did not start"}]});
        let finding = judge(&CLAIMS[0], &document, "/data/first_order_ms");
        assert_eq!((finding.value, finding.is_kept), (None, None));
        assert_eq!(finding.why.as_deref(), Some("the shop did not start"));
    }

    #[test]
    fn a_number_is_held_against_its_bound() {
        let judged = |ms: f64| {
            judge(&CLAIMS[0], &json!({"data": {"first_order_ms": ms}}), "/data/first_order_ms").is_kept
        };
        assert_eq!(judged(999.0), Some(true));
        assert_eq!(judged(1001.0), Some(false));
    }
}
