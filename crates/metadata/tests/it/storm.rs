//! A seeded storm: many writers and collectors on a few digests, for a bounded number of steps.
//!
//! Writers never deadlock with each other or with a collector; and when it is over, nothing acknowledged is missing,
//! nothing that a row names is to be deleted, and nothing that may be garbage is without a review.

use crate::collector::Collector;
use crate::support::{Db, Push, aside, digest, new_blob, new_manifest, path, router, tag};

use portolan_metadata::manifests::{self, Child};
use portolan_metadata::object_delete::{self, Doomed, DoomedMultipart, Reason};
use portolan_metadata::tags::{self, TagDelete, TagMove};
use portolan_metadata::{
    BlobId, Error, Principal, RepositoryId, StoreId, blobs, gc, manifest_contents, repositories,
};
use portolan_oci::{Digest, RepositoryName};
use portolan_pg::{Router, Tx};
use portolan_testkit::pg_cluster::Session;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::RwLock;

const SEED: u64 = 20_261_122;
const WRITERS: u64 = 6;
const COLLECTORS: u64 = 2;
/// Enough for every pair of steps to meet many times; a few seconds.
const STEPS: usize = 250;
/// After how many steps of a collector a day passes.
const DAY_EVERY: usize = 5;
/// However slow the machine.
const LIMIT: Duration = Duration::from_secs(10);

const REPOSITORIES: [&str; 2] = ["acme/one", "acme/two"];
/// Manifests need the first four; the others are only ever uploaded and mounted, so that days do end them.
const LAYERS: [&[u8]; 8] = [b"l0", b"l1", b"l2", b"l3", b"l4", b"l5", b"l6", b"l7"];
const MANIFESTS: [&[u8]; 4] = [b"m0", b"m1", b"m2", b"m3"];
const TAGS: [&str; 3] = ["a", "b", "c"];
/// Rows of a removed repository that go at once: far fewer than it has.
const ROWS: usize = 2;

/// What came of the steps.
#[derive(Debug, Default)]
struct Tally {
    done: BTreeMap<&'static str, u32>,
    declined: u32,
    retried: BTreeMap<String, u32>,
}

struct Writer {
    router: Router,
    store: StoreId,
    rng: StdRng,
    tally: Tally,
}

enum Outcome {
    Done,
    /// Refused as it must be: a blob is not here, or there is nothing to delete.
    Declined,
}

impl Writer {
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        *of.choose(&mut self.rng).unwrap()
    }

    fn some<T: Copy>(&mut self, of: &[T], most: usize) -> Vec<T> {
        let count = self.rng.random_range(0..=most);
        of.sample(&mut self.rng, count).copied().collect()
    }

    async fn step(&mut self) {
        let name = path(self.pick(&REPOSITORIES));
        let kind = self.rng.random_range(0..100);
        let tx = self.router.begin().await.unwrap();
        let (label, outcome) = match kind {
            0..30 => ("upload", self.upload(&tx, &name).await),
            30..65 => ("push", self.push(&tx, &name).await),
            65..75 => ("mount", self.mount(&tx, &name).await),
            75..83 => ("delete tag", self.delete_tag(&tx, &name).await),
            83..91 => ("delete manifest", self.delete_manifest(&tx, &name).await),
            91..94 => ("unlink", self.unlink(&tx, &name).await),
            94..97 => ("remove rows", Self::remove_rows(&tx).await),
            _ => (
                "remove repository",
                Self::remove_repository(&tx, &name).await,
            ),
        };
        let failure = match outcome {
            Ok(Outcome::Done) => match tx.commit().await {
                Ok(_) => {
                    *self.tally.done.entry(label).or_default() += 1;
                    return;
                }
                Err(cause) => Error::from(cause),
            },
            Ok(Outcome::Declined) => {
                self.tally.declined += 1;
                tx.rollback().await.unwrap();
                return;
            }
            Err(failure) => {
                tx.rollback().await.unwrap();
                failure
            }
        };
        assert!(failure.is_retryable(), "{label}: {failure:?}");
        let Error::Pg(cause) = &failure else {
            panic!("{label}: {failure:?}")
        };
        let state = cause.sqlstate().unwrap().code().to_owned();
        assert_ne!(state, "40P01", "a deadlock in `{label}`: {failure:?}");
        *self
            .tally
            .retried
            .entry(format!("{label} {state}"))
            .or_default() += 1;
    }

    async fn repository(tx: &Tx, name: &RepositoryName) -> Result<RepositoryId, Error> {
        let access = repositories::lock(tx, name, &Principal::Anonymous).await?;
        match access.repository {
            Some(id) => Ok(id),
            None => repositories::create(tx, name, &Principal::Anonymous).await,
        }
    }

    async fn upload(&mut self, tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let content = self.pick(&LAYERS);
        let repository = Self::repository(tx, name).await?;
        let new = new_blob(self.store, content);
        let committed = blobs::commit(tx, &new).await?;
        blobs::link(tx, repository, committed.id, Duration::from_hours(24)).await?;
        if !committed.won {
            let lost = Doomed {
                store: new.store,
                key: new.key,
                digest: Some(new.digest),
                size: Some(new.size),
                multipart: DoomedMultipart::None,
            };
            object_delete::enqueue(tx, Reason::Duplicate, &[lost]).await?;
        }
        Ok(Outcome::Done)
    }

    async fn push(&mut self, tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let payload = self.pick(&MANIFESTS);
        let own = digest(payload);
        // Which blobs and children a manifest has is part of its bytes.
        let mut of_payload = StdRng::seed_from_u64(u64::from(payload[1]));
        let mut wanted: Vec<Digest> = LAYERS[..4]
            .sample(&mut of_payload, 2)
            .map(|content| digest(content))
            .collect();
        wanted.sort();
        let mut children: Vec<Digest> = if payload[1] >= b'2' {
            vec![digest(MANIFESTS[0]), digest(MANIFESTS[1])]
        } else {
            Vec::new()
        };
        children.sort();
        let subject = (payload[1] == b'1').then(|| digest(MANIFESTS[3]));
        let mut names = self.some(&TAGS, 3);
        names.sort_unstable();

        let repository = Self::repository(tx, name).await?;
        let related = manifests::lock_related(tx, repository, &own, &children).await?;
        let children: Vec<Child> = children
            .iter()
            .map(|child| Child {
                digest: *child,
                id: related
                    .iter()
                    .find(|(_, known)| known == child)
                    .map(|(id, _)| *id),
                platform: None,
            })
            .collect();
        let missing: Vec<Digest> = children
            .iter()
            .filter(|child| child.id.is_none())
            .map(|child| child.digest)
            .collect();
        if manifests::removed_by_collection(tx, repository, &missing)
            .await?
            .is_some()
        {
            return Ok(Outcome::Declined);
        }
        manifest_contents::insert(tx, &own, payload).await?;
        let new = new_manifest(&Push {
            subject,
            ..Push::of(payload)
        });
        let manifest = manifests::insert(tx, repository, &new).await?;
        let present = blobs::lock_present(tx, repository, &wanted, 0).await?;
        let is_missing = |wanted: &&Digest| present.iter().all(|blob| blob.digest != **wanted);
        let missing_blobs: Vec<Digest> = wanted.iter().filter(is_missing).copied().collect();
        if !missing_blobs.is_empty() {
            if self.rng.random_bool(0.5) {
                return Ok(Outcome::Declined);
            }
            manifests::insert_missing_blobs(tx, repository, manifest, &missing_blobs).await?;
        }
        let ids: Vec<BlobId> = present.iter().map(|blob| blob.id).collect();
        manifests::insert_blob_references(tx, repository, manifest, &ids).await?;
        manifests::insert_children(tx, repository, manifest, &children).await?;
        manifests::adopt_orphaned_children(tx, repository, &own, manifest).await?;
        let mut touched = vec![manifest];
        for name in names {
            let name = tag(name);
            let step = TagMove {
                repository,
                tag: &name,
                manifest,
                digest: &own,
                actor: Principal::Anonymous,
                expect: None,
            };
            touched.extend(tags::move_to(tx, &step).await?.abandoned);
        }
        gc::touch_manifests(tx, &touched).await?;
        Ok(Outcome::Done)
    }

    async fn mount(&mut self, tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let wanted = digest(self.pick(&LAYERS));
        let repository = Self::repository(tx, name).await?;
        // From wherever it is; presence is read first, and may have ended when the blob is locked.
        let principal = Principal::Account {
            id: 1.into(),
            generation: 1,
            credential: None,
        };
        let Some(blob) = blobs::find_readable(tx, &wanted, &principal, 10).await? else {
            return Ok(Outcome::Declined);
        };
        if !blobs::lock_by_id(tx, blob).await? {
            return Ok(Outcome::Declined);
        }
        blobs::link(tx, repository, blob, Duration::from_hours(24)).await?;
        Ok(Outcome::Done)
    }

    async fn delete_tag(&mut self, tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let tag = tag(self.pick(&TAGS));
        let repository = Self::repository(tx, name).await?;
        let step = TagDelete {
            repository,
            tag: &tag,
            actor: Principal::Anonymous,
            expect: None,
        };
        Ok(if tags::delete(tx, &step).await? {
            Outcome::Done
        } else {
            Outcome::Declined
        })
    }

    async fn delete_manifest(&mut self, tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let own = digest(self.pick(&MANIFESTS));
        let repository = Self::repository(tx, name).await?;
        let gone = manifests::delete(tx, repository, &own, &Principal::Anonymous).await?;
        Ok(if gone {
            Outcome::Done
        } else {
            Outcome::Declined
        })
    }

    async fn unlink(&mut self, tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let layer = digest(self.pick(&LAYERS));
        let repository = Self::repository(tx, name).await?;
        match blobs::unlink(tx, repository, &layer).await? {
            blobs::Unlinked::Done => Ok(Outcome::Done),
            blobs::Unlinked::Absent | blobs::Unlinked::Referenced => Ok(Outcome::Declined),
        }
    }

    async fn remove_repository(tx: &Tx, name: &RepositoryName) -> Result<Outcome, Error> {
        let removed = repositories::mark_deleted(tx, name).await?;
        Ok(if removed.is_some() {
            Outcome::Done
        } else {
            Outcome::Declined
        })
    }

    async fn remove_rows(tx: &Tx) -> Result<Outcome, Error> {
        let gone = repositories::remove_step(tx, Duration::ZERO, ROWS).await?;
        Ok(if gone.is_some() {
            Outcome::Done
        } else {
            Outcome::Declined
        })
    }
}

/// A day passes for some rows. Nobody else is at work: every transaction is bounded to minutes, so none sees a day pass.
async fn age(session: &Session) {
    for table in [
        "gc_queue SET review_after",
        "repository_blob SET expires_at",
    ] {
        let sql = format!("UPDATE {table} = now() WHERE random() < 0.3");
        session.execute(&sql, &[]).await.unwrap();
    }
}

/// One step of a collector: an expired link goes, or something due is reviewed.
async fn collect(collector: &Collector, session: &Session, rng: &mut StdRng) {
    let expire = "DELETE FROM repository_blob WHERE (repository_id, blob_id) IN (
                      SELECT repository_id, blob_id FROM repository_blob WHERE expires_at <= now()
                      ORDER BY repository_id, blob_id LIMIT 1 FOR UPDATE SKIP LOCKED)";
    if rng.next_u32().is_multiple_of(4) {
        session.execute(expire, &[]).await.unwrap();
    }
    let due = "SELECT kind, id FROM gc_queue WHERE review_after <= now() ORDER BY random() LIMIT 1";
    let Some(row) = session.query_opt(due, &[]).await.unwrap() else {
        return;
    };
    let id: i64 = row.get(1);
    match row.get(0) {
        "blob" => collector.review_blob(id.into()).await,
        _ => collector.review_manifest(id.into()).await,
    };
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storm_of_pushes_deletes_and_collectors_deadlocks_nobody_and_loses_nothing() {
    let db = Db::new().await;
    db.run("INSERT INTO account (kind, name, superuser) VALUES ('user', 'root', true)")
        .await;
    db.run("UPDATE account SET generation = 1").await;
    for name in REPOSITORIES {
        db.repository(name).await;
    }
    let began = Instant::now();
    let clock = Arc::new(RwLock::new(()));
    let mut writers = Vec::new();
    for number in 0..WRITERS {
        let mut writer = Writer {
            router: router(&db.database, 1),
            store: db.store,
            rng: StdRng::seed_from_u64(SEED + number),
            tally: Tally::default(),
        };
        let clock = Arc::clone(&clock);
        writers.push(aside(async move {
            for _ in 0..STEPS {
                if began.elapsed() > LIMIT {
                    break;
                }
                let _now = clock.read().await;
                writer.step().await;
            }
            writer.tally
        }));
    }
    let mut collectors = Vec::new();
    for number in 0..COLLECTORS {
        let collector = Collector::new(&db).await;
        let session = db.database.session().await;
        let mut rng = StdRng::seed_from_u64(SEED + 100 + number);
        let clock = Arc::clone(&clock);
        collectors.push(aside(async move {
            for step in 0..STEPS {
                if began.elapsed() > LIMIT {
                    break;
                }
                if step % DAY_EVERY == 0 {
                    let _tomorrow = clock.write().await;
                    age(&session).await;
                }
                let _now = clock.read().await;
                collect(&collector, &session, &mut rng).await;
            }
        }));
    }
    let mut done: BTreeMap<&str, u32> = BTreeMap::new();
    for writer in writers {
        let tally = writer.await.unwrap();
        for (label, count) in tally.done {
            *done.entry(label).or_default() += count;
        }
    }
    for collector in collectors {
        collector.await.unwrap();
    }
    for label in [
        "upload",
        "push",
        "mount",
        "delete tag",
        "delete manifest",
        "unlink",
        "remove repository",
        "remove rows",
    ] {
        assert!(
            done.get(label).is_some_and(|count| *count > 0),
            "no `{label}` happened: {done:?}"
        );
    }
    assert!(
        db.number("SELECT count(*) FROM object_delete WHERE reason = 'collected'")
            .await
            > 0,
        "nothing was collected"
    );
    let step = async |tx: &Tx| repositories::remove_step(tx, Duration::ZERO, 100).await;
    while db.write(step).await.is_some() {}
    assert_eq!(
        db.number("SELECT count(*) FROM repository WHERE state = 'removing'")
            .await,
        0
    );
    check(&db).await;
}

/// What must hold at any moment that nobody writes.
async fn check(db: &Db) {
    let never = [
        (
            "a blob's object is to be deleted",
            "SELECT count(*) FROM blob JOIN object_delete USING (store_id, storage_key)",
        ),
        (
            "a blob that nothing keeps has no review",
            "SELECT count(*) FROM blob b
             WHERE NOT EXISTS (SELECT FROM manifest_blob r WHERE r.blob_id = b.id)
                 AND NOT EXISTS (SELECT FROM repository_blob l WHERE l.blob_id = b.id)
                 AND NOT EXISTS (SELECT FROM gc_queue q WHERE q.kind = 'blob' AND q.id = b.id)",
        ),
        (
            "a manifest that nothing keeps has no review",
            "SELECT count(*) FROM manifest m
             WHERE NOT EXISTS (SELECT FROM tag t WHERE t.manifest_id = m.id)
                 AND NOT EXISTS (
                     SELECT FROM manifest_child c WHERE c.repository_id = m.repository_id AND c.child_digest = m.digest)
                 AND NOT EXISTS (
                     SELECT FROM manifest s WHERE s.repository_id = m.repository_id AND s.digest = m.subject_digest)
                 AND NOT EXISTS (SELECT FROM gc_queue q WHERE q.kind = 'manifest' AND q.id = m.id)",
        ),
        (
            "a manifest's two blobs are neither referenced nor noted as missing",
            "SELECT count(*) FROM manifest m
             WHERE (SELECT count(*) FROM manifest_blob r WHERE r.manifest_id = m.id)
                 + (SELECT count(*) FROM manifest_missing_blob b WHERE b.manifest_id = m.id) < 2",
        ),
        (
            "a guard names a manifest of another digest",
            "SELECT count(*) FROM manifest_child c JOIN manifest m ON m.id = c.child_id WHERE m.digest <> c.child_digest",
        ),
        (
            "a tag is not where its history says",
            "SELECT count(*) FROM tag t JOIN manifest m ON m.id = t.manifest_id
             CROSS JOIN LATERAL (
                 SELECT digest FROM tag_history h WHERE h.repository_id = t.repository_id AND h.name = t.name
                 ORDER BY version DESC LIMIT 1
             ) h
             WHERE h.digest IS DISTINCT FROM m.digest",
        ),
        (
            "an index lost a child to collection",
            "SELECT count(*) FROM manifest_child c
             JOIN repository r ON r.id = c.repository_id
             CROSS JOIN LATERAL (
                 SELECT reason FROM deleted_manifest d
                 WHERE d.repository_id = c.repository_id AND d.digest = c.child_digest ORDER BY id DESC LIMIT 1
             ) d
             WHERE d.reason = 'collection'
                 AND NOT EXISTS (
                     SELECT FROM manifest m WHERE m.repository_id = c.repository_id AND m.digest = c.child_digest)",
        ),
    ];
    for (what, sql) in never {
        assert_eq!(db.number(sql).await, 0, "{what}");
    }
}
