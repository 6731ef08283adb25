//! The catalogue as it is read: lists, products, categories, prices.

use std::collections::HashMap;

use bytes::Bytes;
use serde::Serialize;

use super::model::{full_title, image_path, sum_lines};
use super::search::{Position, Search};
use super::stock::unknown_sku;
use super::store::{LOCATION, Store, any_stock_tag, catalogue_tag, in_list, stock_tag};
use super::wire::{
    AdminProduct, AdminVariant, Category, Line, ProductCard, ProductDetail, ProductQuery, ProductStatus,
    Quote, QuotedLine, VariantCard,
};
use crate::cache::{Loaded, Tag};
use crate::http::{Page, Problem};
use crate::storage::{Row, StorageError, Value};
use crate::vocabulary::{Money, ProductId};

const CARD_COLUMNS: &str = "p.id, p.slug, p.title, p.category, p.price_minor, p.currency";
const STAFF_COLUMNS: &str = "p.id, p.slug, p.title, p.category, p.price_minor, p.currency,
  p.description, p.status, p.attrs, p.version, p.created_at, p.updated_at";
/// How many related products a product's page shows.
const RELATED: usize = 4;

impl Store {
    /// A page of what is on sale, serialised, with what it was made of.
    pub(super) async fn list(&self, search: &Search) -> Result<Loaded, Problem> {
        let (rows, next_cursor) = self.find(search, CARD_COLUMNS).await?;
        let items = self.cards(&rows).await?;
        let mut tags = tags_of(&items);
        if search.in_stock.is_some() {
            // What is not on the page may belong there after the next order.
            tags = vec![catalogue_tag(), any_stock_tag()];
        }
        loaded(&Page { items, next_cursor }, tags)
    }

    /// A page of everything, for staff.
    pub(super) async fn staff_list(&self, query: &ProductQuery) -> Result<Page<AdminProduct>, Problem> {
        let search = Search::staff(query)?;
        let (rows, next_cursor) = self.find(&search, STAFF_COLUMNS).await?;
        Ok(Page { items: self.staff_products(&rows).await?, next_cursor })
    }

    async fn find(&self, search: &Search, columns: &str) -> Result<(Vec<Row>, Option<String>), Problem> {
        if search.is_hopeless {
            return Ok((Vec::new(), None));
        }
        let (sql, params) = search.statement(columns, self.db.dialect());
        let mut rows = self.db.read(&sql, params).await?;
        let more = rows.len() > search.limit;
        rows.truncate(search.limit);
        let next = match rows.last() {
            Some(last) if more => {
                Some(search.cursor(Position { key: last.get("key")?, number: last.get("number")? }))
            }
            _ => None,
        };
        Ok((rows, next))
    }

    /// A product's own page, serialised.
    pub(super) async fn detail(&self, slug: &str) -> Result<Loaded, Problem> {
        let sql = format!(
            "SELECT {CARD_COLUMNS}, p.number, p.description FROM product_products p
             WHERE p.slug = $1 AND p.status = 'active'"
        );
        let row = self.db.read_one(&sql, vec![slug.into()]).await?;
        let row = row.ok_or_else(|| Problem::not_found("product"))?;
        let mut rows = self.neighbours(&row).await?;
        let description = row.get("description")?;
        rows.insert(0, row);
        let mut cards = self.cards(&rows).await?;
        let tags = tags_of(&cards);
        let mut related = cards.split_off(1);
        let Some(card) = cards.pop() else { return Err(Problem::not_found("product")) };
        let distance = |other: &ProductCard| {
            (other.available == 0, card.price.amount.abs_diff(other.price.amount), other.id)
        };
        related.sort_by_key(distance);
        related.truncate(RELATED);
        loaded(&ProductDetail { card, description, related }, tags)
    }

    /// The products of the same category next to `row` by price, on both sides.
    async fn neighbours(&self, row: &Row) -> Result<Vec<Row>, StorageError> {
        let side = |beyond: &str, direction: &str| {
            format!(
                "SELECT {CARD_COLUMNS} FROM product_products p
                 WHERE p.status = 'active' AND p.category = $1 AND (p.price_minor, p.number) {beyond} ($2, $3)
                 ORDER BY p.price_minor{direction}, p.number{direction} LIMIT $4"
            )
        };
        let params: Vec<Value> = vec![
            row.get::<String>("category")?.into(),
            row.get::<i64>("price_minor")?.into(),
            row.get::<i64>("number")?.into(),
            i64::try_from(RELATED).unwrap_or(4).into(),
        ];
        let (above, below) = (side(">", ""), side("<", " DESC"));
        let (above, below) =
            tokio::try_join!(self.db.read(&above, params.clone()), self.db.read(&below, params))?;
        Ok(above.into_iter().chain(below).collect())
    }

    /// All categories, serialised.
    pub(super) async fn categories(&self) -> Result<Loaded, Problem> {
        let sql = "SELECT slug, title, products FROM product_categories ORDER BY position, slug";
        let rows = self.db.read(sql, vec![]).await?;
        let items = rows
            .iter()
            .map(|row| {
                Ok(Category { slug: row.get("slug")?, title: row.get("title")?, count: row.get("products")? })
            })
            .collect::<Result<Vec<_>, StorageError>>()?;
        loaded(&Page::whole(items), vec![catalogue_tag()])
    }

    /// What `lines` cost now, read from the data, never from the cache.
    pub(super) async fn quote(&self, lines: &[Line]) -> Result<Quote, Problem> {
        let sums = sum_lines(lines)?;
        let mut params = vec![Value::from(LOCATION)];
        let list = in_list(&mut params, sums.iter().map(|line| Value::from(line.sku.as_str())));
        let sql = format!(
            "SELECT v.sku, p.title AS product, v.title, v.price_minor, v.currency, v.tax_class, v.weight_g,
               s.on_hand - s.reserved AS available
             FROM product_variants v JOIN product_products p ON p.id = v.product_id
               JOIN product_stock s ON s.sku = v.sku AND s.location = $1
             WHERE v.active AND p.status = 'active' AND v.sku IN ({list})"
        );
        let rows = self.db.read(&sql, params).await?;
        let mut found = rows
            .iter()
            .map(|row| {
                let title = full_title(&row.get::<String>("product")?, &row.get::<String>("title")?);
                Ok(QuotedLine {
                    sku: row.get("sku")?,
                    title,
                    unit_price: Money::new(row.get("price_minor")?, row.get("currency")?),
                    tax_class: row.get("tax_class")?,
                    weight_g: row.get("weight_g")?,
                    available: row.get("available")?,
                })
            })
            .collect::<Result<Vec<_>, StorageError>>()?;
        let place = |sku: &str| lines.iter().position(|line| line.sku == sku);
        if let Some(unknown) = lines.iter().find(|line| !found.iter().any(|quoted| quoted.sku == line.sku)) {
            return Err(unknown_sku(&unknown.sku));
        }
        found.sort_by_key(|quoted| place(&quoted.sku));
        Ok(Quote { lines: found })
    }

    /// A product as staff sees it.
    pub(super) async fn staff_product(&self, slug: &str) -> Result<AdminProduct, Problem> {
        let sql = format!("SELECT {STAFF_COLUMNS} FROM product_products p WHERE p.slug = $1");
        let rows = self.db.read(&sql, vec![slug.into()]).await?;
        self.staff_products(&rows).await?.pop().ok_or_else(|| Problem::not_found("product"))
    }

    async fn cards(&self, rows: &[Row]) -> Result<Vec<ProductCard>, StorageError> {
        let mut variants: HashMap<ProductId, Vec<VariantCard>> = HashMap::with_capacity(rows.len());
        for row in self.variants_of(rows, " AND v.active").await? {
            variants.entry(row.get("product_id")?).or_default().push(VariantCard {
                sku: row.get("sku")?,
                title: row.get("title")?,
                price: Money::new(row.get("price_minor")?, row.get("currency")?),
                available: row.get::<i64>("on_hand")? - row.get::<i64>("reserved")?,
            });
        }
        rows.iter()
            .map(|row| {
                let (id, slug): (ProductId, String) = (row.get("id")?, row.get("slug")?);
                let variants = variants.remove(&id).unwrap_or_default();
                Ok(ProductCard {
                    id,
                    title: row.get("title")?,
                    category: row.get("category")?,
                    price: Money::new(row.get("price_minor")?, row.get("currency")?),
                    available: variants.iter().map(|variant| variant.available).sum(),
                    image: image_path(&slug),
                    slug,
                    variants,
                })
            })
            .collect()
    }

    async fn staff_products(&self, rows: &[Row]) -> Result<Vec<AdminProduct>, StorageError> {
        let mut variants: HashMap<ProductId, Vec<AdminVariant>> = HashMap::with_capacity(rows.len());
        for row in self.variants_of(rows, "").await? {
            let (on_hand, reserved): (i64, i64) = (row.get("on_hand")?, row.get("reserved")?);
            variants.entry(row.get("product_id")?).or_default().push(AdminVariant {
                sku: row.get("sku")?,
                title: row.get("title")?,
                price: Money::new(row.get("price_minor")?, row.get("currency")?),
                tax_class: row.get("tax_class")?,
                weight_g: row.get("weight_g")?,
                active: row.get("active")?,
                on_hand,
                reserved,
                available: on_hand - reserved,
            });
        }
        rows.iter()
            .map(|row| {
                let (id, slug): (ProductId, String) = (row.get("id")?, row.get("slug")?);
                let variants = variants.remove(&id).unwrap_or_default();
                Ok(AdminProduct {
                    id,
                    title: row.get("title")?,
                    description: row.get("description")?,
                    category: row.get("category")?,
                    status: status_of(&row.get::<String>("status")?)?,
                    attrs: row.get("attrs")?,
                    price: Money::new(row.get("price_minor")?, row.get("currency")?),
                    available: variants.iter().map(|variant| variant.available).sum(),
                    image: image_path(&slug),
                    slug,
                    version: row.get("version")?,
                    created_at: row.get("created_at")?,
                    updated_at: row.get("updated_at")?,
                    variants,
                })
            })
            .collect()
    }

    /// The variants of the products in `rows`, with their stock, each product's in its own order.
    async fn variants_of(&self, rows: &[Row], only: &str) -> Result<Vec<Row>, StorageError> {
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids = rows.iter().map(|row| row.get::<ProductId>("id")).collect::<Result<Vec<_>, _>>()?;
        let mut params = vec![Value::from(LOCATION)];
        let list = in_list(&mut params, ids.into_iter().map(Value::from));
        let sql = format!(
            "SELECT v.product_id, v.sku, v.title, v.price_minor, v.currency, v.tax_class, v.weight_g, v.active,
               s.on_hand, s.reserved
             FROM product_variants v JOIN product_stock s ON s.sku = v.sku AND s.location = $1
             WHERE v.product_id IN ({list}){only} ORDER BY v.product_id, v.position"
        );
        self.db.read(&sql, params).await
    }
}

/// The status that a table's word stands for.
pub(super) fn status_of(word: &str) -> Result<ProductStatus, StorageError> {
    [ProductStatus::Active, ProductStatus::Draft, ProductStatus::Archived]
        .into_iter()
        .find(|status| status.as_str() == word)
        .ok_or_else(|| StorageError::Invalid(format!("`{word}` is no status of a product")))
}

fn tags_of(cards: &[ProductCard]) -> Vec<Tag> {
    let skus = cards.iter().flat_map(|card| &card.variants).map(|variant| stock_tag(&variant.sku));
    let mut tags: Vec<Tag> = std::iter::once(catalogue_tag()).chain(skus).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}

fn loaded(answer: &impl Serialize, tags: Vec<Tag>) -> Result<Loaded, Problem> {
    let body = serde_json::to_vec(answer).map_err(|error| Problem::internal(&error))?;
    Ok(Loaded { body: Bytes::from(body), tags })
}
