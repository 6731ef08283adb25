//! What a shop that is ready tells: to scripts as the event `ready`, to people as a few lines.
//!
//! Secrets of the payment sandbox go into the event only, which is printed only when it is asked for with
//! `-o`. The admin's password is shown to both, once: only its hash is kept.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::pages::Page;
use crate::output::Body;
use crate::targets::pieces::facts::ProcessFacts;

/// The facts of a shop that is ready. The names of the fields are part of the public contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Where it answers.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// The folder of its data.
    pub data_dir: String,
    /// The admin whose password was made by this start.
    pub admin: Option<Admin>,
    /// The payment sandbox.
    pub fakepay: Option<Fakepay>,
    /// Codes that customers may try.
    #[serde(default)]
    pub promotions: Vec<Promotion>,
    /// The processes of a shop in pieces; none where one process is the whole shop.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<ProcessFacts>,
}

/// An admin whose password is new.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Admin {
    /// The name to sign in with.
    pub email: String,
    /// The password, shown once.
    pub password: String,
}

/// How to reach the payment sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fakepay {
    /// Where it answers.
    pub url: String,
    /// The key of its API.
    pub api_key: String,
    /// What its webhooks are signed with.
    pub webhook_secret: String,
    /// The key of its switches.
    pub control_token: String,
}

/// A code and what it does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promotion {
    /// The code.
    pub code: String,
    /// What it does.
    pub about: String,
}

impl Welcome {
    /// The event `ready`.
    #[must_use]
    pub fn to_event(&self) -> Value {
        let mut event = self.to_data();
        event["event"] = json!("ready");
        event
    }

    /// The same as the data of a document.
    #[must_use]
    pub fn to_data(&self) -> Value {
        json!(self)
    }

    /// Out of the event `ready`; `None` when it is not one.
    #[must_use]
    pub fn from_event(event: &Value) -> Option<Self> {
        serde_json::from_value(event.clone()).ok()
    }

    /// The lines for people.
    #[must_use]
    pub fn body(&self) -> Body {
        let mut facts: Vec<(String, String)> =
            Page::ALL.iter().map(|page| (page.word().to_owned(), page.address(&self.url))).collect();
        if let Some(Admin { email, password }) = &self.admin {
            facts.push(("sign in".into(), format!("{email} with the password {password} (shown only now)")));
        }
        for (number, Promotion { code, about }) in self.promotions.iter().enumerate() {
            let name = if number == 0 { "try a code" } else { "" };
            facts.push((name.into(), format!("{code}: {about}")));
        }
        if !self.processes.is_empty() {
            let names: Vec<&str> = self.processes.iter().map(|process| process.name.as_str()).collect();
            facts.push(("processes".into(), format!("{}: {}", names.len(), names.join(" "))));
        }
        facts.push(("data".into(), self.data_dir.clone()));
        Body::Facts(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn welcome() -> Welcome {
        let text = str::to_owned;
        Welcome {
            url: text("http://127.0.0.1:8080"),
            pid: 42,
            data_dir: text("/data"),
            admin: Some(Admin { email: text("admin@shop.test"), password: text("once") }),
            fakepay: Some(Fakepay {
                url: text("http://127.0.0.1:9"),
                api_key: text("sk_test_x"),
                webhook_secret: text("whsec_x"),
                control_token: text("c0ntrol"),
            }),
            promotions: vec![Promotion { code: text("WELCOME10"), about: text("10 % off") }],
            processes: Vec::new(),
        }
    }

    #[test]
    fn the_event_has_the_fields_of_the_contract() {
        let event = welcome().to_event();
        for field in ["event", "url", "pid", "data_dir", "admin", "fakepay"] {
            assert!(event.get(field).is_some(), "{field} is missing");
        }
        for field in ["url", "api_key", "webhook_secret", "control_token"] {
            assert!(event["fakepay"][field].is_string(), "fakepay.{field} is missing");
        }
        assert_eq!(event["event"], "ready");
        assert_eq!(Welcome::from_event(&event), Some(welcome()));
    }

    #[test]
    fn people_see_the_password_once_and_never_the_keys_of_the_provider() {
        let Body::Facts(facts) = welcome().body() else { panic!("facts") };
        let text = format!("{facts:?}");
        assert!(text.contains("once") && text.contains("WELCOME10"));
        for secret in ["sk_test_x", "whsec_x", "c0ntrol"] {
            assert!(!text.contains(secret), "{secret} is shown");
        }
        let again = Welcome { admin: None, ..welcome() };
        assert!(again.to_event()["admin"].is_null());
    }
}
