//! One reason why something is not well, and how it is told.

use std::fmt;

use serde::Serialize;

use super::snapshot::{ContainerLogs, ContainerName};
use crate::cluster::object::Object;

/// The most of a message that is told; the cluster has the rest.
const MESSAGE_LETTERS: usize = 400;
/// The most lines of a log that are told.
const LOG_LINES: usize = 20;

/// What is wrong, gravest first: what stands further up explains what stands further down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// What was asked about is not there.
    Missing,
    /// A Job has failed.
    JobFailed,
    /// The namespace's Pod Security standard refuses the pods.
    PodSecurity,
    /// A quota is used up.
    Quota,
    /// Pods may not be made for another reason.
    PodRefused,
    /// An image cannot be pulled.
    ImagePull,
    /// A container cannot be made as it is described.
    ContainerConfig,
    /// A volume cannot be mounted.
    Mount,
    /// A container used more memory than it may.
    OutOfMemory,
    /// A probe fails.
    Probe,
    /// A container ends.
    Crash,
    /// A claim has no volume.
    ClaimPending,
    /// A pod finds no node.
    Unschedulable,
    /// A pod's node is away.
    NodeNotReady,
    /// A pod was driven off its node.
    Evicted,
    /// A pod's network or sandbox cannot be made.
    Sandbox,
    /// A Service selects no pod.
    SelectsNothing,
    /// What a Service selects was scaled to zero.
    ScaledToZero,
    /// An autoscaler cannot see what it scales by.
    Autoscaler,
    /// A Deployment was paused.
    Paused,
    /// A Deployment makes no progress, and nothing above says why.
    NoProgress,
    /// It is on its way, and nothing is known to be wrong.
    Waiting,
}

impl Reason {
    /// What is wrong, as a sentence says it.
    #[must_use]
    pub fn told(self) -> &'static str {
        match self {
            Self::Missing => "it is not there",
            Self::JobFailed => "the Job has failed",
            Self::PodSecurity => "the namespace's Pod Security standard refuses the pods",
            Self::Quota => "a quota is used up",
            Self::PodRefused => "the pods may not be made",
            Self::ImagePull => "the image cannot be pulled",
            Self::ContainerConfig => "the container cannot be made",
            Self::Mount => "a volume cannot be mounted",
            Self::OutOfMemory => "the container used more memory than it may",
            Self::Probe => "a probe fails",
            Self::Crash => "the container ends",
            Self::ClaimPending => "a claim has no volume",
            Self::Unschedulable => "no node takes the pod",
            Self::NodeNotReady => "the node is not ready",
            Self::Evicted => "the pod was driven off its node",
            Self::Sandbox => "the pod's sandbox cannot be made",
            Self::SelectsNothing => "the Service selects no pod",
            Self::ScaledToZero => "it was scaled to zero",
            Self::Autoscaler => "the autoscaler cannot see what it scales by",
            Self::Paused => "the Deployment is paused",
            Self::NoProgress => "it makes no progress",
            Self::Waiting => "it is on its way",
        }
    }
}

/// One object on the way down to what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its kind; `container` for a container of a pod.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// How it is.
    pub says: String,
}

/// The way down, as it grows.
#[derive(Clone, Debug, Default)]
pub(super) struct Trail(Vec<Link>);

impl Trail {
    /// The way on to `object`.
    pub(super) fn to(&self, object: &Object, says: impl fmt::Display) -> Self {
        self.link(object.kind(), object.name(), says)
    }

    /// The way on to a container of the pod at its end.
    pub(super) fn to_container(&self, name: &str, says: impl fmt::Display) -> Self {
        self.link("container", name, says)
    }

    fn link(&self, kind: &str, name: &str, says: impl fmt::Display) -> Self {
        let mut all = self.clone();
        all.0.push(Link { kind: kind.to_owned(), name: name.to_owned(), says: one_line(&says.to_string()) });
        all
    }
}

/// One reason why something is not well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Cause {
    /// What is wrong.
    pub reason: Reason,
    /// What the cluster says.
    pub message: String,
    /// What to do.
    pub advice: String,
    /// From what was asked about down to what is wrong.
    pub chain: Vec<Link>,
    /// How many more pods have the same.
    pub alike: usize,
    /// The container whose log is worth reading.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerName>,
    /// Its last lines, when the snapshot has them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub logs: Option<ContainerLogs>,
}

impl Cause {
    pub(super) fn new(trail: Trail, reason: Reason, message: &str, advice: impl Into<String>) -> Self {
        Self {
            reason,
            message: one_line(message),
            advice: advice.into(),
            chain: trail.0,
            alike: 0,
            container: None,
            logs: None,
        }
    }

    /// The log of the container `name` of `pod` is worth reading.
    pub(super) fn read(mut self, pod: &Object, name: &str) -> Self {
        self.container = Some(ContainerName {
            namespace: pod.key().namespace.clone(),
            pod: pod.name().to_owned(),
            container: name.to_owned(),
        });
        self
    }

    /// Takes the last lines of `logs`.
    pub(super) fn take_logs(&mut self, logs: &ContainerLogs) {
        let last = |lines: &[String]| lines[lines.len().saturating_sub(LOG_LINES)..].to_vec();
        self.logs = Some(ContainerLogs { current: last(&logs.current), previous: last(&logs.previous) });
    }

    /// Whether `other` is the same in another pod of the same owner.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        fn above(cause: &Cause) -> impl Iterator<Item = (&str, &str)> {
            let all = cause.chain.iter().filter(|link| link.kind != "Pod");
            all.map(|link| (link.kind.as_str(), link.name.as_str()))
        }
        self.reason == other.reason && above(self).eq(above(other))
    }
}

/// `text` on one line, and not too long.
pub(super) fn one_line(text: &str) -> String {
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match words.char_indices().nth(MESSAGE_LETTERS) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words,
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, link) in self.chain.iter().enumerate() {
            let arrow = if depth == 0 { "" } else { "-> " };
            let slash = if link.kind == "container" { " " } else { "/" };
            write!(f, "{:indent$}{arrow}{}{slash}{}", "", link.kind, link.name, indent = depth * 2)?;
            if link.kind == "Pod" && self.alike > 0 {
                write!(f, " (and {} more)", self.alike)?;
            }
            writeln!(f, ": {}", link.says)?;
        }
        write!(f, "why: {}", self.reason.told())?;
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        write!(f, "\ndo:  {}", self.advice)?;
        let (Some(container), Some(logs)) = (&self.container, &self.logs) else { return Ok(()) };
        for (when, lines) in [("before its restart", &logs.previous), ("now", &logs.current)] {
            if !lines.is_empty() {
                write!(f, "\nlog of {container}, {when}:")?;
                lines.iter().try_for_each(|line| write!(f, "\n  | {line}"))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_one_line_of_bounded_length() {
        assert_eq!(one_line("a\n  b\tc "), "a b c");
        let long = one_line(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), MESSAGE_LETTERS + 1);
    }

    #[test]
    fn only_the_last_lines_are_taken() {
        let mut cause = Cause::new(Trail::default(), Reason::Crash, "", "");
        let lines: Vec<String> = (0..50).map(|line| line.to_string()).collect();
        cause.take_logs(&ContainerLogs { current: lines, previous: vec!["x".to_owned()] });
        let logs = cause.logs.unwrap();
        assert_eq!((logs.current.len(), logs.current[0].as_str()), (LOG_LINES, "30"));
        assert_eq!(logs.previous, ["x"]);
    }
}
