//! An answer in HTTP/1.1, read out of the pieces in which it comes. Nothing is kept of it but what is asked for: the
//! head is looked at where it lies, and a body that nobody wants is only counted.

use bytes::Bytes;

/// The most of a head.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// The most headers of an answer.
const HEADERS_MAX: usize = 100;
/// The most digits of a chunk's size.
const SIZE_DIGITS_MAX: u32 = 15;

/// What came back, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The body, when it was wanted or the status is an error.
    pub(super) body: Bytes,
}

/// Why it is no answer.
pub(super) type Wrong = &'static str;

/// Reads one answer.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    wants_body: bool,
    status: u16,
    /// The beginning of a head that came in pieces.
    head: Vec<u8>,
    body: Vec<u8>,
    /// Whether the connection can be used for another request.
    keeps_alive: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Head,
    /// So many bytes of the body are still to come.
    Sized(u64),
    Chunked(Chunked),
    /// The body ends with the connection.
    UntilEnd,
    Whole,
}

/// Where in a chunked body.
#[derive(Clone, Copy, Debug)]
enum Chunked {
    Size {
        size: u64,
        digits: u32,
    },
    /// Between the size and the end of its line.
    Extension {
        size: u64,
    },
    SizeEnd {
        size: u64,
    },
    Data(u64),
    DataCr,
    DataLf,
    /// A line after the last chunk; the blank one is the end.
    Trailer {
        is_blank: bool,
    },
}

impl Reader {
    /// For one answer, whose body is kept when `wants_body` or it is an error.
    pub(super) fn new(wants_body: bool) -> Self {
        let (head, body) = (Vec::new(), Vec::new());
        Self { state: State::Head, wants_body, status: 0, head, body, keeps_alive: false }
    }

    /// Takes what came; answers whether the answer is whole.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Wrong> {
        loop {
            bytes = match self.state {
                State::Head => match self.take_head(bytes)? {
                    Some(rest) => rest,
                    None => return Ok(false),
                },
                State::Sized(left) => {
                    let (here, rest) = split(bytes, left);
                    self.keep(here);
                    let left = left - here.len() as u64;
                    self.state = if left == 0 { State::Whole } else { State::Sized(left) };
                    rest
                }
                State::Chunked(at) => self.take_chunked(at, bytes)?,
                State::UntilEnd => {
                    self.keep(bytes);
                    return Ok(false);
                }
                State::Whole => {
                    // What nobody asked for cannot be told from the answer to the next request.
                    self.keeps_alive &= bytes.is_empty();
                    return Ok(true);
                }
            };
            if bytes.is_empty() && !matches!(self.state, State::Whole) {
                return Ok(false);
            }
        }
    }

    /// The connection ended; that is the end of some answers.
    ///
    /// # Errors
    /// When it is not of this one.
    pub(super) fn end(&mut self) -> Result<(), Wrong> {
        match self.state {
            State::UntilEnd | State::Whole => Ok(()),
            State::Head if self.head.is_empty() => Err("the connection was closed before an answer came"),
            _ => Err("the connection was closed before the answer was whole"),
        }
    }

    /// Whether the connection can be used for another request.
    pub(super) fn keeps_alive(&self) -> bool {
        self.keeps_alive
    }

    /// What was read.
    pub(super) fn answer(self) -> Answer {
        Answer { status: self.status, body: Bytes::from(self.body) }
    }

    /// What comes after the head, once that is whole.
    fn take_head<'a>(&mut self, bytes: &'a [u8]) -> Result<Option<&'a [u8]>, Wrong> {
        let before = self.head.len();
        let length = if before == 0 {
            self.parse(bytes)?
        } else {
            let mut head = std::mem::take(&mut self.head);
            head.extend_from_slice(bytes);
            let length = self.parse(&head)?;
            self.head = head;
            length
        };
        match length {
            Some(length) => {
                self.head = Vec::new();
                Ok(Some(&bytes[length - before..]))
            }
            None => {
                if before == 0 {
                    self.head.extend_from_slice(bytes);
                }
                let is_long = self.head.len() > HEAD_BYTES_MAX;
                if is_long { Err("the head of the answer is too long") } else { Ok(None) }
            }
        }
    }

    /// Looks at the head at the beginning of `bytes`, and goes on to what it says comes next: its length, once it is
    /// whole.
    fn parse(&mut self, bytes: &[u8]) -> Result<Option<usize>, Wrong> {
        let mut headers = [const { std::mem::MaybeUninit::uninit() }; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut []);
        let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
            &mut response,
            bytes,
            &mut headers,
        );
        let length = match parsed {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err("the answer has too many headers"),
            Err(_) => return Err("the answer is not HTTP"),
        };
        let status = response.code.unwrap_or(0);
        if status == 101 {
            return Err("the answer changes the protocol, which nobody asked for");
        }
        // What comes before the answer itself says nothing that is measured.
        if (100..200).contains(&status) {
            return Ok(Some(length));
        }
        self.status = status;
        let framing = Framing::of(response.headers)?;
        self.keeps_alive = if response.version == Some(1) { !framing.closes } else { framing.keeps };
        self.state = match framing {
            _ if matches!(status, 204 | 304) => State::Whole,
            Framing { is_chunked: true, .. } => State::Chunked(Chunked::Size { size: 0, digits: 0 }),
            Framing { length: Some(0), is_encoded: false, .. } => State::Whole,
            Framing { length: Some(length), is_encoded: false, .. } => State::Sized(length),
            _ => {
                self.keeps_alive = false;
                State::UntilEnd
            }
        };
        Ok(Some(length))
    }

    fn take_chunked<'a>(&mut self, at: Chunked, bytes: &'a [u8]) -> Result<&'a [u8], Wrong> {
        if let Chunked::Data(left) = at {
            let (here, rest) = split(bytes, left);
            self.keep(here);
            let left = left - here.len() as u64;
            self.state = State::Chunked(if left == 0 { Chunked::DataCr } else { Chunked::Data(left) });
            return Ok(rest);
        }
        let Some((byte, rest)) = bytes.split_first() else { return Ok(bytes) };
        self.state = match at.next(*byte).ok_or("a chunk of the answer is not one")? {
            Some(next) => State::Chunked(next),
            None => State::Whole,
        };
        Ok(rest)
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.wants_body || self.status >= 400 {
            self.body.extend_from_slice(bytes);
        }
    }
}

impl Chunked {
    /// Where `byte` leads: an inner none is the end of the body, an outer one a mistake.
    #[expect(clippy::option_option, reason = "a mistake, the end, or a place")]
    fn next(self, byte: u8) -> Option<Option<Self>> {
        let next = match (self, byte) {
            (Self::Size { digits: 1.., size } | Self::Extension { size }, b'\r') => Self::SizeEnd { size },
            (Self::Size { digits: 1.., size }, b';' | b' ' | b'\t') => Self::Extension { size },
            (Self::Size { digits: ..SIZE_DIGITS_MAX, .. }, _) if !byte.is_ascii_hexdigit() => return None,
            (Self::Size { size, digits: digits @ ..SIZE_DIGITS_MAX }, _) => {
                let digit = char::from(byte).to_digit(16)?;
                Self::Size { size: size * 16 + u64::from(digit), digits: digits + 1 }
            }
            (Self::Extension { size }, other) if other != b'\n' => Self::Extension { size },
            (Self::SizeEnd { size: 0 }, b'\n') => Self::Trailer { is_blank: true },
            (Self::SizeEnd { size }, b'\n') => Self::Data(size),
            (Self::DataCr, b'\r') => Self::DataLf,
            (Self::DataLf, b'\n') => Self::Size { size: 0, digits: 0 },
            (Self::Trailer { is_blank: true }, b'\n') => return Some(None),
            (Self::Trailer { .. }, b'\n') => Self::Trailer { is_blank: true },
            (Self::Trailer { is_blank }, b'\r') => Self::Trailer { is_blank },
            (Self::Trailer { .. }, _) => Self::Trailer { is_blank: false },
            _ => return None,
        };
        Some(Some(next))
    }
}

/// What the headers say of the body and of the connection.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    length: Option<u64>,
    is_chunked: bool,
    /// Whether the body is encoded in whatever way: its length is not what the header says.
    is_encoded: bool,
    closes: bool,
    keeps: bool,
}

impl Framing {
    fn of(headers: &[httparse::Header<'_>]) -> Result<Self, Wrong> {
        let mut framing = Self::default();
        for header in headers {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            // The length of the name decides for most headers.
            match header.name.len() {
                14 if is("content-length") => {
                    let length = number(header.value).ok_or("the length of the answer is not a number")?;
                    if framing.length.is_some_and(|other| other != length) {
                        return Err("the answer has two lengths");
                    }
                    framing.length = Some(length);
                }
                17 if is("transfer-encoding") => {
                    framing.is_encoded = true;
                    framing.is_chunked =
                        words(header.value).last().is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"));
                }
                10 if is("connection") => {
                    for word in words(header.value) {
                        framing.closes |= word.eq_ignore_ascii_case(b"close");
                        framing.keeps |= word.eq_ignore_ascii_case(b"keep-alive");
                    }
                }
                _ => {}
            }
        }
        Ok(framing)
    }
}

fn words(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

fn number(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}

/// The first `left` of `bytes` at most, and the others.
fn split(bytes: &[u8], left: u64) -> (&[u8], &[u8]) {
    bytes.split_at(usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a reader makes of these pieces, the last of which is followed by the end of the connection when `ends`:
    /// the answer, and whether the connection is kept.
    fn read(pieces: &[&[u8]], ends: bool) -> Result<(Answer, bool), Wrong> {
        let mut reader = Reader::new(true);
        let mut is_whole = false;
        for piece in pieces {
            is_whole = reader.take(piece)?;
        }
        if ends && !is_whole {
            reader.end()?;
            is_whole = true;
        }
        assert!(is_whole, "the answer is not whole: {reader:?}");
        let keeps = reader.keeps_alive();
        Ok((reader.answer(), keeps))
    }

    fn told(text: &str) -> Result<(u16, String, bool), Wrong> {
        let (answer, keeps) = read(&[text.as_bytes()], true)?;
        Ok((answer.status, String::from_utf8_lossy(&answer.body).into_owned(), keeps))
    }

    fn fine(status: u16, body: &str, keeps: bool) -> Result<(u16, String, bool), Wrong> {
        Ok((status, body.to_owned(), keeps))
    }

    #[test]
    fn a_body_ends_where_its_head_says() {
        assert_eq!(told("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"), fine(200, "hello", true));
        assert_eq!(told("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"), fine(200, "", true));
        assert_eq!(told("HTTP/1.1 204 No\r\n\r\n"), fine(204, "", true));
        assert_eq!(told("HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n"), fine(304, "", true));
        assert_eq!(told("HTTP/1.1 200 OK\r\n\r\nto the end"), fine(200, "to the end", false));
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\ncontent-length: 3\r\n\r\n";
        let body = "5\r\nhello\r\nA; x=\"y\"\r\n, wide wor\r\n2\r\nld\r\n0\r\nexpires: never\r\n\r\n";
        assert_eq!(told(&format!("{chunked}{body}")), fine(200, "hello, wide world", true));
    }

    #[test]
    fn a_connection_is_kept_when_both_sides_want_it() {
        let kept = |head: &str| told(&format!("{head}\r\ncontent-length: 1\r\n\r\nx")).unwrap().2;
        assert!(kept("HTTP/1.1 200 OK"));
        assert!(!kept("HTTP/1.1 200 OK\r\nConnection: Close"));
        assert!(!kept("HTTP/1.1 200 OK\r\nconnection: x, close"));
        assert!(!kept("HTTP/1.0 200 OK"));
        assert!(kept("HTTP/1.0 200 OK\r\nconnection: keep-alive"));
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nxand more than was asked for";
        assert_eq!(told(answer), fine(200, "x", false));
    }

    #[test]
    fn what_comes_before_the_answer_is_passed_over() {
        let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx";
        assert_eq!(told(answer), fine(200, "x", true));
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        for (text, why) in [
            ("", "the connection was closed before an answer came"),
            ("HTTP/1.1 200", "the connection was closed before the answer was whole"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
                "the connection was closed before the answer was whole",
            ),
            ("\u{1}ceci n'est pas une r\u{e9}ponse\r\n\r\n", "the answer is not HTTP"),
            ("HTTP/1.1 101 X\r\n\r\n", "the answer changes the protocol, which nobody asked for"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
                "the answer has two lengths",
            ),
            ("HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "the length of the answer is not a number"),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 99999999999999999999\r\n\r\n",
                "the length of the answer is not a number",
            ),
        ] {
            assert_eq!(told(text), Err(why), "{text}");
        }
        for chunk in ["\r\n", "x\r\n", "2\r\nabc", "2\nab", "ffffffffffffffffff\r\n", "1 \n"] {
            let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}");
            assert_eq!(told(&text), Err("a chunk of the answer is not one"), "{chunk:?}");
        }
        let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(HEAD_BYTES_MAX));
        assert_eq!(told(&long), Err("the head of the answer is too long"));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(told(&many), Err("the answer has too many headers"));
    }

    #[test]
    fn a_body_that_nobody_wants_is_not_kept_unless_it_is_an_error() {
        for (status, kept) in [(200, ""), (503, "why")] {
            let mut reader = Reader::new(false);
            let text = format!("HTTP/1.1 {status} X\r\ncontent-length: 3\r\n\r\nwhy");
            assert_eq!(reader.take(text.as_bytes()), Ok(true));
            assert_eq!(reader.answer(), Answer { status, body: Bytes::from(kept) });
        }
    }

    fn an_answer() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
        let body = prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..5);
        (body, any::<bool>()).prop_map(|(parts, is_chunked)| {
            let body = parts.concat();
            let mut text = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nx-what: ever\r\n".to_vec();
            if is_chunked {
                text.extend_from_slice(b"transfer-encoding: chunked\r\n\r\n");
                for part in &parts {
                    text.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                    text.extend_from_slice(part);
                    text.extend_from_slice(b"\r\n");
                }
                text.extend_from_slice(b"0\r\n\r\n");
            } else {
                text.extend_from_slice(format!("content-length: {}\r\n\r\n", body.len()).as_bytes());
                text.extend_from_slice(&body);
            }
            (text, body)
        })
    }

    proptest! {
        #[test]
        fn an_answer_is_the_same_in_whatever_pieces_it_comes(
            (text, body) in an_answer(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            let pieces: Vec<&[u8]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
            let read = read(&pieces, false);
            prop_assert_eq!(read, Ok((Answer { status: 200, body: Bytes::from(body) }, true)));
        }

        #[test]
        fn nothing_that_comes_makes_a_reader_panic(pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..6)) {
            let mut reader = Reader::new(true);
            let mut chunked = Reader::new(true);
            chunked.take(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").unwrap();
            for piece in &pieces {
                let _ = (reader.take(piece), chunked.take(piece));
            }
        }
    }
}
