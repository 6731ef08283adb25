//! Products as they stand on the shelf.

use crate::http::address::query;
use crate::services::product::client::ProductCard;
use crate::web::page::Tone;

/// What is said about stock. Exact counts are only told when they matter to the buyer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StockHint {
    /// How it is meant.
    pub tone: Tone,
    /// The words.
    pub words: String,
    /// Whether a crowded page should say it at all.
    pub worth_saying: bool,
}

impl StockHint {
    /// From how many units it is not worth counting.
    const PLENTY: i64 = 6;

    /// The hint for `available` units.
    #[must_use]
    pub fn of(available: i64) -> Self {
        let (tone, words) = match available {
            ..=0 => (Tone::Bad, "Sold out".to_owned()),
            1 => (Tone::Warn, "Last one".to_owned()),
            few if few < Self::PLENTY => (Tone::Warn, format!("Only {few} left")),
            _ => (Tone::Good, "In stock".to_owned()),
        };
        Self { tone, words, worth_saying: available < Self::PLENTY }
    }
}

/// What to say about `available` units.
#[must_use]
pub fn stock(available: i64) -> StockHint {
    StockHint::of(available)
}

/// Whether a product's variants differ in price.
#[must_use]
pub fn has_choices(product: &ProductCard) -> bool {
    product.variants.iter().any(|variant| variant.price != product.price)
}

/// The variant to offer first.
#[must_use]
pub fn first_in_stock(product: &ProductCard) -> Option<&str> {
    product.variants.iter().find(|variant| variant.available > 0).map(|variant| variant.sku.as_str())
}

/// What narrows a list of products, as it stands in the address.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The category, when one is chosen.
    pub category: Option<String>,
    /// The words searched for.
    pub query: String,
    /// The least price, as typed.
    pub min: String,
    /// The highest price, as typed.
    pub max: String,
    /// Only what can be bought now.
    pub in_stock: bool,
    /// The order of the list.
    pub sort: String,
}

impl Filter {
    /// The page that shows this list.
    #[must_use]
    pub fn path(&self) -> String {
        match &self.category {
            Some(category) if self.query.is_empty() => format!("/categories/{category}"),
            _ => "/search".to_owned(),
        }
    }

    /// The orders that make sense, with their words.
    #[must_use]
    pub fn sorts(&self) -> &'static [(&'static str, &'static str)] {
        const ALL: [(&str, &str); 4] = [
            ("relevance", "Best match"),
            ("newest", "Newest"),
            ("price", "Price, low to high"),
            ("-price", "Price, high to low"),
        ];
        if self.query.is_empty() { &ALL[1..] } else { &ALL }
    }

    /// Whether anything but the category and the words narrows the list.
    #[must_use]
    pub fn is_narrowed(&self) -> bool {
        self.in_stock || !self.min.is_empty() || !self.max.is_empty()
    }

    /// The same list in another category, or in all.
    #[must_use]
    pub fn link_to_category(&self, category: Option<&str>) -> String {
        Self { category: category.map(str::to_owned), ..self.clone() }.link_to_first()
    }

    /// The same list without the facets.
    #[must_use]
    pub fn link_without_facets(&self) -> String {
        Self { min: String::new(), max: String::new(), in_stock: false, ..self.clone() }.link_to_first()
    }

    /// The first page of this list.
    #[must_use]
    pub fn link_to_first(&self) -> String {
        self.link(None)
    }

    /// This list from `cursor` on.
    #[must_use]
    pub fn link(&self, cursor: Option<&str>) -> String {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let path = self.path();
        if path == "/search" {
            pairs.extend(self.category.as_deref().map(|category| ("category", category)));
        }
        let rest = [("q", &self.query), ("min", &self.min), ("max", &self.max), ("sort", &self.sort)];
        pairs.extend(rest.into_iter().filter(|(_, value)| !value.is_empty()).map(|(k, v)| (k, v.as_str())));
        if self.in_stock {
            pairs.push(("in_stock", "true"));
        }
        pairs.extend(cursor.map(|cursor| ("cursor", cursor)));
        format!("{path}{}", query(&pairs))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stock_is_counted_only_when_it_runs_out() {
        let words: Vec<_> = [-1, 0, 1, 5, 6, 900].map(|n| StockHint::of(n).words).into_iter().collect();
        assert_eq!(words, ["Sold out", "Sold out", "Last one", "Only 5 left", "In stock", "In stock"]);
    }

    #[test]
    fn links_keep_what_was_chosen_and_escape_what_was_typed() {
        let filter = Filter {
            category: Some("lamps".into()),
            query: String::new(),
            in_stock: true,
            sort: "-price".into(),
            ..Filter::default()
        };
        assert_eq!(filter.link_to_first(), "/categories/lamps?sort=-price&in_stock=true");
        assert_eq!(filter.link_without_facets(), "/categories/lamps?sort=-price");
        assert_eq!(filter.link_to_category(None), "/search?sort=-price&in_stock=true");
        let searched = Filter { query: "a&b=c".into(), ..filter };
        assert_eq!(
            searched.link(Some("next=")),
            "/search?category=lamps&q=a%26b%3Dc&sort=-price&in_stock=true&cursor=next%3D"
        );
    }
}
