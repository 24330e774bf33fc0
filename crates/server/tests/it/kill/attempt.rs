//! One push, how far it came, and what must be true of it after the kill.

use std::error::Error;

use http::{Method, StatusCode};
use portolan_testkit::client::{Answer, Client};

use super::image::{Image, pull_blob};

/// An upload that was begun and whose end was not seen.
pub(super) struct Unfinished {
    pub(super) location: String,
    /// Which of the image's blobs.
    pub(super) blob: usize,
}

/// One push.
pub(super) struct Attempt {
    pub(super) repository: String,
    pub(super) tag: String,
    pub(super) image: Image,
    /// The manifest's 201 was seen.
    pub(super) acknowledged: bool,
    /// The blobs whose 201 was seen.
    pub(super) stored: Vec<usize>,
    pub(super) unfinished: Option<Unfinished>,
}

impl Attempt {
    pub(super) fn new(repository: String, tag: String, image: Image) -> Self {
        Self {
            repository,
            tag,
            image,
            acknowledged: false,
            stored: Vec::new(),
            unfinished: None,
        }
    }

    pub(super) async fn put_manifest(
        &self,
        client: &Client,
    ) -> Result<Answer, Box<dyn Error + Send + Sync>> {
        let manifest = &self.image.manifest;
        client
            .request(Method::PUT, &self.manifest_path())
            .header("content-type", &manifest.media_type)
            .body(manifest.payload.clone())
            .try_send()
            .await
    }

    fn manifest_path(&self) -> String {
        format!("/v2/{}/manifests/{}", self.repository, self.tag)
    }

    /// What got its 201 is there, whatever happened a moment later.
    pub(super) async fn check_what_was_acknowledged(&self, client: &Client) {
        for index in &self.stored {
            pull_blob(client, &self.repository, &self.image.blobs[*index]).await;
        }
        // Also where the answer was lost on its way: what is there is whole.
        if self.acknowledged
            || client.get_patiently(&self.manifest_path()).await.status == StatusCode::OK
        {
            self.image.pull(client, &self.repository, &self.tag).await;
        }
    }

    /// A client that asks where its upload stands may go on from there. Says whether one did.
    pub(super) async fn carry_on(&self, client: &Client) -> bool {
        let Some(unfinished) = &self.unfinished else {
            return false;
        };
        let blob = &self.image.blobs[unfinished.blob];
        let answer = client.get_patiently(&unfinished.location).await;
        if answer.status == StatusCode::NOT_FOUND {
            // Its end was committed, and only the answer lost.
            pull_blob(client, &self.repository, blob).await;
            return false;
        }
        let answer = answer.expect(204);
        let (_, end) = answer.header("range").split_once('-').expect("a range");
        let end: usize = end.parse().expect("an offset");
        // `0-0` also stands for nothing; no piece that is pushed here has one byte.
        let received = if end == 0 { 0 } else { end + 1 };
        assert!(
            received <= blob.content.len(),
            "it has {received} of {}",
            blob.content.len()
        );
        let target = answer.location_with(&format!("digest={}", blob.digest));
        let put = client
            .request(Method::PUT, &target)
            .body(blob.content.slice(received..));
        let answer = put.send().await;
        if answer.status != StatusCode::CREATED {
            // The claim of the process that was killed may last some seconds more: try later, it says.
            let later = [
                StatusCode::CONFLICT,
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::RANGE_NOT_SATISFIABLE,
            ];
            assert!(later.contains(&answer.status), "{answer:?}");
            return false;
        }
        pull_blob(client, &self.repository, blob).await;
        true
    }

    /// Made again, every push succeeds.
    pub(super) async fn push_again(&self, client: &Client) {
        if self.acknowledged {
            return;
        }
        for blob in &self.image.blobs {
            let target = format!(
                "/v2/{}/blobs/uploads/?digest={}",
                self.repository, blob.digest
            );
            let post = client
                .request(Method::POST, &target)
                .body(blob.content.clone());
            post.send().await.expect(201);
        }
        let answer = self.put_manifest(client).await.expect("an answer");
        answer.expect(201);
        self.image.pull(client, &self.repository, &self.tag).await;
    }
}
