//! The shapes of the order service's API: what a client sends and what it gets, the same over a socket and in process.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::status::{FulfilmentStatus, PaymentStatus, Status};
use crate::vocabulary::{CartId, Currency, Money, OrderId, Timestamp, UserId};

/// A cart with today's prices.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cart {
    /// Whoever knows a guest's cart id holds the cart.
    #[schema(value_type = String, format = Uuid)]
    pub id: CartId,
    /// One line per SKU, in the order in which they were put in.
    pub lines: Vec<CartLine>,
    /// The sum of `unit_price × quantity`.
    #[schema(value_type = MoneyShape)]
    pub subtotal: Money,
    /// What the promotion takes off.
    #[schema(value_type = MoneyShape)]
    pub discount: Money,
    /// Tax; on top of the prices unless the shop's prices include it.
    #[schema(value_type = MoneyShape)]
    pub tax: Money,
    /// Shipping.
    #[schema(value_type = MoneyShape)]
    pub shipping: Money,
    /// What an order placed now would cost.
    #[schema(value_type = MoneyShape)]
    pub total: Money,
    /// The promotion's code, while it applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<String>,
}

/// One SKU in a cart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CartLine {
    /// The SKU.
    pub sku: String,
    /// What it is called.
    pub title: String,
    /// How many.
    pub quantity: i64,
    /// Today's price of one.
    #[schema(value_type = MoneyShape)]
    pub unit_price: Money,
    /// `unit_price × quantity`, before discount and tax.
    #[schema(value_type = MoneyShape)]
    pub line_total: Money,
    /// How many are to be had now; a hint, not a promise.
    #[serde(default)]
    pub available: i64,
}

/// Money on the wire.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = Money)]
pub struct MoneyShape {
    /// Minor units.
    pub amount: i64,
    /// ISO 4217.
    pub currency: String,
}

/// `PUT /v1/carts/{id}/lines/{sku}`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetQuantity {
    /// 0 to 999; 0 removes the line.
    pub quantity: i64,
}

/// `POST /v1/carts/{id}/promotion`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplyPromotion {
    /// The code, in any case.
    pub code: String,
}

/// A request that has nothing to say: `{}`.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// `POST /v1/orders`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaceOrder {
    /// The cart that becomes an order.
    #[schema(value_type = String, format = Uuid)]
    pub cart_id: CartId,
    /// Where the mails go; guests must give it, users default to their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Where the parcel goes.
    pub shipping_address: Address,
    /// The provider's token for the means of payment: `pm_card_visa`.
    pub payment_method: String,
}

/// Where a parcel goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Address {
    /// Who receives it.
    pub name: String,
    /// Street and number.
    pub line1: String,
    /// Flat, floor, company.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<String>,
    /// City.
    pub city: String,
    /// Postal code.
    pub postal_code: String,
    /// ISO 3166 alpha-2.
    pub country: String,
}

/// An order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Order {
    /// Names it.
    #[schema(value_type = String, format = Uuid)]
    pub id: OrderId,
    /// Names it to people: `K7-93QX-2M4D`.
    pub number: String,
    /// Where it stands.
    pub status: Status,
    /// Where its money stands.
    pub payment_status: PaymentStatus,
    /// Where its parcel stands.
    pub fulfilment_status: FulfilmentStatus,
    /// What was bought, at the prices of that moment.
    pub lines: Vec<OrderLine>,
    /// The sum of `unit_price × quantity`.
    #[schema(value_type = MoneyShape)]
    pub subtotal: Money,
    /// The sum of the lines' discounts.
    #[schema(value_type = MoneyShape)]
    pub discount: Money,
    /// The sum of the lines' taxes.
    #[schema(value_type = MoneyShape)]
    pub tax: Money,
    /// Shipping.
    #[schema(value_type = MoneyShape)]
    pub shipping: Money,
    /// The sum of the lines' totals, and shipping.
    #[schema(value_type = MoneyShape)]
    pub total: Money,
    /// What was given back so far.
    #[schema(value_type = MoneyShape)]
    pub refunded: Money,
    /// Where the mails go.
    pub email: String,
    /// Where the parcel goes.
    pub shipping_address: Address,
    /// When it was placed.
    #[schema(value_type = String, format = DateTime)]
    pub placed_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The promotion that was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub promotion: Option<String>,
    /// The parcel's tracking number, once it was shipped with one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
    /// Until when the items are held for a payment that is not through yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub held_until: Option<Timestamp>,
    /// Why it ended, when it ended badly: `declined`, `out_of_stock`, `cancelled by the customer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The key to a guest's order; only in the answer to placing it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access_token: Option<String>,
}

/// One line of an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct OrderLine {
    /// The SKU.
    pub sku: String,
    /// What it was called.
    pub title: String,
    /// How many.
    pub quantity: i64,
    /// The price of one.
    #[schema(value_type = MoneyShape)]
    pub unit_price: Money,
    /// This line's share of the discount.
    #[schema(value_type = MoneyShape)]
    pub discount: Money,
    /// This line's tax.
    #[schema(value_type = MoneyShape)]
    pub tax: Money,
    /// What this line costs in the end: price × quantity − discount, plus tax unless prices include it.
    #[schema(value_type = MoneyShape)]
    pub line_total: Money,
}

/// One thing that happened to an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OrderEvent {
    /// Its place, from 1 without gaps.
    pub seq: i64,
    /// What happened, in the past tense: `payment_captured`.
    #[serde(rename = "type")]
    pub kind: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who did it: `shop`, `customer`, or a member of staff (shown to staff only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// The facts.
    #[schema(value_type = Object)]
    pub data: serde_json::Value,
}

/// `POST /v1/orders/{id}/cancel`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Cancel {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `POST /v1/admin/orders/{id}/ship`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ship {
    /// The carrier's tracking number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking: Option<String>,
}

/// `POST /v1/admin/orders/{id}/refund`.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refund {
    /// How much, in minor units of the order's currency; all that is left when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// Why.
    pub reason: String,
    /// Whether the goods go back to stock; only with a full refund.
    pub restock: bool,
}

/// An order as staff sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AdminOrder {
    /// The order.
    #[serde(flatten)]
    pub order: Order,
    /// The customer, when signed in.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub user_id: Option<UserId>,
    /// All that happened.
    pub events: Vec<OrderEvent>,
    /// What carries it, newest first.
    pub sagas: Vec<Saga>,
}

/// What rebuilding an order's projection from its events came to.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Rebuilt {
    /// The order as its events tell it.
    #[serde(flatten)]
    pub order: Order,
    /// Fields whose stored value differed: empty when projection and events agree.
    pub differences: Vec<Difference>,
    /// Whether the projection was written.
    pub written: bool,
}

/// One field of a projection that did not agree with the events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Difference {
    /// The column.
    pub field: String,
    /// What was stored.
    pub stored: String,
    /// What the events say.
    pub replayed: String,
}

/// A saga as staff sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Saga {
    /// Names it.
    #[schema(value_type = String, format = Uuid)]
    pub id: uuid::Uuid,
    /// The order it carries.
    #[schema(value_type = String, format = Uuid)]
    pub order_id: OrderId,
    /// What it does: `checkout`, `cancellation`, `refund`, `late_payment`.
    pub kind: String,
    /// `running`, `compensating`, `completed`, `compensated`, `stuck`, `abandoned`.
    pub state: String,
    /// What it does next, or did last.
    pub step: String,
    /// How often that step was tried without an end.
    pub attempt: i64,
    /// When it goes on; absent when it ended or is stuck.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub next_at: Option<Timestamp>,
    /// Until when a queued payment is tried.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub deadline_at: Option<Timestamp>,
    /// The process that works on it now.
    pub owner: Option<String>,
    /// Until when that process may be silent.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub lease_until: Option<Timestamp>,
    /// How often it changed hands.
    pub epoch: i64,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// What it did; only in the view of one order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<SagaStep>,
}

/// One line of a saga's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SagaStep {
    /// Its place, from 1.
    pub n: i64,
    /// The step that was worked on.
    pub step: String,
    /// How it came out: `done`, `declined`, `unavailable`, `unknown`, `retry`, …
    pub outcome: String,
    /// What comes next.
    pub next: String,
    /// Which try it was.
    pub attempt: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// `POST /v1/admin/sagas/{order_id}/retry` and `/compensate`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SagaAction {
    /// Why; kept in the audit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A promotion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Promotion {
    /// What customers type, upper case.
    pub code: String,
    /// What it is, for people.
    pub title: String,
    /// What it does.
    pub benefit: Benefit,
    /// The least subtotal it applies to, in minor units.
    pub min_subtotal: i64,
    /// How often it may be used in all.
    pub uses_max: Option<i64>,
    /// How often one customer may use it.
    pub uses_per_customer_max: Option<i64>,
    /// How often it was used.
    pub uses: i64,
    /// From when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts_at: Option<Timestamp>,
    /// Until when.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<Timestamp>,
    /// Whether it is offered at all.
    pub active: bool,
}

/// What a promotion does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Benefit {
    /// So many hundredths of a percent off.
    Percent {
        /// 1 to 10,000; 1,000 is 10 %.
        basis_points: i64,
    },
    /// An amount off, at most the subtotal.
    Fixed {
        /// Minor units of the shop's currency.
        amount: i64,
    },
    /// No shipping.
    FreeShipping {},
    /// Of every `buy + free` units of `sku`, `free` cost nothing.
    BuyXGetY {
        /// The SKU it is about.
        sku: String,
        /// How many are paid.
        buy: i64,
        /// How many come free with them.
        free: i64,
    },
}

/// `POST /v1/admin/promotions`, and `PUT …/{code}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SavePromotion {
    /// What customers type: 3 to 32 letters, digits, `-` or `_`; kept in upper case.
    pub code: String,
    /// What it is, for people.
    pub title: String,
    /// What it does.
    pub benefit: Benefit,
    /// The least subtotal, in minor units.
    #[serde(default)]
    pub min_subtotal: i64,
    /// How often it may be used in all.
    #[serde(default)]
    pub uses_max: Option<i64>,
    /// How often one customer may use it.
    #[serde(default)]
    pub uses_per_customer_max: Option<i64>,
    /// From when.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub starts_at: Option<Timestamp>,
    /// Until when.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ends_at: Option<Timestamp>,
    /// Whether it is offered.
    #[serde(default = "yes")]
    pub active: bool,
}

fn yes() -> bool {
    true
}

/// The figures of the admin's first page.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Dashboard {
    /// The shop's currency.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// The last 60 minutes, oldest first; minutes without orders are there with zeros.
    pub minutes: Vec<Minute>,
    /// Orders placed in the last 24 hours, by status.
    pub orders_by_status: Vec<StatusCount>,
    /// Orders placed in the last 24 hours that were confirmed.
    pub orders_24h: i64,
    /// What they came to.
    #[schema(value_type = MoneyShape)]
    pub revenue_24h: Money,
    /// What was given back on them.
    #[schema(value_type = MoneyShape)]
    pub refunded_24h: Money,
    /// Sagas that run or wait.
    pub sagas_in_flight: i64,
    /// Sagas that need a person.
    pub sagas_stuck: i64,
}

/// One minute of the dashboard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Minute {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Orders placed in it.
    pub orders: i64,
    /// What the confirmed ones among them came to, in minor units.
    pub revenue: i64,
}

/// How many orders have a status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatusCount {
    /// The status.
    pub status: Status,
    /// How many.
    pub orders: i64,
}

/// The key to a guest's order.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Access {
    /// Goes as `Authorization: Bearer` or `?access_token=`; absent for a user's order, which needs a sign-in.
    pub access_token: Option<String>,
}
