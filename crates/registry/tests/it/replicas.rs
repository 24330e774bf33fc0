//! What replicas that lag would not show yet is not missed.

use crate::staged::Script;
use crate::support::{Kind, Site, name};
use portolan_metadata::migrate;
use portolan_registry::MountOutcome;
use portolan_testkit::children::eventually;
use portolan_testkit::image::{Blob, Image};
use portolan_testkit::pg_cluster::{PgCluster, Session};
use std::time::Duration;

/// Within the lease of a floor, so that the replica serves.
const LAG: Duration = Duration::from_millis(200);

const ROUNDS: u64 = 24;

#[tokio::test]
async fn referrers_new_repositories_and_blobs_are_found_at_once() {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    migrate::up(database.url()).await.unwrap();
    let replica = cluster.add_replica();
    let site = Site::on(database, Kind::Directory).await;
    let router = site.router_over(std::slice::from_ref(&replica));
    let (registry, _) = site.process_over(router.clone(), Script::default()).await;
    let image = Image::random(1);
    let subject = &image.manifest;
    let client = site.client(&registry, "acme/app");
    client.push(&image, "v1").await;
    let referrers: Vec<Image> = (2..ROUNDS)
        .map(|seed| Image::artifact("application/vnd.example.sbom", seed, Some(subject)))
        .collect();
    for blob in referrers.iter().flat_map(Image::blobs) {
        client.push_blob(blob).await;
    }
    replica.set_apply_delay(LAG).await;

    let other = name("acme/other");
    let pushes = async {
        for (number, referrer) in (0..).zip(&referrers) {
            let digest = referrer.manifest.digest;
            client
                .put(&referrer.manifest, &digest.to_string())
                .await
                .unwrap();
            let listed = client.referrers(subject.digest, None).await;
            assert!(listed.contains(&digest), "referrer {number}");

            let new = format!("acme/new{number}");
            site.client(&registry, &new)
                .push_blob(&image.layers[0])
                .await;
            let page = registry.catalog(&site.caller, None, None).await.unwrap();
            let names = page.repositories.iter().map(ToString::to_string);
            assert!(names.into_iter().any(|known| known == new), "{new}");

            let blob = Blob::random(number, 100);
            client.push_blob(&blob).await;
            let outcome = registry.mount(&site.caller, &other, blob.digest, None);
            assert_eq!(outcome.await.unwrap(), MountOutcome::Mounted, "{number}");
        }
    };
    // Somebody reads all the time, and so floors are there.
    let reads = async {
        loop {
            client.pulls("v1", subject).await;
        }
    };
    tokio::select! {
        () = pushes => {}
        () = reads => {}
    }
    router.close().await;
    drop(replica);
}

/// A commit reaches the replicas before it is visible on the primary: by as long as that waits for a synchronous standby,
/// here for one that never comes.
#[tokio::test]
async fn a_push_that_one_replica_shows_and_the_primary_does_not_yet_makes_no_tag_unknown() {
    let cluster = PgCluster::start();
    let database = cluster.create_database().await;
    migrate::up(database.url()).await.unwrap();
    let replicas = [cluster.add_replica(), cluster.add_replica()];
    let second = replicas[1].server().socket_url(database.name());
    let shown = Session::open(&second).await.unwrap();
    let site = Site::on(database, Kind::Directory).await;
    let router = site.router_over(&replicas);
    let pushing = site.process().await;
    let (pulling, _) = site.process_over(router.clone(), Script::default()).await;
    let (old, new) = (Image::random(1), Image::random(2));
    let writer = site.client(&pushing, "acme/app");
    writer.push(&old, "latest").await;
    for blob in new.blobs() {
        writer.push_blob(blob).await;
    }
    // Too late for tags, and not for bytes, which are asked of the first of two that have nothing else to do.
    replicas[0].pause_replay().await;
    writer.push(&Image::random(3), "other").await;
    let reader = site.client(&pulling, "acme/app");
    eventually(
        "the second replica serves, and the first is late",
        async || {
            reader.get("latest").await.unwrap();
            let status = router.status().await.replicas;
            status[0].fitness == "behind" && status[1].state == Some("serving")
        },
    )
    .await;
    let count = "SELECT count(*) FROM manifest";
    let before: i64 = shown.query_one(count, &[]).await.unwrap().get(0);

    waits_for(&site, "nobody").await;
    let push = writer.put(&new.manifest, "latest");
    let pulls = async {
        eventually("the second replica shows the push", async || {
            reader.get("latest").await.unwrap();
            let now: i64 = shown.query_one(count, &[]).await.unwrap().get(0);
            now > before
        })
        .await;
        for _ in 0..50 {
            // It has not been acknowledged, so either is right.
            let found = reader.get("latest").await.unwrap();
            let payload = found.payload.unwrap();
            assert!(
                [&old, &new]
                    .map(|image| &image.manifest.payload)
                    .contains(&&payload)
            );
        }
        waits_for(&site, "").await;
    };
    let (pushed, ()) = tokio::join!(push, pulls);
    pushed.unwrap();
    reader.pulls("latest", &new.manifest).await;
    replicas[0].resume_replay().await;
    router.close().await;
    drop(replicas);
}

/// Whom commits wait for from now on; nobody, if that is no name.
async fn waits_for(site: &Site, standby: &str) {
    site.run(&format!(
        "ALTER SYSTEM SET synchronous_standby_names = '{standby}'"
    ))
    .await;
    site.run("SELECT pg_reload_conf()").await;
    let current = format!(
        "SELECT count(*) FROM pg_settings WHERE name = 'synchronous_standby_names' AND setting = '{standby}'"
    );
    eventually("the server has read its configuration", async || {
        site.number(&current).await == 1
    })
    .await;
}
