//! One kept connection, driven by the task that uses it: no task of its own, no channel to one, no pool library.
//!
//! hyper splits a connection into a handle that sends and a future that does the reading and writing. Here both are
//! polled in turn by whoever waits for the answer, so that an answer costs one wake-up instead of three.

use std::borrow::Cow;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http_body_util::Full;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Sleep;

/// What is kept of memory for each connection. hyper's default, 400 KiB, times 10,000 would be the memory of the
/// machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Buffers {
    /// An answer of 16 KiB comes in one piece.
    Roomy,
    /// 8 KiB come in one piece: half the memory of many users, one more read for a page of the catalogue.
    Lean,
}

/// For so long after its last use a connection is taken to be open without a look.
const SEEN_FOR: Duration = Duration::from_millis(2);

/// A request, ready to be sent. On the heap, since it passes through many hands, and every user would carry room for
/// it in each.
pub(super) type Ask = Box<Request<Full<Bytes>>>;

/// A connection to the target.
pub(super) struct Line {
    sender: SendRequest<Full<Bytes>>,
    /// Absent once it has ended.
    connection: Option<Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    /// Wakes the waiting task when its time is over. It is only moved when it fires: a request that is answered in
    /// time costs no timer.
    alarm: Pin<Box<Sleep>>,
    /// Until when the last answer had been waited for, which tells how long ago the line was used.
    last_deadline: Instant,
    /// Whether an answer is owed: a line that was given up in between is of no use to anybody else.
    is_owed: bool,
}

/// What came back, whole.
#[derive(Debug)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The body, when it was wanted or the status is an error.
    pub(super) body: Bytes,
}

/// Why nothing came back.
#[derive(Debug)]
pub(super) enum Lost {
    /// Nobody accepted the connection.
    Refused(io::Error),
    /// The connection broke before the answer was whole, or it was no answer in HTTP.
    Broken(Cow<'static, str>),
    /// Time was over.
    Timeout,
    /// The other side had closed the connection before: nothing was sent, and the request is given back.
    Stale(Ask),
}

impl Line {
    /// Connects, from `source` when given, until `deadline`.
    pub(super) async fn open(
        target: SocketAddr,
        source: Option<IpAddr>,
        buffers: Buffers,
        deadline: Instant,
    ) -> Result<Self, Lost> {
        let connect = async {
            let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            if let Some(source) = source {
                socket.bind(SocketAddr::new(source, 0))?;
            }
            let stream = socket.connect(target).await?;
            stream.set_nodelay(true)?;
            Ok(stream)
        };
        let stream = tokio::time::timeout_at(tokio::time::Instant::from_std(deadline), connect)
            .await
            .map_err(|_| Lost::Timeout)?
            .map_err(Lost::Refused)?;
        let mut builder = Builder::new();
        match buffers {
            Buffers::Roomy => builder.max_buf_size(16 * 1024),
            Buffers::Lean => builder.read_buf_exact_size(Some(8 * 1024)),
        };
        let (sender, connection) = builder
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Lost::Broken(error.to_string().into()))?;
        let alarm = Box::pin(tokio::time::sleep_until(tokio::time::Instant::from_std(deadline)));
        Ok(Self { sender, connection: Some(connection), alarm, last_deadline: deadline, is_owed: false })
    }

    /// Whether another request can be sent on it.
    pub(super) fn is_usable(&self) -> bool {
        self.connection.is_some() && !self.is_owed
    }

    /// Sends `ask` and reads the answer until `deadline`. The body is kept when `wants_body`, and of errors.
    pub(super) async fn exchange(
        &mut self,
        ask: Ask,
        wants_body: bool,
        deadline: Instant,
    ) -> Result<Answer, Lost> {
        let mut ask = Some(ask);
        if self.is_usable()
            && self.is_ready(deadline).await
            && let Some(ask) = ask.take()
        {
            self.is_owed = true;
            let answer = self.read(ask, wants_body, deadline).await?;
            self.is_owed = false;
            return Ok(answer);
        }
        self.connection = None;
        Err(ask.map_or(Lost::Broken("the connection had ended".into()), Lost::Stale))
    }

    /// Whether the connection is still there and idle. One that was not used for a while is looked at first: the other
    /// side may have closed it meanwhile.
    async fn is_ready(&mut self, deadline: Instant) -> bool {
        let mut is_unseen = deadline.saturating_duration_since(self.last_deadline) > SEEN_FOR;
        self.last_deadline = deadline;
        let Self { sender, connection, alarm, .. } = self;
        let ready = drive(connection, alarm, deadline, |context| {
            if std::mem::take(&mut is_unseen) { Poll::Pending } else { sender.poll_ready(context) }
        });
        matches!(ready.await, Ok(Ok(())))
    }

    async fn read(&mut self, ask: Ask, wants_body: bool, deadline: Instant) -> Result<Answer, Lost> {
        let Self { sender, connection, alarm, .. } = self;
        let mut head = pin!(sender.try_send_request(*ask));
        let response = match drive(connection, alarm, deadline, |context| head.as_mut().poll(context)).await?
        {
            Ok(response) => response,
            Err(mut error) => {
                return Err(match error.take_message() {
                    Some(ask) => Lost::Stale(Box::new(ask)),
                    None => Lost::Broken(told(error.error()).into()),
                });
            }
        };
        let status = response.status().as_u16();
        let keeps = wants_body || status >= 400;
        let mut incoming = response.into_body();
        let mut body = Kept::default();
        while let Some(frame) =
            drive(connection, alarm, deadline, |context| poll_frame(&mut incoming, context)).await?
        {
            let bytes = frame.map_err(|error| Lost::Broken(told(&error).into()))?;
            if keeps {
                body.push(bytes);
            }
        }
        Ok(Answer { status, body: body.whole() })
    }
}

fn poll_frame(incoming: &mut Incoming, context: &mut Context<'_>) -> Poll<Option<hyper::Result<Bytes>>> {
    if incoming.is_end_stream() {
        return Poll::Ready(None);
    }
    let frame = std::task::ready!(Pin::new(incoming).poll_frame(context));
    // Trailers say nothing that is measured.
    Poll::Ready(frame.map(|frame| frame.map(|frame| frame.into_data().unwrap_or_default())))
}

/// Waits for `wanted`, doing the connection's reading and writing meanwhile.
async fn drive<T>(
    connection: &mut Option<Connection<TokioIo<TcpStream>, Full<Bytes>>>,
    alarm: &mut Pin<Box<Sleep>>,
    deadline: Instant,
    mut wanted: impl FnMut(&mut Context<'_>) -> Poll<T>,
) -> Result<T, Lost> {
    // What is waited for comes about by the reading and writing here and by nothing else, so nobody needs to be woken
    // for it: the wake-ups that hyper's two halves send one another would only poll this task again for nothing.
    let unheard = &mut Context::from_waker(Waker::noop());
    poll_fn(|context| {
        if let Poll::Ready(got) = wanted(unheard) {
            return Poll::Ready(Ok(got));
        }
        let ended = match connection {
            Some(alive) => match Pin::new(alive).poll(context) {
                Poll::Pending => None,
                Poll::Ready(Ok(())) => Some(Cow::Borrowed("the connection was closed")),
                Poll::Ready(Err(error)) => Some(told(&error).into()),
            },
            None => Some(Cow::Borrowed("the connection had ended")),
        };
        // What it read may be what is waited for, also when it ended with it.
        if let Poll::Ready(got) = wanted(unheard) {
            if ended.is_some() {
                *connection = None;
            }
            return Poll::Ready(Ok(got));
        }
        if let Some(why) = ended {
            *connection = None;
            return Poll::Ready(Err(Lost::Broken(why)));
        }
        while alarm.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(Lost::Timeout));
            }
            alarm.as_mut().reset(tokio::time::Instant::from_std(deadline));
        }
        Poll::Pending
    })
    .await
}

/// An error with its cause, which is where hyper says what happened.
fn told(error: &hyper::Error) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// A body in one piece, copied only when it came in several.
#[derive(Default)]
struct Kept {
    first: Bytes,
    more: Option<BytesMut>,
}

impl Kept {
    fn push(&mut self, bytes: Bytes) {
        match &mut self.more {
            None if self.first.is_empty() => self.first = bytes,
            None => {
                let mut all = BytesMut::from(&self.first[..]);
                all.extend_from_slice(&bytes);
                self.more = Some(all);
            }
            Some(all) => all.extend_from_slice(&bytes),
        }
    }

    fn whole(self) -> Bytes {
        self.more.map_or(self.first, BytesMut::freeze)
    }
}
