//! The steps that journeys are made of: one request each, measured under one name.
//!
//! # Adding one
//! A variant, and its line in `Step::row`.

use super::record::Outcome;

/// A step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// A page that the scenario names.
    Probe,
    /// A page of the catalogue.
    Catalogue,
    /// A category.
    Category,
    /// A search.
    Search,
    /// A product.
    Product,
    /// A new cart.
    Cart,
    /// Something goes into the cart.
    AddToCart,
    /// A look into the cart.
    ViewCart,
    /// The order is placed.
    Checkout,
    /// A look at an order.
    Order,
    /// Who am I.
    Account,
    /// What I bought before.
    Orders,
    /// Signing in.
    SignIn,
}

/// What a step is called, what it asks, and which answers it may have.
struct Row {
    name: &'static str,
    request: &'static str,
    /// The answers that were hoped for.
    good: &'static [u16],
}

impl Step {
    /// All of them, in the order of [`Step::index`]: that of a visit.
    pub const ALL: [Self; 13] = [
        Self::Probe,
        Self::Catalogue,
        Self::Category,
        Self::Search,
        Self::Product,
        Self::Cart,
        Self::AddToCart,
        Self::ViewCart,
        Self::Checkout,
        Self::Order,
        Self::Account,
        Self::Orders,
        Self::SignIn,
    ];

    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// Its place in [`Step::ALL`].
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in objectives and records.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// What it asks.
    #[must_use]
    pub fn request(self) -> &'static str {
        self.row().request
    }

    /// Whether it only looks.
    #[must_use]
    pub fn is_read(self) -> bool {
        self.request().starts_with("GET ")
    }

    /// The step called `name`.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.name() == name)
    }

    /// How an answer with this status counts.
    #[must_use]
    pub fn outcome(self, status: u16) -> Outcome {
        match status {
            _ if self.row().good.contains(&status) => Outcome::Ok,
            429 => Outcome::RateLimited,
            500..=599 => Outcome::ServerError,
            // A card that is declined is a card that is declined.
            402 if self == Self::Checkout => Outcome::Expected,
            _ => Outcome::CheckFailed,
        }
    }

    fn row(self) -> Row {
        let row = |name, request, good| Row { name, request, good };
        match self {
            Self::Probe => row("probe", "GET a path", &[200, 204, 304]),
            Self::Catalogue => row("catalogue", "GET /v1/products", &[200]),
            Self::Category => row("category", "GET /v1/products?category=…", &[200]),
            Self::Search => row("search", "GET /v1/products?q=…", &[200]),
            Self::Product => row("product", "GET /v1/products/{slug}", &[200]),
            Self::Cart => row("cart", "POST /v1/carts", &[201]),
            Self::AddToCart => row("add_to_cart", "PUT /v1/carts/{id}/lines/{sku}", &[200]),
            Self::ViewCart => row("view_cart", "GET /v1/carts/{id}", &[200]),
            Self::Checkout => row("checkout", "POST /v1/orders", &[201, 202]),
            Self::Order => row("order", "GET /v1/orders/{id}", &[200]),
            Self::Account => row("account", "GET /v1/me", &[200]),
            Self::Orders => row("orders", "GET /v1/orders", &[200]),
            Self::SignIn => row("sign_in", "POST /v1/auth/login", &[200]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_step_is_found_by_its_name_and_place() {
        for (index, step) in Step::ALL.into_iter().enumerate() {
            assert_eq!(step.index(), index);
            assert_eq!(Step::find(step.name()), Some(step));
        }
    }

    #[test]
    fn answers_count_as_what_they_are() {
        assert_eq!(Step::Checkout.outcome(201), Outcome::Ok);
        assert_eq!(Step::Checkout.outcome(402), Outcome::Expected);
        assert_eq!(Step::Checkout.outcome(409), Outcome::CheckFailed);
        assert_eq!(Step::Product.outcome(402), Outcome::CheckFailed);
        assert_eq!(Step::Product.outcome(404), Outcome::CheckFailed);
        assert_eq!(Step::Product.outcome(429), Outcome::RateLimited);
        assert_eq!(Step::Product.outcome(503), Outcome::ServerError);
    }
}
