//! Request bodies of any size that cost one page of memory.

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use portolan_oci::Digest;
use rand::Rng as _;
use rand::rngs::StdRng;
use sha2::{Digest as _, Sha256};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes in a page.
const PAGE: u64 = 1 << 20;

/// A random page, repeated up to a length. Drawing gigabytes anew for every request would measure the client.
#[derive(Debug, Clone)]
pub(crate) struct Content {
    page: Bytes,
    left: u64,
}

impl Content {
    /// `size` bytes that no other call draws.
    pub(crate) fn random(random: &mut StdRng, size: u64) -> Self {
        let mut page = vec![0; usize::try_from(size.min(PAGE)).expect("a page fits memory")];
        random.fill_bytes(&mut page);
        Self {
            page: page.into(),
            left: size,
        }
    }

    pub(crate) fn empty() -> Self {
        Self {
            page: Bytes::new(),
            left: 0,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        self.left
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut hasher = Sha256::new();
        let mut rest = self.clone();
        while let Some(piece) = rest.take_piece() {
            hasher.update(&piece);
        }
        Digest::from_bytes(&hasher.finalize()).expect("SHA-256 gives 32 bytes")
    }

    fn take_piece(&mut self) -> Option<Bytes> {
        if self.left == 0 {
            return None;
        }
        let length = self.left.min(self.page.len() as u64);
        self.left -= length;
        Some(
            self.page
                .slice(..usize::try_from(length).expect("at most a page")),
        )
    }
}

impl From<Bytes> for Content {
    fn from(page: Bytes) -> Self {
        let left = page.len() as u64;
        Self { page, left }
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.take_piece().map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
