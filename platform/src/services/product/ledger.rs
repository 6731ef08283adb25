//! The shelf as staff changes it, and the ledger as staff reads it.

use super::editing::Author;
use super::model::{MovementKind, ON_HAND_MAX, check_stock_act, full_title};
use super::stock::{ledger, level, unknown_sku};
use super::store::{LOCATION, Store};
use super::wire::{Line, Movement, StockItem, StockLevel};
use crate::http::{Code, Page, PageQuery, Problem};
use crate::storage::{Batch, Row, StorageError, Value};

/// How often an act is tried again when a twin was faster.
const TRIES: u32 = 4;
const SHELF: &str = "shelf";
const LEDGER: &str = "ledger";

/// A change of what is on the shelf, not for an order.
#[derive(Clone, Copy, Debug)]
pub(super) struct StockAct<'request> {
    pub(super) kind: MovementKind,
    pub(super) sku: &'request str,
    /// Units that came, or by how much the count was wrong.
    pub(super) delta: i64,
    pub(super) reason: &'request str,
    /// The caller's own name for the act: the same again does nothing and answers the same.
    pub(super) key: Option<&'request str>,
}

impl Store {
    /// Does `act`, and answers the balance that it made.
    pub(super) async fn change_shelf(
        &self,
        author: Author<'_>,
        act: StockAct<'_>,
    ) -> Result<StockLevel, Problem> {
        let is_adjustment = act.kind == MovementKind::Adjust;
        let pointer = if is_adjustment { "/delta" } else { "/quantity" };
        check_stock_act(act.delta, is_adjustment, pointer, act.reason)?;
        let name = act.key.map_or_else(|| self.env.uuid().to_string(), str::to_owned);
        for _ in 0..TRIES {
            // Only a key can have been there before; so an act whose commit was not answered is found again too.
            if act.key.is_some()
                && let Some(done) = self.done(&act, &name).await?
            {
                return Ok(done);
            }
            match self.db.write(self.shelf_batch(author, &act, &name)).await {
                Ok(_) => {
                    let lines = [Line { sku: act.sku.to_owned(), quantity: act.delta }];
                    self.stock_changed(&lines);
                    let done = self.done(&act, &name).await?;
                    return done.ok_or_else(|| {
                        Problem::internal(&StorageError::Invalid("a movement vanished".to_owned()))
                    });
                }
                Err(error) if error.is_expectation(SHELF) => {
                    let levels = self.levels(&[act.sku]).await?;
                    match levels.first() {
                        None => return Err(unknown_sku(act.sku)),
                        Some(level) => {
                            if let Some(problem) = refusal(&act, level) {
                                return Err(problem);
                            }
                        }
                    }
                }
                Err(error) if error.is_conflict(LEDGER) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Problem::new(Code::Conflict, "the stock changed meanwhile, try again"))
    }

    fn shelf_batch(&self, author: Author<'_>, act: &StockAct<'_>, name: &str) -> Batch {
        let mut batch = Batch::new();
        batch.one(
            SHELF,
            "UPDATE product_stock SET on_hand = on_hand + $1, movements = movements + 1
             WHERE sku = $2 AND location = $3 AND on_hand + $1 >= reserved AND on_hand + $1 <= $4",
            vec![act.delta.into(), act.sku.into(), LOCATION.into(), ON_HAND_MAX.into()],
        );
        let lines = [Line { sku: act.sku.to_owned(), quantity: act.delta }];
        ledger(&mut batch, act.kind, None, name, act.reason, &lines, self.env.now());
        // The balances before and after are in the ledger line that `act` names.
        let after = serde_json::json!({ "delta": act.delta, "reason": act.reason, "act": name });
        let action = format!("stock.{}", act.kind.as_str());
        self.audit(&mut batch, author, &action, act.sku, None, Some(after));
        batch
    }

    /// The balance that the act called `name` made, when it was done before.
    async fn done(&self, act: &StockAct<'_>, name: &str) -> Result<Option<StockLevel>, Problem> {
        let sql =
            "SELECT sku, kind, on_hand_delta, reason, on_hand_after, reserved_after FROM product_movements
             WHERE sku = $1 AND location = $2 AND act = $3 AND order_id IS NULL";
        let row = self.db.read_one(sql, vec![act.sku.into(), LOCATION.into(), name.into()]).await?;
        let Some(row) = row else { return Ok(None) };
        let same = row.get::<String>("kind")? == act.kind.as_str()
            && row.get::<i64>("on_hand_delta")? == act.delta
            && row.get::<String>("reason")? == act.reason;
        if same {
            Ok(Some(level(&row, "on_hand_after", "reserved_after")?))
        } else {
            Err(Problem::new(Code::IdempotencyKeyReused, "the key names another act on this SKU"))
        }
    }

    /// How many units of `sku` there are.
    pub(super) async fn stock(&self, sku: &str) -> Result<StockLevel, Problem> {
        self.levels(&[sku]).await?.pop().ok_or_else(|| unknown_sku(sku))
    }

    /// Stock levels by SKU.
    pub(super) async fn stock_list(
        &self,
        below: Option<i64>,
        page: &PageQuery,
    ) -> Result<Page<StockItem>, Problem> {
        let limit = page.limit()?;
        let rows = self
            .db
            .read(
                "SELECT s.sku, s.on_hand, s.reserved, v.title, p.title AS product, p.slug
                 FROM product_stock s JOIN product_variants v ON v.sku = s.sku
                   JOIN product_products p ON p.id = v.product_id
                 WHERE s.location = $1 AND s.sku > $2 AND s.on_hand - s.reserved < $3
                 ORDER BY s.sku LIMIT $4",
                vec![
                    LOCATION.into(),
                    page.cursor.as_deref().unwrap_or_default().into(),
                    below.unwrap_or(i64::MAX).into(),
                    one_more(limit),
                ],
            )
            .await?;
        let items = rows
            .iter()
            .map(|row| {
                Ok(StockItem {
                    level: level(row, "on_hand", "reserved")?,
                    title: full_title(&row.get::<String>("product")?, &row.get::<String>("title")?),
                    slug: row.get("slug")?,
                })
            })
            .collect::<Result<Vec<_>, StorageError>>()?;
        Ok(Page::cut(items, limit, |item| item.level.sku.clone()))
    }

    /// A SKU's ledger, newest first.
    pub(super) async fn movements(&self, sku: &str, page: &PageQuery) -> Result<Page<Movement>, Problem> {
        let limit = page.limit()?;
        let before = match page.cursor.as_deref().filter(|cursor| !cursor.is_empty()) {
            None => i64::MAX,
            Some(cursor) => {
                cursor.parse().map_err(|_| Problem::invalid("/cursor", "this is no cursor of a ledger"))?
            }
        };
        let rows = self
            .db
            .read(
                "SELECT sku, seq, kind, on_hand_delta, reserved_delta, on_hand_after, reserved_after, order_id,
                   reason, at
                 FROM product_movements WHERE sku = $1 AND location = $2 AND seq < $3
                 ORDER BY seq DESC LIMIT $4",
                vec![sku.into(), LOCATION.into(), before.into(), one_more(limit)],
            )
            .await?;
        if rows.is_empty() {
            // Tells an empty ledger from a SKU that is not there.
            self.stock(sku).await?;
        }
        let items = rows.iter().map(movement).collect::<Result<Vec<_>, _>>()?;
        Ok(Page::cut(items, limit, |movement: &Movement| movement.seq.to_string()))
    }
}

/// Why the shelf did not take the act; none when by now it would.
fn refusal(act: &StockAct<'_>, level: &StockLevel) -> Option<Problem> {
    let after = level.on_hand.saturating_add(act.delta);
    if after < level.reserved {
        let detail = format!(
            "{} units of {} are on the shelf and {} of them are held for orders: at most {} can go",
            level.on_hand, level.sku, level.reserved, level.available
        );
        return Some(Problem::new(Code::Conflict, detail).with("reason", "below_reserved"));
    }
    let message = format!("a shelf takes at most {ON_HAND_MAX} units");
    (after > ON_HAND_MAX).then(|| Problem::invalid("/quantity", message))
}

fn movement(row: &Row) -> Result<Movement, StorageError> {
    Ok(Movement {
        sku: row.get("sku")?,
        seq: row.get("seq")?,
        kind: row.get("kind")?,
        on_hand_delta: row.get("on_hand_delta")?,
        reserved_delta: row.get("reserved_delta")?,
        on_hand_after: row.get("on_hand_after")?,
        reserved_after: row.get("reserved_after")?,
        order_id: row.get("order_id")?,
        reason: row.get("reason")?,
        at: row.get("at")?,
    })
}

fn one_more(limit: usize) -> Value {
    i64::try_from(limit + 1).unwrap_or(101).into()
}
