//! Every race of the write protocol with a collector, stepped by two real sessions in both orders.
//!
//! Each test names the rule that, when broken, lets something acknowledged vanish or something dead stay.

mod blobs;
mod manifests;
mod removal;
mod whole;

use crate::collector::{Collector, a_day_passes};
use crate::support::{Db, Push};
use portolan_metadata::{BlobId, ManifestId, RepositoryId};
use std::time::Duration;

const DAY: Duration = Duration::from_hours(24);

async fn is_young(db: &Db, manifest: ManifestId) -> bool {
    db.holds(&format!(
        "SELECT count(*) = 1 AND bool_and(review_after > now() + interval '23 hours') FROM gc_queue
         WHERE kind = 'manifest' AND id = {manifest}"
    ))
    .await
}

/// An old manifest without tag, and the collector that is about to look at it.
async fn old_manifest() -> (Db, RepositoryId, ManifestId, Collector) {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let (id, _) = db.manifest(app, &Push::of(b"old")).await;
    a_day_passes(&db).await;
    let collector = Collector::new(&db).await;
    (db, app, id, collector)
}

/// A blob whose only link has expired, due.
async fn expired_blob() -> (Db, RepositoryId, BlobId, Collector) {
    let db = Db::new().await;
    let app = db.repository("acme/app").await;
    let id = db.blob(app, b"layer").await;
    a_day_passes(&db).await;
    let collector = Collector::new(&db).await;
    (db, app, id, collector)
}
