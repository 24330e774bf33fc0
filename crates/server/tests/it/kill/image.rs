//! Images of many sizes, and the check that one came back whole.

use http::StatusCode;
use portolan_testkit::client::Client;
use portolan_testkit::image::{Blob, ManifestFile};
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::json;

/// An image and everything it is made of; the first blob is the configuration.
pub(super) struct Image {
    pub(super) blobs: Vec<Blob>,
    pub(super) manifest: ManifestFile,
}

impl Image {
    /// Another one with every call; three in ten have the layer `shared`.
    pub(super) fn random(rng: &mut StdRng, shared: &Blob) -> Self {
        let seed: u64 = rng.random();
        let config = format!(r#"{{"architecture":"amd64","os":"linux","seed":{seed}}}"#);
        let mut blobs = vec![Blob::new(config)];
        for _ in 0..rng.random_range(1..=2) {
            // Mostly small; one in eight has more than one part of an upload, which is 8 MiB.
            let large = rng.random_bool(0.12);
            let sizes = if large {
                8_500_000..10_000_000
            } else {
                1..200_000
            };
            blobs.push(Blob::random(rng.random(), rng.random_range(sizes)));
        }
        if rng.random_bool(0.3) {
            blobs.push(shared.clone());
        }
        let layers = blobs[1..].iter();
        let layer = "application/vnd.oci.image.layer.v1.tar+gzip";
        let manifest = ManifestFile::of(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": blobs[0].descriptor("application/vnd.oci.image.config.v1+json"),
            "layers": layers.map(|blob| blob.descriptor(layer)).collect::<Vec<_>>(),
        }));
        Self { blobs, manifest }
    }

    /// Pulls it and compares every byte.
    pub(super) async fn pull(&self, client: &Client, repository: &str, tag: &str) {
        let path = format!("/v2/{repository}/manifests/{tag}");
        let answer = client.get_patiently(&path).await.expect(200);
        assert_eq!(answer.body, self.manifest.payload, "{repository}:{tag}");
        for blob in &self.blobs {
            pull_blob(client, repository, blob).await;
        }
    }
}

/// Pulls a blob, from the store if the registry says so, and compares every byte.
pub(super) async fn pull_blob(client: &Client, repository: &str, blob: &Blob) {
    let path = format!("/v2/{repository}/blobs/{}", blob.digest);
    let mut answer = client.get_patiently(&path).await;
    if answer.status == StatusCode::TEMPORARY_REDIRECT {
        let location = answer.header("location").to_owned();
        answer = client.anonymous().get(&location).await;
    }
    let content = answer.expect(200).body;
    assert!(
        content == blob.content,
        "{repository}: {} came back otherwise",
        blob.digest
    );
}
