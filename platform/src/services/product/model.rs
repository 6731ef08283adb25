//! The rules, without a database: what a request may ask, and what an act does to the shelf.

use std::collections::{BTreeMap, BTreeSet};

use super::wire::{Line, NewProduct, NewVariant, ProductPatch, Shortage, StockLevel};
use crate::http::{FieldError, Problem};
use crate::vocabulary::Currency;

/// The most units that one request may name of one SKU.
pub(super) const QUANTITY_MAX: i64 = 1_000_000;
/// The most units of one SKU that a shelf takes: far from where sums could overflow.
pub(super) const ON_HAND_MAX: i64 = 1_000_000_000_000;
/// The most SKUs that one request may name.
pub(super) const LINES_MAX: usize = 200;
/// The most variants of one product.
const VARIANTS_MAX: usize = 100;
/// The highest price of one unit, in minor units: a line of a million still fits.
const PRICE_MAX: i64 = 1_000_000_000_000;
const TITLE_CHARS_MAX: usize = 200;
const DESCRIPTION_CHARS_MAX: usize = 10_000;
const REASON_CHARS_MAX: usize = 500;
const WEIGHT_G_MAX: i64 = 100_000_000;
const TAX_CLASSES: [&str; 3] = ["standard", "reduced", "zero"];

/// What a movement does, and to which of the two numbers of a stock row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MovementKind {
    Receipt,
    Reserve,
    Release,
    Expire,
    Commit,
    Return,
    Adjust,
}

impl MovementKind {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Reserve => "reserve",
            Self::Release => "release",
            Self::Expire => "expire",
            Self::Commit => "commit",
            Self::Return => "return",
            Self::Adjust => "adjust",
        }
    }

    /// By what a quantity is multiplied to change (units on the shelf, units held).
    pub(super) const fn signs(self) -> (i64, i64) {
        match self {
            Self::Receipt | Self::Return | Self::Adjust => (1, 0),
            Self::Reserve => (0, 1),
            Self::Release | Self::Expire => (0, -1),
            Self::Commit => (-1, -1),
        }
    }
}

/// The lines of a request, summed per SKU and sorted by it: the order in which rows are locked everywhere.
pub(super) fn sum_lines(lines: &[Line]) -> Result<Vec<Line>, Problem> {
    if lines.is_empty() {
        return Err(Problem::invalid("/lines", "name at least one line"));
    }
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for (place, line) in lines.iter().enumerate() {
        let pointer = || format!("/lines/{place}/quantity");
        if !(1..=QUANTITY_MAX).contains(&line.quantity) {
            let message = format!("the quantity must be from 1 to {QUANTITY_MAX}");
            return Err(Problem::invalid(&pointer(), message));
        }
        let sum = sums.entry(&line.sku).or_default();
        // Both are at most a million, and it is checked at every step: this cannot overflow.
        *sum += line.quantity;
        if *sum > QUANTITY_MAX {
            let message = format!("all lines of one SKU together may ask for at most {QUANTITY_MAX}");
            return Err(Problem::invalid(&pointer(), message));
        }
    }
    if sums.len() > LINES_MAX {
        return Err(Problem::invalid("/lines", format!("at most {LINES_MAX} different SKUs")));
    }
    Ok(sums.into_iter().map(|(sku, quantity)| Line { sku: sku.to_owned(), quantity }).collect())
}

/// Which of `lines` cannot be served by `levels`. A SKU without a level is unknown: the first of those is the error.
pub(super) fn shortages(lines: &[Line], levels: &[StockLevel]) -> Result<Vec<Shortage>, String> {
    let mut short = Vec::new();
    for line in lines {
        let level = levels.iter().find(|level| level.sku == line.sku).ok_or_else(|| line.sku.clone())?;
        if level.available < line.quantity {
            short.push(Shortage {
                sku: line.sku.clone(),
                requested: line.quantity,
                available: level.available,
            });
        }
    }
    Ok(short)
}

/// A product's title with its variant's, where the variant has one of its own.
pub(super) fn full_title(product: &str, variant: &str) -> String {
    if variant.is_empty() || variant == product || variant == "One size" {
        product.to_owned()
    } else {
        format!("{product}, {variant}")
    }
}

/// Where a product's picture is.
pub(super) fn image_path(slug: &str) -> String {
    format!("/v1/products/{slug}/image.svg")
}

/// A title for a category that came without one: `tea-and-coffee` is "Tea and coffee".
pub(super) fn title_of_slug(slug: &str) -> String {
    let words = slug.replace('-', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

fn is_slug(text: &str) -> bool {
    (1..=80).contains(&text.len())
        && text.split('-').all(|word| {
            !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
}

fn is_sku(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

/// What is wrong with a request, gathered so that a form can show all of it at once.
#[derive(Default)]
struct Findings(Vec<FieldError>);

impl Findings {
    fn check(&mut self, holds: bool, pointer: &str, message: impl Into<String>) {
        if !holds {
            self.0.push(FieldError { pointer: pointer.to_owned(), message: message.into() });
        }
    }

    fn slug(&mut self, slug: &str, pointer: &str) {
        let message = "use 1 to 80 small letters and digits, in words joined by single hyphens";
        self.check(is_slug(slug), pointer, message);
    }

    fn text(&mut self, text: &str, pointer: &str, chars_max: usize) {
        let length = text.chars().count();
        let plain = !text.chars().any(|letter| letter.is_control() && letter != '\n');
        self.check(
            !text.trim().is_empty() && length <= chars_max && plain,
            pointer,
            format!("write 1 to {chars_max} characters, without control characters"),
        );
    }

    fn description(&mut self, text: &str) {
        let length = text.chars().count();
        let plain = !text.chars().any(|letter| letter.is_control() && !matches!(letter, '\n' | '\r' | '\t'));
        let message = format!("write at most {DESCRIPTION_CHARS_MAX} characters, without control characters");
        self.check(length <= DESCRIPTION_CHARS_MAX && plain, "/description", message);
    }

    fn variants(&mut self, variants: &[NewVariant], currency: Currency) {
        let message = format!("at most {VARIANTS_MAX} variants");
        self.check(variants.len() <= VARIANTS_MAX, "/variants", message);
        let mut seen = BTreeSet::new();
        for (place, variant) in variants.iter().enumerate() {
            let at = |field: &str| format!("/variants/{place}/{field}");
            let message = "use 1 to 64 letters, digits, dots, underscores and hyphens";
            self.check(is_sku(&variant.sku), &at("sku"), message);
            self.check(seen.insert(&variant.sku), &at("sku"), "this SKU is named twice");
            self.text(&variant.title, &at("title"), TITLE_CHARS_MAX);
            let price = variant.price;
            let message = format!("the price must be from 0 to {PRICE_MAX} minor units");
            self.check((0..=PRICE_MAX).contains(&price.amount), &at("price/amount"), message);
            let message = format!("this shop sells in {currency}");
            self.check(price.currency == currency, &at("price/currency"), message);
            if let Some(class) = &variant.tax_class {
                let message = format!("choose one of {}", TAX_CLASSES.join(", "));
                self.check(TAX_CLASSES.contains(&class.as_str()), &at("tax_class"), message);
            }
            if let Some(weight_g) = variant.weight_g {
                let message = format!("the weight must be from 0 to {WEIGHT_G_MAX} g");
                self.check((0..=WEIGHT_G_MAX).contains(&weight_g), &at("weight_g"), message);
            }
        }
    }

    fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(self.0)) }
    }
}

/// Whether a new product is acceptable.
pub(super) fn check_product(product: &NewProduct, currency: Currency) -> Result<(), Problem> {
    let mut findings = Findings::default();
    findings.slug(&product.slug, "/slug");
    findings.text(&product.title, "/title", TITLE_CHARS_MAX);
    findings.description(&product.description);
    findings.slug(&product.category, "/category");
    findings.check(!product.variants.is_empty(), "/variants", "name at least one variant");
    findings.variants(&product.variants, currency);
    findings.done()
}

/// Whether a change is acceptable.
pub(super) fn check_patch(patch: &ProductPatch, currency: Currency) -> Result<(), Problem> {
    let mut findings = Findings::default();
    if let Some(slug) = &patch.slug {
        findings.slug(slug, "/slug");
    }
    if let Some(title) = &patch.title {
        findings.text(title, "/title", TITLE_CHARS_MAX);
    }
    if let Some(description) = &patch.description {
        findings.description(description);
    }
    if let Some(category) = &patch.category {
        findings.slug(category, "/category");
    }
    findings.variants(&patch.variants, currency);
    findings.done()
}

/// Whether a receipt or an adjustment is acceptable: `pointer` names the field of `units`.
pub(super) fn check_stock_act(
    units: i64,
    may_be_negative: bool,
    pointer: &str,
    reason: &str,
) -> Result<(), Problem> {
    let mut findings = Findings::default();
    let least = if may_be_negative { -QUANTITY_MAX } else { 1 };
    let message = if may_be_negative {
        format!("the delta must be from -{QUANTITY_MAX} to {QUANTITY_MAX} and not 0")
    } else {
        format!("the quantity must be from 1 to {QUANTITY_MAX}")
    };
    findings.check((least..=QUANTITY_MAX).contains(&units) && units != 0, pointer, message);
    findings.text(reason, "/reason", REASON_CHARS_MAX);
    findings.done()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::Code;
    use crate::vocabulary::Money;

    fn line(sku: &str, quantity: i64) -> Line {
        Line { sku: sku.to_owned(), quantity }
    }

    #[test]
    fn lines_are_summed_per_sku_and_sorted() {
        let sums = sum_lines(&[line("b", 2), line("a", 1), line("b", 3)]).unwrap();
        assert_eq!(sums, [line("a", 1), line("b", 5)]);
    }

    #[test]
    fn quantities_that_are_not_a_number_of_units_are_refused() {
        for quantity in [0, -1, i64::MIN, i64::MAX, QUANTITY_MAX + 1] {
            let problem = sum_lines(&[line("a", 1), line("b", quantity)]).unwrap_err();
            assert_eq!(problem.code, Code::ValidationFailed);
            assert_eq!(problem.errors[0].pointer, "/lines/1/quantity");
        }
        let twice = sum_lines(&[line("a", QUANTITY_MAX), line("a", 1)]).unwrap_err();
        assert_eq!(twice.errors[0].pointer, "/lines/1/quantity");
        assert_eq!(sum_lines(&[]).unwrap_err().errors[0].pointer, "/lines");
    }

    #[test]
    fn a_shortage_names_what_there_is() {
        let level =
            |sku: &str, available| StockLevel { sku: sku.to_owned(), on_hand: 9, reserved: 0, available };
        let lines = [line("a", 2), line("b", 3)];
        let short = shortages(&lines, &[level("a", 2), level("b", 1)]).unwrap();
        assert_eq!(short, [Shortage { sku: "b".to_owned(), requested: 3, available: 1 }]);
        assert_eq!(shortages(&lines, &[level("a", 2)]), Err("b".to_owned()));
    }

    #[test]
    fn a_product_is_told_everything_that_is_wrong_with_it() {
        let variant = NewVariant {
            sku: "no spaces".to_owned(),
            title: " ".to_owned(),
            price: Money::new(-1, "EUR".parse().unwrap()),
            tax_class: Some("none".to_owned()),
            weight_g: Some(-5),
            active: None,
        };
        let product = NewProduct {
            slug: "Not-A--Slug".to_owned(),
            title: String::new(),
            description: "\u{0}".to_owned(),
            category: "-x".to_owned(),
            status: super::super::wire::ProductStatus::Active,
            attrs: serde_json::Map::new(),
            variants: vec![variant.clone(), variant],
        };
        let problem = check_product(&product, Currency::USD).unwrap_err();
        let pointers: Vec<&str> = problem.errors.iter().map(|error| error.pointer.as_str()).collect();
        assert_eq!(
            pointers,
            [
                "/slug",
                "/title",
                "/description",
                "/category",
                "/variants/0/sku",
                "/variants/0/title",
                "/variants/0/price/amount",
                "/variants/0/price/currency",
                "/variants/0/tax_class",
                "/variants/0/weight_g",
                "/variants/1/sku",
                "/variants/1/sku",
                "/variants/1/title",
                "/variants/1/price/amount",
                "/variants/1/price/currency",
                "/variants/1/tax_class",
                "/variants/1/weight_g",
            ]
        );
    }

    #[test]
    fn a_category_gets_a_title_from_its_slug() {
        assert_eq!(title_of_slug("tea-and-coffee"), "Tea and coffee");
        assert_eq!(title_of_slug(""), "");
    }
}
