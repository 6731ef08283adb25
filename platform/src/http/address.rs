//! Addresses made of what was typed: escaped, so that it cannot leave its place.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::CallError;

/// All that RFC 3986 does not call unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// `text` so that it means itself wherever it stands in a URL: the name of a user, a password, a host, a value of a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// `text` escaped so that it is one segment of a path, or one value of a query. Dots alone are escaped too: `..` as
/// it is would be a step up.
#[must_use]
pub fn segment(text: &str) -> String {
    match text {
        "." | ".." => text.replace('.', "%2E"),
        _ => escaped(text),
    }
}

/// `path` with `parameters` as its query; a flat struct whose absent fields are skipped. Nothing was sent when that
/// fails.
pub fn with_query<Q: Serialize + ?Sized>(path: &str, parameters: &Q) -> Result<String, CallError> {
    let query =
        serde_urlencoded::to_string(parameters).map_err(|error| CallError::Refused(error.to_string()))?;
    Ok(if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") })
}

/// A query of those `pairs` whose value is not empty, with its question mark; nothing when there is none.
#[must_use]
pub fn query(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    match serde_urlencoded::to_string(&pairs) {
        Ok(text) if !text.is_empty() => format!("?{text}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_cannot_leave_its_place_in_an_address() {
        assert_eq!(segment("../admin?x=1#y"), "..%2Fadmin%3Fx%3D1%23y");
        assert_eq!(segment("LAMP-1"), "LAMP-1");
        assert_eq!(segment("a/b?c é"), "a%2Fb%3Fc%20%C3%A9");
        assert_eq!(segment(".."), "%2E%2E");
        assert_eq!(query(&[("q", "a&b"), ("cursor", "")]), "?q=a%26b");
        assert_eq!(query(&[("q", "")]), "");
    }
}
