//! What may be asked of the provider without changing anything: one thing, lists, a search, the statement.

use serde_json::{Value, json};

use super::Sandbox;
use super::answers::{self, ApiError};
use super::api::{Call, asked_for, broken, missing_intent};
use super::book::Seen;
use super::faults::FaultMode;
use super::form::Form;
use super::intents::{Intent, Token, token_of};

impl Sandbox {
    /// Answers a `GET`.
    pub(super) async fn read(&self, call: &Call<'_>) -> Result<Value, ApiError> {
        if self.faults.strike(|mode| mode == FaultMode::Error) == FaultMode::Error {
            return Err(asked_for());
        }
        let mut query = Form::parse(call.query.as_bytes())?;
        let segments: Vec<&str> = call.path.trim_matches('/').split('/').skip(1).collect();
        let answer = match segments.as_slice() {
            ["payment_intents"] => self.list(&mut query).await?,
            ["payment_intents", "search"] => self.search(&mut query).await?,
            ["payment_intents", id] => {
                let intent =
                    self.intent(token_of("pi_", id).ok_or_else(|| missing_intent(id))?, id).await?.intent;
                answers::payment_intent(&intent, query.expands_charge()).value()
            }
            ["charges", id] => {
                let missing = || ApiError::missing("charge", id);
                let seen =
                    self.book.intent(token_of("ch_", id).ok_or_else(missing)?).await.map_err(broken)?;
                answers::charge(&seen.ok_or_else(missing)?.intent)
            }
            ["refunds"] => self.list_refunds(&mut query).await?,
            ["refunds", id] => self.refund(id).await?,
            _ => return Err(ApiError::unknown_route("GET", call.path)),
        };
        query.ignore(&["expand"]);
        query.end()?;
        Ok(answer)
    }

    /// The intent that `id` names.
    pub(super) async fn intent(&self, token: Token, id: &str) -> Result<Seen, ApiError> {
        self.book.intent(token).await.map_err(broken)?.ok_or_else(|| missing_intent(id))
    }

    /// Newest first; `created[gte]` and its like, `starting_after`, `ending_before`.
    async fn list(&self, query: &mut Form) -> Result<Value, ApiError> {
        let limit = page_size(query)?;
        let expanded = query.expands_charge();
        let (mut from, mut to) = (Token(0), Token(u128::MAX));
        for (bound, at) in query.bracketed("created") {
            let second: i64 =
                at.parse().map_err(|_| ApiError::invalid(None, Some("created"), "Invalid timestamp"))?;
            match bound.as_str() {
                "gte" => from = from.max(first_token_of(second)),
                "gt" => from = from.max(first_token_of(second + 1)),
                "lt" => to = to.min(first_token_of(second)),
                "lte" => to = to.min(first_token_of(second + 1)),
                _ => {
                    return Err(ApiError::invalid(
                        Some("parameter_unknown"),
                        Some("created"),
                        "Unknown bound",
                    ));
                }
            }
        }
        let cursor = |name: &'static str, query: &mut Form| -> Result<Option<Token>, ApiError> {
            let id = query.text(name);
            id.map(|id| token_of("pi_", &id).ok_or_else(|| missing_intent(&id))).transpose()
        };
        if let Some(after) = cursor("starting_after", query)? {
            to = to.min(after);
        }
        let before = cursor("ending_before", query)?;
        if let Some(before) = before {
            from = from.max(Token(before.0 + 1));
        }
        let mut tokens = match before {
            // The page that ends just before: the oldest of what is newer.
            Some(_) => {
                let all = self.book.tokens(from, to, usize::MAX);
                all[all.len().saturating_sub(limit + 1)..].to_vec()
            }
            None => self.book.tokens(from, to, limit + 1),
        };
        let has_more = tokens.len() > limit;
        if has_more {
            let surplus = if before.is_some() { 0 } else { limit };
            tokens.remove(surplus);
        }
        let mut data = Vec::with_capacity(tokens.len());
        for token in tokens {
            if let Some(seen) = self.book.intent(token).await.map_err(broken)? {
                data.push(answers::payment_intent(&seen.intent, expanded).value());
            }
        }
        Ok(answers::list("/v1/payment_intents", data, has_more))
    }

    /// `metadata['order_id']:'…'` and `status:'…'`, joined by `AND`. Unlike Stripe's, it never lags behind.
    async fn search(&self, query: &mut Form) -> Result<Value, ApiError> {
        let limit = page_size(query)?;
        let expanded = query.expands_charge();
        let wanted = parse_search(&query.required("query")?)?;
        let page = query.text("page");
        let to = page.as_deref().map(str::parse).transpose().map_err(|()| {
            ApiError::invalid(None, Some("page"), "Invalid page: send what `next_page` said")
        })?;
        let mut data = Vec::new();
        let mut next_page = None;
        let mut last = None;
        for token in self.book.tokens(Token(0), to.unwrap_or(Token(u128::MAX)), usize::MAX) {
            let Some(seen) = self.book.intent(token).await.map_err(broken)? else { continue };
            if !wanted.iter().all(|clause| clause.fits(&seen.intent)) {
                continue;
            }
            if data.len() == limit {
                next_page = last.map(|last: Token| last.to_string());
                break;
            }
            data.push(answers::payment_intent(&seen.intent, expanded).value());
            last = Some(token);
        }
        Ok(json!({
            "object": "search_result",
            "url": "/v1/payment_intents/search",
            "has_more": next_page.is_some(),
            "next_page": next_page,
            "data": data,
        }))
    }

    async fn list_refunds(&self, query: &mut Form) -> Result<Value, ApiError> {
        let limit = page_size(query)?;
        let id = query.text("payment_intent").map(|id| token_of("pi_", &id).ok_or(id));
        let id = id.or_else(|| query.text("charge").map(|id| token_of("ch_", &id).ok_or(id)));
        let token = match id {
            Some(Ok(token)) => token,
            Some(Err(id)) => return Err(missing_intent(&id)),
            None => {
                let message = "This sandbox lists refunds of one payment: send payment_intent or charge.";
                return Err(ApiError::invalid(Some("parameter_missing"), Some("payment_intent"), message));
            }
        };
        let intent = self.intent(token, "").await?.intent;
        let newest = intent.refunds.iter().rev();
        let data: Vec<Value> = newest.take(limit).map(|refund| answers::refund(refund, &intent)).collect();
        let has_more = intent.refunds.len() > data.len();
        Ok(answers::list("/v1/refunds", data, has_more))
    }

    async fn refund(&self, id: &str) -> Result<Value, ApiError> {
        let missing = || ApiError::missing("refund", id);
        let token = token_of("re_", id).ok_or_else(missing)?;
        let of = self.book.intent_of_refund(token).ok_or_else(missing)?;
        let intent = self.intent(of, id).await?.intent;
        let refund = intent.refunds.iter().find(|refund| refund.token == token).ok_or_else(missing)?;
        Ok(answers::refund(refund, &intent))
    }

    /// Every intent's money, oldest first.
    pub(super) async fn statement(&self) -> Result<Value, ApiError> {
        let mut items = Vec::new();
        for token in self.book.tokens(Token(0), Token(u128::MAX), usize::MAX).into_iter().rev() {
            if let Some(seen) = self.book.intent(token).await.map_err(broken)? {
                items.push(answers::statement_line(&seen.intent));
            }
        }
        Ok(json!({ "items": items }))
    }
}

/// One clause of a search.
struct Clause {
    field: String,
    value: String,
}

impl Clause {
    fn fits(&self, intent: &Intent) -> bool {
        match self.field.as_str() {
            "status" => intent.status.as_str() == self.value,
            "currency" => intent.currency == self.value,
            "amount" => self.value.parse() == Ok(intent.amount),
            field => intent.metadata.get(field.trim_start_matches("metadata.")) == Some(&self.value),
        }
    }
}

fn parse_search(query: &str) -> Result<Vec<Clause>, ApiError> {
    let refuse = || {
        let message = "Invalid search: this sandbox takes metadata['name']:'value', status, currency and amount, joined by AND.";
        ApiError::invalid(None, Some("query"), message)
    };
    let clause = |text: &str| -> Option<Clause> {
        let (field, value) = text.trim().rsplit_once(':')?;
        let unquote = |text: &str| text.trim().trim_matches(['\'', '"']).to_owned();
        let field = match field.strip_prefix("metadata[") {
            Some(name) => format!("metadata.{}", unquote(name.strip_suffix(']')?)),
            None => Some(field).filter(|field| ["status", "currency", "amount"].contains(field))?.to_owned(),
        };
        Some(Clause { field, value: unquote(value) })
    };
    query.split(" AND ").map(|text| clause(text).ok_or_else(refuse)).collect()
}

/// The least token that a thing made in `second` can have: tokens are UUIDv7, milliseconds first.
fn first_token_of(second: i64) -> Token {
    Token(u128::from(u64::try_from(second).unwrap_or(0)).saturating_mul(1000) << 80)
}

fn page_size(query: &mut Form) -> Result<usize, ApiError> {
    match query.integer("limit")?.unwrap_or(10) {
        limit @ 1..=100 => Ok(usize::try_from(limit).unwrap_or(10)),
        _ => Err(ApiError::invalid(None, Some("limit"), "limit must be from 1 to 100")),
    }
}
