//! Mails over SMTP.
//!
//! A server's answer decides: taken; refused for now (4xx, or a refusal that is not the mail's fault), tried again
//! later, as is one whose connection broke; refused for good (a 5xx about the recipient or the mail), never tried again.
//! A server that cannot be reached is away: its mails wait, and none of them loses a try.
//!
//! SMTP has no way to ask whether a mail was taken: when the process dies, or the connection breaks, between the
//! server's acceptance and our note of it, the mail is sent again. Both carry the same `Message-ID`, made of the
//! delivery's id, by which servers and people recognise the duplicate.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use futures_util::future::BoxFuture;
use futures_util::{StreamExt as _, stream};
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use tokio_util::sync::CancellationToken;

use super::{Channel, ChannelSpec, Letter, Outcome};
use crate::config::SmtpConfig;
use crate::telemetry::redaction;
use crate::vocabulary::{Env, Timestamp, clock};

/// Connections at once.
const CONNECTIONS_MAX: u32 = 4;
/// How long the server may take for one command.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Answers that are about the mail or its recipient, and will be the same tomorrow.
const FINAL_CODES: [u16; 5] = [550, 551, 552, 553, 555];

/// The mail channel: used when there is a mail server.
pub(super) const CHANNEL: ChannelSpec = ChannelSpec {
    name: "smtp",
    letters_max: 32,
    is_active: |config| config.smtp.is_some(),
    open: |capabilities| {
        let config = &capabilities.config.notification;
        let server = config.smtp.as_ref().context("no mail server is configured")?;
        Ok(Box::new(SmtpChannel::new(capabilities.env.clone(), &config.sender, server)?))
    },
};

struct SmtpChannel {
    env: Env,
    sender: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl SmtpChannel {
    fn new(env: Env, sender: &str, server: &SmtpConfig) -> anyhow::Result<Self> {
        let sender: Mailbox = sender
            .parse()
            .with_context(|| format!("`{sender}` is not a sender like `Shop <shop@example.com>`"))?;
        let tls = if server.tls {
            Tls::Required(TlsParameters::new(server.host.clone()).context("cannot prepare TLS for mails")?)
        } else {
            Tls::None
        };
        let hello = ClientId::Domain(sender.email.domain().to_owned());
        let mut transport = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .tls(tls)
            .hello_name(hello)
            .timeout(Some(TIMEOUT))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS_MAX).idle_timeout(Duration::from_secs(20)));
        if let Some((user, password)) = server.credentials.clone() {
            transport = transport.credentials(Credentials::new(user, password));
        }
        Ok(Self { env, sender, transport: transport.build() })
    }

    fn mail(&self, letter: &Letter) -> Result<Message, Outcome> {
        let refused = |reason: String| Outcome::Refused { code: None, reason };
        let to = letter.to.parse().map_err(|_| refused("the recipient is not a mail address".to_owned()))?;
        Message::builder()
            .from(self.sender.clone())
            .to(Mailbox::new(None, to))
            .subject(&letter.subject)
            .message_id(Some(format!("<{}@{}>", letter.message_id, self.sender.email.domain())))
            .date(SystemTime::UNIX_EPOCH + clock::since(Timestamp::UNIX_EPOCH, self.env.now()))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.body.clone())
            .map_err(|error| refused(error.to_string()))
    }

    async fn send(&self, letter: &Letter) -> Outcome {
        let mail = match self.mail(letter) {
            Ok(mail) => mail,
            Err(outcome) => return outcome,
        };
        match self.transport.send(mail).await {
            Ok(_) => Outcome::Sent,
            Err(error) => judge(&error),
        }
    }
}

fn judge(error: &lettre::transport::smtp::Error) -> Outcome {
    let code = error.status().map(u16::from);
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason.push_str(": ");
        reason.push_str(&cause.to_string());
        source = cause.source();
    }
    let reason = redaction::clean(&reason).into_owned();
    // lettre tells this kind by its words only.
    let never_connected = reason.starts_with("Connection error");
    match code {
        None if never_connected => Outcome::Away { reason },
        // It broke while this mail was on its way, perhaps because of this mail: that is a try.
        None => Outcome::Deferred { code: None, reason },
        // 421 closes the door before any mail was looked at; 53x wants TLS or another password.
        Some(421 | 530..=538) => Outcome::Away { reason },
        Some(code) if FINAL_CODES.contains(&code) => Outcome::Refused { code: Some(code.into()), reason },
        Some(code) => Outcome::Deferred { code: Some(code.into()), reason },
    }
}

impl Channel for SmtpChannel {
    fn deliver<'call>(
        &'call self,
        letters: &'call [Letter],
        stop: &'call CancellationToken,
    ) -> BoxFuture<'call, Vec<Outcome>> {
        // The first that finds the server away spares the others the wait.
        let away = CancellationToken::new();
        Box::pin(async move {
            stream::iter(0..letters.len())
                .map(|at| {
                    let away = &away;
                    async move {
                        if stop.is_cancelled() || away.is_cancelled() {
                            return Outcome::Untried;
                        }
                        let outcome = self.send(&letters[at]).await;
                        if outcome.away().is_some() {
                            away.cancel();
                        }
                        outcome
                    }
                })
                .buffered(CONNECTIONS_MAX as usize)
                .collect()
                .await
        })
    }
}
