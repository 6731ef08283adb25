//! Carts of guests and users. A cart holds SKUs and quantities only; prices are today's, asked of the catalogue each
//! time, so what a client says of a price is never heard.

use super::idempotency::{Remembered, Ticket};
use super::pricing;
use super::promotions;
use super::wire::{Cart, CartLine, Promotion};
use crate::http::{CallError, Code, Context, Problem};
use crate::services::product::client::{Line, ProductClient, QuotedLine};
use crate::storage::{Batch, Db, Row, StorageError, Value};
use crate::vocabulary::{CartId, Env, Identity, MoneyError, Timestamp, UserId};

/// The most of one SKU in a cart.
pub(super) const QUANTITY_MAX: i64 = 999;
/// The most SKUs in a cart.
const LINES_MAX: usize = 100;

/// A cart as it is stored.
#[derive(Clone, Debug)]
pub(super) struct StoredCart {
    pub(super) id: CartId,
    pub(super) user_id: Option<UserId>,
    pub(super) promotion: Option<String>,
    pub(super) version: i64,
    pub(super) lines: Vec<Line>,
}

impl StoredCart {
    fn from_rows(rows: &[Row]) -> Result<Option<Self>, StorageError> {
        let Some(first) = rows.first() else { return Ok(None) };
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            if let Some(sku) = row.get::<Option<String>>("sku")? {
                lines.push(Line { sku, quantity: row.get("quantity")? });
            }
        }
        Ok(Some(Self {
            id: first.get("id")?,
            user_id: first.get("user_id")?,
            promotion: first.get("promotion")?,
            version: first.get("version")?,
            lines,
        }))
    }

    /// The cart, when whoever asks may hold it; absent otherwise, as if there were none.
    pub(super) fn held_by(self, identity: Option<&Identity>) -> Result<Self, Problem> {
        match self.user_id {
            Some(user) if identity.is_none_or(|who| who.user_id != user) => Err(Problem::not_found("cart")),
            _ => Ok(self),
        }
    }
}

/// Reads and changes carts.
pub(super) struct Carts<'shop> {
    pub(super) db: &'shop Db,
    pub(super) env: &'shop Env,
    pub(super) products: &'shop ProductClient,
    pub(super) config: &'shop crate::config::OrderConfig,
}

impl Carts<'_> {
    pub(super) async fn find(&self, id: CartId, context: &Context) -> Result<StoredCart, Problem> {
        let sql = "SELECT c.id, c.user_id, c.promotion, c.version, l.sku, l.quantity FROM order_carts c \
                   LEFT JOIN order_cart_lines l ON l.cart_id = c.id WHERE c.id = $1 ORDER BY l.added_at, l.sku";
        let rows = self.db.read(sql, vec![id.into()]).await?;
        let cart = StoredCart::from_rows(&rows)?.ok_or_else(|| Problem::not_found("cart"))?;
        cart.held_by(context.identity.as_deref())
    }

    /// The cart and what is remembered of `ticket`, in one read.
    pub(super) async fn find_with_ticket(
        &self,
        id: CartId,
        ticket: &Ticket,
    ) -> Result<(Option<StoredCart>, Option<Remembered>), StorageError> {
        let sql = "SELECT c.id, c.user_id, c.promotion, c.version, l.sku, l.quantity, \
                   i.fingerprint AS i_fingerprint, i.order_id AS i_order_id, i.status AS i_status, i.body AS i_body, \
                   i.expires_at AS i_expires_at FROM order_carts c \
                   LEFT JOIN order_cart_lines l ON l.cart_id = c.id \
                   LEFT JOIN order_idempotency i ON i.scope = $2 AND i.key = $3 \
                   WHERE c.id = $1 ORDER BY l.added_at, l.sku";
        let params = vec![id.into(), ticket.scope.as_str().into(), ticket.key.as_str().into()];
        let rows = self.db.read(sql, params).await?;
        match rows.first() {
            Some(first) => Ok((StoredCart::from_rows(&rows)?, Remembered::from_joined(first)?)),
            None => Ok((None, ticket.find(self.db).await?)),
        }
    }

    /// What `lines` cost now; an unknown SKU is the catalogue's problem.
    pub(super) async fn quote(
        &self,
        context: &Context,
        lines: &[Line],
    ) -> Result<Vec<(QuotedLine, i64)>, CallError> {
        if lines.is_empty() {
            return Ok(Vec::new());
        }
        let quote = self.products.quote(context, lines).await?;
        let quantity =
            |sku: &str| lines.iter().filter(|line| line.sku == sku).map(|line| line.quantity).sum();
        Ok(quote
            .lines
            .into_iter()
            .map(|line| (quantity(&line.sku), line))
            .map(|(many, line)| (line, many))
            .collect())
    }

    /// The cart as a client sees it. A SKU that left the catalogue is not shown.
    pub(super) async fn view(&self, context: &Context, mut cart: StoredCart) -> Result<Cart, Problem> {
        let quoted = loop {
            match self.quote(context, &cart.lines).await {
                Ok(quoted) => break quoted,
                Err(CallError::Problem(problem)) if problem.code == Code::UnknownSku => {
                    let before = cart.lines.len();
                    cart.lines.retain(|line| lost(&problem) != Some(&line.sku));
                    if cart.lines.len() == before {
                        return Err(*problem);
                    }
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.priced(&cart, &quoted).await
    }

    async fn priced(&self, cart: &StoredCart, quoted: &[(QuotedLine, i64)]) -> Result<Cart, Problem> {
        let currency = self.config.currency;
        let promotion = match &cart.promotion {
            Some(code) => promotions::find(self.db, code).await?.filter(|promotion| {
                promotions::objection(promotion, quoted, currency, self.env.now()).is_none()
            }),
            None => None,
        };
        let benefit = promotion.as_ref().map(|promotion| &promotion.benefit);
        let priced = pricing::price(quoted, benefit, &self.config.pricing, currency).map_err(too_much)?;
        let lines = quoted.iter().map(|(line, quantity)| {
            Ok(CartLine {
                sku: line.sku.clone(),
                title: line.title.clone(),
                quantity: *quantity,
                unit_price: line.unit_price,
                line_total: line.unit_price.checked_mul(*quantity).map_err(too_much)?,
                available: line.available,
            })
        });
        Ok(Cart {
            id: cart.id,
            lines: lines.collect::<Result<_, Problem>>()?,
            subtotal: priced.subtotal,
            discount: priced.discount,
            tax: priced.tax,
            shipping: if quoted.is_empty() {
                crate::vocabulary::Money::zero(currency)
            } else {
                priced.shipping
            },
            total: priced.total,
            promotion: promotion.map(|promotion| promotion.code),
        })
    }

    /// A new cart; a user who has one already gets that.
    pub(super) async fn create(&self, context: &Context) -> Result<Cart, Problem> {
        let user = context.identity.as_ref().map(|who| who.user_id);
        if let Some(user) = user
            && let Some(id) = self.of_user(user).await?
        {
            let cart = self.find(id, context).await?;
            return self.view(context, cart).await;
        }
        let id: CartId = self.env.secret_id();
        let mut batch = Batch::new();
        batch.one(
            "cart",
            "INSERT INTO order_carts (id, user_id, version, created_at, updated_at) VALUES ($1, $2, 1, $3, $3)",
            vec![id.into(), user.into(), self.env.now().into()],
        );
        self.db.write(batch).await?;
        self.priced(&StoredCart { id, user_id: user, promotion: None, version: 1, lines: vec![] }, &[]).await
    }

    async fn of_user(&self, user: UserId) -> Result<Option<CartId>, StorageError> {
        let sql = "SELECT id FROM order_carts WHERE user_id = $1 ORDER BY updated_at DESC, id LIMIT 1";
        self.db.read_one(sql, vec![user.into()]).await?.map(|row| row.get("id")).transpose()
    }

    /// Sets how many of `sku` are in the cart.
    pub(super) async fn set_line(
        &self,
        context: &Context,
        id: CartId,
        sku: &str,
        quantity: i64,
    ) -> Result<Cart, Problem> {
        if !(0..=QUANTITY_MAX).contains(&quantity) {
            return Err(Problem::invalid("/quantity", format!("quantity must be from 0 to {QUANTITY_MAX}")));
        }
        let mut cart = self.find(id, context).await?;
        match cart.lines.iter().position(|line| line.sku == sku) {
            Some(at) => cart.lines[at].quantity = quantity,
            None if cart.lines.len() >= LINES_MAX => {
                return Err(Problem::invalid(
                    "/sku",
                    format!("a cart holds at most {LINES_MAX} different items"),
                ));
            }
            None => cart.lines.push(Line { sku: sku.to_owned(), quantity }),
        }
        cart.lines.retain(|line| line.quantity > 0);
        let quoted = match self.quote(context, &cart.lines).await {
            Ok(quoted) => Some(quoted),
            // Another line left the catalogue; it is just not shown. This one never gets in.
            Err(CallError::Problem(problem))
                if problem.code == Code::UnknownSku && lost(&problem) != Some(sku) =>
            {
                None
            }
            Err(error) => return Err(error.into()),
        };
        let now = self.env.now();
        let mut batch = touch(id, now);
        let key = vec![id.into(), sku.into()];
        if quantity == 0 {
            batch.run("DELETE FROM order_cart_lines WHERE cart_id = $1 AND sku = $2", key);
        } else {
            let params: Vec<Value> = [key, vec![quantity.into(), now.into()]].concat();
            batch.run(
                "INSERT INTO order_cart_lines (cart_id, sku, quantity, added_at) VALUES ($1, $2, $3, $4) \
                 ON CONFLICT (cart_id, sku) DO UPDATE SET quantity = $3",
                params,
            );
        }
        self.db.write(batch).await?;
        match quoted {
            Some(quoted) => self.priced(&cart, &quoted).await,
            None => self.view(context, cart).await,
        }
    }

    /// Puts a promotion on the cart, or takes it off.
    pub(super) async fn set_promotion(
        &self,
        context: &Context,
        id: CartId,
        code: Option<&str>,
    ) -> Result<Cart, Problem> {
        let mut cart = self.find(id, context).await?;
        cart.promotion = match code {
            Some(code) => {
                let quoted = self.quote(context, &cart.lines).await?;
                Some(self.applicable(code, &quoted).await?.code)
            }
            None => None,
        };
        let mut batch = touch(id, self.env.now());
        batch.run(
            "UPDATE order_carts SET promotion = $2 WHERE id = $1",
            vec![id.into(), cart.promotion.clone().into()],
        );
        self.db.write(batch).await?;
        self.view(context, cart).await
    }

    /// The promotion of `code`, provided that it applies to these lines now.
    pub(super) async fn applicable(
        &self,
        code: &str,
        quoted: &[(QuotedLine, i64)],
    ) -> Result<Promotion, Problem> {
        let promotion = promotions::find(self.db, code)
            .await?
            .ok_or_else(|| promotions::invalid(code, "there is no such promotion"))?;
        match promotions::objection(&promotion, quoted, self.config.currency, self.env.now()) {
            Some(why) => Err(promotions::invalid(code, why)),
            None => Ok(promotion),
        }
    }

    /// Makes a guest's cart the user's; what the user's own cart holds is added to it.
    pub(super) async fn merge(&self, context: &Context, id: CartId, user: UserId) -> Result<Cart, Problem> {
        let cart = self.find(id, context).await?;
        if cart.user_id.is_none() {
            let now = self.env.now();
            let mut batch = touch(id, now);
            batch.one(
                "cart",
                "UPDATE order_carts SET user_id = $2 WHERE id = $1 AND user_id IS NULL",
                vec![id.into(), user.into()],
            );
            if let Some(own) = self.of_user(user).await? {
                let both = vec![id.into(), own.into()];
                batch.run(
                    "INSERT INTO order_cart_lines (cart_id, sku, quantity, added_at) \
                     SELECT $1, own.sku, own.quantity, own.added_at FROM order_cart_lines own WHERE own.cart_id = $2 \
                     ON CONFLICT (cart_id, sku) DO UPDATE SET quantity = \
                     CASE WHEN order_cart_lines.quantity + excluded.quantity > 999 THEN 999 \
                     ELSE order_cart_lines.quantity + excluded.quantity END",
                    both,
                );
                batch.run("DELETE FROM order_cart_lines WHERE cart_id = $1", vec![own.into()]);
                batch.run("DELETE FROM order_carts WHERE id = $1", vec![own.into()]);
            }
            match self.db.write(batch).await {
                Err(error) if error.is_expectation("cart") => return Err(Problem::not_found("cart")),
                other => other?,
            };
        }
        let cart = self.find(id, context).await?;
        self.view(context, cart).await
    }
}

/// The SKU that a problem says is not in the catalogue.
fn lost(problem: &Problem) -> Option<&str> {
    problem.extra.get("sku").and_then(|sku| sku.as_str())
}

fn touch(id: CartId, now: Timestamp) -> Batch {
    let mut batch = Batch::new();
    batch.one(
        "cart",
        "UPDATE order_carts SET version = version + 1, updated_at = $2 WHERE id = $1",
        vec![id.into(), now.into()],
    );
    batch
}

/// A cart that comes to more than fits.
pub(super) fn too_much(error: MoneyError) -> Problem {
    Problem::invalid("/lines", format!("the cart cannot be priced: {error}"))
}
