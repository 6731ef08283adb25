//! The catalogue as staff changes it: products and their variants, each change with its audit row and its event.

use std::collections::BTreeSet;

use super::OUTBOX;
use super::model::{check_patch, check_product, title_of_slug};
use super::store::{LOCATION, Store};
use super::wire::{AdminProduct, NewProduct, NewVariant, ProductPatch, ProductStatus};
use crate::bus::outbox;
use crate::http::{Code, Context, FieldError, Problem};
use crate::storage::{Batch, StorageError, Value};
use crate::vocabulary::{Event, Identity, ProductId, Topic};

/// How often an edit is tried again when somebody else was faster.
const TRIES: u32 = 4;
const VARIANTS_MAX: usize = 100;

const PRODUCT: &str = "product";
const VARIANT: &str = "variant:";

/// Who does it, and on behalf of which request: what an audit row says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Author<'request> {
    pub(super) identity: &'request Identity,
    pub(super) context: &'request Context,
}

impl Store {
    /// Adds a product. A slug or SKU that is taken is a conflict.
    pub(super) async fn create(
        &self,
        author: Author<'_>,
        product: NewProduct,
    ) -> Result<AdminProduct, Problem> {
        check_product(&product, self.currency)?;
        let id: ProductId = self.env.id();
        let mut variants: Vec<Variant> = Vec::with_capacity(product.variants.len());
        for variant in &product.variants {
            variants.push(Variant::new(variant));
        }
        let state = State {
            slug: product.slug,
            title: product.title,
            description: product.description,
            category: product.category,
            status: product.status,
            attrs: product.attrs,
            variants,
        };
        for _ in 0..TRIES {
            let mut batch = Batch::new();
            add_category(&mut batch, &state.category);
            self.insert(&mut batch, id, &state);
            if state.status == ProductStatus::Active {
                count(&mut batch, &state.category, 1);
            }
            self.tell(&mut batch, author, id, 1, "product_created", None, &state);
            match self.db.write(batch).await {
                Ok(_) => {
                    self.catalogue_changed();
                    self.bus.wake(Topic::Product);
                    return self.staff_product(&state.slug).await;
                }
                Err(error) => self.explain(error, &state, None).await?,
            }
        }
        Err(changed_meanwhile())
    }

    /// Changes a product. With `version`, only while it is at that version.
    pub(super) async fn update(
        &self,
        author: Author<'_>,
        slug: &str,
        patch: &ProductPatch,
        version: Option<i64>,
    ) -> Result<AdminProduct, Problem> {
        check_patch(patch, self.currency)?;
        for _ in 0..TRIES {
            let before = self.staff_product(slug).await?;
            if version.is_some_and(|version| version != before.version) {
                return Err(changed_meanwhile());
            }
            let old = State::of(&before);
            let new = old.patched(patch);
            if new.variants.len() > VARIANTS_MAX {
                let message = format!("a product has at most {VARIANTS_MAX} variants");
                return Err(Problem::invalid("/variants", message));
            }
            if new == old {
                return Ok(before);
            }
            let batch = self.change(author, &before, &old, &new);
            match self.db.write(batch).await {
                Ok(_) => {
                    self.catalogue_changed();
                    self.bus.wake(Topic::Product);
                    return self.staff_product(&new.slug).await;
                }
                Err(error) => self.explain(error, &new, Some(before.id)).await?,
            }
        }
        Err(changed_meanwhile())
    }

    fn insert(&self, batch: &mut Batch, id: ProductId, state: &State) {
        let now = self.env.now();
        batch.one(
            PRODUCT,
            "INSERT INTO product_products (id, number, slug, title, description, keywords, status, category,
               price_minor, currency, attrs, version, created_at, updated_at)
             SELECT $1, COALESCE(MAX(number), 0) + 1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 1, $11, $11
             FROM product_products",
            vec![
                id.into(),
                state.slug.as_str().into(),
                state.title.as_str().into(),
                state.description.as_str().into(),
                state.keywords().into(),
                state.status.as_str().into(),
                state.category.as_str().into(),
                state.price_minor().into(),
                self.currency.into(),
                serde_json::Value::Object(state.attrs.clone()).into(),
                now.into(),
            ],
        );
        for (position, variant) in (0i64..).zip(&state.variants) {
            self.add_variant(batch, id, position, variant);
        }
    }

    fn add_variant(&self, batch: &mut Batch, id: ProductId, position: i64, variant: &Variant) {
        batch.one(
            format!("{VARIANT}{}", variant.sku),
            "INSERT INTO product_variants (sku, product_id, position, title, price_minor, currency, tax_class,
               weight_g, active) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            vec![
                variant.sku.as_str().into(),
                id.into(),
                position.into(),
                variant.title.as_str().into(),
                variant.price_minor.into(),
                self.currency.into(),
                variant.tax_class.as_str().into(),
                variant.weight_g.into(),
                variant.active.into(),
            ],
        );
        batch.one(
            "stock",
            "INSERT INTO product_stock (sku, location) VALUES ($1, $2)",
            vec![variant.sku.as_str().into(), LOCATION.into()],
        );
    }

    fn change(&self, author: Author<'_>, before: &AdminProduct, old: &State, new: &State) -> Batch {
        let mut batch = Batch::new();
        if new.category != old.category {
            add_category(&mut batch, &new.category);
        }
        batch.one(
            PRODUCT,
            "UPDATE product_products SET slug = $3, title = $4, description = $5, keywords = $6, status = $7,
               category = $8, price_minor = $9, attrs = $10, updated_at = $11, version = version + 1
             WHERE id = $1 AND version = $2",
            vec![
                before.id.into(),
                before.version.into(),
                new.slug.as_str().into(),
                new.title.as_str().into(),
                new.description.as_str().into(),
                new.keywords().into(),
                new.status.as_str().into(),
                new.category.as_str().into(),
                new.price_minor().into(),
                serde_json::Value::Object(new.attrs.clone()).into(),
                self.env.now().into(),
            ],
        );
        for (position, variant) in (0i64..).zip(&new.variants) {
            match old.variants.iter().find(|known| known.sku == variant.sku) {
                None => self.add_variant(&mut batch, before.id, position, variant),
                Some(known) if known == variant => {}
                Some(_) => {
                    batch.one(
                        format!("{VARIANT}{}", variant.sku),
                        "UPDATE product_variants SET title = $2, price_minor = $3, tax_class = $4, weight_g = $5,
                           active = $6 WHERE sku = $1",
                        vec![
                            variant.sku.as_str().into(),
                            variant.title.as_str().into(),
                            variant.price_minor.into(),
                            variant.tax_class.as_str().into(),
                            variant.weight_g.into(),
                            variant.active.into(),
                        ],
                    );
                }
            }
        }
        let place = |state: &State| (state.status == ProductStatus::Active).then(|| state.category.clone());
        let (left, entered) = (place(old), place(new));
        if left != entered {
            // In sorted order, as everything that locks several rows.
            let mut moves: Vec<(String, i64)> = left.map(|category| (category, -1)).into_iter().collect();
            moves.extend(entered.map(|category| (category, 1)));
            moves.sort();
            for (category, by) in moves {
                count(&mut batch, &category, by);
            }
        }
        self.tell(&mut batch, author, before.id, before.version + 1, "product_updated", Some(old), new);
        batch
    }

    /// What every edit ends with: the catalogue's version, the audit row, the event.
    #[expect(clippy::too_many_arguments, reason = "an edit's who, what, before and after")]
    fn tell(
        &self,
        batch: &mut Batch,
        author: Author<'_>,
        id: ProductId,
        version: i64,
        kind: &str,
        before: Option<&State>,
        after: &State,
    ) {
        batch.run("UPDATE product_catalogue SET version = version + 1 WHERE id = 1", vec![]);
        let action = kind.replace('_', ".");
        self.audit(batch, author, &action, &after.slug, before.map(State::to_json), Some(after.to_json()));
        let event = Event {
            id: self.env.id(),
            topic: Topic::Product,
            kind: kind.to_owned(),
            aggregate: id.uuid(),
            aggregate_seq: version,
            at: self.env.now(),
            request_id: Some(author.context.request_id.to_string()),
            traceparent: Some(author.context.traceparent.to_string()),
            data: serde_json::json!({
                "product_id": id, "slug": after.slug, "title": after.title, "category": after.category,
                "status": after.status, "version": version,
            }),
        };
        outbox::append(batch, OUTBOX, &event);
    }

    /// Adds the row that says who did what.
    pub(super) fn audit(
        &self,
        batch: &mut Batch,
        author: Author<'_>,
        action: &str,
        subject: &str,
        before: Option<serde_json::Value>,
        after: Option<serde_json::Value>,
    ) {
        batch.one(
            "audit",
            "INSERT INTO product_audit (id, at, actor, action, subject, before, after, request_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
            vec![
                self.env.uuid().into(),
                self.env.now().into(),
                author.identity.actor().into(),
                action.into(),
                subject.into(),
                Value::from(before),
                Value::from(after),
                author.context.request_id.as_ref().into(),
            ],
        );
    }

    /// Why an edit was refused, as a problem; `Ok` when it is worth another try.
    async fn explain(
        &self,
        error: StorageError,
        wanted: &State,
        own: Option<ProductId>,
    ) -> Result<(), Problem> {
        let (StorageError::Conflict { name, .. } | StorageError::Expectation { name, .. }) = &error else {
            return Err(error.into());
        };
        if let Some(sku) = name.strip_prefix(VARIANT) {
            let place = wanted.variants.iter().position(|variant| variant.sku == sku).unwrap_or(0);
            return Err(taken(&format!("/variants/{place}/sku"), &format!("the SKU `{sku}` is taken")));
        }
        if name != PRODUCT {
            return Err(error.into());
        }
        let sql = "SELECT id FROM product_products WHERE slug = $1";
        let holder = self.db.read_one(sql, vec![wanted.slug.as_str().into()]).await?;
        match holder.map(|row| row.get::<ProductId>("id")).transpose()? {
            Some(holder) if Some(holder) != own => {
                Err(taken("/slug", &format!("the slug `{}` is taken", wanted.slug)))
            }
            // Another product got the same number, or another edit of this one was faster.
            _ => Ok(()),
        }
    }
}

/// A product without what the shop itself counts.
#[derive(Clone, Debug, PartialEq)]
struct State {
    slug: String,
    title: String,
    description: String,
    category: String,
    status: ProductStatus,
    attrs: serde_json::Map<String, serde_json::Value>,
    variants: Vec<Variant>,
}

#[derive(Clone, Debug, PartialEq)]
struct Variant {
    sku: String,
    title: String,
    price_minor: i64,
    tax_class: String,
    weight_g: i64,
    active: bool,
}

impl Variant {
    fn new(variant: &NewVariant) -> Self {
        Self {
            sku: variant.sku.clone(),
            title: variant.title.clone(),
            price_minor: variant.price.amount,
            tax_class: variant.tax_class.clone().unwrap_or_else(|| "standard".to_owned()),
            weight_g: variant.weight_g.unwrap_or(0),
            active: variant.active.unwrap_or(true),
        }
    }

    fn patched(&self, patch: &NewVariant) -> Self {
        Self {
            sku: self.sku.clone(),
            title: patch.title.clone(),
            price_minor: patch.price.amount,
            tax_class: patch.tax_class.clone().unwrap_or_else(|| self.tax_class.clone()),
            weight_g: patch.weight_g.unwrap_or(self.weight_g),
            active: patch.active.unwrap_or(self.active),
        }
    }
}

impl State {
    fn of(product: &AdminProduct) -> Self {
        Self {
            slug: product.slug.clone(),
            title: product.title.clone(),
            description: product.description.clone(),
            category: product.category.clone(),
            status: product.status,
            attrs: product.attrs.as_object().cloned().unwrap_or_default(),
            variants: product
                .variants
                .iter()
                .map(|variant| Variant {
                    sku: variant.sku.clone(),
                    title: variant.title.clone(),
                    price_minor: variant.price.amount,
                    tax_class: variant.tax_class.clone(),
                    weight_g: variant.weight_g,
                    active: variant.active,
                })
                .collect(),
        }
    }

    fn patched(&self, patch: &ProductPatch) -> Self {
        let mut new = self.clone();
        new.slug = patch.slug.clone().unwrap_or(new.slug);
        new.title = patch.title.clone().unwrap_or(new.title);
        new.description = patch.description.clone().unwrap_or(new.description);
        new.category = patch.category.clone().unwrap_or(new.category);
        new.status = patch.status.unwrap_or(new.status);
        new.attrs = patch.attrs.clone().unwrap_or(new.attrs);
        for change in &patch.variants {
            match new.variants.iter_mut().find(|variant| variant.sku == change.sku) {
                Some(variant) => *variant = variant.patched(change),
                None => new.variants.push(Variant::new(change)),
            }
        }
        new
    }

    /// The lowest price among what is on sale; among everything, when nothing is.
    fn price_minor(&self) -> i64 {
        let lowest =
            |variants: &mut dyn Iterator<Item = &Variant>| variants.map(|variant| variant.price_minor).min();
        lowest(&mut self.variants.iter().filter(|variant| variant.active))
            .or_else(|| lowest(&mut self.variants.iter()))
            .unwrap_or(0)
    }

    fn keywords(&self) -> String {
        let facts = self.attrs.values().filter_map(serde_json::Value::as_str);
        keywords(&self.category, self.variants.iter().map(|variant| (&*variant.title, &*variant.sku)), facts)
    }

    fn to_json(&self) -> serde_json::Value {
        let variants: Vec<_> = self
            .variants
            .iter()
            .map(|variant| {
                serde_json::json!({
                    "sku": variant.sku, "title": variant.title, "price_minor": variant.price_minor,
                    "tax_class": variant.tax_class, "weight_g": variant.weight_g, "active": variant.active,
                })
            })
            .collect();
        serde_json::json!({
            "slug": self.slug, "title": self.title, "description": self.description, "category": self.category,
            "status": self.status, "attrs": self.attrs, "variants": variants,
        })
    }
}

/// What a product is found by beside its title and description: each word once.
pub(super) fn keywords<'text>(
    category: &'text str,
    variants: impl Iterator<Item = (&'text str, &'text str)>,
    facts: impl Iterator<Item = &'text str>,
) -> String {
    let mut texts: Vec<&str> = vec![category];
    for (title, sku) in variants {
        texts.extend([title, sku]);
    }
    texts.extend(facts);
    let mut seen = BTreeSet::new();
    let words =
        texts.into_iter().flat_map(|text| text.split(|letter: char| letter.is_whitespace() || letter == '/'));
    let once: Vec<&str> = words.filter(|word| !word.is_empty() && seen.insert(word.to_lowercase())).collect();
    once.join(" ")
}

/// Makes the category unless it is there.
fn add_category(batch: &mut Batch, slug: &str) {
    batch.run(
        "INSERT INTO product_categories (slug, title, position)
         SELECT $1, $2, COALESCE(MAX(position), 0) + 1 FROM product_categories WHERE 1 = 1
         ON CONFLICT (slug) DO NOTHING",
        vec![slug.into(), title_of_slug(slug).into()],
    );
}

fn count(batch: &mut Batch, category: &str, by: i64) {
    batch.one(
        "category",
        "UPDATE product_categories SET products = products + $2 WHERE slug = $1",
        vec![category.into(), by.into()],
    );
}

fn taken(pointer: &str, message: &str) -> Problem {
    let mut problem = Problem::new(Code::Conflict, message);
    problem.errors.push(FieldError { pointer: pointer.to_owned(), message: message.to_owned() });
    problem
}

fn changed_meanwhile() -> Problem {
    Problem::new(Code::Conflict, "the product was changed meanwhile: read it again, then repeat the change")
        .with("reason", "changed_meanwhile")
}
