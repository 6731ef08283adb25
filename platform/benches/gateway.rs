//! What a catalogue read through the gateway costs, beside bare axum that returns the same JSON: CPU time of the
//! servers' own threads per request, both over sockets, taken in turns in one run.
//!
//! `cargo bench -p platform --bench gateway`

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark may panic, and its figures are its output"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::header;
use axum::routing::get;
use bytes::Bytes;
use platform::gateway::Gateway;
use platform::http::server::{ServerLimits, serve};
use platform::services::{Service, product, user};
use platform::testing;
use platform::vocabulary::Env;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

const PATH: &str = "/v1/products?limit=20";
const CONNECTIONS: usize = 16;
const ROUND: Duration = Duration::from_secs(2);
const ROUNDS: usize = 5;
/// The kernel counts CPU time in ticks of this length.
const TICK: Duration = Duration::from_millis(10);

/// Threads called `name`, two of them.
fn runtime(name: &str) -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name(name)
        .enable_all()
        .build()
        .unwrap()
}

/// The CPU time of all threads called `name`.
fn cpu(name: &str) -> Duration {
    let mut ticks = 0;
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        let Ok(stat) = std::fs::read_to_string(task.path().join("stat")) else { continue };
        let (head, tail) = stat.rsplit_once(')').unwrap();
        if head.ends_with(name) {
            let fields: Vec<&str> = tail.split_whitespace().collect();
            ticks += fields[11].parse::<u32>().unwrap() + fields[12].parse::<u32>().unwrap();
        }
    }
    TICK * ticks
}

fn fetch(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> usize {
    stream.write_all(request).unwrap();
    buffer.clear();
    let mut chunk = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut chunk).unwrap();
        assert!(read > 0, "the server closed the connection");
        buffer.extend_from_slice(&chunk[..read]);
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = std::str::from_utf8(&buffer[..head]).unwrap().to_ascii_lowercase();
        assert!(text.starts_with("http/1.1 200"), "{text}");
        let length = text.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let whole = head + 4 + length.unwrap().parse::<usize>().unwrap();
        if buffer.len() >= whole {
            return head + 4;
        }
    }
}

/// Asks for `ROUND`; answers how many requests were answered.
fn ask(address: SocketAddr) -> u32 {
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: shop\r\naccept: application/json\r\n\r\n");
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|_| {
            let request = request.clone();
            std::thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                stream.set_nodelay(true).unwrap();
                let (mut buffer, began, mut count) = (Vec::new(), Instant::now(), 0);
                while began.elapsed() < ROUND {
                    fetch(&mut stream, request.as_bytes(), &mut buffer);
                    count += 1;
                }
                count
            })
        })
        .collect();
    clients.into_iter().map(|client| client.join().unwrap()).sum()
}

struct Side {
    name: &'static str,
    address: SocketAddr,
    per_request_us: Vec<f64>,
}

impl Side {
    fn round(&mut self) {
        let before = cpu(self.name);
        let requests = ask(self.address);
        let took = cpu(self.name) - before;
        self.per_request_us.push(took.as_secs_f64() * 1e6 / f64::from(requests));
    }

    fn median_us(&mut self) -> f64 {
        self.per_request_us.sort_by(f64::total_cmp);
        self.per_request_us[self.per_request_us.len() / 2]
    }
}

fn main() {
    let shop = runtime("gateway");
    let services: [Service; 2] = [user::SERVICE, product::SERVICE];
    let (test, address) = shop.block_on(async {
        let test = testing::capabilities(Env::system(), &services).await;
        let capabilities = &test.capabilities;
        for service in &services {
            let mounted = (service.mount)(capabilities).await.unwrap();
            let name = service.manifest.name;
            capabilities.endpoint(name).bind(capabilities.telemetry.observe(name, mounted.router));
        }
        product::seed_catalogue(capabilities).await.unwrap();
        let face = Gateway::new(capabilities, &services).router(Router::new(), &[]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, face, ServerLimits::default(), CancellationToken::new()));
        (test, address)
    });
    let mut gateway = Side { name: "gateway", address, per_request_us: Vec::new() };

    let mut stream = TcpStream::connect(address).unwrap();
    let mut answer = Vec::new();
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: shop\r\n\r\n");
    let body_at = fetch(&mut stream, request.as_bytes(), &mut answer);
    let body = Bytes::from(answer.split_off(body_at));
    println!("the answer has {} bytes", body.len());

    let peer = runtime("bare");
    let address = peer.block_on(async {
        let same = move || async move { ([(header::CONTENT_TYPE, "application/json")], body) };
        let router = Router::new().route("/v1/products", get(same));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    });
    let mut bare = Side { name: "bare", address, per_request_us: Vec::new() };

    for _ in 0..ROUNDS {
        gateway.round();
        bare.round();
    }
    let (gateway_us, bare_us) = (gateway.median_us(), bare.median_us());
    println!("bare axum  {bare_us:6.1} µs of CPU a request");
    println!("gateway    {gateway_us:6.1} µs of CPU a request");
    println!("ratio      {:6.2} ×", gateway_us / bare_us);
    drop(test);
}
