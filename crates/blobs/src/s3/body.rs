//! Bytes on their way to the SDK.

use crate::Content;
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use http_body::{Body, Frame, SizeHint};
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

/// A request body that a retry can send again from its start.
pub(super) fn send(content: Content) -> ByteStream {
    match content {
        Content::Bytes(bytes) => ByteStream::from(bytes),
        Content::Spooled(spooled) => ByteStream::new(SdkBody::retryable(move || {
            let bytes = Mutex::new(spooled.stream());
            SdkBody::from_body_1_x(FileBody {
                bytes,
                left: spooled.len,
            })
        })),
    }
}

/// A length as the SDK wants it.
pub(super) fn length(len: u64) -> i64 {
    i64::try_from(len).expect("a part has at most 5 GiB")
}

/// A file of known length as a request body. The mutex makes it `Sync`, which the SDK asks for;
/// nobody ever waits for it.
struct FileBody {
    bytes: Mutex<BoxStream<'static, Result<Bytes, io::Error>>>,
    left: u64,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let bytes = self.bytes.get_mut().expect("no holder of this lock panics");
        let polled = bytes.try_poll_next_unpin(cx);
        if let Poll::Ready(Some(Ok(piece))) = &polled {
            self.left -= piece.len() as u64;
        }
        polled.map_ok(Frame::data)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }
}
