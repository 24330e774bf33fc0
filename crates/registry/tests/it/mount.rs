//! Mounts: whatever stands in the way is the same answer.

use crate::support::{Client, Kind, Site, name};
use crate::support_images::with_token;
use portolan_auth::Actions;
use portolan_oci::Digest;
use portolan_registry::{Caller, Error, MountOutcome, Registry};
use portolan_testkit::image::{Blob, Image};

/// A repository of an administrator with an image, and two users with nothing.
struct Scene {
    site: Site,
    registry: Registry,
    image: Image,
    alice: Caller,
}

impl Scene {
    async fn new() -> Self {
        let site = Site::new(Kind::Directory).await;
        let registry = site.process().await;
        let image = Image::random(1);
        site.client(&registry, "acme/app").push(&image, "v1").await;
        let alice = site.user("alice").await;
        Self {
            site,
            registry,
            image,
            alice,
        }
    }

    fn of_alice(&self, repository: &str) -> Client<'_> {
        Client {
            registry: &self.registry,
            caller: &self.alice,
            name: name(repository),
        }
    }

    async fn mount(&self, caller: &Caller, to: &str, digest: Digest, from: Option<&str>) -> bool {
        let from = from.map(name);
        let outcome = self
            .registry
            .mount(caller, &name(to), digest, from.as_ref())
            .await
            .unwrap();
        outcome == MountOutcome::Mounted
    }
}

#[tokio::test]
async fn a_blob_is_mounted_from_where_one_may_read_and_stays_when_it_goes_there() {
    let scene = Scene::new().await;
    let layer = &scene.image.layers[0];
    scene.site.publish("acme/app").await;
    let own = scene.of_alice("alice/app");
    assert!(
        scene
            .mount(&scene.alice, "alice/app", layer.digest, Some("acme/app"))
            .await
    );
    assert!(own.pull(layer.digest).await == layer.content);
    // What is mounted can be mounted on, and again.
    assert!(
        scene
            .mount(&scene.alice, "alice/more", layer.digest, Some("alice/app"))
            .await
    );
    assert!(
        scene
            .mount(&scene.alice, "alice/app", layer.digest, Some("alice/app"))
            .await
    );

    let source = scene.site.client(&scene.registry, "acme/app");
    source.delete_manifest(&scene.image.manifest).await.unwrap();
    source.delete_blob(layer.digest).await.unwrap();
    assert!(!source.has(layer.digest).await);
    assert!(own.pull(layer.digest).await == layer.content);
}

#[tokio::test]
async fn a_mounted_image_is_pushed_without_its_bytes() {
    let scene = Scene::new().await;
    scene.site.publish("acme/app").await;
    for blob in scene.image.blobs() {
        assert!(
            scene
                .mount(&scene.alice, "alice/app", blob.digest, Some("acme/app"))
                .await
        );
    }
    let own = scene.of_alice("alice/app");
    own.put(&scene.image.manifest, "v1").await.unwrap();
    own.pulls("v1", &scene.image.manifest).await;
    assert_eq!(scene.site.number("SELECT count(*) FROM blob").await, 3);
}

#[tokio::test]
async fn whatever_stands_in_the_way_is_the_same_answer() {
    let scene = Scene::new().await;
    let Scene {
        site,
        registry,
        image,
        alice,
    } = &scene;
    let layer = image.layers[0].digest;
    scene
        .of_alice("alice/app")
        .push_blob(&Blob::random(7, 10))
        .await;
    site.client(registry, "acme/public")
        .push(&Image::random(2), "v1")
        .await;
    site.publish("acme/public").await;

    let nowhere = Digest::sha256(b"nowhere");
    for (digest, from) in [
        // Private, where it is; where nothing is; readable, where it is not; nowhere at all.
        (layer, Some("acme/app")),
        (layer, Some("acme/missing")),
        (layer, Some("alice/missing")),
        (layer, Some("acme/public")),
        (layer, Some("alice/app")),
        (layer, None),
        (nowhere, Some("acme/public")),
        (nowhere, None),
    ] {
        assert!(
            !scene.mount(alice, "alice/app", digest, from).await,
            "{from:?}"
        );
    }
    assert!(!scene.of_alice("alice/app").has(layer).await);
    // The administrator may read everything.
    assert!(scene.mount(&site.caller, "acme/other", layer, None).await);
}

#[tokio::test]
async fn a_source_is_read_with_the_rights_of_the_account_whatever_the_token_names() {
    let scene = Scene::new().await;
    let blob = Blob::random(7, 10);
    let secret = scene.image.layers[0].digest;
    scene.of_alice("alice/app").push_blob(&blob).await;
    let narrow = with_token(&scene.alice, &[("alice/new", Actions::PULL_PUSH)]);
    for from in [Some("alice/app"), None] {
        assert!(
            scene.mount(&narrow, "alice/new", blob.digest, from).await,
            "{from:?}"
        );
    }
    for from in [Some("acme/app"), None] {
        assert!(
            !scene.mount(&narrow, "alice/new", secret, from).await,
            "{from:?}"
        );
    }
    // The target is another matter.
    for (grants, to) in [
        (("alice/new", Actions::PULL_PUSH), "alice/other"),
        (("alice/new", Actions::PULL), "alice/new"),
    ] {
        let caller = with_token(&scene.alice, &[grants]);
        let from = name("alice/app");
        let refused = scene
            .registry
            .mount(&caller, &name(to), blob.digest, Some(&from))
            .await;
        assert!(
            matches!(refused, Err(Error::InsufficientScope)),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_blob_that_may_go_soon_is_not_mounted_and_not_shown() {
    let scene = Scene::new().await;
    let site = &scene.site;
    let client = site.client(&scene.registry, "acme/uploads");
    let blob = Blob::random(7, 10);
    client.push_blob(&blob).await;
    let expires = async |interval: &str| {
        site.run(&format!(
            "UPDATE repository_blob SET expires_at = now() + interval '{interval}'"
        ))
        .await;
    };
    let mounts = async |to: &str, from| scene.mount(&site.caller, to, blob.digest, from).await;

    expires("119 minutes").await;
    assert!(!client.has(blob.digest).await);
    assert!(!mounts("acme/a", Some("acme/uploads")).await);
    assert!(!mounts("acme/a", None).await);
    // It is there all the same, and a manifest that names it now is taken.
    assert!(client.pull(blob.digest).await == blob.content);
    expires("121 minutes").await;
    assert!(client.has(blob.digest).await);
    assert!(mounts("acme/a", Some("acme/uploads")).await);
    assert!(mounts("acme/b", None).await);
    // A link is a day, wherever it came from.
    let sql = "SELECT count(*) FROM repository_blob WHERE expires_at > now() + interval '23 hours'";
    assert_eq!(site.number(sql).await, 2);
    expires("0 minutes").await;
    assert!(
        client
            .registry
            .blob(
                client.caller,
                &client.name,
                blob.digest,
                portolan_registry::Purpose::Get
            )
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_mount_into_where_one_may_not_write_is_refused_as_any_write() {
    let scene = Scene::new().await;
    let digest = scene.image.layers[0].digest;
    scene.site.publish("acme/app").await;
    let from = name("acme/app");
    for to in ["acme/app", "acme/missing", "bob/app"] {
        let refused = scene
            .registry
            .mount(&scene.alice, &name(to), digest, Some(&from))
            .await;
        assert!(
            matches!(refused, Err(Error::Denied { .. })),
            "{to}: {refused:?}"
        );
        let anonymous = Caller::anonymous();
        let refused = scene
            .registry
            .mount(&anonymous, &name(to), digest, Some(&from))
            .await;
        assert!(
            matches!(refused, Err(Error::Unauthenticated)),
            "{to}: {refused:?}"
        );
    }
    assert_eq!(
        scene.site.number("SELECT count(*) FROM repository").await,
        1
    );
}
