//! The containers of a pod, as its node reports them.

use serde_json::Value;

use crate::cluster::object::Object;

/// One container, init containers included.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Container<'a> {
    value: &'a Value,
}

/// How a container ended.
#[derive(Clone, Copy, Debug)]
pub(in crate::cluster) struct Ended<'a> {
    pub(in crate::cluster) code: i64,
    /// `Error`, `OOMKilled`, `Completed`, `StartError`.
    pub(in crate::cluster) reason: &'a str,
    /// What it left in its termination log, if anything.
    pub(in crate::cluster) message: &'a str,
}

/// All containers of `pod`, in the order in which they start.
pub(in crate::cluster) fn containers(pod: &Object) -> impl Iterator<Item = Container<'_>> {
    let all = ["/status/initContainerStatuses", "/status/containerStatuses"];
    let all = all.into_iter().filter_map(|pointer| pod.at(pointer)?.as_array()).flatten();
    all.map(|value| Container { value })
}

impl<'a> Container<'a> {
    fn text(self, pointer: &str) -> Option<&'a str> {
        self.value.pointer(pointer).and_then(Value::as_str)
    }

    pub(in crate::cluster) fn name(self) -> &'a str {
        self.text("/name").unwrap_or_default()
    }

    pub(in crate::cluster) fn restarts(self) -> u64 {
        self.value.get("restartCount").and_then(Value::as_u64).unwrap_or(0)
    }

    /// `running`, `waiting` or `terminated`.
    pub(in crate::cluster) fn state(self) -> Option<&'a str> {
        self.value.get("state")?.as_object()?.keys().next().map(String::as_str)
    }

    /// What it waits for: `ContainerCreating`, `CrashLoopBackOff`.
    pub(in crate::cluster) fn waits_for(self) -> Option<&'a str> {
        self.text("/state/waiting/reason")
    }

    /// What is said about its waiting.
    pub(in crate::cluster) fn waits_with(self) -> &'a str {
        self.text("/state/waiting/message").unwrap_or_default()
    }

    fn end(self, pointer: &str) -> Option<Ended<'a>> {
        let ended = self.value.pointer(pointer)?;
        let text = |name| ended.get(name).and_then(Value::as_str).unwrap_or_default();
        let code = ended.get("exitCode").and_then(Value::as_i64)?;
        Some(Ended { code, reason: text("reason"), message: text("message") })
    }

    /// How it ended, when it does not run now.
    pub(in crate::cluster) fn ended(self) -> Option<Ended<'a>> {
        self.end("/state/terminated")
    }

    /// How it ended before it was started again.
    pub(in crate::cluster) fn ended_before(self) -> Option<Ended<'a>> {
        self.end("/lastState/terminated")
    }
}
