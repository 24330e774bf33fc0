//! An object on its way out, taken up again where the line broke.
//!
//! The SDK tries a call again until its answer begins; a body that breaks off later is the
//! caller's. An object never changes under its key, so the rest can be asked for by its range.

use super::failure::{in_stream, sort, without};
use crate::Error;
use crate::store::BlobStream;
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;
use bytes::Bytes;
use futures::{StreamExt, stream};
use std::ops::RangeInclusive;

/// How often one download is taken up again. A line that breaks more often is not worth holding a client to.
const RESUMES: u32 = 3;

/// One object, or some bytes of it, being read.
#[derive(Debug)]
pub(super) struct Download {
    client: Client,
    bucket: String,
    object: String,
    body: ByteStream,
    /// The next byte, and the one behind the last.
    at: u64,
    end: u64,
    resumes: u32,
}

impl Download {
    /// Asks for the object and waits until its answer begins.
    pub(super) async fn begin(
        client: Client,
        bucket: String,
        object: String,
        range: Option<RangeInclusive<u64>>,
    ) -> Result<Self, Error> {
        let start = range.as_ref().map_or(0, |range| *range.start());
        let (body, size) = ask(&client, &bucket, &object, range).await?;
        Ok(Self {
            client,
            bucket,
            object,
            body,
            at: start,
            end: start + size,
            resumes: RESUMES,
        })
    }

    /// The bytes; dropping the stream ends the transfer.
    pub(super) fn stream(self) -> BlobStream {
        let size = self.end - self.at;
        let bytes = stream::try_unfold(self, |mut download| async move {
            let next = download.next().await?;
            Ok(next.map(|bytes| (bytes, download)))
        });
        BlobStream {
            size,
            bytes: bytes.boxed(),
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let failure = match self.body.try_next().await {
                Ok(Some(bytes)) => {
                    self.at += bytes.len() as u64;
                    return Ok(Some(bytes));
                }
                Ok(None) if self.at == self.end => return Ok(None),
                Ok(None) => without("GetObject", "the answer ended early"),
                Err(cause) => in_stream(&cause),
            };
            if self.resumes == 0 || self.at >= self.end {
                return Err(failure);
            }
            self.resumes -= 1;
            let left = self.at..=self.end - 1;
            (self.body, _) = ask(&self.client, &self.bucket, &self.object, Some(left)).await?;
        }
    }
}

async fn ask(
    client: &Client,
    bucket: &str,
    object: &str,
    range: Option<RangeInclusive<u64>>,
) -> Result<(ByteStream, u64), Error> {
    let range = range.map(|range| format!("bytes={}-{}", range.start(), range.end()));
    let call = client
        .get_object()
        .bucket(bucket)
        .key(object)
        .set_range(range);
    let answer = call
        .send()
        .await
        .map_err(|cause| sort("GetObject", &cause))?;
    let size = answer
        .content_length()
        .and_then(|length| u64::try_from(length).ok());
    let size = size.ok_or_else(|| without("GetObject", "no Content-Length"))?;
    Ok((answer.body, size))
}
