//! What controllers write under `status.conditions`.

use serde_json::Value;

use crate::cluster::object::Object;

/// One condition of an object.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Condition<'a> {
    value: &'a Value,
}

/// The condition of type `kind`.
pub(in crate::cluster) fn condition<'a>(object: &'a Object, kind: &str) -> Option<Condition<'a>> {
    let all = object.at("/status/conditions")?.as_array()?;
    let value = all.iter().find(|value| value.get("type").and_then(Value::as_str) == Some(kind))?;
    Some(Condition { value })
}

impl<'a> Condition<'a> {
    fn text(self, name: &str) -> &'a str {
        self.value.get(name).and_then(Value::as_str).unwrap_or_default()
    }

    pub(in crate::cluster) fn is_true(self) -> bool {
        self.text("status") == "True"
    }

    /// Whether it is said not to be so, which is more than not being said at all.
    pub(in crate::cluster) fn is_false(self) -> bool {
        self.text("status") == "False"
    }

    pub(in crate::cluster) fn reason(self) -> &'a str {
        self.text("reason")
    }

    /// The message, or else the reason, or else the type itself.
    pub(in crate::cluster) fn told(self) -> &'a str {
        let said = [self.text("message"), self.text("reason"), self.text("type")];
        said.into_iter().find(|text| !text.is_empty()).unwrap_or_default()
    }
}
