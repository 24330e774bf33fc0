//! Deletes, as clients and other repositories notice them.

use crate::support::{Kind, Site};
use crate::support_images::tag;
use portolan_metadata::tags::Expect;
use portolan_oci::Digest;
use portolan_registry::Error;
use portolan_testkit::image::{Blob, Image, ManifestFile};

#[tokio::test]
async fn a_deleted_tag_is_gone_for_every_process_and_its_manifest_stays() {
    let site = Site::new(Kind::Directory).await;
    let (here, there) = (site.process().await, site.process().await);
    let (here, there) = (
        site.client(&here, "acme/app"),
        site.client(&there, "acme/app"),
    );
    let image = Image::random(1);
    here.push(&image, "v1").await;
    here.put(&image.manifest, "v2").await.unwrap();
    there.pulls("v1", &image.manifest).await;

    here.delete_tag("v1").await.unwrap();
    let gone = there.get("v1").await;
    assert!(matches!(gone, Err(Error::ManifestUnknown)), "{gone:?}");
    there.pulls("v2", &image.manifest).await;
    there
        .pulls(&image.manifest.digest.to_string(), &image.manifest)
        .await;
    assert_eq!(there.tags().await, ["v2"]);
    // Nothing to delete is said so, each time.
    for client in [&here, &there] {
        let again = client.delete_tag("v1").await;
        assert!(matches!(again, Err(Error::ManifestUnknown)), "{again:?}");
    }
}

#[tokio::test]
async fn a_deleted_manifest_takes_its_tags_along_and_can_be_pushed_again() {
    let site = Site::new(Kind::Directory).await;
    let (here, there) = (site.process().await, site.process().await);
    let (here, there) = (
        site.client(&here, "acme/app"),
        site.client(&there, "acme/app"),
    );
    let (image, other) = (Image::random(1), Image::random(2));
    let digest = image.manifest.digest.to_string();
    here.push(&image, "v1").await;
    here.put(&image.manifest, "v2").await.unwrap();
    here.push(&other, "v3").await;
    there.pulls(&digest, &image.manifest).await;

    here.delete_manifest(&image.manifest).await.unwrap();
    for reference in ["v1", "v2", &digest] {
        // Its bytes are in both caches still; that is no presence.
        for client in [&here, &there] {
            let gone = client.get(reference).await;
            assert!(
                matches!(gone, Err(Error::ManifestUnknown)),
                "{reference}: {gone:?}"
            );
        }
    }
    assert_eq!(there.tags().await, ["v3"]);
    let again = there.delete_manifest(&image.manifest).await;
    assert!(matches!(again, Err(Error::ManifestUnknown)), "{again:?}");

    // Its blobs are here for a day yet: the manifest is all that has to come again.
    for blob in image.blobs() {
        assert!(there.has(blob.digest).await);
    }
    there.put(&image.manifest, "v1").await.unwrap();
    here.pulls("v1", &image.manifest).await;
}

#[tokio::test]
async fn what_is_deleted_here_stays_elsewhere() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let (here, elsewhere) = (
        site.client(&registry, "acme/app"),
        site.client(&registry, "other/app"),
    );
    let image = Image::random(1);
    here.push(&image, "v1").await;
    elsewhere.push(&image, "v1").await;
    assert_eq!(site.number("SELECT count(*) FROM blob").await, 3);
    assert_eq!(
        site.number("SELECT count(*) FROM manifest_content").await,
        1
    );

    here.delete_manifest(&image.manifest).await.unwrap();
    for blob in image.blobs() {
        here.delete_blob(blob.digest).await.unwrap();
        assert!(!here.has(blob.digest).await);
    }
    elsewhere.pulls("v1", &image.manifest).await;
    for blob in image.blobs() {
        assert!(elsewhere.pull(blob.digest).await == blob.content);
    }
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn a_blob_is_not_deleted_while_a_manifest_here_needs_it() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    let layer = image.layers[0].digest;
    client.push(&image, "v1").await;
    let second = Image::artifact("application/vnd.example", 3, Some(&image.manifest));
    client.push(&second, "v2").await;

    for _ in 0..2 {
        let refused = client.delete_blob(layer).await;
        assert!(matches!(refused, Err(Error::BlobReferenced)), "{refused:?}");
    }
    assert!(client.pull(layer).await == image.layers[0].content);
    client.delete_tag("v1").await.unwrap();
    let refused = client.delete_blob(layer).await;
    assert!(
        matches!(refused, Err(Error::BlobReferenced)),
        "untagged it needs it still: {refused:?}"
    );
    client.delete_manifest(&image.manifest).await.unwrap();
    client.delete_blob(layer).await.unwrap();
    let gone = client.delete_blob(layer).await;
    assert!(matches!(gone, Err(Error::BlobUnknown)), "{gone:?}");

    let refused = client.put(&image.manifest, "v1").await;
    assert!(
        matches!(&refused, Err(Error::ManifestBlobUnknown { digests }) if *digests == [layer]),
        "{refused:?}"
    );
    client.push(&image, "v1").await;
    client.pulls("v1", &image.manifest).await;
}

#[tokio::test]
async fn a_blob_that_was_only_uploaded_can_be_deleted_and_uploaded_again() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let blob = Blob::random(1, 5_000);
    for _ in 0..2 {
        client.push_blob(&blob).await;
        client.delete_blob(blob.digest).await.unwrap();
        assert!(!client.has(blob.digest).await);
    }
    client.push_blob(&blob).await;
    assert!(client.pull(blob.digest).await == blob.content);
    site.nothing_is_left_over(&registry).await;
}

#[tokio::test]
async fn a_delete_can_demand_what_the_tag_points_at() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (one, two) = (Image::random(1), Image::random(2));
    client.push(&one, "t").await;
    client.push(&two, "t").await;
    let delete = async |expect: Expect| {
        registry
            .delete_tag(&site.caller, &client.name, &tag("t"), Some(&expect))
            .await
    };
    let refused = delete(Expect::AnyOf(vec![one.manifest.digest])).await;
    let now = Some(two.manifest.digest);
    assert!(
        matches!(refused, Err(Error::PreconditionFailed { current }) if current == now),
        "{refused:?}"
    );
    client.pulls("t", &two.manifest).await;
    delete(Expect::AnyOf(vec![two.manifest.digest]))
        .await
        .unwrap();
    let refused = delete(Expect::Exists).await;
    assert!(
        matches!(refused, Err(Error::PreconditionFailed { current: None })),
        "{refused:?}"
    );
}

#[tokio::test]
async fn what_refers_to_a_deleted_manifest_stays_and_is_young() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    let index = ManifestFile::index(std::slice::from_ref(&image.manifest));
    let sbom = Image::artifact("application/vnd.example.sbom", 2, Some(&index));
    client.push(&image, "v1").await;
    client.put(&index, "all").await.unwrap();
    client.push(&sbom, "sbom").await;
    client.delete_tag("v1").await.unwrap();
    site.run("UPDATE gc_queue SET review_after = now() - interval '1 hour'")
        .await;

    client.delete_manifest(&index).await.unwrap();
    client
        .pulls(&image.manifest.digest.to_string(), &image.manifest)
        .await;
    assert_eq!(
        client.referrers(index.digest, None).await,
        [sbom.manifest.digest]
    );
    let young = "SELECT count(*) FROM gc_queue
                 WHERE kind = 'manifest' AND review_after > now() + interval '23 hours'";
    assert_eq!(site.number(young).await, 2);
    assert_eq!(
        site.number("SELECT count(*) FROM gc_queue WHERE kind = 'manifest'")
            .await,
        2
    );
}

#[tokio::test]
async fn deletes_where_nothing_is_say_what_is_missing() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let missing = site.client(&registry, "acme/missing");
    let image = Image::random(1);
    let ends = [
        missing.delete_tag("v1").await.unwrap_err(),
        missing.delete_manifest(&image.manifest).await.unwrap_err(),
        missing.delete_blob(image.config.digest).await.unwrap_err(),
    ];
    assert!(
        ends.iter().all(|end| matches!(end, Error::NameUnknown)),
        "{ends:?}"
    );
    let client = site.client(&registry, "acme/app");
    client.push(&image, "v1").await;
    let gone = client.delete_blob(Digest::sha256(b"nowhere")).await;
    assert!(matches!(gone, Err(Error::BlobUnknown)), "{gone:?}");
    // A blob of another repository is none of this one.
    let other = Blob::random(5, 10);
    site.client(&registry, "acme/other").push_blob(&other).await;
    let gone = client.delete_blob(other.digest).await;
    assert!(matches!(gone, Err(Error::BlobUnknown)), "{gone:?}");
}
