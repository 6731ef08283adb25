//! How far a release is: all that cannot be seen in the cluster itself. It is stored after every step.

use std::fmt;
use std::time::Duration;

use platform::vocabulary::{Timestamp, clock};
use serde::{Deserialize, Serialize};

use super::action::Outcome;
use super::gates::Tally;
use super::observation::Command;
use super::plan::{BlueGreen, Cutover, Plan, Promote, Strategy};
use super::slot::Slot;

/// Where a release is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase", content = "outcome")]
pub enum Phase {
    /// The revision is recorded as pending.
    Record,
    /// Tables are brought up to date.
    Prepare,
    /// The idle slot gets rid of an older revision.
    Clear,
    /// The new revision starts in the idle slot.
    Start,
    /// It is looked at where no customer is.
    Preview,
    /// It gets as many pods as it will need.
    Fill,
    /// A person says whether customers may reach it.
    Await,
    /// Both slots serve.
    Overlap,
    /// The new slot serves alone.
    Narrow,
    /// The live slot gets the new revision, pod by pod.
    Update,
    /// It is looked at while customers reach it.
    Bake,
    /// It is recorded as deployed.
    Release,
    /// The old slot is kept for a while, then scaled to zero. The release is done.
    Retire,
    /// The old slot is to serve alone again.
    Return,
    /// The live slot gets the old revision again.
    Revert,
    /// The new revision is recorded as failed, and its slot scaled to zero.
    Withdraw,
    /// It has ended.
    Ended(Outcome),
}

impl Phase {
    /// In one word.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Record => "record",
            Self::Prepare => "prepare",
            Self::Clear => "clear",
            Self::Start => "start",
            Self::Preview => "preview",
            Self::Fill => "fill",
            Self::Await => "await",
            Self::Overlap => "overlap",
            Self::Narrow => "narrow",
            Self::Update => "update",
            Self::Bake => "bake",
            Self::Release => "release",
            Self::Retire => "retire",
            Self::Return => "return",
            Self::Revert => "revert",
            Self::Withdraw => "withdraw",
            Self::Ended(_) => "ended",
        }
    }

    /// Whether it is on its way to be released.
    pub(super) fn is_forward(&self) -> bool {
        !matches!(self, Self::Retire | Self::Return | Self::Revert | Self::Withdraw | Self::Ended(_))
    }

    /// Whether a pause may hold it here: never with both slots behind the Service, or with records half written.
    pub(super) fn may_rest(&self) -> bool {
        !matches!(self, Self::Overlap | Self::Narrow | Self::Release)
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody wants it to stay where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// Who; none when the gates could not tell whether it is well, so that a person has to.
    pub by: Option<String>,
    /// Why.
    pub why: String,
}

/// How far a release is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    pub(super) plan: Plan,
    /// The slot that the new revision comes to.
    pub(super) new: Slot,
    /// The slot that counts as live.
    pub(super) live: Slot,
    #[serde(flatten)]
    pub(super) phase: Phase,
    /// Since when it is in its phase, or since it was resumed there.
    pub(super) since: Timestamp,
    /// Since when everything was seen that has to last for a while: the pods of both slots behind the Service.
    pub(super) held_since: Option<Timestamp>,
    /// How many pods the traffic needs: what the autoscaled slot that serves is to have.
    pub(super) traffic: u32,
    /// How many pods the old slot was to have at the beginning.
    pub(super) old_replicas: u32,
    /// Whether anything was done beyond its record.
    pub(super) has_begun: bool,
    /// Whether customers may have reached the new revision.
    pub(super) is_served: bool,
    /// Whether it was our turn to let the new slot serve alone.
    pub(super) has_switched: bool,
    /// Whether the old slot may have been taken from behind the Service.
    pub(super) has_left: bool,
    /// Whether the new revision was released, even if it was undone since.
    pub(super) is_released: bool,
    /// The rounds of the gates of this phase.
    pub(super) tally: Tally,
    /// The last round that was asked for.
    pub(super) round: u32,
    /// Whether its answer is still to come.
    pub(super) is_asked: bool,
    /// When the last round was judged.
    pub(super) judged_at: Option<Timestamp>,
    pub(super) pause: Option<Pause>,
    /// Why it goes back.
    pub(super) reason: Option<String>,
    /// The last command that was heard.
    pub(super) heard: Option<String>,
}

impl State {
    /// A release that has not begun. `live` is the slot that serves; for the first release the one to begin with.
    #[must_use]
    pub fn new(mut plan: Plan, live: Slot, now: Timestamp) -> Self {
        if plan.previous.is_none() {
            // There is nothing that it could take the place of.
            plan.strategy = Strategy::Rolling;
        }
        let new = if plan.blue_green().is_some() { live.other() } else { live };
        Self {
            plan,
            new,
            live,
            phase: Phase::Record,
            since: now,
            held_since: None,
            traffic: 0,
            old_replicas: 0,
            has_begun: false,
            is_served: false,
            has_switched: false,
            has_left: false,
            is_released: false,
            tally: Tally::default(),
            round: 0,
            is_asked: false,
            judged_at: None,
            pause: None,
            reason: None,
            heard: None,
        }
    }

    /// The same, for whom `command` is not meant: it was told before the release began.
    #[must_use]
    pub fn deaf_to(mut self, command: Option<&Command>) -> Self {
        self.heard = command.map(|command| command.id.clone());
        self
    }

    /// The same release, taken up by another process, or after a pause in the driving. What has to last for a while begins
    /// anew: clocks differ, and nobody looked meanwhile.
    #[must_use]
    pub fn resume(mut self, now: Timestamp) -> Self {
        self.since = now;
        self.held_since = None;
        self.judged_at = None;
        self
    }

    /// What it is to do.
    #[must_use]
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Where it is.
    #[must_use]
    pub fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Since when.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// The slot that counts as live: the old one until the release, the new one from then on, the old one again when it is
    /// undone.
    #[must_use]
    pub fn live(&self) -> Slot {
        self.live
    }

    /// The slot that the new revision comes to.
    #[must_use]
    pub fn new_slot(&self) -> Slot {
        self.new
    }

    /// The slot that was live before. A rolling release has only one.
    #[must_use]
    pub fn old_slot(&self) -> Slot {
        if self.plan.blue_green().is_some() { self.new.other() } else { self.new }
    }

    /// Whether the new revision is live. From then on nothing is left but to retire the old slot: a driver may leave that
    /// to a later run, and a new release may begin.
    #[must_use]
    pub fn is_released(&self) -> bool {
        self.is_released && self.reason.is_none()
    }

    /// Who wants it to stay where it is.
    #[must_use]
    pub fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    /// Whether it waits for a person: it was paused where it may stay, or is to be promoted.
    #[must_use]
    pub fn waits_for_a_person(&self) -> bool {
        (self.pause.is_some() && self.phase.may_rest())
            || (self.phase == Phase::Await && self.is_promoted_by_hand())
    }

    /// Why it goes back, or went back.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    pub(super) fn is_promoted_by_hand(&self) -> bool {
        self.plan.blue_green().is_some_and(|blue_green| blue_green.promote == Promote::Manual)
    }

    /// Begins `phase`.
    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) {
        match phase {
            Phase::Prepare => self.has_begun = true,
            Phase::Overlap | Phase::Update => self.is_served = true,
            Phase::Narrow => (self.is_served, self.has_switched, self.has_left) = (true, true, true),
            Phase::Preview | Phase::Bake => self.tally = Tally::default(),
            _ => {}
        }
        self.phase = phase;
        self.since = now;
        self.held_since = None;
        self.judged_at = None;
        self.is_asked = false;
    }

    /// Goes back, from wherever it is on its way forward.
    pub(super) fn turn_back(&mut self, reason: String, now: Timestamp) {
        self.pause = None;
        self.reason = Some(reason);
        let phase = match (self.is_served, &self.plan.strategy, self.plan.previous) {
            (true, Strategy::BlueGreen(_), _) => Phase::Return,
            (true, Strategy::Rolling, Some(_)) => Phase::Revert,
            _ => Phase::Withdraw,
        };
        self.enter(phase, now);
    }

    /// How many pods the new slot needs to serve alone.
    pub(super) fn needed_by_new(&self) -> u32 {
        self.plan.replicas.unwrap_or(self.traffic).max(1)
    }

    /// How many pods the old slot needs to serve alone again.
    pub(super) fn needed_by_old(&self) -> u32 {
        if self.plan.is_autoscaled() { self.traffic.max(1) } else { self.old_replicas.max(1) }
    }

    /// Of `needed` pods, as many as have to be ready.
    pub(super) fn at_least(&self, needed: u32) -> u32 {
        needed.saturating_sub(self.plan.max_unavailable).max(1)
    }

    /// How long both slots serve on purpose; none when they never do.
    pub(super) fn overlap(&self) -> Option<Duration> {
        match self.plan.blue_green()?.cutover {
            Cutover::Overlap { seconds } => Some(Duration::from_secs(seconds.into())),
            Cutover::Strict => None,
        }
    }

    /// How long a slot that no longer serves keeps its pods.
    pub(super) fn scale_down_delay(&self) -> Duration {
        let seconds = self.plan.blue_green().map_or(0, |blue_green| blue_green.scale_down_delay_seconds);
        Duration::from_secs(seconds.into())
    }

    /// How long the old slot keeps its pods after a release.
    pub(super) fn warmth(&self) -> Duration {
        let kept = |one: &BlueGreen| one.keep_warm_seconds.max(one.scale_down_delay_seconds);
        Duration::from_secs(self.plan.blue_green().map_or(0, kept).into())
    }

    /// How long the phase may take; none when it may take as long as it likes.
    pub(super) fn limit(&self) -> Option<Duration> {
        let limits = &self.plan.limits;
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        match self.phase {
            Phase::Prepare => Some(seconds(limits.prepare_seconds)),
            Phase::Clear | Phase::Start | Phase::Fill | Phase::Update | Phase::Revert => {
                Some(seconds(limits.ready_seconds))
            }
            Phase::Overlap | Phase::Narrow => {
                Some(seconds(limits.switch_seconds) + self.overlap().unwrap_or_default())
            }
            // The old slot may have to get its pods again before it serves.
            Phase::Return => {
                let both = limits.ready_seconds.saturating_add(limits.switch_seconds);
                Some(seconds(both) + self.overlap().unwrap_or_default())
            }
            Phase::Withdraw => Some(seconds(limits.switch_seconds) + self.scale_down_delay()),
            // These last as long as somebody or something else decides, or write a record and nothing else.
            Phase::Record | Phase::Preview | Phase::Await | Phase::Bake | Phase::Release => None,
            Phase::Retire | Phase::Ended(_) => None,
        }
    }

    /// When the phase will have taken too long.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.limit().map(|limit| clock::add(self.since, limit))
    }
}
