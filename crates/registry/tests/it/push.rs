//! Pushes of manifests, as a client notices them; pulls are made on another process.

use crate::support::{Kind, Site};
use crate::support_images::{request, tag};
use portolan_metadata::tags::Expect;
use portolan_oci::{Algorithm, Digest};
use portolan_registry::{Error, PutManifest};
use portolan_testkit::image::Image;

#[tokio::test]
async fn an_image_is_pulled_from_another_process_as_it_was_pushed() {
    let site = Site::new(Kind::Directory).await;
    let (here, there) = (site.process().await, site.process().await);
    let (here, there) = (
        site.client(&here, "acme/app"),
        site.client(&there, "acme/app"),
    );
    for (seed, image) in [(1, Image::random(1)), (2, Image::docker(2))] {
        let name = format!("v{seed}");
        let pushed = here.push(&image, &name).await;
        assert_eq!(pushed.digest, image.manifest.digest);
        assert_eq!(pushed.tags, [tag(&name)]);
        assert!(pushed.warnings.is_empty() && pushed.subject.is_none());
        there.pulls(&name, &image.manifest).await;
        there
            .pulls(&image.manifest.digest.to_string(), &image.manifest)
            .await;
        for blob in image.blobs() {
            assert!(there.pull(blob.digest).await == blob.content);
        }
    }
    assert_eq!(there.tags().await, ["v1", "v2"]);
}

#[tokio::test]
async fn a_manifest_is_pulled_by_each_digest_it_was_pushed_by() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    client.push(&image, "v1").await;
    let other = image.manifest.clone().hashed(Algorithm::Sha512);
    client.put(&other, &other.digest.to_string()).await.unwrap();
    client.pulls(&other.digest.to_string(), &other).await;
    client.pulls("v1", &image.manifest).await;

    let wrong = Digest::sha256(b"something else");
    let refused = client
        .put(&image.manifest, &wrong.to_string())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, Error::DigestMismatch { expected } if expected == wrong),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_tag_moves_for_every_process_at_once() {
    let site = Site::new(Kind::Directory).await;
    let (here, there) = (site.process().await, site.process().await);
    let (here, there) = (
        site.client(&here, "acme/app"),
        site.client(&there, "acme/app"),
    );
    for seed in 0..6 {
        let image = Image::random(seed);
        // By turns, so that each has the one before in its cache.
        let (pusher, puller) = if seed % 2 == 0 {
            (&here, &there)
        } else {
            (&there, &here)
        };
        pusher.push(&image, "latest").await;
        puller.pulls("latest", &image.manifest).await;
        pusher.pulls("latest", &image.manifest).await;
    }
}

#[tokio::test]
async fn a_manifest_of_missing_blobs_is_refused_with_all_their_names_and_leaves_nothing() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (old, new) = (Image::random(1), Image::random(2));

    let refused = client.put(&new.manifest, "v1").await.unwrap_err();
    let Error::ManifestBlobUnknown { mut digests } = refused else {
        panic!("{refused:?}")
    };
    let mut blobs: Vec<Digest> = new.blobs().map(|blob| blob.digest).collect();
    digests.sort();
    blobs.sort();
    assert_eq!(digests, blobs);
    assert_eq!(
        site.number("SELECT count(*) FROM repository").await,
        0,
        "made by a refused push"
    );

    client.push(&old, "v1").await;
    client.push_blob(&new.config).await;
    client.push_blob(&new.layers[0]).await;
    // Elsewhere is not here.
    site.client(&registry, "acme/other")
        .push_blob(&new.layers[1])
        .await;
    let refused = client.put(&new.manifest, "v1").await.unwrap_err();
    let Error::ManifestBlobUnknown { digests } = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(digests, [new.layers[1].digest]);
    client.pulls("v1", &old.manifest).await;
    assert!(matches!(
        client.get(&new.manifest.digest.to_string()).await,
        Err(Error::ManifestUnknown)
    ));
    assert_eq!(
        site.number("SELECT count(*) FROM manifest_content").await,
        1
    );
}

#[tokio::test]
async fn a_push_sets_all_its_tags_or_none() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (old, new) = (Image::random(1), Image::random(2));
    client.push(&old, "b").await;
    client.push(&new, "other").await;

    let by_digest = |image: &Image, tags: &[&str], expect| PutManifest {
        tags: tags.iter().map(|name| tag(name)).collect(),
        expect,
        ..request(&image.manifest, &image.manifest.digest.to_string())
    };
    // `a` could be made and `c` as well; `b` is in the way.
    let put = by_digest(&new, &["c", "b", "a"], Some(Expect::Absent));
    let refused = client.put_request(put).await.unwrap_err();
    let expected = Some(old.manifest.digest);
    assert!(
        matches!(refused, Error::PreconditionFailed { current } if current == expected),
        "{refused:?}"
    );
    assert_eq!(client.tags().await, ["b", "other"]);

    let pushed = client
        .put_request(by_digest(&new, &["c", "b", "a", "b"], None))
        .await
        .unwrap();
    assert_eq!(pushed.tags, [tag("a"), tag("b"), tag("c")]);
    for name in ["a", "b", "c"] {
        client.pulls(name, &new.manifest).await;
    }
}

#[tokio::test]
async fn a_push_can_demand_what_its_tag_points_at() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (one, two) = (Image::random(1), Image::random(2));
    for blob in one.blobs().chain(two.blobs()) {
        client.push_blob(blob).await;
    }
    let at = |image: &Image| Expect::AnyOf(vec![image.manifest.digest]);
    let refused = |outcome: Result<_, Error>, found: Option<&Image>| {
        let found = found.map(|image| image.manifest.digest);
        match outcome {
            Err(Error::PreconditionFailed { current }) => assert_eq!(current, found),
            other => panic!("{other:?}"),
        }
    };

    refused(
        client.put_if(&one.manifest, "t", Expect::Exists).await,
        None,
    );
    refused(client.put_if(&one.manifest, "t", at(&one)).await, None);
    // Refused, it was not even stored.
    assert_eq!(site.number("SELECT count(*) FROM manifest").await, 0);
    client
        .put_if(&one.manifest, "t", Expect::Absent)
        .await
        .unwrap();
    refused(
        client.put_if(&two.manifest, "t", Expect::Absent).await,
        Some(&one),
    );
    refused(
        client.put_if(&two.manifest, "t", at(&two)).await,
        Some(&one),
    );
    client.put_if(&two.manifest, "t", at(&one)).await.unwrap();
    client
        .put_if(&two.manifest, "t", Expect::Exists)
        .await
        .unwrap();
    client.pulls("t", &two.manifest).await;

    // Without a tag, the demand is on the manifest.
    let (new, there) = (Image::random(3), two.manifest.digest.to_string());
    for blob in new.blobs() {
        client.push_blob(blob).await;
    }
    let digest = new.manifest.digest.to_string();
    refused(
        client.put_if(&new.manifest, &digest, Expect::Exists).await,
        None,
    );
    client
        .put_if(&new.manifest, &digest, Expect::Absent)
        .await
        .unwrap();
    refused(
        client.put_if(&new.manifest, &digest, Expect::Absent).await,
        Some(&new),
    );
    client
        .put_if(&two.manifest, &there, Expect::Exists)
        .await
        .unwrap();
}
