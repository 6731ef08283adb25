//! Whether the shop keeps its promises: read-only, on a running shop or on its data, on both engines by one SQL text.
//!
//! Every check says true, false or unknown. Without data nobody knows, and a promise that was not looked at is not
//! shown as kept. Across services there is no one moment to look at, so on a running shop something counts as broken
//! only when it is still there, unchanged, after the grace period and a second look; what is bounded in time (V4, V14,
//! V21) has its bound. What one statement sees whole (V1 to V3) it sees at one moment, and needs no second look. A
//! stopped shop stands still, and its ages are counted from its last write.
//!
//! * [`INVARIANTS`]: the list. [`Verifier`]: runs it. [`Report`]: what came of it.
//! * [`journal`]: what clients were promised, written down by the clients (V17). [`statement`]: what the payment
//!   provider says (V9).
//! * `ground`: what checks read, page by page. `tally`: what they note.
//! * `stock` V1–V5, `money` V6–V8, V10, V11, `statement` V9, `orders` V12, V13, `messages` V14–V16, V18, `placing` V17,
//!   `secrets` V19, `liveness` V20, V21.
//!
//! # Adding one
//! A function in its family's file that takes the ground and answers a tally: how much it saw, what looks broken by id
//! with a sentence that stays the same while the thing does (or with a kind, when its numbers move), and what it could
//! not see. A line in [`INVARIANTS`]. A
//! planted violation in `tests/it/verify/planted.rs`: a check that was never seen to fail does not count.

mod ground;
pub mod journal;
mod liveness;
mod messages;
mod money;
mod orders;
mod placing;
mod report;
mod secrets;
pub mod statement;
mod stock;
mod tally;
mod verifier;

use std::future::Future;
use std::pin::Pin;

use self::ground::Ground;
use self::tally::Tally;
use crate::storage::StorageError;

pub use ground::{Beside, Bounds, StatementSource};
pub use report::{EXAMPLES_MAX, Example, Looked, Outcome, Report, SCHEMA, Verdict, worst};
pub use statement::{Statement, StatementLine};
pub use verifier::{Options, Verifier, VerifyError};

type Look<'ground> = Pin<Box<dyn Future<Output = Result<Tally, StorageError>> + Send + 'ground>>;

/// What an invariant is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Units on shelves and with orders.
    Stock,
    /// What was charged and given back.
    Money,
    /// What happened, and what was told of it.
    Events,
    /// What clients were answered.
    Api,
    /// That everything comes to an end.
    Liveness,
}

impl Family {
    /// Every family, in the order of the list.
    pub const ALL: [Self; 5] = [Self::Stock, Self::Money, Self::Events, Self::Api, Self::Liveness];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Money => "money",
            Self::Events => "events",
            Self::Api => "api",
            Self::Liveness => "liveness",
        }
    }
}

/// A promise, and the check of it.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// `V1` to `V21`; numbers are never reused.
    pub id: &'static str,
    /// What it is about.
    pub family: Family,
    /// Its name.
    pub title: &'static str,
    /// What it promises.
    pub promise: &'static str,
    /// What is looked at; without any of them nobody knows.
    pub things: &'static str,
    /// The command that explains it; `<id>` is the first broken thing.
    pub explain: &'static str,
    check: for<'ground> fn(&'ground Ground) -> Look<'ground>,
}

impl std::fmt::Debug for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.id, self.title)
    }
}

/// The invariant of that id, written as one likes: `V3`, `v3`, `3`.
#[must_use]
pub fn find(id: &str) -> Option<&'static Invariant> {
    let number = id.trim().trim_start_matches(['V', 'v']);
    INVARIANTS.iter().find(|invariant| &invariant.id[1..] == number)
}

/// Every promise, in order.
pub const INVARIANTS: &[Invariant] = &[
    Invariant {
        id: "V1",
        family: Family::Stock,
        title: "stock levels",
        promise: "per SKU and location 0 <= reserved <= on hand",
        things: "SKUs in stock",
        explain: "shopctl verify --only V1,V2 -o json",
        check: |ground| Box::pin(stock::v1(ground)),
    },
    Invariant {
        id: "V2",
        family: Family::Stock,
        title: "stock ledger",
        promise: "on hand is the sum of the movements; reserved is the sum of the active reservations",
        things: "SKUs in stock",
        explain: "shopctl verify --only V2 -o json",
        check: |ground| Box::pin(stock::v2(ground)),
    },
    Invariant {
        id: "V3",
        family: Family::Stock,
        title: "no oversale",
        promise: "units out with orders <= units that ever came in",
        things: "SKUs in stock",
        explain: "shopctl verify --only V3 -o json",
        check: |ground| Box::pin(stock::v3(ground)),
    },
    Invariant {
        id: "V4",
        family: Family::Stock,
        title: "reservations end",
        promise: "no unpinned reservation is held past its time, and none for an order that is over",
        things: "reservations",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(stock::v4(ground)),
    },
    Invariant {
        id: "V5",
        family: Family::Stock,
        title: "orders hold their units",
        promise: "a confirmed order has exactly its quantities, pinned or taken; from packing on, taken",
        things: "confirmed orders",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(stock::v5(ground)),
    },
    Invariant {
        id: "V6",
        family: Family::Money,
        title: "totals",
        promise: "total = sum of the lines + shipping; discount, tax and subtotal are sums too, to the minor unit",
        things: "orders",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(money::v6(ground)),
    },
    Invariant {
        id: "V7",
        family: Family::Money,
        title: "payments in bounds",
        promise: "captured <= authorized, refunded <= captured, refunded = the refunds that succeeded",
        things: "payments",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(money::v7(ground)),
    },
    Invariant {
        id: "V8",
        family: Family::Money,
        title: "ledger balances",
        promise: "every transaction debits what it credits, and payments say what their entries say",
        things: "ledger entries",
        explain: "shopctl verify --only V8 -o json",
        check: |ground| Box::pin(money::v8(ground)),
    },
    Invariant {
        id: "V9",
        family: Family::Money,
        title: "provider agrees",
        promise: "what we captured and refunded is what the provider's statement says",
        things: "payments",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(statement::v9(ground)),
    },
    Invariant {
        id: "V10",
        family: Family::Money,
        title: "one capture",
        promise: "money is taken at most once for an order",
        things: "payments",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(money::v10(ground)),
    },
    Invariant {
        id: "V11",
        family: Family::Money,
        title: "paid or settled",
        promise: "a confirmed order was paid in full; one that came to nothing has no money and no open hold",
        things: "orders that ended their checkout",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(money::v11(ground)),
    },
    Invariant {
        id: "V12",
        family: Family::Events,
        title: "events tell the order",
        promise: "an order's events have no gap, and replayed they are its projection",
        things: "orders",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(orders::v12(ground)),
    },
    Invariant {
        id: "V13",
        family: Family::Events,
        title: "allowed transitions",
        promise: "only what the order's rules allow ever happened",
        things: "events",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(orders::v13(ground)),
    },
    Invariant {
        id: "V14",
        family: Family::Events,
        title: "outbox published",
        promise: "every committed event is published soon and in order, and arrives where it is heard",
        things: "outbox rows",
        explain: "shopctl logs order",
        check: |ground| Box::pin(messages::v14(ground)),
    },
    Invariant {
        id: "V15",
        family: Family::Events,
        title: "effects once",
        promise: "nothing is done twice for one event, and no act twice for one order",
        things: "handled events",
        explain: "shopctl verify --only V15 -o json",
        check: |ground| Box::pin(messages::v15(ground)),
    },
    Invariant {
        id: "V16",
        family: Family::Events,
        title: "dead letters accounted for",
        promise: "every dead letter has its queue and its reason, and was not handled as well",
        things: "dead letters",
        explain: "shopctl dlq show <id>",
        check: |ground| Box::pin(messages::v16(ground)),
    },
    Invariant {
        id: "V17",
        family: Family::Api,
        title: "acknowledged orders exist",
        promise: "one order per key, and every order that a client was promised (201 or 202) is there",
        things: "orders",
        explain: "shopctl verify --only V17 -o json",
        check: |ground| Box::pin(placing::v17(ground)),
    },
    Invariant {
        id: "V18",
        family: Family::Api,
        title: "told once",
        promise: "exactly one notification for each event, channel and recipient",
        things: "notifications",
        explain: "shopctl logs notification",
        check: |ground| Box::pin(messages::v18(ground)),
    },
    Invariant {
        id: "V19",
        family: Family::Api,
        title: "no secrets written",
        promise: "no card number, code, password, token or key in logs, events, messages, or the metrics and traces at hand",
        things: "rows and lines",
        explain: "shopctl verify --only V19 -o json",
        check: |ground| Box::pin(secrets::v19(ground)),
    },
    Invariant {
        id: "V20",
        family: Family::Liveness,
        title: "nothing forgotten",
        promise: "every order that is not settled has a saga that runs, is scheduled, or is stuck and told",
        things: "orders",
        explain: "shopctl saga show <id>",
        check: |ground| Box::pin(liveness::v20(ground)),
    },
    Invariant {
        id: "V21",
        family: Family::Liveness,
        title: "everything gets done",
        promise: "nothing that is due waits beyond its bound: sagas end, queues drain, breakers close",
        things: "sagas",
        explain: "shopctl saga list",
        check: |ground| Box::pin(liveness::v21(ground)),
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_whole_and_in_order() {
        let ids: Vec<String> = INVARIANTS.iter().map(|invariant| invariant.id.to_owned()).collect();
        assert_eq!(ids, (1..=21).map(|number| format!("V{number}")).collect::<Vec<_>>());
        for id in ["V3", "v3", "3"] {
            assert_eq!(find(id).map(|invariant| invariant.title), Some("no oversale"));
        }
        assert!(find("V22").is_none() && find("").is_none());
    }

    #[test]
    fn the_reference_page_says_what_the_list_says() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/invariants.md");
        let page = std::fs::read_to_string(page).unwrap();
        for Invariant { id, title, promise, .. } in INVARIANTS {
            let row = format!("| {id} | {title} | {promise} | ");
            assert!(page.contains(&row), "docs/reference/invariants.md lacks the row that begins: {row}");
        }
        let rows = page.lines().filter(|line| line.starts_with("| V")).count();
        assert_eq!(rows, INVARIANTS.len(), "the page has rows that the list does not have");
    }
}
