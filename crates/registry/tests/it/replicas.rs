//! What replicas that lag would not show yet is not missed.

use crate::staged::Script;
use crate::support::{Kind, Site, name};
use portolan_metadata::migrate;
use portolan_registry::MountOutcome;
use portolan_testkit::image::{Blob, Image};
use portolan_testkit::pg_cluster::PgCluster;
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
