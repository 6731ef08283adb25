//! From an empty folder to a confirmed order, and through a power cut.

use super::{Act, Call, Expect, Keep, Place, Step, Story};

const ORDER: &str = r#"{
  "cart_id": "$cart",
  "email": "ada@example.com",
  "payment_method": "pm_card_visa",
  "shipping_address": {"name": "Ada Lovelace", "line1": "12 St James's Square", "city": "London",
                       "postal_code": "SW1Y 4JH", "country": "GB"}
}"#;

/// The story.
pub(super) const STORY: Story = Story {
    name: "first-order",
    about: "up, browse, buy, watch the saga, pull the plug, come back",
    place: Place::Here,
    steps: &[
        Step::new(
            "One command starts a whole shop in one process: five services, a gateway, the pages, and a sandbox \
             of a payment provider. Nothing has to be installed for it.",
            Act::Shopctl("up --detach --port 0 --data-dir $data"),
        )
        .expect(&[Expect::Exit(0)])
        .keep(&[
            Keep { name: "url", pointer: "/data/url" },
            Keep { name: "pid", pointer: "/data/pid" },
            Keep { name: "fakepay", pointer: "/data/fakepay/url" },
            Keep { name: "control", pointer: "/data/fakepay/control_token" },
        ]),
        Step::new(
            "It came with a demo catalogue. This is what a browser would show first.",
            Act::Call(Call::get("/v1/products?in_stock=true&limit=5")),
        )
        .expect(&[Expect::Status(200)])
        .keep(&[
            Keep { name: "sku", pointer: "/items/0/variants/0/sku" },
            Keep { name: "slug", pointer: "/items/0/slug" },
        ]),
        Step::new(
            "One product, closer: its price comes from the server, and its stock is a number, not a promise.",
            Act::Call(Call::get("/v1/products/$slug")),
        )
        .expect(&[Expect::Status(200), Expect::At("/slug", "$slug")]),
        Step::new("A guest takes a cart.", Act::Call(Call::send("POST", "/v1/carts", "{}")))
            .expect(&[Expect::Status(201)])
            .keep(&[Keep { name: "cart", pointer: "/id" }]),
        Step::new(
            "Two of it go into the cart.",
            Act::Call(Call::send("PUT", "/v1/carts/$cart/lines/$sku", r#"{"quantity": 2}"#)),
        )
        .expect(&[Expect::Status(200), Expect::At("/lines/0/quantity", "2")]),
        Step::new(
            "And the guest buys. Stock is held, the card is authorised, the stock is pinned, the money is \
             captured, and only then the answer says: confirmed. All of it is on the disk by now.",
            Act::Call(Call::send("POST", "/v1/orders", ORDER).headers(&[("idempotency-key", "$run-first")])),
        )
        .expect(&[
            Expect::Status(201),
            Expect::At("/status", "confirmed"),
            Expect::At("/payment_status", "captured"),
        ])
        .keep(&[
            Keep { name: "order", pointer: "/id" },
            Keep { name: "token", pointer: "/access_token" },
        ])
        .pause_ms(4000),
        Step::new(
            "The order is its events. Each step of the saga left one, and the order can be rebuilt from them.",
            Act::Call(
                Call::get("/v1/orders/$order/events").headers(&[("authorization", "Bearer $token")]),
            ),
        )
        .expect(&[
            Expect::Status(200),
            Expect::At("/items/0/seq", "1"),
            Expect::Shows("stock_reserved"),
            Expect::Shows("payment_authorized"),
            Expect::Shows("stock_pinned"),
            Expect::Shows("payment_captured"),
        ])
        .pause_ms(4000),
        Step::new(
            "The guest's phone lost the answer and asks again, with the same key. The same order comes back, \
             and nothing is charged twice.",
            Act::Call(Call::send("POST", "/v1/orders", ORDER).headers(&[("idempotency-key", "$run-first")])),
        )
        .expect(&[Expect::Status(201), Expect::At("/id", "$order")]),
        Step::new("Another guest takes a cart.", Act::Call(Call::send("POST", "/v1/carts", "{}")))
            .expect(&[Expect::Status(201)])
            .keep(&[Keep { name: "cart", pointer: "/id" }])
            .pause_ms(500),
        Step::new(
            "One goes into it.",
            Act::Call(Call::send("PUT", "/v1/carts/$cart/lines/$sku", r#"{"quantity": 1}"#)),
        )
        .expect(&[Expect::Status(200)])
        .pause_ms(500),
        Step::new(
            "This one does not wait for the end: the shop accepts the order and goes on by itself.",
            Act::Call(Call::send("POST", "/v1/orders", ORDER).headers(&[
                ("idempotency-key", "$run-second"),
                ("prefer", "respond-async"),
            ])),
        )
        .expect(&[Expect::Status(202)])
        .keep(&[
            Keep { name: "second", pointer: "/id" },
            Keep { name: "second_token", pointer: "/access_token" },
        ])
        .pause_ms(0),
        Step::new(
            "And in the middle of it somebody pulls the plug. No farewell, no clean-up: the process is gone.",
            Act::PullThePlug,
        ),
        Step::new("Nobody is at home.", Act::Shopctl("status --data-dir $data"))
            .expect(&[Expect::Exit(6)])
            .pause_ms(1500),
        Step::new(
            "The same command brings it back, on the same data.",
            Act::Shopctl("up --detach --port 0 --data-dir $data"),
        )
        .expect(&[Expect::Exit(0)])
        .keep(&[
            Keep { name: "url", pointer: "/data/url" },
            Keep { name: "pid", pointer: "/data/pid" },
            Keep { name: "fakepay", pointer: "/data/fakepay/url" },
            Keep { name: "control", pointer: "/data/fakepay/control_token" },
        ]),
        Step::new(
            "The order that was confirmed is there, as it was.",
            Act::Call(Call::get("/v1/orders/$order").headers(&[("authorization", "Bearer $token")])),
        )
        .expect(&[Expect::Status(200), Expect::At("/status", "confirmed")]),
        Step::new(
            "And the one that was cut off goes on where it stood, until it is confirmed too.",
            Act::Call(
                Call::get("/v1/orders/$second").headers(&[("authorization", "Bearer $second_token")]),
            ),
        )
        .expect(&[Expect::Status(200), Expect::At("/status", "confirmed")])
        .within_ms(30_000),
        Step::new(
            "The provider's own statement is the witness: two orders, two charges.",
            Act::Call(
                Call::get("$fakepay/control/statement").headers(&[("authorization", "Bearer $control")]),
            ),
        )
        .expect(&[Expect::Status(200), Expect::Count("/items", 2)])
        .pause_ms(4000),
        Step::new(
            "That was a whole life of a shop. It is asked to stop, and finishes what it is doing first.",
            Act::Shopctl("down --data-dir $data"),
        )
        .expect(&[Expect::Exit(0)]),
    ],
};
