//! A server that does nothing but answer the same bytes: what others are measured beside.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use tokio::runtime::Runtime;

use crate::process;

/// The name of its threads, by which their processor time is told.
const THREADS: &str = "bare-server";
/// Threads of the server.
const COUNT: usize = 2;

/// Bare axum that answers one path. It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Bare {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Bare {
    /// Answers `GET path` (without a query) with `body` as JSON.
    pub(super) fn serve(path: &str, body: Bytes) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(COUNT)
            .thread_name(THREADS)
            .enable_all()
            .build()
            .context("could not start a runtime for the bare server")?;
        let answer = move || async move { ([(header::CONTENT_TYPE, "application/json")], body) };
        let router = Router::new().route(path, get(answer));
        let address = runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            tokio::spawn(async move { axum::serve(listener, router).await });
            std::io::Result::Ok(address)
        });
        Ok(Self { address: address.context("could not listen for the bare server")?, _runtime: runtime })
    }

    /// Where it answers.
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The processor time of its threads; absent where the system does not tell it.
    #[expect(clippy::unused_self, reason = "the threads are those of the server that there is")]
    pub(super) fn cpu_time(&self) -> Option<Duration> {
        process::cpu_time_of_threads(THREADS)
    }
}
