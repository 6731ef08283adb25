//! Placing an order: once for each key, and answered as soon as its end is durable.
//!
//! | The process dies | What is there |
//! |---|---|
//! | before the batch that places it | nothing; the buyer's retry places it |
//! | after it | the order, its saga (leased to the dead worker until the lease ends) and the key: a retry waits for it |
//! | after the end, before the answer | the answer, stored beside the key: a retry gets it |
//! | the batch is never answered | either of the first two: the buyer is told to try again, with the same key |

use axum::response::Response;

use super::answers;
use super::carts::{StoredCart, too_much};
use super::events::Placed;
use super::hub::Watch;
use super::idempotency::{self, Answer, Remembered, TAKEN, Ticket};
use super::model::SagaKind;
use super::orders::{Orders, conflict};
use super::pricing;
use super::promotions::{self, USED_UP};
use super::sagas::Work;
use super::store::{self, Aggregate, By};
use super::views;
use super::wire::{PlaceOrder, Promotion};
use crate::http::{Code, Context, FieldError, Problem};
use crate::storage::Batch;
use crate::vocabulary::{Env, OrderId, Topic, UserId, clock};

/// How often a number is drawn again because it was taken.
const NUMBERS_MAX: usize = 5;
/// How often a twin looks into the database: the first may be in another process.
const LOOK_EVERY: std::time::Duration = std::time::Duration::from_millis(100);

impl Orders {
    /// Places the order that `request` describes, or answers what was answered under `key` before.
    pub(super) async fn place(
        &self,
        context: &Context,
        key: &str,
        respond_async: bool,
        request: PlaceOrder,
    ) -> Result<Response, Problem> {
        check(&request, context)?;
        let user = context.identity.as_ref().map(|who| who.user_id);
        let ticket = Ticket::new(user, request.cart_id, key);
        let fingerprint = idempotency::fingerprint(&request);
        let (cart, remembered) = self.carts().find_with_ticket(request.cart_id, &ticket).await?;
        let live = remembered.as_ref().filter(|remembered| remembered.expires_at > self.env.now());
        if let Some(remembered) = live {
            return self.twin(&ticket, &fingerprint, remembered.clone(), user).await;
        }
        let cart = cart.ok_or_else(|| Problem::not_found("cart"))?.held_by(context.identity.as_deref())?;
        let (placed, promotion) = self.priced(context, &request, &cart, user).await?;
        let plan = Plan { ticket, fingerprint, promotion, cart, key_expired: remembered.is_some() };
        self.write(context, plan, placed, request, respond_async).await
    }

    /// What the order will be: server prices only.
    async fn priced(
        &self,
        context: &Context,
        request: &PlaceOrder,
        cart: &StoredCart,
        user: Option<UserId>,
    ) -> Result<(Placed, Option<Promotion>), Problem> {
        if cart.lines.is_empty() {
            return Err(Problem::invalid("/cart_id", "the cart is empty"));
        }
        let carts = self.carts();
        let quoted = carts.quote(context, &cart.lines).await?;
        let promotion = match &cart.promotion {
            Some(code) => Some(carts.applicable(code, &quoted).await?),
            None => None,
        };
        let benefit = promotion.as_ref().map(|promotion| &promotion.benefit);
        let priced =
            pricing::price(&quoted, benefit, &self.config.pricing, self.config.currency).map_err(too_much)?;
        let email = request.email.clone().or_else(|| context.identity.as_ref().map(|who| who.email.clone()));
        let placed = Placed {
            number: number(&self.env),
            user_id: user,
            cart_id: cart.id,
            email: email.unwrap_or_default(),
            lines: priced.lines,
            subtotal: priced.subtotal,
            discount: priced.discount,
            tax: priced.tax,
            shipping: priced.shipping,
            total: priced.total,
            promotion: promotion.as_ref().map(|promotion| promotion.code.clone()),
            shipping_address: request.shipping_address.clone(),
        };
        Ok((placed, promotion))
    }

    /// The one batch that places the order; then its saga is driven from here.
    async fn write(
        &self,
        context: &Context,
        plan: Plan,
        mut placed: Placed,
        request: PlaceOrder,
        respond_async: bool,
    ) -> Result<Response, Problem> {
        let id: OrderId = self.env.id();
        crate::telemetry::scope::note_order(id);
        let user = placed.user_id;
        let by = By::customer(context.clone());
        let mut watch = self.hub.watch(id);
        for _ in 0..NUMBERS_MAX {
            let now = self.env.now();
            let mut batch = Batch::new();
            let order = Aggregate::place(id, placed.clone(), &by, &self.env, &mut batch).map_err(conflict)?;
            let early = respond_async.then(|| answers::accepted(&order.view()));
            if plan.key_expired {
                plan.ticket.free(&mut batch, now);
            }
            plan.ticket.take(&mut batch, &plan.fingerprint, id, early.as_ref(), now);
            if let Some(promotion) = &plan.promotion {
                promotions::count(&mut batch, promotion, &store::customer_key(&placed), now);
            }
            let mut row = store::begin(id, SagaKind::Checkout, id.uuid(), &by, now);
            row.deadline_at = Some(clock::add(now, self.config.payment_deadline));
            row.params["payment_method"] = request.payment_method.as_str().into();
            row.params["scope"] = plan.ticket.scope.as_str().into();
            row.params["key"] = plan.ticket.key.as_str().into();
            row.params["cart_version"] = plan.cart.version.into();
            self.runner.lease_from_the_start(&mut row);
            self.runner.log().insert(&mut batch, &row);
            self.env.reach(|| "order.place.before".to_owned()).await;
            match self.db.write(batch).await {
                Ok(_) => drop(self.env.reach(|| "order.place.recorded".to_owned()).await),
                Err(error) if error.is_conflict("order_number") => {
                    placed.number = number(&self.env);
                    continue;
                }
                Err(error) if error.is_conflict(TAKEN) => {
                    let remembered = plan.ticket.find(&self.db).await?;
                    let remembered = remembered.ok_or_else(|| Problem::internal(&error))?;
                    return self.twin(&plan.ticket, &plan.fingerprint, remembered, user).await;
                }
                Err(error) if error.is_expectation(USED_UP) => {
                    let code = placed.promotion.unwrap_or_default();
                    return Err(promotions::invalid(
                        &code,
                        "the promotion was used up, or used by you before",
                    ));
                }
                Err(error) => return Err(error.into()),
            }
            self.telemetry.order_reached("pending");
            self.bus.wake(Topic::Order);
            let work = Work {
                status_before: order.state.status,
                order,
                by: By::shop(context.called_by("order")),
                payment_method: request.payment_method,
                ticket: Some(plan.ticket.clone()),
                cart_version: plan.cart.version,
                answer: None,
                tells: false,
            };
            self.runner.drive(row, work);
            return match early {
                Some(answer) => Ok(self.respond(&answer, id, user)),
                None => self.first(&plan.ticket, id, user, &mut watch).await,
            };
        }
        Err(Problem::new(Code::Unavailable, "no free order number was found, try again"))
    }

    /// The first of its key: waits for the end, and when that takes too long, or the order rests until the provider is
    /// back, stores that it was answered 202.
    async fn first(
        &self,
        ticket: &Ticket,
        id: OrderId,
        user: Option<UserId>,
        watch: &mut Watch,
    ) -> Result<Response, Problem> {
        if let Ok(Some(answer)) = tokio::time::timeout(self.config.wait, watch.answer_or_rest()).await {
            return Ok(self.respond(&answer, id, user));
        }
        let owned = views::one(&self.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
        let late = answers::accepted(&owned.order);
        let mut batch = Batch::new();
        ticket.answer(&mut batch, &late);
        if self.db.write(batch).await?.iter().sum::<u64>() == 1 {
            return Ok(self.respond(&late, id, user));
        }
        // It ended in this very moment.
        let remembered = ticket.find(&self.db).await?;
        let answer = remembered.and_then(|remembered| remembered.answer).unwrap_or(late);
        Ok(self.respond(&answer, id, user))
    }

    /// Another request with the same key: the first one's answer, or 202 when that takes too long.
    async fn twin(
        &self,
        ticket: &Ticket,
        fingerprint: &str,
        remembered: Remembered,
        user: Option<UserId>,
    ) -> Result<Response, Problem> {
        if remembered.fingerprint != fingerprint {
            return Err(Problem::new(
                Code::IdempotencyKeyReused,
                "this Idempotency-Key was used with another request: use a new key for each thing you mean to do once",
            ));
        }
        let id = remembered.order_id;
        if let Some(answer) = remembered.answer {
            return Ok(self.respond(&answer, id, user));
        }
        let mut watch = self.hub.watch(id);
        let until = tokio::time::Instant::now() + self.config.wait;
        loop {
            // Looking comes first: the end may have been told before this watch began.
            if let Some(answer) = ticket.find(&self.db).await?.and_then(|remembered| remembered.answer) {
                return Ok(self.respond(&answer, id, user));
            }
            tokio::select! {
                answer = watch.answer() => return Ok(self.respond(&answer, id, user)),
                () = tokio::time::sleep_until(until) => break,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
        let owned = views::one(&self.db, id).await?.ok_or_else(|| Problem::not_found("order"))?;
        Ok(self.respond(&answers::accepted(&owned.order), id, user))
    }

    fn respond(&self, answer: &Answer, id: OrderId, user: Option<UserId>) -> Response {
        let token = user.is_none().then(|| self.secrets.order_access_token(id));
        answers::respond(answer, id, token.as_ref().map(crate::secrets::Secret::expose))
    }
}

/// What goes into the batch beside the order.
struct Plan {
    ticket: Ticket,
    fingerprint: String,
    promotion: Option<Promotion>,
    cart: StoredCart,
    key_expired: bool,
}

/// A number that people can read to each other: 10 letters without those that look or sound alike, drawn at random so
/// that it does not tell how many orders there are.
pub(super) fn number(env: &Env) -> String {
    const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut number = String::with_capacity(12);
    for (at, byte) in env.bytes::<10>().into_iter().enumerate() {
        if matches!(at, 2 | 6) {
            number.push('-');
        }
        number.push(char::from(LETTERS[usize::from(byte % 32)]));
    }
    number
}

fn check(request: &PlaceOrder, context: &Context) -> Result<(), Problem> {
    let mut errors = Vec::new();
    let mut refuse = |pointer: &str, message: &str| {
        errors.push(FieldError { pointer: pointer.to_owned(), message: message.to_owned() });
    };
    match &request.email {
        Some(email) if !is_email(email) => refuse("/email", "this is not an e-mail address"),
        None if context.identity.is_none() => refuse("/email", "an e-mail address is required of guests"),
        _ => {}
    }
    let address = &request.shipping_address;
    let texts = [
        ("name", Some(&address.name), 100),
        ("line1", Some(&address.line1), 200),
        ("line2", address.line2.as_ref(), 200),
        ("city", Some(&address.city), 100),
        ("postal_code", Some(&address.postal_code), 20),
    ];
    for (field, text, most) in texts {
        let Some(text) = text else { continue };
        if (text.trim().is_empty() && field != "line2") || text.chars().count() > most {
            refuse(
                &format!("/shipping_address/{field}"),
                &format!("{field} must have 1 to {most} characters"),
            );
        }
    }
    if address.country.len() != 2 || !address.country.bytes().all(|byte| byte.is_ascii_uppercase()) {
        refuse(
            "/shipping_address/country",
            "country must be two capital letters, as ISO 3166 has them: `US`",
        );
    }
    let method = &request.payment_method;
    let letters = method.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let digits = method.bytes().filter(u8::is_ascii_digit).count();
    if !(1..=128).contains(&method.len()) || !letters {
        refuse("/payment_method", "payment_method must be the provider's token, such as `pm_card_visa`");
    } else if digits >= 12 && digits == method.bytes().filter(u8::is_ascii_alphanumeric).count() {
        refuse("/payment_method", "card numbers are not taken here: send the provider's token");
    }
    if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
}

fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else { return false };
    !name.is_empty()
        && text.len() <= 254
        && host.contains('.')
        && !host.starts_with('.')
        && !host.ends_with('.')
        && !text.contains(|letter: char| letter.is_whitespace() || letter.is_control() || letter == ',')
        && !host.contains('@')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_free_of_look_alikes() {
        let env = Env::system();
        let drawn: std::collections::HashSet<String> = (0..1_000).map(|_| number(&env)).collect();
        assert_eq!(drawn.len(), 1_000);
        for number in drawn {
            assert_eq!(number.len(), 12);
            assert!(!number.contains(['I', 'L', 'O', 'U']), "{number}");
        }
    }

    #[test]
    fn an_email_has_a_name_and_a_host() {
        for good in ["ada@example.com", "a.b+c@sub.example.co"] {
            assert!(is_email(good), "{good}");
        }
        for bad in
            ["", "ada", "@example.com", "ada@", "ada@host", "a b@example.com", "a@b@example.com", "a@.com"]
        {
            assert!(!is_email(bad), "{bad}");
        }
    }
}
