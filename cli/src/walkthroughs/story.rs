//! What a story is made of. Text may hold `$names`, which stand for what earlier steps have kept.

/// A story.
#[derive(Clone, Copy, Debug)]
pub struct Story {
    /// What a person types for it.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// Where it plays.
    pub place: Place,
    /// Its steps.
    pub steps: &'static [Step],
}

/// Where a story plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On this machine, with a shop of its own in `$data`.
    Here,
    /// On the cluster of the environment `$env`.
    Cluster,
}

/// One step.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// What is said before.
    pub say: &'static str,
    /// What is run.
    pub run: Act,
    /// What must come of it.
    pub expect: &'static [Expect],
    /// What later steps may speak of.
    pub keep: &'static [Keep],
    /// How long, in milliseconds, what is expected may take to come true. The step is run again until then,
    /// so it must be one that can be: a look, not a deed.
    pub within_ms: u64,
    /// How long it stands before the next one, when it is told to a person.
    pub pause_ms: u64,
}

impl Step {
    /// A step that says `say` and runs `run`, once.
    #[must_use]
    pub const fn new(say: &'static str, run: Act) -> Self {
        Self { say, run, expect: &[], keep: &[], within_ms: 0, pause_ms: 2500 }
    }

    /// What must come of it.
    #[must_use]
    pub const fn expect(self, expect: &'static [Expect]) -> Self {
        Self { expect, ..self }
    }

    /// What later steps may speak of.
    #[must_use]
    pub const fn keep(self, keep: &'static [Keep]) -> Self {
        Self { keep, ..self }
    }

    /// Look again until it has come true, for this long.
    #[must_use]
    pub const fn within_ms(self, within_ms: u64) -> Self {
        Self { within_ms, ..self }
    }

    /// How long it stands.
    #[must_use]
    pub const fn pause_ms(self, pause_ms: u64) -> Self {
        Self { pause_ms, ..self }
    }
}

/// What can be run.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// This tool, with these words.
    Shopctl(&'static str),
    /// A call to the shop.
    Call(Call),
    /// `kill -9` of the process that `$pid` names: nothing is finished, nothing is said.
    PullThePlug,
}

/// A call over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// GET, POST, PUT, DELETE.
    pub method: &'static str,
    /// A path of the shop, or a whole address.
    pub path: &'static str,
    /// Headers.
    pub headers: &'static [(&'static str, &'static str)],
    /// A JSON document.
    pub body: Option<&'static str>,
}

impl Call {
    /// A read.
    #[must_use]
    pub const fn get(path: &'static str) -> Self {
        Self { method: "GET", path, headers: &[], body: None }
    }

    /// A deed.
    #[must_use]
    pub const fn send(method: &'static str, path: &'static str, body: &'static str) -> Self {
        Self { method, path, headers: &[], body: Some(body) }
    }

    /// With these headers.
    #[must_use]
    pub const fn headers(self, headers: &'static [(&'static str, &'static str)]) -> Self {
        Self { headers, ..self }
    }
}

/// What must come of a step.
#[derive(Clone, Copy, Debug)]
pub enum Expect {
    /// The tool ended with this code.
    Exit(i64),
    /// The shop answered with this status.
    Status(u16),
    /// At this place of the document stands this.
    At(&'static str, &'static str),
    /// At this place of the document stands a list with this many items.
    Count(&'static str, usize),
    /// The answer has this text somewhere.
    Shows(&'static str),
}

/// What later steps may speak of: `name` stands for what the answer has at `pointer`.
#[derive(Clone, Copy, Debug)]
pub struct Keep {
    /// The name, without `$`.
    pub name: &'static str,
    /// The place in the document.
    pub pointer: &'static str,
}
