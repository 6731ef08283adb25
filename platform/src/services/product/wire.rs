//! The shapes that travel: what the product service is asked and what it answers. Siblings know them through
//! [`super::client`].

use std::fmt::Display;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use crate::vocabulary::{Money, OrderId, ProductId, Timestamp};

/// Units of one SKU.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// The SKU.
    pub sku: String,
    /// How many; at least one.
    pub quantity: i64,
}

/// What the lines of a cart cost now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quote {
    /// One per distinct SKU of the question, in the order of first appearance.
    pub lines: Vec<QuotedLine>,
}

/// What one SKU costs now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotedLine {
    /// The SKU.
    pub sku: String,
    /// The product's title and the variant's.
    pub title: String,
    /// The price of one unit.
    #[schema(value_type = MoneyShape)]
    pub unit_price: Money,
    /// Which tax rate applies: `standard`, `reduced`, `zero`.
    pub tax_class: String,
    /// The weight of one unit.
    pub weight_g: i64,
    /// Units that nobody holds. A hint: only a reservation is a promise.
    pub available: i64,
}

/// Where an order's stock stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReservationState {
    /// Held until it expires.
    Held,
    /// Held for good: money is about to move.
    Pinned,
    /// Left the shelf.
    Committed,
    /// Given back on request.
    Released,
    /// Given back because its time was over.
    Expired,
}

impl ReservationState {
    /// The word on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held",
            Self::Pinned => "pinned",
            Self::Committed => "committed",
            Self::Released => "released",
            Self::Expired => "expired",
        }
    }
}

/// The stock held for an order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Reservation {
    /// The order.
    #[schema(value_type = String, format = Uuid)]
    pub order_id: OrderId,
    /// Where it stands.
    pub state: ReservationState,
    /// When it is given back by itself; none once it is pinned or closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
}

/// One SKU that there is not enough of: the items of an `out_of_stock` problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Shortage {
    /// The SKU.
    pub sku: String,
    /// Units asked for, summed over the request.
    pub requested: i64,
    /// Units there are.
    pub available: i64,
}

/// A product as a list shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProductCard {
    /// The product.
    #[schema(value_type = String, format = Uuid)]
    pub id: ProductId,
    /// Its name in URLs.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Its category's slug.
    pub category: String,
    /// Its lowest price.
    #[schema(value_type = MoneyShape)]
    pub price: Money,
    /// Units of all variants that nobody holds.
    pub available: i64,
    /// The path of its picture.
    pub image: String,
    /// What can be bought.
    pub variants: Vec<VariantCard>,
}

/// Something that can be bought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct VariantCard {
    /// The SKU.
    pub sku: String,
    /// What sets it apart from its siblings: `M / Sand`.
    pub title: String,
    /// The price of one unit.
    #[schema(value_type = MoneyShape)]
    pub price: Money,
    /// Units that nobody holds.
    pub available: i64,
}

/// A product's own page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ProductDetail {
    /// What a list shows of it.
    #[serde(flatten)]
    pub card: ProductCard,
    /// What it is, in sentences; paragraphs are separated by an empty line.
    pub description: String,
    /// What else might please.
    pub related: Vec<ProductCard>,
}

/// A category and how many products are on sale in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Category {
    /// Its name in URLs.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// Products on sale.
    pub count: i64,
}

/// What to list: `?q&category&min_price&max_price&in_stock&sort&limit&cursor`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductQuery {
    /// Words to look for; the last letters of each may be missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub q: Option<String>,
    /// A category's slug.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// At least this price, in minor units.
    #[serde(default, deserialize_with = "blank_is_none", skip_serializing_if = "Option::is_none")]
    pub min_price: Option<i64>,
    /// At most this price, in minor units.
    #[serde(default, deserialize_with = "blank_is_none", skip_serializing_if = "Option::is_none")]
    pub max_price: Option<i64>,
    /// Only what can be bought now (true), or only what is sold out (false).
    #[serde(default, deserialize_with = "blank_is_none", skip_serializing_if = "Option::is_none")]
    pub in_stock: Option<bool>,
    /// `relevance` (the default with `q`), `price`, `-price`, `newest` (the default without).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sort: Option<String>,
    /// Only for staff: `active`, `draft`, `archived`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// 1 to 100, default 20.
    #[serde(default, deserialize_with = "blank_is_none", skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// What the page before answered as `next_cursor`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Whether a product is on sale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProductStatus {
    /// On sale.
    #[default]
    Active,
    /// Not yet.
    Draft,
    /// No more.
    Archived,
}

impl ProductStatus {
    /// The word on the wire and in the table.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Draft => "draft",
            Self::Archived => "archived",
        }
    }
}

/// A product as staff sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdminProduct {
    /// The product.
    #[schema(value_type = String, format = Uuid)]
    pub id: ProductId,
    /// Its name in URLs.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// What it is, in sentences.
    pub description: String,
    /// Its category's slug.
    pub category: String,
    /// Whether it is on sale.
    pub status: ProductStatus,
    /// Free facts about it: always an object.
    #[schema(value_type = Object)]
    pub attrs: serde_json::Value,
    /// Its lowest price.
    #[schema(value_type = MoneyShape)]
    pub price: Money,
    /// Units of all variants that nobody holds.
    pub available: i64,
    /// The path of its picture.
    pub image: String,
    /// Counts its changes; the ETag.
    pub version: i64,
    /// When it was added.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// All its variants, also those that are not on sale.
    pub variants: Vec<AdminVariant>,
}

/// A variant as staff sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AdminVariant {
    /// The SKU.
    pub sku: String,
    /// What sets it apart from its siblings.
    pub title: String,
    /// The price of one unit.
    #[schema(value_type = MoneyShape)]
    pub price: Money,
    /// Which tax rate applies.
    pub tax_class: String,
    /// The weight of one unit.
    pub weight_g: i64,
    /// Whether it is on sale.
    pub active: bool,
    /// Units on the shelf.
    pub on_hand: i64,
    /// Units held for orders.
    pub reserved: i64,
    /// Units that nobody holds.
    pub available: i64,
}

/// A product to add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewProduct {
    /// Its name in URLs: small letters, digits and hyphens.
    pub slug: String,
    /// Its title.
    pub title: String,
    /// What it is, in sentences.
    #[serde(default)]
    pub description: String,
    /// Its category's slug; a category that is not there yet is made.
    pub category: String,
    /// Whether it is on sale at once.
    #[serde(default)]
    pub status: ProductStatus,
    /// Free facts about it.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub attrs: serde_json::Map<String, serde_json::Value>,
    /// What can be bought; at least one.
    pub variants: Vec<NewVariant>,
}

/// A variant to add or to change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewVariant {
    /// The SKU: letters, digits, `.`, `_` and `-`.
    pub sku: String,
    /// What sets it apart from its siblings.
    pub title: String,
    /// The price of one unit, in the shop's currency.
    #[schema(value_type = MoneyShape)]
    pub price: Money,
    /// `standard` (the default), `reduced` or `zero`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tax_class: Option<String>,
    /// The weight of one unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weight_g: Option<i64>,
    /// Whether it is on sale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
}

/// What to change about a product; what is absent stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProductPatch {
    /// Another name in URLs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slug: Option<String>,
    /// Another title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Another description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Another category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// On sale, or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<ProductStatus>,
    /// Other facts, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub attrs: Option<serde_json::Map<String, serde_json::Value>>,
    /// Variants to add or to change; those that are not named stay as they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<NewVariant>,
}

/// How many units of a SKU there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockLevel {
    /// The SKU.
    pub sku: String,
    /// Units on the shelf.
    pub on_hand: i64,
    /// Units held for orders.
    pub reserved: i64,
    /// Units that nobody holds.
    pub available: i64,
}

/// A stock level with what it is of, for lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StockItem {
    /// How many.
    #[serde(flatten)]
    pub level: StockLevel,
    /// The product's title and the variant's.
    pub title: String,
    /// The product's name in URLs.
    pub slug: String,
}

/// One line of the stock ledger.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Movement {
    /// The SKU.
    pub sku: String,
    /// Its place among the SKU's movements, from 1 without gaps.
    pub seq: i64,
    /// `receipt`, `reserve`, `release`, `expire`, `commit`, `return`, `adjust`.
    pub kind: String,
    /// By how much the shelf changed.
    pub on_hand_delta: i64,
    /// By how much the held units changed.
    pub reserved_delta: i64,
    /// Units on the shelf afterwards.
    pub on_hand_after: i64,
    /// Units held afterwards.
    pub reserved_after: i64,
    /// The order it was for.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub order_id: Option<OrderId>,
    /// Why, in the words of whoever did it.
    pub reason: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// An amount in the currency's minor unit.
#[derive(ToSchema)]
#[schema(as = Money)]
#[expect(dead_code, reason = "only its shape is told; `vocabulary::Money` has it in code")]
pub(super) struct MoneyShape {
    /// Minor units (cents).
    amount: i64,
    /// ISO 4217.
    currency: String,
}

/// A page of the catalogue.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is told; `http::Page` has it in code")]
pub(super) struct ProductPage {
    items: Vec<ProductCard>,
    /// Where the next page begins; null on the last.
    next_cursor: Option<String>,
}

/// All categories.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is told; `http::Page` has it in code")]
pub(super) struct CategoryPage {
    items: Vec<Category>,
    next_cursor: Option<String>,
}

/// A page of products as staff sees them.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is told; `http::Page` has it in code")]
pub(super) struct AdminProductPage {
    items: Vec<AdminProduct>,
    next_cursor: Option<String>,
}

/// A page of stock levels.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is told; `http::Page` has it in code")]
pub(super) struct StockPage {
    items: Vec<StockItem>,
    next_cursor: Option<String>,
}

/// A page of a ledger.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is told; `http::Page` has it in code")]
pub(super) struct MovementPage {
    items: Vec<Movement>,
    next_cursor: Option<String>,
}

/// A form sends a field that was left empty as an empty text.
fn blank_is_none<'de, D: Deserializer<'de>, T: FromStr<Err: Display>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    match text.as_deref().map(str::trim) {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(|error| D::Error::custom(format!("`{text}`: {error}"))),
    }
}
