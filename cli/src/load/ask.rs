//! A request as it goes over the wire: written once, sent as often as it is wanted.

use std::io::Write as _;

use bytes::Bytes;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Uri};

/// A request, ready to be sent. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Ask(Bytes);

impl Ask {
    /// A page that anybody may see.
    pub(super) fn page(host: &HeaderValue, uri: &Uri) -> Self {
        Self::new(host, &Method::GET, uri, &[], None)
    }

    /// `method` of `uri` with these headers beside what every request has, and with `body` as JSON. Nothing in it can be
    /// taken for the end of a line: methods, addresses and values of headers are checked when they are made.
    pub(super) fn new(
        host: &HeaderValue,
        method: &Method,
        uri: &Uri,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<&[u8]>,
    ) -> Self {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let room: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let length = body.map_or(0, <[u8]>::len);
        let mut bytes = Vec::with_capacity(path.len() + host.len() + room + length + 96);
        let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| bytes.extend_from_slice(part));
        put(&[
            method.as_str().as_bytes(),
            b" ",
            path.as_bytes(),
            b" HTTP/1.1\r\nhost: ",
            host.as_bytes(),
            b"\r\n",
        ]);
        for (name, value) in headers {
            put(&[name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"]);
        }
        match body {
            Some(body) => {
                // Writing into memory cannot fail.
                write!(bytes, "content-type: application/json\r\ncontent-length: {length}\r\n\r\n").ok();
                bytes.extend_from_slice(body);
            }
            None => bytes.extend_from_slice(b"\r\n"),
        }
        Self(Bytes::from(bytes))
    }

    /// What is sent.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use hyper::header::AUTHORIZATION;

    use super::*;

    const HOST: HeaderValue = HeaderValue::from_static("127.0.0.1:80");

    fn text(ask: &Ask) -> &str {
        std::str::from_utf8(ask.bytes()).unwrap()
    }

    #[test]
    fn a_page_is_a_line_and_the_host() {
        let page = Ask::page(&HOST, &Uri::from_static("/v1/products?limit=20"));
        assert_eq!(text(&page), "GET /v1/products?limit=20 HTTP/1.1\r\nhost: 127.0.0.1:80\r\n\r\n");
        let root = Ask::page(&HOST, &Uri::from_static("http://elsewhere"));
        assert!(text(&root).starts_with("GET / HTTP/1.1\r\n"), "{}", text(&root));
    }

    #[test]
    fn a_deed_has_its_headers_and_its_body_with_its_length() {
        let headers = [(AUTHORIZATION, HeaderValue::from_static("Bearer x"))];
        let deed = Ask::new(&HOST, &Method::POST, &Uri::from_static("/v1/carts"), &headers, Some(b"{}"));
        assert_eq!(
            text(&deed),
            "POST /v1/carts HTTP/1.1\r\nhost: 127.0.0.1:80\r\nauthorization: Bearer x\r\n\
             content-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
        );
    }
}
