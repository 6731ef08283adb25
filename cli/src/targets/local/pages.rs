//! The pages of a shop, and where they are.

/// A page that a person may open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Page {
    /// Where customers buy
    Storefront,
    /// Where merchants sell
    Admin,
    /// Where operators look
    Operations,
    /// The API, to read
    Api,
}

impl Page {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Storefront, Self::Admin, Self::Operations, Self::Api];

    /// The word a person types.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Storefront => "storefront",
            Self::Admin => "admin",
            Self::Operations => "operations",
            Self::Api => "api",
        }
    }

    /// Its address in the shop on `url`.
    #[must_use]
    pub fn address(self, url: &str) -> String {
        let path = match self {
            Self::Storefront => "/",
            Self::Admin => "/admin",
            Self::Operations => "/operations",
            Self::Api => "/api",
        };
        format!("{}{path}", url.trim_end_matches('/'))
    }
}
