//! The provider's routes, as Stripe's client libraries call them.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Response, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use subtle::ConstantTimeEq as _;

use super::Sandbox;
use super::answers::{ApiError, respond};
use super::book::{Answer, BookError, EventKind, EventNote, Record, Said, Seen, Taken, key_token};
use super::faults::FaultMode;
use super::form::Form;
use super::intents::{Decline, Intent, Refund, Status, Token, check_payment_method, token_of};
use crate::secrets::Secret;

/// How long an early webhook may hold up the answer.
const EARLY_PATIENCE: Duration = Duration::from_secs(2);

/// What the server does with a request.
pub(super) enum Outcome {
    Answer(Response<Body>),
    /// Cut the connection without a word.
    Cut,
}

/// A change that a request asks for.
enum Change {
    Create,
    Confirm(Token),
    Capture(Token),
    Cancel(Token),
    Refund,
}

/// One request, read.
pub(super) struct Call<'request> {
    pub(super) method: &'request Method,
    pub(super) path: &'request str,
    pub(super) query: &'request str,
    pub(super) headers: &'request HeaderMap,
    pub(super) body: &'request [u8],
}

impl Sandbox {
    /// Answers a request under `/v1`.
    pub(super) async fn serve(&self, call: Call<'_>) -> Outcome {
        let request_id = format!("req_{}", Token(self.env.uuid().as_u128()));
        match self.faults.strike(|mode| matches!(mode, FaultMode::Blackhole)) {
            FaultMode::None => {}
            _ => {
                self.faults.hang().await;
                return Outcome::Cut;
            }
        }
        self.faults.delay().await;
        let answer = if !knows_key(call.headers, &self.secrets.api_key) {
            Err(ApiError::unauthorized())
        } else if call.method == Method::GET {
            self.read(&call).await
        } else {
            return self.change(&call, &request_id).await;
        };
        let (status, body) = split(answer);
        Outcome::Answer(respond(status, body.to_string(), &request_id, None))
    }

    /// A change: replayed when its key was seen, done once otherwise, durable before it is answered.
    async fn change(&self, call: &Call<'_>, request_id: &str) -> Outcome {
        let key = call.headers.get("idempotency-key").and_then(|key| key.to_str().ok());
        let answer = |status, body: String, replayed| {
            Outcome::Answer(respond(status, body, request_id, key.map(|key| (key, replayed))))
        };
        let form = match Form::parse(call.body) {
            Ok(form) => form,
            Err(error) => return answer(error.status, error.text(), false),
        };
        let fingerprint = form.fingerprint(call.path);
        // Twins race for the key: whoever comes second finds the first one's answer on the next turn.
        let mut form = Some(form);
        loop {
            if let Some(key) = key {
                match self.book.answer(key_token(key)).await {
                    Ok(Some((saved, _))) if saved.fingerprint != fingerprint => {
                        let error = ApiError::key_reused(key);
                        return answer(error.status, error.text(), false);
                    }
                    Ok(Some((saved, intent))) => {
                        return answer(saved.status, saved.body(intent.as_ref()), true);
                    }
                    Ok(None) => {}
                    Err(error) => return answer(500, broken(error).text(), false),
                }
            }
            let params = match form.take().map_or_else(|| Form::parse(call.body), Ok) {
                Ok(params) => params,
                Err(error) => return answer(error.status, error.text(), false),
            };
            let struck = self.faults.strike(|mode| {
                matches!(mode, FaultMode::Error | FaultMode::TimeoutBefore | FaultMode::Decline)
            });
            if struck == FaultMode::TimeoutBefore {
                self.faults.hang().await;
                return Outcome::Cut;
            }
            let saved = key.map(|key| (key_token(key), fingerprint));
            match self.execute(call.path, params, saved, struck).await {
                Ok(done) if done.happened && self.hides_the_answer() => {
                    self.faults.hang().await;
                    return Outcome::Cut;
                }
                Ok(Done { status, body, .. }) => return answer(status, body, false),
                Err(Failed::Stale) => {}
                Err(Failed::Error(error)) => return answer(error.status, error.text(), false),
            }
        }
    }

    fn hides_the_answer(&self) -> bool {
        self.faults.strike(|mode| mode == FaultMode::TimeoutAfter) == FaultMode::TimeoutAfter
    }

    async fn execute(
        &self,
        path: &str,
        mut form: Form,
        saved: Option<(Token, u64)>,
        struck: FaultMode,
    ) -> Result<Done, Failed> {
        let change = route(path)?;
        let now = self.env.now().as_second();
        if struck == FaultMode::Error {
            return self.save_error(asked_for(), saved, now).await;
        }
        let seen = self.seen(&change, &mut form).await?;
        let forced = (struck == FaultMode::Decline).then_some(Decline::Generic);
        let expanded = form.expands_charge();
        let applied = self.apply(&change, seen.as_ref().map(|seen| &seen.intent), form, forced, now);
        let (intent, said) = match applied {
            Ok(applied) => applied,
            Err(error) if error.is_saved() => return self.save_error(error, saved, now).await,
            Err(error) => return Err(error.into()),
        };
        let kind = told(&change, &intent);
        let events: Vec<EventNote> = kind
            .filter(|_| self.webhooks.url().is_some())
            .map(|kind| EventNote { token: Token(self.env.uuid().as_u128()), kind, at: now })
            .into_iter()
            .collect();
        let declined = matches!(kind, Some(EventKind::Failed)).then_some(intent.declined).flatten();
        let (status, said) = match (said, declined) {
            (_, Some(decline)) => (402, Said::Body(ApiError::card(decline).about(intent.clone()).body())),
            (Said::Intent { .. }, None) => (200, Said::Intent { expanded }),
            (said, None) => (200, said),
        };
        let (key, fingerprint) = saved.unwrap_or((Token(self.env.uuid().as_u128()), 0));
        let answer = Answer { key, fingerprint, at: now, status, said };
        let body = answer.body(Some(&intent));
        let notes: Vec<Token> = events.iter().map(|event| event.token).collect();
        let answer = saved.map(|_| answer);
        let record = Record { intent: Some(intent), answer, events, delivered: Vec::new() };
        match self.book.write(&record, seen.as_ref(), now).await.map_err(broken)? {
            Taken::Stale => return Err(Failed::Stale),
            Taken::Yes => {}
        }
        for event in notes {
            self.tell(event).await;
        }
        Ok(Done { status, body, happened: true })
    }

    /// A failure that the key replays.
    async fn save_error(
        &self,
        error: ApiError,
        saved: Option<(Token, u64)>,
        now: i64,
    ) -> Result<Done, Failed> {
        let (status, body) = (error.status, error.body());
        if let Some((key, fingerprint)) = saved {
            let answer = Answer { key, fingerprint, at: now, status, said: Said::Body(body.clone()) };
            let record = Record { answer: Some(answer), ..Record::default() };
            if self.book.write(&record, None, now).await.map_err(broken)? == Taken::Stale {
                return Err(Failed::Stale);
            }
        }
        Ok(Done { status, body: body.to_string(), happened: false })
    }

    async fn seen(&self, change: &Change, form: &mut Form) -> Result<Option<Seen>, Failed> {
        let (token, id) = match change {
            Change::Create => return Ok(None),
            Change::Confirm(token) | Change::Capture(token) | Change::Cancel(token) => {
                (*token, format!("pi_{token}"))
            }
            Change::Refund => {
                let id = match (form.text("payment_intent"), form.text("charge")) {
                    (Some(id), None) | (None, Some(id)) => id,
                    _ => {
                        let message = "One of the following params should be provided for this request: payment_intent or charge.";
                        return Err(ApiError::invalid(None, None, message).into());
                    }
                };
                let token = token_of("pi_", &id).or_else(|| token_of("ch_", &id));
                (token.ok_or_else(|| missing_intent(&id))?, id)
            }
        };
        Ok(Some(self.intent(token, &id).await?))
    }

    fn apply(
        &self,
        change: &Change,
        before: Option<&Intent>,
        mut form: Form,
        forced: Option<Decline>,
        now: i64,
    ) -> Result<(Intent, Said), ApiError> {
        let mut said = Said::Intent { expanded: false };
        let intent = match (change, before) {
            (Change::Create, _) => {
                let mut intent = self.new_intent(&mut form, now)?;
                let confirm = form.truth("confirm")?;
                form.end()?;
                if confirm {
                    intent.confirm(forced)?;
                }
                intent
            }
            (change, Some(before)) => {
                let mut intent = before.clone();
                match change {
                    Change::Confirm(_) => {
                        form.ignore(&[
                            "return_url",
                            "off_session",
                            "payment_method_types",
                            "error_on_requires_action",
                        ]);
                        if let Some(method) = form.text("payment_method") {
                            check_payment_method(&method)?;
                            intent.payment_method = Some(method);
                        }
                        form.end()?;
                        intent.confirm(forced)?;
                    }
                    Change::Capture(_) => {
                        let amount = form.integer("amount_to_capture")?;
                        intent.metadata.extend(form.bracketed("metadata"));
                        form.ignore(&["final_capture", "statement_descriptor"]);
                        form.end()?;
                        intent.capture(amount)?;
                    }
                    Change::Cancel(_) => {
                        let reason = form.text("cancellation_reason");
                        form.end()?;
                        intent.cancel(reason, now)?;
                    }
                    Change::Refund => {
                        let (amount, reason) = (form.integer("amount")?, form.text("reason"));
                        let metadata = form.bracketed("metadata");
                        form.end()?;
                        let token = Token(self.env.uuid().as_u128());
                        let _: Refund = intent.refund(token, amount, reason, metadata, now)?;
                        said = Said::Refund;
                    }
                    Change::Create => {}
                }
                intent
            }
            (_, None) => return Err(ApiError::ours("a change of nothing")),
        };
        Ok((intent, said))
    }

    fn new_intent(&self, form: &mut Form, now: i64) -> Result<Intent, ApiError> {
        let missing = |name| {
            ApiError::invalid(
                Some("parameter_missing"),
                Some(name),
                format!("Missing required param: {name}."),
            )
        };
        let amount = form.integer("amount")?.ok_or_else(|| missing("amount"))?;
        if !(1..=99_999_999).contains(&amount) {
            let (code, message) = if amount < 1 {
                ("parameter_invalid_integer", "This value must be greater than or equal to 1.")
            } else {
                ("amount_too_large", "Amount must be no more than $999,999.99")
            };
            return Err(ApiError::invalid(Some(code), Some("amount"), message));
        }
        let currency = form.required("currency")?.to_ascii_lowercase();
        if currency.len() != 3 || !currency.bytes().all(|byte| byte.is_ascii_lowercase()) {
            return Err(ApiError::invalid(None, Some("currency"), format!("Invalid currency: {currency}")));
        }
        let manual_capture = match form.text("capture_method").as_deref() {
            Some("manual") => true,
            None | Some("automatic" | "automatic_async") => false,
            Some(other) => {
                return Err(ApiError::invalid(
                    None,
                    Some("capture_method"),
                    format!("Invalid capture_method: {other}"),
                ));
            }
        };
        let kinds: Vec<String> = form.bracketed("payment_method_types").into_values().collect();
        if kinds.iter().any(|kind| kind != "card") {
            return Err(ApiError::invalid(
                None,
                Some("payment_method_types"),
                "This sandbox takes cards only.",
            ));
        }
        let payment_method = form.text("payment_method");
        if let Some(method) = &payment_method {
            check_payment_method(method)?;
        }
        let metadata: BTreeMap<String, String> = form.bracketed("metadata");
        let description = form.text("description");
        form.ignore(&[
            "automatic_payment_methods",
            "confirmation_method",
            "customer",
            "error_on_requires_action",
            "off_session",
            "payment_method_options",
            "receipt_email",
            "return_url",
            "setup_future_usage",
            "shipping",
            "statement_descriptor",
            "statement_descriptor_suffix",
        ]);
        let status = match payment_method {
            Some(_) => Status::RequiresConfirmation,
            None => Status::RequiresPaymentMethod,
        };
        Ok(Intent {
            token: Token(self.env.uuid().as_u128()),
            created: now,
            amount,
            currency,
            manual_capture,
            status,
            payment_method,
            description,
            metadata,
            authorized: 0,
            captured: 0,
            declined: None,
            canceled_at: None,
            cancellation_reason: None,
            refunds: Vec::new(),
        })
    }

    async fn tell(&self, event: Token) {
        let webhooks = |mode| {
            matches!(mode, FaultMode::DuplicateWebhook | FaultMode::EarlyWebhook | FaultMode::LostWebhook)
        };
        match self.faults.strike(webhooks) {
            FaultMode::LostWebhook => self.book.delivered(vec![event]),
            FaultMode::EarlyWebhook => self.webhooks.tell_now(event, EARLY_PATIENCE).await,
            FaultMode::DuplicateWebhook => self.webhooks.tell(event, 2),
            _ => self.webhooks.tell(event, 1),
        }
    }
}

struct Done {
    status: u16,
    body: String,
    /// Something happened: the answer to that is what a time-out after the act hides.
    happened: bool,
}

enum Failed {
    /// Somebody was faster.
    Stale,
    Error(ApiError),
}

impl From<ApiError> for Failed {
    fn from(error: ApiError) -> Self {
        Self::Error(error)
    }
}

fn route(path: &str) -> Result<Change, ApiError> {
    let segments: Vec<&str> = path.trim_matches('/').split('/').skip(1).collect();
    let token = |id: &str| token_of("pi_", id).ok_or_else(|| missing_intent(id));
    match segments.as_slice() {
        ["payment_intents"] => Ok(Change::Create),
        ["payment_intents", id, "confirm"] => Ok(Change::Confirm(token(id)?)),
        ["payment_intents", id, "capture"] => Ok(Change::Capture(token(id)?)),
        ["payment_intents", id, "cancel"] => Ok(Change::Cancel(token(id)?)),
        ["refunds"] => Ok(Change::Refund),
        _ => Err(ApiError::unknown_route("POST", path)),
    }
}

/// The event that a change tells.
fn told(change: &Change, intent: &Intent) -> Option<EventKind> {
    match (change, intent.status) {
        (Change::Refund, _) => Some(EventKind::Refunded),
        (_, Status::RequiresCapture) => Some(EventKind::Authorized),
        (_, Status::Succeeded) => Some(EventKind::Succeeded),
        (_, Status::Canceled) => Some(EventKind::Canceled),
        (_, Status::RequiresPaymentMethod) if intent.declined.is_some() => Some(EventKind::Failed),
        (_, Status::RequiresPaymentMethod | Status::RequiresConfirmation) => None,
    }
}

pub(super) fn missing_intent(id: &str) -> ApiError {
    ApiError::missing("payment_intent", id)
}

pub(super) fn asked_for() -> ApiError {
    ApiError::ours("An error occurred, because one was asked for.")
}

#[expect(clippy::needless_pass_by_value, reason = "it ends a chain of map_err")]
pub(super) fn broken(error: BookError) -> ApiError {
    tracing::error!(%error, "the sandbox provider failed");
    ApiError::ours("The statement could not be read or written.")
}

fn split(answer: Result<Value, ApiError>) -> (u16, Value) {
    match answer {
        Ok(body) => (200, body),
        Err(error) => (error.status, error.body()),
    }
}

/// Whether the caller shows `key`, as the user of basic authentication or as a bearer.
pub(super) fn knows_key(headers: &HeaderMap, key: &Secret) -> bool {
    let Some(value) = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
        return false;
    };
    let shown = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim().as_bytes().to_vec(),
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("basic") => {
            let decoded = STANDARD.decode(token.trim()).unwrap_or_default();
            decoded.split(|byte| *byte == b':').next().unwrap_or_default().to_vec()
        }
        _ => return false,
    };
    bool::from(shown.as_slice().ct_eq(key.bytes()))
}
