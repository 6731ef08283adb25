//! What every event has beside its own fields, so that a reader can tell runs apart, put lines in order, and see that none is
//! missing: `ts`, `run`, `seq`, `env`; and `unit`, the service that it is about, where there is one.

use std::io;
use std::sync::{Mutex, PoisonError};

use platform::vocabulary::Env;
use serde_json::Value;

/// Stamps the events of one run.
#[derive(Debug)]
pub(super) struct Stamp {
    env: Env,
    /// How many events were told.
    told: Mutex<u64>,
}

impl Stamp {
    pub(super) fn new(env: Env) -> Self {
        Self { env, told: Mutex::new(0) }
    }

    /// Stamps `event` and hands it to `tell`, one after the other: lines come in the order of their numbers.
    ///
    /// # Errors
    /// What `tell` says.
    pub(super) fn on(
        &self,
        event: &Value,
        run: &str,
        environment: &str,
        tell: impl FnOnce(&Value) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        *told += 1;
        let mut event = event.clone();
        if let Some(fields) = event.as_object_mut() {
            // An event that is passed on was stamped by who told it first: its number is of another count.
            fields.insert("ts".to_owned(), self.env.now().to_string().into());
            fields.insert("run".to_owned(), run.into());
            fields.insert("seq".to_owned(), (*told).into());
            fields.insert("env".to_owned(), environment.into());
            if let Some(service) = fields.get("service").cloned() {
                fields.entry("unit").or_insert(service);
            }
        }
        tell(&event)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_counted_and_say_whose_they_are() {
        let stamp = Stamp::new(Env::system());
        let told = Mutex::new(Vec::new());
        let tell = |event: &Value| {
            told.lock().unwrap().push(event.clone());
            Ok(())
        };
        stamp.on(&json!({"event": "phase", "service": "order"}), "r1", "lab", tell).unwrap();
        stamp.on(&json!({"event": "ready", "seq": 9, "run": "other"}), "r1", "lab", tell).unwrap();
        let told = told.into_inner().unwrap();
        assert_eq!((&told[0]["seq"], &told[1]["seq"]), (&json!(1), &json!(2)));
        assert_eq!((&told[0]["unit"], &told[1]["unit"]), (&json!("order"), &Value::Null));
        for event in &told {
            assert_eq!((&event["run"], &event["env"]), (&json!("r1"), &json!("lab")), "{event}");
            assert!(event["ts"].as_str().is_some_and(|at| at.ends_with('Z')), "{event}");
        }
    }

    #[test]
    fn lines_come_in_the_order_of_their_numbers() {
        let stamp = Stamp::new(Env::system());
        let told = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let tell = |event: &Value| {
                            told.lock().unwrap().push(event["seq"].as_u64().unwrap());
                            Ok(())
                        };
                        stamp.on(&json!({"event": "second"}), "r1", "local", tell).unwrap();
                    }
                });
            }
        });
        assert_eq!(told.into_inner().unwrap(), (1..=400).collect::<Vec<u64>>());
    }
}
