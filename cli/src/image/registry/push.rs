//! An image on its way: what is there is left, what is not is sent, and the manifest comes last, so that the tag never names
//! something that is not whole.
//!
//! Killed at any moment, the next push goes on with the first blob that is missing. The manifest's name is looked at again in
//! the end: what counts is what the registry keeps.

use std::io;
use std::time::Duration;

use hyper::{Method, StatusCode};
use serde::Serialize;

use super::line::Payload;
use super::session::{Call, Session, asked};
use super::trouble::Trouble;
use crate::image::digest::Digest;
use crate::image::document::Descriptor;
use crate::image::stored::{Stored, digest_of};

/// So often a step is tried.
const TRIES: u32 = 5;
/// The wait before the second try; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// The longest wait that a registry may ask for.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Pushed {
    /// The name with the tag.
    pub reference: String,
    /// What Kubernetes is given: registry, repository and digest.
    pub by_digest: String,
    /// The digest of the manifest.
    pub digest: Digest,
    /// How many blobs were sent.
    pub sent: u32,
    /// How many bytes they have.
    pub sent_bytes: u64,
    /// How many were there.
    pub there: u32,
    /// Whether the tag named this image before.
    pub was_there: bool,
}

/// Pushes `image`; `tell` hears of each step: what, how many are done, of how many.
///
/// # Errors
/// What stopped it; what has arrived stays.
pub async fn push(
    session: &mut Session,
    image: &Stored,
    mut tell: impl FnMut(&str, u64, u64),
) -> Result<Pushed, Trouble> {
    let reference = session.reference().clone();
    let mut pushed = Pushed {
        reference: reference.to_string(),
        by_digest: format!("{}@{}", reference.name(), image.named.digest),
        digest: image.named.digest.clone(),
        sent: 0,
        sent_bytes: 0,
        there: 0,
        was_there: false,
    };
    let total = image.parts().count() as u64 + 1;
    tell(&format!("asking {}", reference.host()), 0, total);
    let own = image.named.digest.as_str();
    if persist(session, async |session| tagged(session, image).await).await?.as_deref() == Some(own) {
        pushed.was_there = true;
        pushed.there = u32::try_from(total).unwrap_or(u32::MAX);
        return Ok(pushed);
    }
    for (at, part) in image.parts().enumerate() {
        tell(&format!("sending {}", part.digest.short()), at as u64, total);
        if persist(session, async |session| blob(session, part, image).await).await? {
            pushed.sent += 1;
            pushed.sent_bytes += part.size;
        } else {
            pushed.there += 1;
        }
    }
    tell(&format!("tagging {}", reference.tag), total - 1, total);
    persist(session, async |session| tag(session, image).await).await?;
    match persist(session, async |session| tagged(session, image).await).await? {
        Some(found) if found == own => Ok(pushed),
        other => {
            let found = other.unwrap_or_else(|| "nothing".to_owned());
            Err(Trouble::Other { sent: image.named.digest.clone(), found })
        }
    }
}

/// Does one thing, again and again while that may help.
async fn persist<T>(
    session: &mut Session,
    step: impl AsyncFn(&mut Session) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    let mut wait = FIRST_WAIT;
    for _ in 1..TRIES {
        match step(session).await {
            Err(trouble) if trouble.may_pass(session.has_answered()) => {
                let asked = trouble.retry_after().map_or(wait, |asked| asked.clamp(wait, WAIT_MAX));
                tokio::time::sleep(asked).await;
                wait *= 2;
            }
            done => return done,
        }
    }
    step(session).await
}

/// The digest of what the registry keeps under the tag, computed from what it gives.
async fn tagged(session: &mut Session, image: &Stored) -> Result<Option<String>, Trouble> {
    let url = session.address(&format!("manifests/{}", session.reference().tag));
    let headers = [("accept", image.named.media_type.as_str())];
    let call = Call { method: Method::GET, url: &url, headers: &headers };
    let answer = session.send(&call, || Ok(Payload::default())).await?;
    match answer.status {
        StatusCode::NOT_FOUND => Ok(None),
        status if status.is_success() => Ok(Some(Digest::of(&answer.body).to_string())),
        _ => Err(Trouble::answered(&answer, &asked(&call))),
    }
}

/// Sends a blob unless it is there: an earlier try may have arrived without its answer.
async fn blob(session: &mut Session, part: &Descriptor, image: &Stored) -> Result<bool, Trouble> {
    let url = session.address(&format!("blobs/{}", part.digest));
    let call = Call { method: Method::HEAD, url: &url, headers: &[] };
    let answer = session.send(&call, || Ok(Payload::default())).await?;
    // A redirection leads to where the storage keeps it.
    if answer.status.is_success() || answer.status.is_redirection() {
        return Ok(false);
    }
    if answer.status != StatusCode::NOT_FOUND {
        return Err(Trouble::answered(&answer, &asked(&call)));
    }
    let (found, _) = digest_of(image.blob(part)?)?;
    if found != part.digest {
        let message = format!("{} was changed: its digest is {found} now", part.digest);
        return Err(io::Error::new(io::ErrorKind::InvalidData, message).into());
    }
    let url = session.address("blobs/uploads/");
    let call = Call { method: Method::POST, url: &url, headers: &[] };
    let answer = session.send(&call, || Ok(Payload::default())).await?;
    if answer.status != StatusCode::ACCEPTED {
        return Err(Trouble::answered(&answer, &asked(&call)));
    }
    let location = answer
        .header("location")
        .ok_or_else(|| Trouble::Odd(format!("{} names no place for the upload", asked(&call))))?;
    let place = session.follow(location)?;
    let joint = if place.contains('?') { '&' } else { '?' };
    let url = format!("{place}{joint}digest={}", part.digest.as_str().replace(':', "%3A"));
    let headers = [("content-type", "application/octet-stream")];
    let call = Call { method: Method::PUT, url: &url, headers: &headers };
    let answer = session.send(&call, || Ok(Payload::file(image.blob(part)?))).await?;
    if answer.status.is_success() { Ok(true) } else { Err(Trouble::answered(&answer, &asked(&call))) }
}

async fn tag(session: &mut Session, image: &Stored) -> Result<(), Trouble> {
    let url = session.address(&format!("manifests/{}", session.reference().tag));
    let headers = [("content-type", image.named.media_type.as_str())];
    let call = Call { method: Method::PUT, url: &url, headers: &headers };
    let answer = session.send(&call, || Ok(Payload::bytes(image.manifest_bytes.clone()))).await?;
    if answer.status.is_success() { Ok(()) } else { Err(Trouble::answered(&answer, &asked(&call))) }
}
