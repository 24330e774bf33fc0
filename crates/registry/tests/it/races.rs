//! Races between requests, and between a request and what befalls it, stepped over real connections.
//!
//! What two statements do to each other is tested in `metadata`; here it is what callers are told.

use crate::staged::Script;
use crate::support::{Kind, Site};
use crate::support_images::{request, tag};
use futures::future::{join, join_all};
use portolan_metadata::repositories;
use portolan_metadata::tags::Expect;
use portolan_pg::{Endpoint, Metrics, Policy, Router};
use portolan_registry::{Error, PutManifest};
use portolan_testkit::image::{Blob, Image, ManifestFile};
use secrecy::SecretString;
use std::time::Duration;

/// Another way to the database.
pub(crate) fn through(policy: Policy, url: &str) -> Router {
    let endpoint = Endpoint::parse(&SecretString::from(url)).unwrap();
    Router::connect(policy, endpoint, Vec::new(), Metrics::unregistered(), 7)
}

/// Makes the first `times` inserts of a tag fail with this SQLSTATE; a sequence does not roll back.
async fn tags_fail(site: &Site, times: u32, state: &str) {
    site.run(&format!(
        "CREATE SEQUENCE failures;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('failures') <= {times} THEN
                 RAISE EXCEPTION 'on purpose' USING ERRCODE = '{state}';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fail BEFORE INSERT ON tag FOR EACH ROW EXECUTE FUNCTION fail()"
    ))
    .await;
}

#[tokio::test]
async fn a_push_that_loses_a_deadlock_twice_is_not_noticed() {
    for state in ["40P01", "40001", "23503"] {
        let site = Site::new(Kind::Directory).await;
        let registry = site.process().await;
        let client = site.client(&registry, "acme/app");
        tags_fail(&site, 2, state).await;
        let image = Image::random(1);
        client.push(&image, "v1").await;
        client.pulls("v1", &image.manifest).await;
        assert_eq!(site.number("SELECT count(*) FROM tag_history").await, 1);
    }
}

#[tokio::test]
async fn a_push_that_loses_every_deadlock_hears_that_it_may_come_again() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    for blob in image.blobs() {
        client.push_blob(blob).await;
    }
    tags_fail(&site, 3, "40P01").await;
    let refused = client.put(&image.manifest, "v1").await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    assert_eq!(
        site.number("SELECT last_value FROM failures").await,
        3,
        "three attempts"
    );
    client.put(&image.manifest, "v1").await.unwrap();
}

#[tokio::test]
async fn a_push_that_waits_too_long_for_others_hears_that_it_may_come_again() {
    let site = Site::new(Kind::Directory).await;
    let mut policy = Policy::default();
    policy.limits.write = Duration::from_millis(300);
    let router = through(policy, site.url());
    let (registry, _) = site.process_over(router, Script::default()).await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    client.push(&image, "v1").await;

    let other = site.session().await;
    other
        .batch_execute("BEGIN; SELECT FROM tag FOR UPDATE")
        .await
        .unwrap();
    let refused = client.delete_tag("v1").await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    other.batch_execute("ROLLBACK").await.unwrap();
    client.delete_tag("v1").await.unwrap();
}

#[tokio::test]
async fn a_real_deadlock_is_resolved_in_favour_of_both() {
    let site = Site::new(Kind::Directory).await;
    // For connections made from here on; the other session keeps Postgres' second.
    let other = site.session().await;
    let database: String = site
        .sql
        .query_one("SELECT current_database()::text", &[])
        .await
        .unwrap()
        .get(0);
    site.run(&format!(
        "ALTER DATABASE {database} SET deadlock_timeout = '50ms'"
    ))
    .await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (old, new) = (Image::random(1), Image::random(2));
    client.push(&old, "a").await;
    client.push(&old, "b").await;
    client.push(&new, "c").await;

    other
        .batch_execute("BEGIN; SELECT FROM tag WHERE name = 'b' FOR UPDATE")
        .await
        .unwrap();
    let both = PutManifest {
        tags: vec![tag("a"), tag("b")],
        ..request(&new.manifest, &new.manifest.digest.to_string())
    };
    let against = async {
        site.until_blocked(1).await;
        // Against the order of names, as nobody of ours does. It is the push that finds the deadlock.
        other
            .batch_execute("SELECT FROM tag WHERE name = 'a' FOR UPDATE")
            .await
            .unwrap();
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (pushed, ()) = join(client.put_request(both), against).await;
    pushed.unwrap();
    client.pulls("a", &new.manifest).await;
    client.pulls("b", &new.manifest).await;
}

#[tokio::test]
async fn a_push_whose_client_goes_away_leaves_nothing_and_no_connection_behind() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (old, new) = (Image::random(1), Image::random(2));
    client.push(&old, "v1").await;
    for blob in new.blobs() {
        client.push_blob(blob).await;
    }
    let other = site.session().await;
    // More often than there are connections for writes.
    for _ in 0..10 {
        other
            .batch_execute("BEGIN; SELECT FROM tag FOR UPDATE")
            .await
            .unwrap();
        tokio::select! {
            pushed = client.put(&new.manifest, "v1") => panic!("{pushed:?}"),
            () = site.until_blocked(1) => {}
        }
        other.batch_execute("ROLLBACK").await.unwrap();
    }
    client.pulls("v1", &old.manifest).await;
    client.push(&new, "v1").await;
    client.pulls("v1", &new.manifest).await;
}

#[tokio::test]
async fn of_many_that_make_the_same_tag_one_does() {
    let site = Site::new(Kind::Directory).await;
    let processes = [site.process().await, site.process().await];
    let images: Vec<Image> = (0..6).map(Image::random).collect();
    let clients: Vec<_> = (0..6)
        .map(|number| site.client(&processes[number % 2], "acme/app"))
        .collect();
    for (client, image) in clients.iter().zip(&images) {
        for blob in image.blobs() {
            client.push_blob(blob).await;
        }
    }
    let pushes = clients
        .iter()
        .zip(&images)
        .map(|(client, image)| client.put_if(&image.manifest, "v1", Expect::Absent));
    let outcomes = join_all(pushes).await;
    let now = clients[0].get("v1").await.unwrap().digest;
    let mut winners = 0;
    for outcome in outcomes {
        match outcome {
            Ok(winner) => {
                assert_eq!(winner.digest, now);
                winners += 1;
            }
            Err(Error::PreconditionFailed { current }) => assert_eq!(current, Some(now)),
            Err(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(winners, 1);
    assert_eq!(site.number("SELECT count(*) FROM manifest").await, 1);
}

#[tokio::test]
async fn a_repository_and_its_namespace_are_made_once_by_many_at_once() {
    let site = Site::new(Kind::Directory).await;
    let processes = [site.process().await, site.process().await];
    let blob = Blob::random(1, 100);
    let pushes = (0..6).map(|number| {
        let client = site.client(
            &processes[number % 2],
            ["acme/app", "acme/other"][number / 3],
        );
        let blob = blob.clone();
        async move { client.push_blob(&blob).await }
    });
    join_all(pushes).await;
    for (table, expected) in [
        ("repository", 2),
        ("namespace WHERE name = 'acme'", 1),
        ("account WHERE kind = 'organization'", 1),
        ("blob", 1),
    ] {
        assert_eq!(
            site.number(&format!("SELECT count(*) FROM {table}")).await,
            expected,
            "{table}"
        );
    }
    site.nothing_is_left_over(&processes[0]).await;
}

#[tokio::test]
async fn a_push_that_waited_for_a_repository_uses_it_or_makes_it() {
    for made in [true, false] {
        let site = Site::new(Kind::Directory).await;
        let registry = site.process().await;
        let client = site.client(&registry, "acme/app");
        let blob = Blob::random(1, 100);
        let router = site.router();
        let tx = router.begin().await.unwrap();
        repositories::create(&tx, &client.name, &site.caller.principal)
            .await
            .unwrap();
        let other = async {
            site.until_blocked(1).await;
            if made {
                let _committed = tx.commit().await.unwrap();
            } else {
                tx.rollback().await.unwrap();
            }
        };
        join(client.push_blob(&blob), other).await;
        assert!(client.has(blob.digest).await);
        assert_eq!(site.number("SELECT count(*) FROM repository").await, 1);
    }
}

#[tokio::test]
async fn a_push_that_waited_for_a_removal_is_to_a_new_repository() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    client.push(&image, "v1").await;

    let router = site.router();
    let tx = router.begin().await.unwrap();
    repositories::mark_deleted(&tx, &client.name).await.unwrap();
    let removal = async {
        site.until_blocked(2).await;
        let _committed = tx.commit().await.unwrap();
    };
    let layer = &image.layers[0];
    let (refused, (), ()) = futures::join!(
        // Its blobs were in the other one.
        client.put(&image.manifest, "v2"),
        client.push_blob(layer),
        removal
    );
    assert!(
        matches!(refused, Err(Error::ManifestBlobUnknown { .. })),
        "{refused:?}"
    );
    assert!(client.has(layer.digest).await);
    assert!(!client.has(image.config.digest).await);
    assert!(client.tags().await.is_empty());
}

#[tokio::test]
async fn a_removal_waits_for_the_pushes_it_meets() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    client.push(&image, "v1").await;
    let other = site.session().await;
    other
        .batch_execute("BEGIN; SELECT FROM tag FOR UPDATE")
        .await
        .unwrap();
    let router = site.router();
    let removal = async {
        site.until_blocked(1).await;
        let tx = router.begin().await.unwrap();
        let release = async {
            site.until_blocked(2).await;
            other.batch_execute("ROLLBACK").await.unwrap();
        };
        let (removed, ()) = join(repositories::mark_deleted(&tx, &client.name), release).await;
        assert!(removed.unwrap().is_some());
        let _committed = tx.commit().await.unwrap();
    };
    let (pushed, ()) = join(client.put(&image.manifest, "v1"), removal).await;
    pushed.unwrap();
    let gone = client.get("v1").await;
    assert!(matches!(gone, Err(Error::NameUnknown)), "{gone:?}");
}

#[tokio::test]
async fn a_blob_deleted_while_a_push_names_it_stays_by_the_reference() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let (old, new) = (Image::random(1), Image::random(2));
    client.push(&old, "v1").await;
    for blob in new.blobs() {
        client.push_blob(blob).await;
    }
    let other = site.session().await;
    other
        .batch_execute("BEGIN; SELECT FROM tag FOR UPDATE")
        .await
        .unwrap();
    let layer = new.layers[0].digest;
    let delete = async {
        site.until_blocked(1).await;
        client.delete_blob(layer).await.unwrap();
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (pushed, ()) = join(client.put(&new.manifest, "v1"), delete).await;
    pushed.unwrap();
    assert!(client.pull(layer).await == new.layers[0].content);
    assert!(matches!(
        client.delete_blob(layer).await,
        Err(Error::BlobReferenced)
    ));
}

#[tokio::test]
async fn an_index_and_its_child_pushed_at_once_find_each_other_at_the_next_push() {
    let site = Site::new(Kind::Directory).await;
    let registry = site.process().await;
    let client = site.client(&registry, "acme/app");
    let image = Image::random(1);
    let index = ManifestFile::index(std::slice::from_ref(&image.manifest));
    client.push(&Image::random(2), "all").await;
    for blob in image.blobs() {
        client.push_blob(blob).await;
    }
    let other = site.session().await;
    other
        .batch_execute("BEGIN; SELECT FROM tag FOR UPDATE")
        .await
        .unwrap();
    let child = async {
        site.until_blocked(1).await;
        client
            .put(&image.manifest, &image.manifest.digest.to_string())
            .await
            .unwrap();
        other.batch_execute("ROLLBACK").await.unwrap();
    };
    let (pushed, ()) = join(client.put(&index, "all"), child).await;
    assert_eq!(pushed.unwrap().warnings.len(), 1);
    assert_eq!(
        site.number("SELECT count(child_id) FROM manifest_child")
            .await,
        0
    );
    client
        .put(&image.manifest, &image.manifest.digest.to_string())
        .await
        .unwrap();
    assert_eq!(
        site.number("SELECT count(child_id) FROM manifest_child")
            .await,
        1
    );
    assert!(client.put(&index, "all").await.unwrap().warnings.is_empty());
}
