//! One kept connection, driven by the task that uses it: no task of its own, no channel to one, no pool library.
//!
//! A request goes out in one write, an answer comes in with one read into the room that all lines of a worker share, and
//! is taken apart where it lies ([`super::answer`]). So a line that waits holds no buffer, and an answer costs one
//! wake-up.

use std::borrow::Cow;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::Sleep;

use super::answer::{Answer, Reader};
use super::ask::Ask;

/// Bytes that are read at once.
const ROOM_BYTES: usize = 64 * 1024;

/// Where the lines of one worker read into. Cheap to clone; clones share it.
#[derive(Clone)]
pub(super) struct Room(Rc<RefCell<Box<[u8]>>>);

impl Default for Room {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(vec![0; ROOM_BYTES].into_boxed_slice())))
    }
}

/// A connection to the target.
pub(super) struct Line {
    stream: TcpStream,
    room: Room,
    /// Wakes the waiting task when its time is over. It is only moved when it fires: a request that is answered in
    /// time costs no timer.
    alarm: Pin<Box<Sleep>>,
    /// Whether another request can be sent: not while an answer is owed, and not after the last one that there will be.
    is_usable: bool,
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
    /// The other side had closed the connection before: nothing was sent.
    Stale,
}

impl Line {
    /// Connects, from `source` when given, until `deadline`.
    pub(super) async fn open(
        target: SocketAddr,
        source: Option<IpAddr>,
        room: Room,
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
        let deadline = tokio::time::Instant::from_std(deadline);
        let stream = tokio::time::timeout_at(deadline, connect)
            .await
            .map_err(|_| Lost::Timeout)?
            .map_err(Lost::Refused)?;
        let alarm = Box::pin(tokio::time::sleep_until(deadline));
        Ok(Self { stream, room, alarm, is_usable: true })
    }

    /// Whether another request can be sent on it.
    pub(super) fn is_usable(&self) -> bool {
        self.is_usable
    }

    /// Sends `ask` and reads the answer until `deadline`. The body is kept when `wants_body`, and of errors.
    pub(super) async fn exchange(
        &mut self,
        ask: &Ask,
        wants_body: bool,
        deadline: Instant,
    ) -> Result<Answer, Lost> {
        if !std::mem::take(&mut self.is_usable) || !self.is_quiet() {
            return Err(Lost::Stale);
        }
        let (mut unsent, mut reader) = (ask.bytes(), Reader::new(wants_body));
        poll_fn(|context| {
            let talked = self.send(context, &mut unsent, ask);
            let heard = match talked {
                Poll::Ready(Ok(())) => self.hear(context, &mut reader),
                other => other,
            };
            match heard {
                Poll::Pending => self.watch(context, deadline),
                done => done,
            }
        })
        .await?;
        self.is_usable = reader.keeps_alive();
        Ok(reader.answer())
    }

    /// Whether nothing has come since the last answer. What comes unasked is the end of the connection, or as good as.
    fn is_quiet(&self) -> bool {
        // Without news from the system this asks nobody.
        let came = self.stream.try_read(&mut [0]);
        came.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    fn send(&mut self, context: &mut Context<'_>, unsent: &mut &[u8], ask: &Ask) -> Poll<Result<(), Lost>> {
        while !unsent.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(context, unsent)) {
                Ok(written) if written > 0 => *unsent = &unsent[written..],
                // The system knew that the other side is gone, and took nothing.
                Err(_) if unsent.len() == ask.bytes().len() => return Poll::Ready(Err(Lost::Stale)),
                Ok(_) => return Poll::Ready(Err(Lost::Broken("the connection takes nothing".into()))),
                Err(error) => return Poll::Ready(Err(broken(&error))),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn hear(&mut self, context: &mut Context<'_>, reader: &mut Reader) -> Poll<Result<(), Lost>> {
        let mut room = self.room.0.borrow_mut();
        loop {
            let mut came = ReadBuf::new(&mut room);
            let read = ready!(Pin::new(&mut self.stream).poll_read(context, &mut came));
            let is_whole = match read {
                Err(error) => return Poll::Ready(Err(broken(&error))),
                Ok(()) if came.filled().is_empty() => reader.end().map(|()| true),
                Ok(()) => reader.take(came.filled()),
            };
            match is_whole {
                Ok(true) => return Poll::Ready(Ok(())),
                Ok(false) => {}
                Err(wrong) => return Poll::Ready(Err(Lost::Broken(wrong.into()))),
            }
        }
    }

    /// Waits until `deadline` at the latest.
    fn watch<T>(&mut self, context: &mut Context<'_>, deadline: Instant) -> Poll<Result<T, Lost>> {
        while self.alarm.as_mut().poll(context).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(Err(Lost::Timeout));
            }
            self.alarm.as_mut().reset(tokio::time::Instant::from_std(deadline));
        }
        Poll::Pending
    }
}

fn broken(error: &io::Error) -> Lost {
    Lost::Broken(format!("the connection broke: {error}").into())
}
