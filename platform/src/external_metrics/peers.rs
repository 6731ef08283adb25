//! The shop's processes, asked for their metrics.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::Full;
use hyper::{Request, Uri, header};
use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::http::HttpClient;

/// How long a name may take to be looked up.
const LOOK_UP_MAX: Duration = Duration::from_secs(1);
/// How long a process may take to be reached, and to answer in all.
pub(super) const CONNECT_MAX: Duration = Duration::from_millis(500);
const ANSWER_MAX: Duration = Duration::from_millis(1500);
/// The most processes behind one name that are asked.
const REPLICAS_MAX: usize = 64;

/// Where the processes of a service answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The service.
    pub service: String,
    /// Base URLs. A name stands for every address that it has: for one process of many behind a Service, for all of them
    /// behind a headless one.
    pub urls: Vec<String>,
}

/// One address to ask, and the name that it is known by.
struct Place {
    url: String,
    name: String,
}

impl Peer {
    /// What each of the processes tells, or why it does not. Takes two and a half seconds at most.
    pub(super) async fn ask(&self, http: &HttpClient) -> Vec<Result<String, String>> {
        let answers = self.urls.iter().map(|url| async move {
            match places(url).await {
                Ok(places) => join_all(places.iter().map(|place| exposition(http, place))).await,
                Err(why) => vec![Err(why)],
            }
        });
        join_all(answers).await.into_iter().flatten().collect()
    }
}

async fn places(url: &str) -> Result<Vec<Place>, String> {
    let no_address = || format!("`{url}` is not an address");
    let uri: Uri = url.parse().map_err(|_| no_address())?;
    let name = uri.authority().ok_or_else(no_address)?.to_string();
    let path = format!("{}/metrics", uri.path().trim_end_matches('/'));
    if uri.scheme_str() != Some("http") {
        // A certificate is for a name, so the name it is.
        return Ok(vec![Place { url: format!("{}/metrics", url.trim_end_matches('/')), name }]);
    }
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let found = timeout(LOOK_UP_MAX, lookup_host((host, uri.port_u16().unwrap_or(80)))).await;
    let found = found.map_err(|_| format!("{url}: the name was not found within {LOOK_UP_MAX:?}"))?;
    let found = found.map_err(|error| format!("{url}: {error}"))?;
    let place = |address| Place { url: format!("http://{address}{path}"), name: name.clone() };
    Ok(found.take(REPLICAS_MAX).map(place).collect())
}

async fn exposition(http: &HttpClient, place: &Place) -> Result<String, String> {
    let failed = |why: &dyn std::fmt::Display| format!("{}: {why}", place.url);
    let request = Request::get(&place.url).header(header::HOST, &place.name).body(Full::<Bytes>::default());
    let request = request.map_err(|error| failed(&error))?;
    let answer = http.send(request, ANSWER_MAX).await.map_err(|error| failed(&error))?;
    if !answer.status().is_success() {
        return Err(failed(&format!("it answers {}", answer.status())));
    }
    String::from_utf8(answer.into_body().into()).map_err(|error| failed(&error))
}
