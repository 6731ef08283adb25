//! What journeys draw on: addresses, products and accounts, read once before the load and kept ready to be sent.

use super::accounts::Accounts;
use super::ask::Ask;

/// What every worker draws on. Cheap to clone: what it holds is counted, not copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Supplies {
    /// Pages of the catalogue.
    pub(super) catalogue: Vec<Ask>,
    /// Categories.
    pub(super) categories: Vec<Ask>,
    /// Searches that find something.
    pub(super) searches: Vec<Ask>,
    /// Products, the popular ones first.
    pub(super) products: Vec<Ask>,
    /// SKUs that can be bought, the popular ones first.
    pub(super) skus: Vec<String>,
    /// What everybody wants at once.
    pub(super) sale: Option<Sale>,
    /// The page that a probe asks for.
    pub(super) probe: Option<Ask>,
    /// Users with an account.
    pub(super) accounts: Accounts,
}

/// The product of a flash sale.
#[derive(Clone, Debug)]
pub(super) struct Sale {
    /// Its page.
    pub(super) product: Ask,
    /// Its only SKU.
    pub(super) sku: String,
}
