//! A server that behaves as badly as a test asks it to: a thread a connection, answers made by a function.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A request as the server saw it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Seen {
    /// Which, counted from 0 over all connections.
    pub(super) number: u64,
    /// Method and path.
    pub(super) line: String,
    /// The body.
    pub(super) body: String,
}

/// What the server does with a request.
pub(super) enum Act {
    /// Answers with this status and JSON.
    Answer(u16, String),
    /// Writes these bytes and closes the connection.
    WriteAndClose(&'static str),
    /// Says nothing for so long, and then closes the connection.
    Hang(Duration),
}

/// `200 {}`.
pub(super) fn fine() -> Act {
    Act::Answer(200, "{}".to_owned())
}

/// Serves for as long as the test runs: its address.
pub(super) fn serve(act: impl Fn(&Seen) -> Act + Send + Sync + 'static) -> String {
    serve_closing(None, act)
}

/// The same, but a connection on which nobody asked anything for `idle` is closed.
pub(super) fn serve_closing(
    idle: Option<Duration>,
    act: impl Fn(&Seen) -> Act + Send + Sync + 'static,
) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let (act, number) = (Arc::new(act), Arc::new(AtomicU64::new(0)));
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            stream.set_read_timeout(idle).expect("a time is set");
            let (act, number) = (Arc::clone(&act), Arc::clone(&number));
            std::thread::spawn(move || converse(stream, &*act, &number));
        }
    });
    url
}

/// Waits for a request: false when the caller is gone, or nothing came in time. What came just then is answered.
fn is_asked(reader: &mut BufReader<TcpStream>) -> bool {
    if let Ok(bytes) = reader.fill_buf() {
        return !bytes.is_empty();
    }
    let stream = reader.get_ref();
    stream.set_nonblocking(true).expect("it does not wait");
    let came = stream.peek(&mut [0]).is_ok_and(|length| length > 0);
    stream.set_nonblocking(false).expect("it waits");
    came
}

fn converse(stream: TcpStream, act: &dyn Fn(&Seen) -> Act, number: &AtomicU64) -> Option<()> {
    stream.set_nodelay(true).ok();
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    while is_asked(&mut reader) {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let line = line.rsplit_once(' ').map_or_else(String::new, |(line, _)| line.to_owned());
        let mut length = 0;
        loop {
            let mut header = String::new();
            reader.read_line(&mut header).ok()?;
            let header = header.trim_end().to_ascii_lowercase();
            if let Some(value) = header.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if header.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let seen = Seen { number: number.fetch_add(1, Ordering::SeqCst), line, body };
        match act(&seen) {
            Act::Answer(status, body) => {
                let head = "content-type: application/json\r\ncontent-length";
                write!(stream, "HTTP/1.1 {status} X\r\n{head}: {}\r\n\r\n{body}", body.len()).ok()?;
            }
            Act::WriteAndClose(bytes) => {
                stream.write_all(bytes.as_bytes()).ok()?;
                return None;
            }
            Act::Hang(length) => {
                std::thread::sleep(length);
                return None;
            }
        }
    }
    None
}
