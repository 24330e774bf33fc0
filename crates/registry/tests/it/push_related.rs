//! Manifests that name each other, and what is not here: indexes, referrers, images without layers.

use crate::support::{Kind, Site, name};
use portolan_oci::media_type;
use portolan_registry::{Error, MountOutcome, PushWarning, SparseImages};
use portolan_testkit::image::{Blob, Image, ManifestFile};
use serde_json::json;

#[tokio::test]
async fn an_index_says_how_many_of_its_manifests_are_missing() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (early, late) = (Image::random(1), Image::random(2));
    client.push(&early, "early").await;
    let index = ManifestFile::index(&[early.manifest.clone(), late.manifest.clone()]);

    let warnings = client.put(&index, "all").await.unwrap().warnings;
    assert_eq!(
        warnings,
        [PushWarning::SparseIndex {
            missing: 1,
            total: 2
        }]
    );
    client.pulls("all", &index).await;

    // Whatever comes late is the index's child from then on, and nobody's push warns any more.
    for blob in late.blobs() {
        client.push_blob(blob).await;
    }
    client
        .put(&late.manifest, &late.manifest.digest.to_string())
        .await
        .unwrap();
    assert_eq!(client.put(&index, "all").await.unwrap().warnings, []);
    assert_eq!(
        site.number("SELECT count(child_id) FROM manifest_child")
            .await,
        2
    );

    // His wish: the index stays, and is sparse again.
    client.delete_manifest(&early.manifest).await.unwrap();
    client.pulls("all", &index).await;
    let warnings = client.put(&index, "all").await.unwrap().warnings;
    assert_eq!(
        warnings,
        [PushWarning::SparseIndex {
            missing: 1,
            total: 2
        }]
    );
}

#[tokio::test]
async fn an_index_may_not_name_what_collection_took() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (one, two) = (Image::random(1), Image::random(2));
    client.push(&one, "one").await;
    client.push(&two, "two").await;
    client.delete_manifest(&one.manifest).await.unwrap();
    site.run("UPDATE deleted_manifest SET reason = 'collection'")
        .await;

    let index = ManifestFile::index(&[one.manifest.clone(), two.manifest.clone()]);
    let refused = client.put(&index, "all").await.unwrap_err();
    let taken = one.manifest.digest;
    assert!(
        matches!(refused, Error::ManifestChildRemoved { digest } if digest == taken),
        "{refused:?}"
    );
    client.push(&one, "one").await;
    assert_eq!(client.put(&index, "all").await.unwrap().warnings, []);
}

#[tokio::test]
async fn referrers_are_listed_whether_or_not_their_subject_is_here() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    let subject = image.manifest.digest;
    let sbom = Image::artifact("application/vnd.example.sbom", 2, Some(&image.manifest));
    let signature = Image::artifact(
        "application/vnd.example.signature",
        3,
        Some(&image.manifest),
    );

    let pushed = client.push(&sbom, "sbom").await;
    assert_eq!(
        pushed.subject,
        Some(subject),
        "also of a subject that is not here"
    );
    assert_eq!(
        client.referrers(subject, None).await,
        [sbom.manifest.digest]
    );
    client.push(&image, "v1").await;
    client.push(&signature, "signature").await;
    let mut both = vec![sbom.manifest.digest, signature.manifest.digest];
    both.sort();
    assert_eq!(client.referrers(subject, None).await, both);
    let filtered = client
        .referrers(subject, Some("application/vnd.example.sbom"))
        .await;
    assert_eq!(filtered, [sbom.manifest.digest]);
    assert!(
        client
            .referrers(sbom.manifest.digest, None)
            .await
            .is_empty()
    );

    // Untagged it is one still; deleted it is none.
    client.delete_tag("sbom").await.unwrap();
    assert_eq!(client.referrers(subject, None).await, both);
    client.delete_manifest(&sbom.manifest).await.unwrap();
    assert_eq!(
        client.referrers(subject, None).await,
        [signature.manifest.digest]
    );
    let elsewhere = site.client(&registry, "acme/other");
    elsewhere.push(&Image::random(9), "v1").await;
    assert!(elsewhere.referrers(subject, None).await.is_empty());
}

#[tokio::test]
async fn an_image_that_may_lack_layers_gets_them_when_they_come() {
    let mut site = Site::new(Kind::Directory).await;
    site.limits.sparse_images = SparseImages::Accept;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    let (first, second) = (&image.layers[0], &image.layers[1]);
    client.push_blob(&image.config).await;

    let warnings = client.put(&image.manifest, "v1").await.unwrap().warnings;
    assert_eq!(
        warnings,
        [PushWarning::SparseImage {
            missing: 2,
            total: 3
        }]
    );
    client.pulls("v1", &image.manifest).await;
    assert!(!client.has(first.digest).await);

    client.push_blob(first).await;
    let refused = client.delete_blob(first.digest).await;
    assert!(matches!(refused, Err(Error::BlobReferenced)), "{refused:?}");
    let elsewhere = site.client(&registry, "acme/other");
    elsewhere.push_blob(second).await;
    assert!(!client.has(second.digest).await);
    let from = name("acme/other");
    registry
        .mount(&site.caller, &client.name, second.digest, Some(&from))
        .await
        .unwrap();
    // Their links end; what the image references stays.
    site.run("DELETE FROM repository_blob").await;
    assert!(client.has(first.digest).await && client.has(second.digest).await);
    assert_eq!(
        client.put(&image.manifest, "v1").await.unwrap().warnings,
        []
    );
}

#[tokio::test]
async fn naming_a_layer_gives_no_access_to_it() {
    let mut site = Site::new(Kind::Directory).await;
    site.limits.sparse_images = SparseImages::Accept;
    let registry = site.process().await;
    let mallory = site.user("mallory").await;
    let secret = Image::random(1);
    site.client(&registry, "acme/secret")
        .push(&secret, "v1")
        .await;

    let mut own = site.client(&registry, "mallory/app");
    own.caller = &mallory;
    // All of it is in the registry, and nothing of it here.
    let warnings = own.put(&secret.manifest, "v1").await.unwrap().warnings;
    assert_eq!(
        warnings,
        [PushWarning::SparseImage {
            missing: 3,
            total: 3
        }]
    );
    own.put(&secret.manifest, "again").await.unwrap();
    for blob in secret.blobs() {
        assert!(!own.has(blob.digest).await);
        let outcome = registry
            .mount(&mallory, &own.name, blob.digest, None)
            .await
            .unwrap();
        assert_eq!(outcome, MountOutcome::Declined);
        let to = name("mallory/other");
        let outcome = registry
            .mount(&mallory, &to, blob.digest, Some(&own.name))
            .await
            .unwrap();
        assert_eq!(outcome, MountOutcome::Declined);
    }
}

#[tokio::test]
async fn what_a_manifest_says_twice_is_stored_once() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let layer = Blob::random(1, 10);
    let config = Blob::new("{}");
    let document = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_IMAGE,
        "config": config.descriptor(media_type::OCI_EMPTY),
        "layers": [
            layer.descriptor(media_type::OCI_LAYER_GZIP),
            layer.descriptor(media_type::OCI_LAYER_GZIP),
        ],
    });
    let manifest = ManifestFile::of(&document);
    client.push_blob(&layer).await;
    client.push_blob(&config).await;
    client.put(&manifest, "v1").await.unwrap();
    let index = ManifestFile::index(&[manifest.clone(), manifest.clone()]);
    assert_eq!(client.put(&index, "all").await.unwrap().warnings, []);
    client.pulls("all", &index).await;
    assert_eq!(site.number("SELECT count(*) FROM manifest_child").await, 1);
}
