//! From an empty namespace to a shop on a cluster, through a release that fails and one that comes, and back to nothing.

use super::{Act, Expect, Place, Step, Story};

/// The story.
pub(super) const STORY: Story = Story {
    name: "deploy",
    about: "a shop on a cluster: up, a bad image, a release, the way back, down",
    place: Place::Cluster,
    steps: &[
        Step::new(
            "This story takes away what it makes, so it begins only where no shop was ever brought out.",
            Act::Shopctl("history -e $env"),
        )
        .expect(&[Expect::Exit(0), Expect::Count("/data/revisions", 0)]),
        Step::new(
            "One command brings the whole shop onto the cluster: accounts, keys, policies, a database, the Job \
             that makes its tables, and six services. It ends when customers could be served.",
            Act::Shopctl("up -e $env"),
        )
        .expect(&[Expect::Exit(0), Expect::At("/data/ready", "true")])
        .pause_ms(4000),
        Step::new("This is how it is: a line a service.", Act::Shopctl("status -e $env"))
            .expect(&[Expect::Exit(0)]),
        Step::new(
            "The same again changes nothing, because nothing is otherwise than it should be.",
            Act::Shopctl("deploy -e $env"),
        )
        .expect(&[
            Expect::Exit(0),
            Expect::At("/data/objects_changed", "0"),
            Expect::Count("/data/services", 0),
        ]),
        Step::new(
            "Now a bad day: an image that is not there. The Job that prepares the tables cannot start with it, so \
             no pod that serves is ever touched. The exit code says that all is as it was.",
            Act::Shopctl("deploy order -e $env --image nowhere.invalid/shop:1"),
        )
        .expect(&[Expect::Exit(11), Expect::At("/errors/0/code", "E-PREPARE")])
        .pause_ms(4000),
        Step::new("And it is as it was.", Act::Shopctl("status -e $env")).expect(&[Expect::Exit(0)]),
        Step::new(
            "A release that comes: new pods beside the old ones, then both behind the Service until every node \
             knows them, then the new ones alone. There is no moment in which nobody serves.",
            Act::Shopctl("deploy order -e $env --set logLevel=debug --strategy blue-green --overlap 2s"),
        )
        .expect(&[Expect::Exit(0), Expect::At("/data/services/0/outcome", "released")])
        .pause_ms(4000),
        Step::new("Every release is written down.", Act::Shopctl("history order -e $env"))
            .expect(&[Expect::Exit(0), Expect::Count("/data/revisions", 2)]),
        Step::new(
            "The way back is a release too, with what was rendered for the revision then.",
            Act::Shopctl("rollback order -e $env"),
        )
        .expect(&[Expect::Exit(0), Expect::At("/data/services/0/outcome", "released")]),
        Step::new(
            "Down takes the shop away and keeps its data: another `up` would find every order.",
            Act::Shopctl("down -e $env --yes"),
        )
        .expect(&[Expect::Exit(0)]),
        Step::new(
            "Whoever wants the data gone too has to name the environment.",
            Act::Shopctl("down -e $env --volumes --confirm $env"),
        )
        .expect(&[Expect::Exit(0)]),
    ],
};
