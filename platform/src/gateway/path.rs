//! What a path may look like. A path that could mean one thing here and another thing behind is refused, not cleaned
//! up: then there is only one way to spell a route, and `/internal` cannot be spelled at all.

/// Why a path is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// However it is spelled, it means `/internal`.
    Internal,
    /// It can be read in two ways: dot segments, empty segments, encoded slashes, parameters, broken encodings.
    Ambiguous,
}

/// Checks `path` as it came over the wire.
pub fn check(path: &str) -> Result<(), Refusal> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(Refusal::Ambiguous);
    }
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~' | b'/');
    let has_empty_segment = bytes.windows(2).any(|pair| pair == b"//");
    if bytes.iter().all(plain) && !has_empty_segment {
        return if is_internal(path) { Err(Refusal::Internal) } else { Ok(()) };
    }
    check_slowly(path, has_empty_segment)
}

fn is_internal(path: &str) -> bool {
    path.split('/')
        .find(|segment| !segment.is_empty())
        .is_some_and(|first| first.eq_ignore_ascii_case("internal"))
}

fn check_slowly(path: &str, has_empty_segment: bool) -> Result<(), Refusal> {
    let Some(meant) = meaning(path) else { return Err(Refusal::Ambiguous) };
    if is_internal(&meant) {
        return Err(Refusal::Internal);
    }
    let is_odd = |segment: &str| {
        let Some(decoded) = decode(segment) else { return true };
        let odd = |letter: char| letter.is_control() || matches!(letter, '/' | '\\' | ';' | '%' | '?' | '#');
        matches!(decoded.as_str(), "." | "..") || decoded.contains(odd)
    };
    if has_empty_segment || path.split('/').any(is_odd) { Err(Refusal::Ambiguous) } else { Ok(()) }
}

/// One layer of percent-encoding taken off; `None` when it is broken or not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
            let (high, low) = (digit(rest.next())?, digit(rest.next())?);
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// What the most lenient server could take `path` for: decoded to the bottom, with parameters dropped, dots resolved
/// and slashes of all kinds merged.
fn meaning(path: &str) -> Option<String> {
    let mut text = path.to_owned();
    for _ in 0..8 {
        let decoded = decode(&text)?;
        if decoded == text {
            break;
        }
        text = decoded;
    }
    let mut segments: Vec<&str> = Vec::new();
    for segment in text.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default().trim();
        let segment = segment.trim_matches(char::is_control);
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            other => segments.push(other),
        }
    }
    Some(format!("/{}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/v1/products",
            "/v1/products/caf%C3%A9",
            "/v1/products/a.b-c_d~e",
            "/v1/carts/0198/lines/TEE-M",
            "/.well-known/jwks.json",
            "/assets/shop.css",
            "/v1/internal",
            "/v1/orders/x/",
            "/v1/products/a%20b",
            "/v1/products/a@b:c,d",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
    }

    #[test]
    fn internal_is_refused_however_it_is_spelled() {
        for path in [
            "/internal",
            "/internal/v1/reservations",
            "/INTERNAL/v1",
            "/Internal",
            "//internal/v1",
            "/./internal/v1",
            "/v1/../internal/v1",
            "/v1/%2e%2e/internal/v1",
            "/v1/..%2finternal/v1",
            "/%69nternal/v1",
            "/%2569nternal/v1",
            "/%252569nternal/v1",
            "/internal;x=1/v1",
            "/internal%3bx/v1",
            "/;/internal",
            "/%2finternal",
            "/\\internal",
            "/%5cinternal",
            "/v1/..\\internal",
            "/v1/..;/internal/v1",
            "/internal%00/v1",
            "/internal%20/v1",
            "/v1/products/..%252f..%252finternal%252fv1",
            "/../internal",
        ] {
            assert_eq!(check(path), Err(Refusal::Internal), "{path}");
        }
    }

    #[test]
    fn what_can_be_read_in_two_ways_is_refused() {
        for path in [
            "",
            "v1",
            "*",
            "//v1/products",
            "/v1//products",
            "/v1/./products",
            "/v1/products/..",
            "/v1/products/%2e%2e/x",
            "/v1/products/a%2fb",
            "/v1/products/a%5cb",
            "/v1/products/a;b",
            "/v1/products/%zz",
            "/v1/products/%f",
            "/v1/products/%ff%fe",
            "/v1/products/a%00b",
            "/v1/products/a%2525b",
        ] {
            assert_eq!(check(path), Err(Refusal::Ambiguous), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_never_taken_for_internal_by_anybody(
            path in "(/|%2[fF]|\\\\|\\.|%2[eE]|;|%|//|(%[0-9a-f]{2})|internal|Internal|%69nternal|v1|x){1,8}"
        ) {
            if check(&path).is_ok() {
                let meant = meaning(&path).expect("it decodes");
                prop_assert!(!meant.to_lowercase().starts_with("/internal/") && meant.to_lowercase() != "/internal");
                prop_assert_eq!(&decode(&path).map(|once| decode(&once)), &Some(decode(&path)));
            }
        }
    }
}
