//! A request's body as the engine reads it: bytes, until an end that is known to be good or bad.

use crate::Error;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use portolan_oci::ContentRange;
use std::convert::Infallible;
use std::fmt;
use std::time::Duration;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// Nothing at all for so long: the client is gone.
const IDLE: Duration = Duration::from_mins(1);
/// The slowest client that may hold a part's memory: 128 kbit a second.
const BYTES_PER_SECOND: u32 = 16 << 10;
/// How far a client may fall behind that.
const GRACE: Duration = Duration::from_secs(30);

/// How slow a body may be. Only time spent waiting for the client counts.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// The longest pause.
    pub idle: Duration,
    /// The slowest rate.
    pub bytes_per_second: u32,
    /// How far behind that rate a body may fall.
    pub grace: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            idle: IDLE,
            bytes_per_second: BYTES_PER_SECOND,
            grace: GRACE,
        }
    }
}

/// The bytes of a request.
pub struct UploadBody {
    /// `None` in place of bytes: the transfer broke.
    stream: BoxStream<'static, Option<Bytes>>,
    /// How many there must be, if that was announced.
    length: Option<u64>,
    received: u64,
}

/// How much longer a body may keep us waiting.
#[derive(Debug, Clone, Copy)]
struct Patience {
    pace: Pace,
    /// What is left of the grace.
    credit: Duration,
}

impl Patience {
    fn new(pace: Pace) -> Self {
        Self {
            pace,
            credit: pace.grace,
        }
    }

    /// For the next bytes.
    fn left(&self) -> Duration {
        self.pace.idle.min(self.credit)
    }

    fn waited(&mut self, time: Duration) {
        self.credit = self.credit.saturating_sub(time);
    }

    fn received(&mut self, bytes: u64) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        let earned = Duration::from_secs(1) * bytes / self.pace.bytes_per_second.max(1);
        self.credit = (self.credit + earned).min(self.pace.grace);
    }
}

impl UploadBody {
    /// A body of `length` bytes, if that was announced. Any error of the stream is an early end.
    pub fn new<S, E: 'static>(stream: S, length: Option<u64>) -> Self
    where
        S: Stream<Item = Result<Bytes, E>> + Send + 'static,
    {
        Self {
            stream: stream.map(Result::ok).boxed(),
            length,
            received: 0,
        }
    }

    /// No bytes.
    pub fn empty() -> Self {
        Self::new(stream::empty::<Result<Bytes, Infallible>>(), Some(0))
    }

    /// Holds the body to the length of `range`, where there is one.
    pub(super) fn of_range(mut self, range: Option<ContentRange>) -> Result<Self, Error> {
        let Some(range) = range else { return Ok(self) };
        if self.length.is_some_and(|length| length != range.len()) {
            return Err(Error::SizeMismatch);
        }
        self.length = Some(range.len());
        Ok(self)
    }

    /// A reader that allows for `pace`, and finds the body broken once `gone` is cancelled.
    pub(super) fn reader(self, pace: Pace, gone: CancellationToken) -> BodyReader {
        BodyReader {
            body: self,
            patience: Patience::new(pace),
            gone,
        }
    }
}

impl fmt::Debug for UploadBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UploadBody")
            .field("length", &self.length)
            .finish_non_exhaustive()
    }
}

/// Reads a body.
#[derive(Debug)]
pub(super) struct BodyReader {
    body: UploadBody,
    patience: Patience,
    gone: CancellationToken,
}

impl BodyReader {
    /// How many bytes are still to come, if that was announced.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.body
            .length
            .map(|length| length.saturating_sub(self.body.received))
    }

    /// The next bytes; `None` at the good end. After an error nothing more is to be read.
    ///
    /// # Errors
    /// [`Error::BodyInterrupted`] when the client went away or is too slow, [`Error::SizeMismatch`]
    /// when there are more or fewer bytes than announced.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let began = Instant::now();
            let next = tokio::select! {
                biased;
                () = self.gone.cancelled() => return Err(Error::BodyInterrupted),
                next = timeout(self.patience.left(), self.body.stream.next()) => next,
            };
            self.patience.waited(began.elapsed());
            match next {
                Ok(Some(Some(bytes))) if bytes.is_empty() => {}
                Ok(Some(Some(bytes))) => return self.count(bytes).map(Some),
                Ok(None) if self.remaining().is_none_or(|left| left == 0) => return Ok(None),
                Ok(None) => return Err(Error::SizeMismatch),
                // Broken, or too slow.
                Ok(Some(None)) | Err(_) => return Err(Error::BodyInterrupted),
            }
        }
    }

    fn count(&mut self, bytes: Bytes) -> Result<Bytes, Error> {
        let count = bytes.len() as u64;
        self.body.received += count;
        if self
            .body
            .length
            .is_some_and(|length| self.body.received > length)
        {
            return Err(Error::SizeMismatch);
        }
        self.patience.received(count);
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace {
        idle: Duration::from_secs(10),
        bytes_per_second: 100,
        grace: Duration::from_secs(20),
    };

    async fn read(body: &mut BodyReader, limit: u64) -> Result<u64, Error> {
        while body.body.received < limit {
            if body.next().await?.is_none() {
                break;
            }
        }
        Ok(body.body.received)
    }

    fn of(pieces: &[&'static [u8]], length: Option<u64>) -> BodyReader {
        let pieces: Vec<_> = pieces
            .iter()
            .map(|piece| Ok::<_, Infallible>(Bytes::from_static(piece)))
            .collect();
        let body = UploadBody::new(stream::iter(pieces), length);
        body.reader(PACE, CancellationToken::new())
    }

    /// How long a client that sends `bytes` each second is listened to, up to a day.
    fn lasts(bytes: u64) -> Duration {
        let mut patience = Patience::new(PACE);
        let mut time = Duration::ZERO;
        while patience.left() > Duration::from_secs(1) && time < Duration::from_hours(24) {
            patience.waited(Duration::from_secs(1));
            patience.received(bytes);
            time += Duration::from_secs(1);
        }
        time
    }

    #[test]
    fn a_body_at_the_slowest_rate_goes_on_for_ever_and_a_slower_one_ends() {
        assert_eq!(lasts(100), Duration::from_hours(24));
        assert_eq!(lasts(50), Duration::from_secs(38));
        assert_eq!(lasts(0), Duration::from_secs(19));
    }

    #[test]
    fn bytes_that_came_fast_do_not_pay_for_a_long_pause() {
        let mut patience = Patience::new(PACE);
        patience.received(u64::MAX);
        assert_eq!(patience.left(), PACE.idle);
        patience.waited(Duration::from_secs(15));
        assert_eq!(patience.left(), Duration::from_secs(5));
        patience.waited(Duration::from_secs(15));
        assert_eq!(patience.left(), Duration::ZERO);
    }

    #[tokio::test]
    async fn a_body_that_stops_ends_after_the_longest_pause() {
        let pace = Pace {
            idle: Duration::from_millis(1),
            ..PACE
        };
        let body = UploadBody::new(stream::pending::<Result<Bytes, Infallible>>(), None);
        let mut body = body.reader(pace, CancellationToken::new());
        assert!(matches!(body.next().await, Err(Error::BodyInterrupted)));
    }

    #[tokio::test]
    async fn a_body_of_another_length_than_announced_is_a_mismatch() {
        assert_eq!(
            read(&mut of(&[b"ab", b"", b"c"], Some(3)), 9)
                .await
                .unwrap(),
            3
        );
        for length in [2, 4] {
            let outcome = read(&mut of(&[b"ab", b"c"], Some(length)), 9).await;
            assert!(matches!(outcome, Err(Error::SizeMismatch)));
        }
    }

    #[tokio::test]
    async fn a_body_whose_request_was_dropped_is_broken() {
        let gone = CancellationToken::new();
        gone.cancel();
        let mut body = UploadBody::empty().reader(PACE, gone);
        assert!(matches!(body.next().await, Err(Error::BodyInterrupted)));
    }
}
