//! Who really sent a webhook.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::services::payment::provider::Disbelief;
use crate::vocabulary::Timestamp;

/// How far a webhook's signature may lie from our time, in seconds.
const TOLERANCE_S: i64 = 300;

/// Checks `t=…,v1=…`: the MAC over time and body, and that the time is about now.
pub(super) fn verify(secret: &[u8], signature: &str, body: &[u8], now: Timestamp) -> Result<(), Disbelief> {
    let fields = || signature.split(',').filter_map(|field| field.trim().split_once('='));
    let time = fields().find(|(name, _)| *name == "t").map(|(_, value)| value).ok_or(Disbelief::Forged)?;
    let at: i64 = time.parse().map_err(|_| Disbelief::Forged)?;
    let genuine = fields().filter(|(name, _)| *name == "v1").filter_map(|(_, hex)| unhex(hex)).any(|shown| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes a key of any length");
        mac.update(time.as_bytes());
        mac.update(b".");
        mac.update(body);
        mac.verify_slice(&shown).is_ok()
    });
    if !genuine {
        return Err(Disbelief::Forged);
    }
    if (now.as_second() - at).abs() > TOLERANCE_S { Err(Disbelief::Stale) } else { Ok(()) }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
