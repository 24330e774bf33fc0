//! A client that pushes until the server is gone, in the ways that clients have.

use std::error::Error;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, StatusCode};
use portolan_testkit::client::{Answer, Client};
use portolan_testkit::image::Blob;
use rand::RngExt as _;
use rand::rngs::StdRng;

use super::attempt::{Attempt, Unfinished};
use super::image::Image;

/// Bound of a round for one client; the kill comes first.
const PUSHES: u64 = 200;

/// The repository that half of all pushes go to, and that blobs are mounted from.
const COMMON: &str = "kill/common";

/// One client.
pub(super) struct Pusher {
    pub(super) client: Client,
    pub(super) name: String,
    pub(super) rng: StdRng,
    pub(super) shared: Blob,
    /// Answers that all clients of the round have got.
    pub(super) steps: Arc<AtomicU64>,
}

/// The connection broke.
struct Gone;

type Outcome = Result<Answer, Box<dyn Error + Send + Sync>>;

impl Pusher {
    /// Every push it began.
    pub(super) async fn push_until_gone(mut self) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        for number in 0..PUSHES {
            let name = &self.name;
            let repository = if self.rng.random_bool(0.5) {
                COMMON.to_owned()
            } else {
                format!("kill/r{name}")
            };
            let tag = format!("t{name}-{number}");
            let image = Image::random(&mut self.rng, &self.shared);
            let mut attempt = Attempt::new(repository, tag, image);
            let outcome = self.push(&mut attempt).await;
            attempts.push(attempt);
            if outcome.is_err() {
                break;
            }
        }
        attempts
    }

    async fn push(&mut self, attempt: &mut Attempt) -> Result<(), Gone> {
        for index in 0..attempt.image.blobs.len() {
            self.push_blob(attempt, index).await?;
            attempt.stored.push(index);
            attempt.unfinished = None;
        }
        self.answered(attempt.put_manifest(&self.client).await, 201)?;
        attempt.acknowledged = true;
        Ok(())
    }

    async fn push_blob(&mut self, attempt: &mut Attempt, index: usize) -> Result<(), Gone> {
        let blob = attempt.image.blobs[index].clone();
        let uploads = format!("/v2/{}/blobs/uploads/", attempt.repository);
        let digest = format!("digest={}", blob.digest);
        let way = self.rng.random_range(0..5);
        if way == 0 {
            // The whole blob in one request.
            let asking = self
                .client
                .request(Method::POST, &format!("{uploads}?{digest}"));
            return self
                .answered(asking.body(blob.content).try_send().await, 201)
                .map(drop);
        }
        let start = match way {
            // A mount, which is declined for what is not there.
            1 => format!("{uploads}?mount={}&from={COMMON}", blob.digest),
            _ => uploads,
        };
        let started = self.client.request(Method::POST, &start).try_send().await;
        let answer = match started {
            Ok(answer) if answer.status == StatusCode::CREATED => return Ok(()),
            other => self.answered(other, 202)?,
        };
        attempt.unfinished = Some(Unfinished {
            location: answer.location().to_owned(),
            blob: index,
        });
        match way {
            // docker: a stream of unknown length, then an empty PUT.
            2 => {
                let pieces =
                    pieces(blob.content.len(), 100_000).map(|range| Ok(blob.content.slice(range)));
                let pieces: Vec<_> = pieces.collect();
                let asking = self.client.request(Method::PATCH, answer.location());
                let answer = self.answered(asking.pieces(pieces).try_send().await, 202)?;
                let put = self
                    .client
                    .request(Method::PUT, &answer.location_with(&digest));
                self.answered(put.try_send().await, 201)?;
            }
            // regctl: chunks.
            3 => {
                let mut answer = answer;
                let size = self.rng.random_range(50_000..6_000_000);
                for range in pieces(blob.content.len(), size) {
                    let asking = self
                        .client
                        .request(Method::PATCH, answer.location())
                        .header(
                            "content-range",
                            format!("{}-{}", range.start, range.end - 1),
                        )
                        .body(blob.content.slice(range));
                    answer = self.answered(asking.try_send().await, 202)?;
                }
                let put = self
                    .client
                    .request(Method::PUT, &answer.location_with(&digest));
                self.answered(put.try_send().await, 201)?;
            }
            // containerd: the whole body with the PUT.
            _ => {
                let put = self
                    .client
                    .request(Method::PUT, &answer.location_with(&digest));
                self.answered(put.body(blob.content).try_send().await, 201)?;
            }
        }
        Ok(())
    }

    /// An answer must be the expected one; no answer means that the server is gone. "Later" comes to the same: what was not
    /// acknowledged is pushed again in the next round.
    fn answered(&self, outcome: Outcome, status: u16) -> Result<Answer, Gone> {
        let answer = outcome.map_err(|_| Gone)?;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            return Err(Gone);
        }
        let answer = answer.expect(status);
        self.steps.fetch_add(1, Ordering::Relaxed);
        Ok(answer)
    }
}

/// `0..length` in ranges of `size`.
fn pieces(length: usize, size: usize) -> impl Iterator<Item = Range<usize>> {
    (0..length)
        .step_by(size)
        .map(move |start| start..length.min(start + size))
}
