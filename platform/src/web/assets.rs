//! The stylesheet, the script and the mark, embedded in the binary.
//!
//! Their addresses carry a digest of their content, so a browser may keep them for good and still gets the
//! new ones with a new binary.

use std::fmt::Write;
use std::sync::LazyLock;

use axum::body::Body;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

/// One embedded file.
struct Asset {
    name: &'static str,
    kind: &'static str,
    bytes: &'static [u8],
}

const ASSETS: [Asset; 3] = [
    Asset {
        name: "shop.css",
        kind: "text/css; charset=utf-8",
        bytes: include_bytes!("../../assets/shop.css"),
    },
    Asset {
        name: "shop.js",
        kind: "text/javascript; charset=utf-8",
        bytes: include_bytes!("../../assets/shop.js"),
    },
    Asset { name: "mark.svg", kind: "image/svg+xml", bytes: include_bytes!("../../assets/mark.svg") },
];

/// The addresses that pages link to.
#[derive(Debug)]
pub struct Links {
    /// The stylesheet.
    pub stylesheet: String,
    /// The script.
    pub script: String,
    /// The shop's mark.
    pub mark: String,
}

static LINKS: LazyLock<Links> = LazyLock::new(|| {
    let link = |asset: &Asset| format!("/assets/{}?v={}", asset.name, digest(asset.bytes));
    Links { stylesheet: link(&ASSETS[0]), script: link(&ASSETS[1]), mark: link(&ASSETS[2]) }
});

/// The addresses that pages link to, with their digests.
#[must_use]
pub fn links() -> &'static Links {
    &LINKS
}

fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().take(6).fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// `GET /assets/{name}`: the file, to be kept for a year.
pub async fn asset(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let mut response = Response::new(Body::from(asset.bytes));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(asset.kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=31536000, immutable"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stylesheet_and_script_leave_room_for_the_page_within_60_kilobytes() {
        let total: usize = ASSETS.iter().map(|asset| asset.bytes.len()).sum();
        assert!(total < 36_000, "{total} bytes of assets leave too little for the page itself");
    }

    #[tokio::test]
    async fn an_asset_is_served_with_its_kind_and_an_unknown_one_is_not_found() {
        let response = asset(Path("shop.css".into())).await;
        assert_eq!(response.headers()[header::CONTENT_TYPE], "text/css; charset=utf-8");
        assert_eq!(asset(Path("../Cargo.toml".into())).await.status(), StatusCode::NOT_FOUND);
    }
}
