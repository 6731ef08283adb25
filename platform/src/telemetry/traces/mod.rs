//! Traces: spans across services and messages, joined by the W3C `traceparent` that every [`Context`] carries.
//!
//! A finished span goes into a ring of recent spans. When the outermost span of a piece of work ends, its trace is
//! kept whole if it failed, was slow, or the second's budget of ordinary traces is not used up; so a quiet shop
//! keeps everything, and a busy one all that went wrong and a sample of the rest. Kept traces go to the exporter.

mod span;
mod store;

pub use span::{Attribute, Name, Span, SpanKind, SpanRecord};
pub use store::{SpanSummary, TraceQuery, TraceStore, TraceSummary};

use crate::http::Context;

use super::Telemetry;

/// The 16 bytes of a trace's id.
pub type TraceId = [u8; 16];
/// The 8 bytes of a span's id.
pub type SpanId = [u8; 8];

impl Telemetry {
    /// Opens a span of `service` for `context`. The span's own context ([`Span::context`]) goes to whatever is
    /// called meanwhile; the span ends when it is dropped.
    #[must_use]
    pub fn start(
        &self,
        service: &'static str,
        kind: SpanKind,
        name: impl Into<Name>,
        context: &Context,
    ) -> Span {
        Span::start(self.clone(), service, kind, name.into(), context)
    }
}

/// The trace and span of a `traceparent`; `None` when it is not one of version 00 or is all zeros.
#[must_use]
pub fn parse_traceparent(text: &str) -> Option<(TraceId, SpanId)> {
    let bytes = text.as_bytes();
    let dashes = bytes.len() == 55 && [2, 35, 52].iter().all(|at| bytes[*at] == b'-');
    if !dashes || &bytes[..2] != b"00" {
        return None;
    }
    let trace: TraceId = parse_hex(&bytes[3..35])?;
    let span: SpanId = parse_hex(&bytes[36..52])?;
    (trace != [0; 16] && span != [0; 8]).then_some((trace, span))
}

/// What each byte is worth as a digit; more than a digit is for what is none.
const DIGITS: [u8; 256] = {
    let mut digits = [0x80; 256];
    let mut value = 0;
    while value < 16 {
        digits[b"0123456789abcdef"[value] as usize] = value as u8;
        value += 1;
    }
    digits
};

/// Lower-case hex only, as the standard wants it.
fn parse_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != N * 2 {
        return None;
    }
    let (mut bytes, mut all) = ([0; N], 0);
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let (high, low) = (DIGITS[usize::from(pair[0])], DIGITS[usize::from(pair[1])]);
        // Looked at once, at the end: a branch for each digit of each request is felt.
        all |= high | low;
        *byte = high << 4 | low;
    }
    (all & 0x80 == 0).then_some(bytes)
}

fn push_hex(text: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        text.push(char::from(DIGITS[usize::from(byte >> 4)]));
        text.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// `bytes` as lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    push_hex(&mut text, bytes);
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::context::traceparent;

    #[test]
    fn a_traceparent_survives_both_ways_and_a_broken_one_is_none() {
        let text = traceparent(&[0xab; 16], &[0x01; 8]);
        assert_eq!(parse_traceparent(&text), Some(([0xab; 16], [0x01; 8])));
        for broken in [
            "",
            "00-abab-01-01",
            &text.replace("00-", "ff-"),
            &text.replace('b', "g"),
            &text.to_uppercase(),
            &traceparent(&[0; 16], &[1; 8]),
            &traceparent(&[1; 16], &[0; 8]),
        ] {
            assert_eq!(parse_traceparent(broken), None, "{broken}");
        }
    }
}
