//! The store: everything that a registry asks of it, once, with bytes that are removed again.

use super::advice::chain;
use super::finding::Finding;
use crate::config::Config;
use crate::{https, wire};
use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use futures::TryStreamExt as _;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use portolan_blobs::{BlobStore, BlobStream, Content, Part, StorageKey};
use portolan_oci::{Algorithm, Digest};
use rand::RngExt as _;
use rand::rngs::StdRng;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

/// What is stored and read back: more than a header, and nothing to anybody's bill.
const SIZE: usize = 4 << 10;
/// Where it may be stored: what is left by doctors that were killed is never more than two objects for each, and whoever
/// comes by there next removes it. Two that run at once hardly meet.
const PLACES: u32 = 64;
/// A part of it.
const RANGE: RangeInclusive<u64> = 1_000..=1_999;
/// Longest for one step. The client of the store tries again by itself meanwhile.
const PATIENCE: Duration = Duration::from_secs(30);

/// Looks at it.
pub(crate) async fn examine(config: &Config, may_write: bool, random: &mut StdRng) -> Vec<Finding> {
    let store = match wire::store(config).await {
        Ok(store) => store,
        Err(error) => {
            let advice = "correct the section `storage` of the configuration";
            return vec![Finding::problem("store", format!("{error:#}"), advice)];
        }
    };
    if !may_write {
        let about = "reach it (nothing is written in read-only mode)";
        let reached = step(about, async { Ok(store.probe().await?) });
        return vec![reached.await.finding()];
    }
    let mut bytes = vec![0; SIZE];
    random.fill(&mut bytes[..]);
    let place = random.random_range(0..PLACES);
    let probe = Probe {
        store,
        content: bytes.into(),
        whole: key("whole", place),
        parts: key("parts", place),
    };
    probe.run(config.storage.redirect).await
}

/// Beside the blobs, so that what a crash leaves is seen to be nobody's.
fn key(object: &str, place: u32) -> StorageKey {
    let key = format!("doctor/{object}-{place}").parse();
    key.expect("letters and digits are a key")
}

struct Probe {
    store: Arc<dyn BlobStore>,
    content: Bytes,
    whole: StorageKey,
    parts: StorageKey,
}

impl Probe {
    async fn run(&self, redirect: bool) -> Vec<Finding> {
        let mut findings = Vec::new();
        // A key is written once. What cannot be deleted is told at the end.
        let _ = step("clear", self.delete()).await;
        let stored = step("put an object", self.put()).await;
        let there = stored.is_good();
        findings.push(stored.finding());
        if there {
            findings.push(step("get it", self.get()).await.finding());
            findings.push(step("get a range of it", self.get_range()).await.finding());
            if redirect {
                findings.extend(self.presigned().await);
            }
        }
        findings.push(
            step("put an object in parts", self.multipart())
                .await
                .finding(),
        );
        findings.push(step("delete both", self.delete()).await.finding());
        findings
    }

    async fn put(&self) -> anyhow::Result<()> {
        let digest = Digest::of(Algorithm::Sha256, &self.content);
        let content = Content::Bytes(self.content.clone());
        Ok(self.store.put(&self.whole, content, Some(&digest)).await?)
    }

    async fn get(&self) -> anyhow::Result<()> {
        let found = collected(self.store.get(&self.whole, None).await?).await?;
        ensure!(found == self.content, "other bytes came back than were put");
        Ok(())
    }

    async fn get_range(&self) -> anyhow::Result<()> {
        let found = collected(self.store.get(&self.whole, Some(RANGE)).await?).await?;
        let (first, last) = RANGE.into_inner();
        let expected = usize::try_from(first)?..usize::try_from(last)? + 1;
        ensure!(
            found == self.content[expected],
            "other bytes came back than were asked for"
        );
        Ok(())
    }

    async fn multipart(&self) -> anyhow::Result<()> {
        let key = &self.parts;
        let id = self.store.begin_multipart(key).await?;
        let content = Content::Bytes(self.content.clone());
        let tag = self.store.put_part(key, &id, 1, 0, content).await?;
        let part = Part {
            number: 1,
            tag,
            size: u64::try_from(SIZE)?,
        };
        self.store.complete_multipart(key, &id, &[part]).await?;
        let size = self.store.size(key).await?;
        ensure!(
            size == Some(u64::try_from(SIZE)?),
            "the object has another size than its part"
        );
        Ok(())
    }

    /// Deletes both, whatever became of them, and what a failed attempt has begun.
    async fn delete(&self) -> anyhow::Result<()> {
        self.store.abort_multipart(&self.parts, None).await?;
        let keys = [self.whole.clone(), self.parts.clone()];
        for removal in self.store.delete(&keys).await? {
            removal.outcome?;
        }
        for key in &keys {
            let left = self.store.size(key).await?;
            ensure!(
                left.is_none(),
                "an object is still there after its deletion"
            );
        }
        Ok(())
    }

    /// As a client that was redirected does.
    async fn presigned(&self) -> Option<Finding> {
        let url = match self.store.presign_get(&self.whole).await {
            Ok(url) => url?,
            Err(error) => return Some(trouble("sign a URL", &chain(&error), None)),
        };
        let host = url.authority().map(ToString::to_string).unwrap_or_default();
        let about = format!("get it by a signed URL of {host}");
        let fetched = tokio::time::timeout(PATIENCE, self.fetch(url)).await;
        let failure = match fetched {
            Ok(Ok(())) => return Some(Finding::good("store", about)),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "nothing answers in time".to_owned(),
        };
        let advice = "set `storage.s3.public_endpoint` to the store's URL as clients reach it, or `storage.redirect` to false";
        Some(trouble(&about, &failure, Some(advice)))
    }

    async fn fetch(&self, url: http::Uri) -> anyhow::Result<()> {
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build(https::connector()?);
        // The URL is as good as the bytes: no error may quote it.
        let answer = client
            .get(url)
            .await
            .context("the store does not answer there")?;
        ensure!(
            answer.status().is_success(),
            "the store answers {} there",
            answer.status()
        );
        let body = Limited::new(answer.into_body(), SIZE + 1);
        let body = body.collect().await;
        let body = body.map_err(|_| anyhow::anyhow!("other bytes came back than were put"))?;
        ensure!(
            body.to_bytes() == self.content,
            "other bytes came back than were put"
        );
        Ok(())
    }
}

async fn collected(stream: BlobStream) -> anyhow::Result<Bytes> {
    let content = stream
        .bytes
        .try_fold(BytesMut::new(), |mut content, piece| async move {
            content.extend_from_slice(&piece);
            Ok(content)
        });
    Ok(content.await?.freeze())
}

/// What came of one step.
struct Step {
    about: &'static str,
    failure: Option<anyhow::Error>,
}

async fn step(about: &'static str, work: impl Future<Output = anyhow::Result<()>>) -> Step {
    let outcome = tokio::time::timeout(PATIENCE, work).await;
    let failure = match outcome {
        Ok(outcome) => outcome.err(),
        Err(_) => Some(anyhow::anyhow!("nothing answers in time")),
    };
    Step { about, failure }
}

impl Step {
    fn is_good(&self) -> bool {
        self.failure.is_none()
    }

    fn finding(self) -> Finding {
        let Some(failure) = self.failure else {
            return Finding::good("store", self.about);
        };
        let advice = failure.downcast_ref().map(what_to_do);
        trouble(self.about, &format!("{failure:#}"), advice)
    }
}

fn trouble(about: &str, failure: &str, advice: Option<&str>) -> Finding {
    let advice =
        advice.unwrap_or("see the store's log, and the section `storage` of the configuration");
    Finding::problem("store", format!("cannot {about}: {failure}"), advice)
}

fn what_to_do(error: &portolan_blobs::Error) -> &'static str {
    use portolan_blobs::Error;
    match error {
        Error::Denied(_) => {
            "allow this user to get, put and delete objects of the bucket, and to list and abort multipart uploads; or correct `storage.s3.access_key` and `secret_key`. Of a folder: give it to this process's user"
        }
        Error::Unavailable(_) | Error::Throttled(_) => {
            "see whether the store runs and `storage.s3.endpoint` is right"
        }
        Error::Full(_) => "make room in the store",
        Error::NotFound => "see whether the bucket in `storage.s3.bucket` is there",
        _ => "see the store's log, and the section `storage` of the configuration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use portolan_blobs::{BlobRead as _, DirectoryStore};

    #[tokio::test]
    async fn what_a_killed_doctor_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(DirectoryStore::open(folder.path()).unwrap());
        let probe = Probe {
            store: store.clone(),
            content: vec![1; SIZE].into(),
            whole: key("whole", 3),
            parts: key("parts", 3),
        };
        for key in [&probe.whole, &probe.parts] {
            let old = Content::Bytes(Bytes::from_static(b"old"));
            store.put(key, old, None).await.unwrap();
        }
        store.begin_multipart(&probe.parts).await.unwrap();
        for finding in probe.run(true).await {
            assert_eq!(finding.level, super::super::Level::Good, "{finding}");
        }
        for key in [&probe.whole, &probe.parts] {
            assert_eq!(store.size(key).await.unwrap(), None);
        }
    }
}
