//! The line to a server: TCP, TLS where that is wanted, and as much of what the server says as may be.
//!
//! The library takes messages of any length, and reads parts within parts by calls within calls: a server could fill the
//! memory, or end the process, and so could whoever is on the way to one before there is TLS. So each message is measured
//! before the library sees it.

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// What a server may say in a session: a thousand groups, and as many names of groups beside them, some times over.
const BYTES_MAX: usize = 2 * 1024 * 1024;
/// Each costs the library some hundred bytes; a group has nine.
const PARTS_MAX: usize = 64 * 1024;
/// The value of an attribute lies in five others.
const DEPTH_MAX: usize = 16;
/// A message is a SEQUENCE (RFC 4511 section 4.1.1).
const SEQUENCE: u8 = 0x30;
/// Message 1, an extended request of the name 1.3.6.1.4.1.1466.20037 (RFC 4511 section 4.14).
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";

/// Where a server is, and how it is spoken to.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) security: Security,
}

/// What protects a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Security {
    /// TLS from the first byte.
    Tls,
    /// TLS once the server has agreed to it.
    StartTls,
    /// Nothing.
    None,
}

/// A line.
pub(super) trait Line: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Line for T {}

/// Why nothing more is carried.
#[derive(Debug)]
pub(super) enum End {
    /// One side has gone.
    Gone,
    /// What came is no message, or more than may be.
    Nonsense,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

/// Connects, and sees to TLS.
pub(super) async fn open(place: &Place, tls: Arc<ClientConfig>) -> io::Result<Box<dyn Line>> {
    let mut stream = TcpStream::connect((place.host.as_str(), place.port)).await?;
    match place.security {
        Security::None => return Ok(Box::new(stream)),
        Security::StartTls => start_tls(&mut stream).await?,
        Security::Tls => {}
    }
    let name = ServerName::try_from(place.host.clone()).map_err(io::Error::other)?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(Box::new(stream))
}

/// Reads the one answer and nothing after it: what somebody has put behind it would else be taken for what the server says
/// by TLS.
async fn start_tls(stream: &mut TcpStream) -> io::Result<()> {
    stream.write_all(START_TLS).await?;
    let answer = Measure::new().message(stream).await;
    let agrees = answer.is_ok_and(|answer| is_consent(&answer).unwrap_or(false));
    if agrees {
        return Ok(());
    }
    Err(io::Error::other("it does not agree to StartTLS"))
}

/// Whether an answer to message 1 is an extended response with result 0.
fn is_consent(answer: &[u8]) -> Option<bool> {
    let content = &answer[Header::of(answer)?.bytes..];
    let response = content.strip_prefix(b"\x02\x01\x01")?;
    let content = &response[Header::of(response)?.bytes..];
    Some(response[0] == 0x78 && content.starts_with(b"\x0a\x01\x00"))
}

/// Carries what `library` says to the server, and what the server says to the library, until one of them has gone. The
/// server's messages are whole, and bounded.
pub(super) async fn carry(server: Box<dyn Line>, library: &mut impl Line) -> End {
    let (mut from_server, mut to_server) = tokio::io::split(server);
    let (mut from_library, mut to_library) = tokio::io::split(library);
    let ask = async {
        tokio::io::copy(&mut from_library, &mut to_server).await?;
        to_server.shutdown().await
    };
    let answer = async {
        let mut measure = Measure::new();
        loop {
            let message = match measure.message(&mut from_server).await {
                Ok(message) => message,
                Err(end) => return end,
            };
            if to_library.write_all(&message).await.is_err() {
                return End::Gone;
            }
        }
    };
    tokio::select! {
        _ = ask => End::Gone,
        end = answer => end,
    }
}

/// How much more a server may say.
#[derive(Debug)]
struct Measure {
    bytes: usize,
    parts: usize,
}

impl Measure {
    fn new() -> Self {
        Self {
            bytes: BYTES_MAX,
            parts: PARTS_MAX,
        }
    }

    /// The next message.
    async fn message(&mut self, from: &mut (impl AsyncRead + Unpin)) -> Result<Vec<u8>, End> {
        let mut message = vec![0; 2];
        from.read_exact(&mut message).await?;
        if message[0] != SEQUENCE {
            return Err(End::Nonsense);
        }
        let more = Header::length_bytes(message[1]).ok_or(End::Nonsense)?;
        message.resize(2 + more, 0);
        from.read_exact(&mut message[2..]).await?;
        let header = Header::of(&message).ok_or(End::Nonsense)?;
        let whole = header.bytes.saturating_add(header.length);
        self.bytes = self.bytes.checked_sub(whole).ok_or(End::Nonsense)?;
        message.resize(whole, 0);
        from.read_exact(&mut message[header.bytes..]).await?;
        self.parts_of(&message).ok_or(End::Nonsense)?;
        Ok(message)
    }

    /// Counts the parts of a message; `None`: they are too many, too deep, or none.
    fn parts_of(&mut self, message: &[u8]) -> Option<()> {
        // Where those end that the next one lies in.
        let mut around = Vec::with_capacity(DEPTH_MAX);
        let mut at = 0;
        while at < message.len() {
            self.parts = self.parts.checked_sub(1)?;
            let header = Header::of(&message[at..])?;
            let content = at + header.bytes;
            let end = content.checked_add(header.length)?;
            if end > *around.last().unwrap_or(&message.len()) {
                return None;
            }
            at = end;
            if header.has_parts {
                if around.len() == DEPTH_MAX {
                    return None;
                }
                around.push(end);
                at = content;
            }
            while around.last() == Some(&at) {
                around.pop();
            }
        }
        Some(())
    }
}

/// What a part of a message begins with (X.690 section 8.1, of which LDAP takes the definite form alone).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    has_parts: bool,
    /// How long it is itself.
    bytes: usize,
    /// How long is what follows.
    length: usize,
}

impl Header {
    fn of(part: &[u8]) -> Option<Self> {
        let [tag, first, rest @ ..] = part else {
            return None;
        };
        let more = Self::length_bytes(*first)?;
        let length = match more {
            0 => usize::from(*first),
            _ => rest
                .get(..more)?
                .iter()
                .fold(0, |length, byte| length << 8 | usize::from(*byte)),
        };
        Some(Self {
            has_parts: tag & 0x20 != 0,
            bytes: 2 + more,
            length,
        })
    }

    /// How many bytes of length follow this one; `None`: no end is told, or one beyond all bounds.
    fn length_bytes(first: u8) -> Option<usize> {
        match first {
            0..=0x7f => Some(0),
            0x81..=0x84 => Some(usize::from(first & 0x7f)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, DEPTH_MAX, End, Measure, PARTS_MAX, START_TLS, is_consent};
    use proptest::prelude::*;

    async fn read(mut bytes: &[u8]) -> Result<Vec<Vec<u8>>, End> {
        let mut measure = Measure::new();
        let mut messages = Vec::new();
        while !bytes.is_empty() {
            messages.push(measure.message(&mut bytes).await?);
        }
        Ok(messages)
    }

    /// A part with this content.
    fn part(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u32::try_from(content.len()).unwrap().to_be_bytes();
        [&[tag, 0x84] as &[u8], &length, content].concat()
    }

    fn nested(depth: usize) -> Vec<u8> {
        (0..depth).fold(Vec::new(), |inner, _| part(0x30, &inner))
    }

    #[tokio::test]
    async fn messages_come_through_one_by_one_as_they_are() {
        let both = [START_TLS, &nested(DEPTH_MAX)].concat();
        let messages = read(&both).await.unwrap();
        assert_eq!(messages, [START_TLS.to_vec(), nested(DEPTH_MAX)]);
        assert!(matches!(read(&START_TLS[..9]).await, Err(End::Gone)));
    }

    #[tokio::test]
    async fn what_is_too_long_too_deep_of_too_many_parts_or_no_message_ends_the_line() {
        let endless = b"\x30\x80\x00\x00".to_vec();
        let sticks_out = b"\x30\x04\x30\x03\x04\x00".to_vec();
        let half = b"\x30\x03\x04\x00\x04".to_vec();
        let long = part(0x30, &part(4, &vec![0; BYTES_MAX]));
        let many = part(0x30, &[4, 0].repeat(PARTS_MAX));
        let often = START_TLS.repeat(BYTES_MAX / START_TLS.len() + 1);
        for bytes in [
            nested(DEPTH_MAX + 1),
            endless,
            sticks_out,
            half,
            long,
            many,
            often,
            b"HTTP/1.1 400 Bad Request".to_vec(),
        ] {
            let read = read(&bytes).await;
            assert!(matches!(read, Err(End::Nonsense)), "{:x?}", &bytes[..4]);
        }
    }

    #[test]
    fn a_server_agrees_to_tls_by_a_success_and_nothing_else() {
        for (answer, agrees) in [
            (b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00" as &[u8], true),
            (b"\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00", true),
            (b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x34\x04\x00\x04\x00", false),
            (b"\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00", false),
            (b"\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00", false),
            (b"\x30\x03\x02\x01\x01", false),
            (b"\x30\x00", false),
        ] {
            assert_eq!(is_consent(answer).unwrap_or(false), agrees, "{answer:x?}");
        }
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(bytes in proptest::collection::vec(prop_oneof![Just(0x30), Just(4), 0..8_u8, any::<u8>()], 0..64)) {
            let _ = Measure::new().parts_of(&bytes);
            let _ = is_consent(&bytes);
        }
    }
}
